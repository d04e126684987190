"""The project's revision is read, and nothing that its .git names is run."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from reelstore.project.git import revision_and_branch


def git(folder: Path, *words: str) -> str:
    command = ["git", "-c", "user.name=t", "-c", "user.email=t@t", "-c", "protocol.file.allow=always", *words]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with a file, and this process in a folder of it."""
    folder = tmp_path / "project"
    (folder / "below").mkdir(parents=True)
    git(folder, "init", "-q", "-b", "main")
    (folder / "file.txt").write_text("one\n")
    (folder / "below" / "two.txt").write_text("two\n")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "start")
    monkeypatch.chdir(folder / "below")
    return folder


def touched(path: Path) -> None:
    """The same content, at another time: git has to read the file to know."""
    path.write_text(path.read_text())
    os.utime(path, (1, 1))


def test_a_clean_tree_is_clean_whatever_the_times_of_its_files_say(project: Path) -> None:
    touched(project / "file.txt")
    (project / "untracked").write_text("x")
    index = (project / ".git" / "index").read_bytes()
    assert revision_and_branch() == (git(project, "rev-parse", "HEAD"), "main")
    assert (project / ".git" / "index").read_bytes() == index


@pytest.mark.parametrize("change", ["edited", "removed", "staged"])
def test_what_differs_is_dirty(change: str, project: Path) -> None:
    (project / "file.txt").unlink()
    if change != "removed":
        (project / "file.txt").write_text("other\n")
    if change == "staged":
        git(project, "add", "-A")
    assert revision_and_branch() == (git(project, "rev-parse", "HEAD") + "-dirty", "main")


def test_a_worktree_a_detached_head_and_sha256_are_read(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git(project, "worktree", "add", "-q", "-b", "side", "../side")
    monkeypatch.chdir(project.parent / "side")
    assert revision_and_branch() == (git(project, "rev-parse", "HEAD"), "side")
    git(project.parent / "side", "checkout", "-q", "--detach")
    assert revision_and_branch() == (git(project, "rev-parse", "HEAD"), "HEAD")
    newer = project.parent / "newer"
    newer.mkdir()
    git(newer, "init", "-q", "-b", "main", "--object-format=sha256")
    (newer / "a").write_text("a")
    git(newer, "add", "-A")
    git(newer, "commit", "-qm", "start")
    monkeypatch.chdir(newer)
    assert revision_and_branch() == (git(newer, "rev-parse", "HEAD"), "main")


def test_outside_of_git_and_before_a_commit_it_is_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert revision_and_branch() == ("", "")
    git(tmp_path, "init", "-q")
    assert revision_and_branch()[0] == ""


def _monitor(project: Path, program: str) -> None:
    git(project, "config", "core.fsmonitor", program)
    git(project, "config", "core.fsmonitorHookVersion", "2")


def _filters(project: Path, program: str) -> None:
    (project / ".git" / "info").mkdir(exist_ok=True)
    (project / ".git" / "info" / "attributes").write_text("file.txt filter=a\nbelow/* filter=b=c diff=d\n")
    for key in ("filter.a.clean", "filter.a.smudge", "filter.b=c.process", "diff.d.textconv", "diff.d.command"):
        git(project, "config", key, program)


def _attributes_in_the_tree(project: Path, program: str) -> None:
    (project / ".gitattributes").write_text("* filter=a\n")
    git(project, "config", "filter.a.process", program)
    git(project, "config", "filter.a.required", "true")


def _hooks(project: Path, program: str) -> None:
    (project / ".git" / "own-hooks").mkdir()
    for folder in ("hooks", "own-hooks"):
        for name in ("post-index-change", "post-checkout", "reference-transaction", "fsmonitor-watchman"):
            path = project / ".git" / folder / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(f"#!/bin/sh\n{program}\n")
            path.chmod(0o755)
    git(project, "config", "core.hooksPath", str(project / ".git" / "own-hooks"))


def _programs(project: Path, program: str) -> None:
    for key in ("core.pager", "core.editor", "core.sshCommand", "core.askPass", "diff.external", "credential.helper",
                "gpg.program", "alias.status", "alias.rev-parse", "alias.config"):  # fmt: skip
        git(project, "config", key, f"!{program}" if key.startswith("alias") else program)
    git(project, "config", "pager.status", "true")


def _included(project: Path, program: str) -> None:
    (project / ".git" / "more").write_text(f'[core]\nfsmonitor = "{program}"\n[filter "a"]\nclean = "{program}"\n')
    (project / ".gitattributes").write_text("* filter=a\n")
    git(project, "config", "include.path", "more")


def _partial_clone(project: Path, program: str) -> None:
    """Objects that aren't there would be fetched, by a command."""
    head = git(project, "rev-parse", "HEAD^{tree}")
    (project / ".git" / "objects" / head[:2] / head[2:]).unlink()
    for key, value in [("core.repositoryformatversion", "1"), ("extensions.partialClone", "origin"),
                       ("remote.origin.url", f"ext::{program}"), ("remote.origin.promisor", "true"),
                       ("remote.origin.uploadpack", program), ("protocol.ext.allow", "always")]:  # fmt: skip
        git(project, "config", key, value)


def _submodule(project: Path, program: str) -> None:
    inner = project / "inner"
    inner.mkdir()
    git(inner, "init", "-q")
    (inner / "x").write_text("x")
    git(inner, "add", "-A")
    git(inner, "commit", "-qm", "inner")
    git(project, "add", "inner")
    git(project, "commit", "-qm", "with a submodule")
    git(inner, "config", "core.fsmonitor", program)
    touched(inner / "x")


@pytest.mark.parametrize(
    "hostile",
    [_monitor, _filters, _attributes_in_the_tree, _hooks, _programs, _included, _partial_clone, _submodule],
    ids=lambda one: one.__name__,
)
def test_nothing_that_the_repository_names_is_run(hostile: Callable[[Path, str], None], project: Path) -> None:
    ran = project.parent / "RAN"
    program = project.parent / "program"
    program.write_text(f"#!/bin/sh\ntouch {ran}\nexit 1\n")
    program.chmod(0o755)
    hostile(project, str(program))
    ran.unlink(missing_ok=True)  # by what made it hostile
    for path in (project / "file.txt", project / "below" / "two.txt"):
        touched(path)
    revision, branch = revision_and_branch()
    assert not ran.exists()
    assert (revision.removesuffix("-dirty"), branch) == ((project / ".git/refs/heads/main").read_text().strip(), "main")
    subprocess.run(["git", "status"], cwd=project, capture_output=True, stdin=subprocess.DEVNULL, timeout=60)
    if hostile not in (_programs,):  # which only other commands of git run
        assert ran.exists(), "git itself runs it: this test can fail"
