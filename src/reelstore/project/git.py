"""The project's git revision; nothing that its .git names is run: hooks, monitors, filters, pagers, remotes."""

import os
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

from reelstore.io import refuse_irregular

_SECONDS = 60
"""A revision isn't worth more; a pipe in place of a file of .git would be waited for."""
_HARMLESS = "^core\\.(filemode|symlinks|ignorecase|autocrlf|eol|precomposeunicode)$"
"""Settings of a repository that say how files are compared, and run nothing."""


def revision_and_branch() -> tuple[str, str]:
    """Revision (with `-dirty` where tracked files differ, or can't be compared) and branch; empty outside of git.

    A .git may have come with somebody's project, and its config names programs. `rev-parse` runs none of them; what
    compares files, and would, is given a repository of its own: the project's objects, index and files, and no config.
    """
    try:
        revision = _said("rev-parse", "--verify", "HEAD")
        branch = _said("rev-parse", "--abbrev-ref", "HEAD")
        if not revision:
            return "", branch
        return revision + ("-dirty" if _is_dirty(revision) else ""), branch
    except FileNotFoundError:  # no git
        return "", ""


def refuse_irregular_repository() -> None:
    """Raise IrregularFileError where git's own files are pipes or devices, which would be waited for."""
    tops = (folder / ".git" for folder in [Path.cwd(), *Path.cwd().parents])
    top = next((path for path in tops if path.is_dir()), None)
    for name in ("HEAD", "config", "index", "packed-refs", "info/attributes", "info/exclude"):
        if top is not None and (top / name).exists():
            refuse_irregular(top / name)


def _is_dirty(revision: str) -> bool:
    top, common = _said("rev-parse", "--show-toplevel"), _said("rev-parse", "--git-common-dir")
    index = _said("rev-parse", "--git-path", "index")
    if not top:
        return False  # a bare repository has no files
    with TemporaryDirectory() as own:
        for name in ("objects", "refs"):
            Path(own, name).mkdir()
        Path(own, "HEAD").write_text(revision + "\n")
        Path(own, "config").write_text(_config(revision))
        places = {
            "GIT_DIR": own,
            "GIT_WORK_TREE": top,
            "GIT_OBJECT_DIRECTORY": str(Path(common, "objects").absolute()),
            "GIT_INDEX_FILE": str(Path(index).absolute()),
        }
        options = ("--no-optional-locks", "status", "--porcelain", "--untracked-files=no", "--ignore-submodules=dirty")
        done = _git(*options, places=places)
    return done.returncode != 0 or bool(done.stdout)


def _config(revision: str) -> str:
    sha256 = len(revision) == 64
    lines = ["[core]", f"repositoryformatversion = {int(sha256)}", "bare = false"]
    for line in _said("config", "--local", "--get-regexp", _HARMLESS).splitlines():
        name, _, value = line.partition(" ")
        if value.isalnum():
            lines.append(f"{name.removeprefix('core.')} = {value}")
    return "\n".join([*lines, *(["[extensions]", "objectFormat = sha256"] if sha256 else [])]) + "\n"


def _said(*words: str) -> str:
    done = _git(*words)
    return done.stdout.strip() if done.returncode == 0 else ""


def _git(*words: str, places: dict[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
    command = ["git", "--no-pager", *words]
    env = {**os.environ, "GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0", **(places or {})}
    try:
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            env=env,
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 1, "", "")
