"""Errors of the disk: read-only folders, and a disk that is full."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from reelstore.errors import StoreError

from .made import files, folder_of, spec, write

OLD = [f"video{number}" for number in range(70)]
NEW = [*OLD[:20], *OLD[40:], *(f"added{number}" for number in range(30))]


def test_a_read_only_folder_is_refused_to_root_too(tmp_path: Path) -> None:
    of = spec()
    folder = folder_of(tmp_path, of)
    write(folder, of, OLD)
    before = files(folder)
    for path in [folder, *folder.rglob("*")]:
        path.chmod(path.stat().st_mode & ~0o222)
    with pytest.raises(StoreError, match=r"mean is read-only \(mode 555\): nothing has changed"):
        write(folder, of, [*OLD, "another"])
    assert files(folder) == before
    assert write(folder, of, OLD).n_bytes_written == 0, "nothing to write is nothing to refuse"
    folder.chmod(0o755)
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o444)
    assert write(folder, of, [*OLD, "another"]).n_new == 1, "files are replaced, also read-only ones"
    folder.parent.chmod(0o555)
    with pytest.raises(StoreError, match="fake is read-only"):
        write(folder.with_name("max"), spec(), OLD)
    folder.parent.chmod(0o755)


def test_a_full_disk_is_an_error_that_says_so_and_changes_nothing(tmp_path: Path) -> None:
    """The third file meets what the operating system says of a full disk."""
    of = spec()
    folder = folder_of(tmp_path, of)
    write(folder, of, OLD)
    before = files(folder)
    script = f"""
import errno, os, sys
sys.path[:0] = {sys.path!r}
from pathlib import Path
from reelstore.errors import StoreError
from made import spec, write

fsync, left = os.fsync, [3]
def full(descriptor):
    left[0] -= 1
    if left[0] < 0:
        raise OSError(errno.ENOSPC, "No space left on device")
    fsync(descriptor)
os.fsync = full
try:
    write(Path({str(folder)!r}), spec(), {NEW!r})
except StoreError as error:
    assert "the disk is full" in str(error), error
else:
    sys.exit("it was written")
"""
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert files(folder) == before
    assert write(folder, of, NEW).n_new == 30
