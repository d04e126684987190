"""Files of a variant: written under temporary names, one writer per folder, disk errors explained."""

import errno
import fcntl
import os
import shutil
import stat
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import file_digest, sha256
from io import BufferedReader
from pathlib import Path
from typing import Any, Self

from reelstore.errors import IrregularFileError, OccupiedError, ReelstoreError, StoreError
from reelstore.io import PARTIAL, SMALL_FILE_BYTES, is_folder, open_regular, partial_of, sync_folder, write_new
from reelstore.records import ARRAY_NAMES
from reelstore.store.format import MANIFEST, is_file_name, parse_manifest


def disk_free(folder: Path) -> int:
    """Free bytes on the disk of the folder, which need not exist yet."""
    return shutil.disk_usage(_existing(folder)).free


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Raise errors of the disk as a StoreError that says what to do."""
    try:
        yield
    except OSError as error:
        if isinstance(error, ReelstoreError):
            raise
        reasons = {
            errno.ENOSPC: f"the disk is full ({disk_free(folder) / 2**20:.0f} MiB are free). Make room",
            errno.EDQUOT: "the quota is used up. Make room",
            errno.EFBIG: "files may not be as large there (ulimit -f). Raise the limit",
            errno.EROFS: "the disk is read-only. Write to another one",
            errno.EACCES: "writing isn't allowed there. Change the rights or the folder",
            errno.EPERM: "writing isn't allowed there. Change the rights or the folder",
        }
        if error.errno not in reasons:
            raise
        raise StoreError(
            f"{folder}: {reasons[error.errno]} and run it again; what was published before is untouched."
        ) from error


def refuse_read_only(folder: Path) -> None:
    """Refuse to write into a read-only folder, for root too, whom the system would allow it.

    Args:
        folder: to be written into; if it doesn't exist yet, the nearest existing folder above it is checked.

    Raises:
        StoreError: writing into this folder isn't allowed, or the disk is read-only.
    """
    existing = _existing(folder)
    mode = stat.S_IMODE(existing.stat().st_mode)
    if not mode & 0o222 or not os.access(existing, os.W_OK):
        raise StoreError(
            f"{existing} is read-only (mode {mode:o}): nothing has changed. Allow it (chmod u+w) or write elsewhere."
        )


def _existing(folder: Path) -> Path:
    return next(path for path in [folder.absolute(), *folder.absolute().parents] if path.exists())


class FolderLock:
    """Keeps other writers out of a folder until it is released, its `with` or the process ends, or it is collected.

    Args:
        folder: which.
        wait: until another process releases it, rather than fail.

    Raises:
        StoreError: another process has it.
    """

    def __init__(self, folder: Path, *, wait: bool = False) -> None:
        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            os.close(descriptor)
            raise StoreError(f"{folder}: another process is writing there. Wait for it, or stop it.") from None
        self.release = weakref.finalize(self, os.close, descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


_NO_FILE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO}


def write_partial(root: Path, key: str, *parts: bytes | memoryview) -> None:
    """Write a file below `root` under its temporary name, and sync it.

    Raises:
        OccupiedError: a file, a link or a folder is in its way.
    """
    write_new(_free_partial(root, key), parts)


class PartialFile:
    """A file below `root` that is written under its temporary name, part after part; its sha256 is taken meanwhile.

    Raises:
        OccupiedError: a file, a link or a folder is in its way.
    """

    def __init__(self, root: Path, key: str) -> None:
        self._path = _free_partial(root, key)
        self._file = open(self._path, "xb", buffering=0)  # noqa: SIM115 - closed by `finish`, `discard` or the collector
        self._hashing = sha256()
        self.n_bytes = 0

    def write(self, part: bytes | memoryview) -> None:
        """The next bytes."""
        self._hashing.update(part)
        view = memoryview(part)
        self.n_bytes += len(view)
        while len(view):  # a raw write may stop early
            view = view[self._file.write(view) :]

    @property
    def digest(self) -> str:
        """sha256 (hex) of what was written."""
        return self._hashing.hexdigest()

    def finish(self) -> None:
        """Bring it to the disk."""
        os.fsync(self._file.fileno())
        self._file.close()

    def discard(self) -> None:
        """Remove it."""
        self._file.close()
        self._path.unlink(missing_ok=True)


def _free_partial(root: Path, key: str) -> Path:
    """The temporary name of a file, in folders of ours, and nothing there."""
    for folder in reversed(list(folders_to(root, key))):
        if not os.path.lexists(folder):
            folder.mkdir(exist_ok=True)
        if not is_folder(folder):
            raise OccupiedError(f"{folder} is {kind_of(folder)} where reelstore's folder should be. Move it away.")
    partial = partial_of(root / key)
    if is_folder(partial):
        raise OccupiedError(f"{partial} is a folder where a file should be. Move it away.")
    # Never written in place: the existing file may be a link into DVC's cache.
    partial.unlink(missing_ok=True)
    return partial


def make_folder(folder: Path) -> list[Path]:
    """Create a folder and its parents, synced to the disk; returns those it created, the outermost first.

    Raises:
        OccupiedError: a file, or a link to nothing, has one of the names.
        StoreError: the folder above is read-only.
    """
    if folder.is_dir():
        return []
    made = make_folder(folder.parent)
    refuse_read_only(folder.parent)
    try:
        folder.mkdir()
        made.append(folder)
    except FileExistsError:
        if not folder.is_dir():
            raise OccupiedError(f"{folder} is {kind_of(folder)} where a folder should be. Move it away.") from None
    try:
        sync_folder(folder.parent)
    except OSError:
        folder.rmdir()
        raise
    return made


def remove_made(made: Sequence[Path]) -> None:
    """Remove the folders that `make_folder` made, the innermost first, as long as they are empty."""
    for folder in reversed(made):
        if any(folder.iterdir()):
            return
        folder.rmdir()


def kind_of(path: Path) -> str:
    """Description of what has this name: a link, a folder or a file."""
    if path.is_symlink():
        return f"a link to {os.readlink(path)}" + ("" if path.exists() else ", which isn't there")
    return "a folder" if path.is_dir() else "a file"


def own_files(folder: Path) -> Iterator[Path]:
    """What is in a variant's folder under a name that its files have, temporary or not; links aren't entered."""
    for path in everything_in(folder):
        key = path.relative_to(folder).as_posix()
        if not is_folder(path) and _is_own(key.removesuffix(PARTIAL)):
            yield path


def unrecognised_in(folder: Path) -> Path | None:
    """The first file or folder whose name no variant has; None if there is none."""
    for path in everything_in(folder):
        key = path.relative_to(folder).as_posix()
        if not (_is_own_folder(key) if is_folder(path) else _is_own(key.removesuffix(PARTIAL))):
            return path
    return None


def remove_empty(folder: Path) -> None:
    """Remove the empty folders of arrays in a variant's folder."""
    for path in sorted(everything_in(folder), reverse=True):
        if is_folder(path) and _is_own_folder(path.relative_to(folder).as_posix()) and not any(path.iterdir()):
            path.rmdir()


def folders_to(root: Path, key: str) -> Iterator[Path]:
    """The folders between `root` and a file, the innermost first."""
    yield from list((root / key).parents)[: key.count("/")]


def content_of(path: Path) -> bytes | None:
    """What a small file holds; None where there is no file: nothing, a folder, a pipe, or a circular link.

    Raises:
        StoreError: it has more bytes than any manifest.
    """
    file = _opened(path)
    if file is None:
        return None
    with file:
        size = os.fstat(file.fileno()).st_size
        if size > SMALL_FILE_BYTES:
            raise StoreError(f"{path} is damaged: it has {size} bytes, at most {SMALL_FILE_BYTES} are expected.")
        return file.read(size + 1)


def digest_of(path: Path) -> str | None:
    """sha256 (hex) of a file; None where there is no file."""
    file = _opened(path)
    if file is None:
        return None
    with file:
        return file_digest(file, "sha256").hexdigest()


def _opened(path: Path) -> BufferedReader | None:
    try:
        return open_regular(path)
    except IrregularFileError:
        return None
    except OSError as error:
        if error.errno in _NO_FILE:
            return None
        raise


def everything_in(folder: Path) -> Iterator[Path]:
    """Files, links and folders at any depth; links to folders aren't entered."""
    for path in sorted(folder.iterdir()):
        yield path
        if is_folder(path):
            yield from everything_in(path)


def _is_own(key: str) -> bool:
    return key in ("zarr.json", "zarr.json.replaced", "zarr.json.deleted") or is_file_name(key)


def _is_own_folder(key: str) -> bool:
    name, *rest = key.split("/")
    return name in ARRAY_NAMES and (not rest or rest[0] == "c") and all(part.isdecimal() for part in rest[1:])


def read_manifest(folder: Path) -> Mapping[str, Any] | None:
    """Attributes of the variant published in this folder; None where there is none."""
    content = content_of(folder / MANIFEST)
    return None if content is None else parse_manifest(content, folder / MANIFEST)
