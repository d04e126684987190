"""A variant as a DVC output: what the cache holds never changes, however its files are linked."""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from reelstore.store.verify import check_variant

from .made import files, folder_of, spec, write

OLD = [f"video{number}" for number in range(150)]
NEW = [*OLD[:20], *OLD[40:], *(f"added{number}" for number in range(30))]


def run(folder: Path, *command: str) -> str:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "DVC_NO_ANALYTICS": "1"}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def cached(folder: Path) -> dict[str, str]:
    """Every object of the cache by its name, with the md5 it has: DVC names it by the md5 it had."""
    objects = folder / ".dvc" / "cache" / "files" / "md5"
    return {
        path.relative_to(objects).as_posix().replace("/", "").removesuffix(".dir"): hashlib.md5(
            path.read_bytes(), usedforsecurity=False
        ).hexdigest()
        for path in objects.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def reflinking(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk whose files can share blocks: this one, or a btrfs in a file, where we may mount it."""
    if can_reflink(tmp_path):
        yield tmp_path
        return
    if os.geteuid() or not shutil.which("mkfs.btrfs"):
        pytest.skip("no disk here has reflinks: needs btrfs or xfs, or root and btrfs-progs")
    image, disk = tmp_path / "image", tmp_path / "disk"
    disk.mkdir()
    with open(image, "wb") as file:
        file.truncate(256 * 2**20)
    subprocess.run(["mkfs.btrfs", "-q", image], check=True)
    if subprocess.run(["mount", "-o", "loop", image, disk], check=False).returncode:
        pytest.skip("no disk here has reflinks, and none may be mounted")
    try:
        assert can_reflink(disk)
        yield disk
    finally:
        subprocess.run(["umount", disk], check=True)


def can_reflink(folder: Path) -> bool:
    source, clone = folder / "source", folder / "clone"
    source.write_bytes(b"x" * 4096)
    done = subprocess.run(["cp", "--reflink=always", source, clone], check=False, capture_output=True)
    for path in (source, clone):
        path.unlink(missing_ok=True)
    return done.returncode == 0


@pytest.mark.parametrize("links", ["copy", "hardlink", "symlink", "reflink,copy"])
def test_a_linked_variant_grows_without_touching_the_cache(tmp_path: Path, links: str) -> None:
    grow_a_linked_variant(tmp_path, links)


def test_a_variant_that_shares_blocks_with_the_cache_grows_without_touching_it(reflinking: Path) -> None:
    grow_a_linked_variant(reflinking, "reflink")


def grow_a_linked_variant(tmp_path: Path, links: str) -> None:
    of = spec()
    folder = folder_of(tmp_path, of)
    for command in ["git init -q -b main", "git config user.name t", "git config user.email t@t", "dvc init -q"]:
        run(tmp_path, *command.split())
    run(tmp_path, "dvc", "config", "cache.type", links)
    (tmp_path / ".dvcignore").write_text("**/*.partial\n")
    output = str(folder.relative_to(tmp_path))

    write(folder, of, OLD)
    old = files(folder)
    (folder / "values" / "c" / "9.partial").write_bytes(b"half a file")
    run(tmp_path, "dvc", "add", output)
    run(tmp_path, "git", "add", "-A")
    run(tmp_path, "git", "commit", "-qm", "old")
    run(tmp_path, "dvc", "checkout", "--relink")
    if links == "symlink":
        assert (folder / "zarr.json").is_symlink()
    elif links == "hardlink":
        assert (folder / "zarr.json").stat().st_nlink > 1

    report = write(folder, of, NEW)
    assert report.n_new == 30
    new = files(folder)
    assert all(name == md5 for name, md5 in cached(tmp_path).items()), "the cache was written through a link"
    assert not list(check_variant(folder, quick=False))
    run(tmp_path, "dvc", "add", output)
    run(tmp_path, "git", "commit", "-qam", "new")

    run(tmp_path, "git", "checkout", "-q", "HEAD~1")
    run(tmp_path, "dvc", "checkout")
    assert files(folder) == old, "what was half written is in no version"
    assert not list(check_variant(folder, quick=False))
    run(tmp_path, "git", "checkout", "-q", "main")
    run(tmp_path, "dvc", "checkout")
    assert files(folder) == new
    assert write(folder, of, NEW).n_bytes_written == 0
    assert all(name == md5 for name, md5 in cached(tmp_path).items())
