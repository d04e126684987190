"""Files that are whole or not there, down to the disk; and what stands where one belongs."""

import errno
import os
import secrets
import shutil
import stat
from collections.abc import Iterator, Sequence
from hashlib import file_digest
from io import BufferedReader
from pathlib import Path

from reelstore.errors import StoreError
from reelstore.store.disk import refuse_read_only

PARTIAL = ".partial"
_NO_FILE = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENXIO}


def partial_of(path: Path) -> Path:
    """Temporary name of a file; the root .dvcignore keeps it out of every version."""
    return path.with_name(path.name + PARTIAL)


def write_partial(root: Path, key: str, *parts: bytes | memoryview) -> None:
    """Write a file below `root` under its temporary name, down to the disk.

    What stands in its way, a file or a link where a folder has to be, is removed.
    """
    for folder in reversed(list(folders_to(root, key))):
        try:
            folder.mkdir()
        except FileExistsError:
            if not is_folder(folder):
                _unlink(folder)
                folder.mkdir(exist_ok=True)
    _write_new(partial_of(root / key), parts)


def write_atomically(path: Path, *parts: bytes | memoryview) -> None:
    """Write a file so that its name always means the old content or the new, whoever else writes it."""
    make_folder(path.parent)
    partial = path.with_name(f"{path.name}.{os.getpid()}-{secrets.token_hex(4)}{PARTIAL}")
    try:
        _write_new(partial, parts)
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def make_folder(folder: Path) -> None:
    """A folder and all above it, each of whose names survives a power cut.

    Raises:
        StoreError: a file, or a link to nothing, stands there; or the folder above is read-only.
    """
    if folder.is_dir():
        return
    make_folder(folder.parent)
    refuse_read_only(folder.parent)
    try:
        folder.mkdir(exist_ok=True)
    except FileExistsError:
        what = "a link to what isn't there" if folder.is_symlink() else "a file where a folder should be"
        raise StoreError(f"{folder} is {what}. Move it away.") from None
    try:
        sync_folder(folder.parent)
    except OSError:
        folder.rmdir()
        raise


def sync_folder(folder: Path) -> None:
    """Make names in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove(path: Path) -> None:
    """Remove whatever has this name: a file, a link (not what it leads to), or a folder with all in it."""
    if is_folder(path):
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def remove_empty(folder: Path) -> None:
    """Remove the folders in a variant's folder that hold nothing, then itself and those above it up to the store's."""
    inside = sorted((path for path in folder.rglob("*") if is_folder(path)), reverse=True)
    for path in [*inside, folder, *folder.parents[:3]]:
        try:
            path.rmdir()
        except OSError:  # it holds something, or is a link
            if path not in inside:
                return


def is_folder(path: Path) -> bool:
    """Whether this is a folder itself rather than a link to one."""
    try:
        return stat.S_ISDIR(path.lstat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False


def folders_to(root: Path, key: str) -> Iterator[Path]:
    """The folders below `root` that a file lies in, the innermost first."""
    yield from list((root / key).parents)[: key.count("/")]


def content_of(path: Path) -> bytes | None:
    """What a file holds; None where there is no file: nothing, a folder, a pipe, or a link in a circle."""
    file = _opened(path)
    if file is None:
        return None
    with file:
        return file.read()


def digest_of(path: Path) -> str | None:
    """sha256 (hex) of a file; None where there is no file."""
    file = _opened(path)
    if file is None:
        return None
    with file:
        return file_digest(file, "sha256").hexdigest()


def _opened(path: Path) -> BufferedReader | None:
    try:
        # Without waiting: a pipe would be waited for until somebody wrote into it.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        if error.errno in _NO_FILE:
            return None
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        return None
    return open(descriptor, "rb")


def _write_new(partial: Path, parts: Sequence[bytes | memoryview]) -> None:
    """The name is taken afresh: what has it now may be a link into DVC's cache."""
    remove(partial)
    with open(partial, "xb", buffering=0) as file:
        for part in parts:
            view = memoryview(part)
            while len(view):  # a raw write may stop early
                view = view[file.write(view) :]
        os.fsync(file.fileno())


def _unlink(path: Path) -> None:
    """Remove a file or link, unless another thread has put the folder there by now."""
    try:
        path.unlink(missing_ok=True)
    except (IsADirectoryError, PermissionError):
        if not is_folder(path):
            raise
