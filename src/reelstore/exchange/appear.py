"""A file or folder that appears under its name when all of it is written, and not before."""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from reelstore.errors import ExportError, ReelstoreError
from reelstore.exchange.keys import TABLE

ENDINGS = (".npy", ".safetensors")
"""Of an export's files beside its table."""

ONE_BY_ONE = 64
"""Files that are brought to the disk each by itself; more of them would take minutes, so all of the disk is synced."""


@contextmanager
def appearing(path: Path, *, force: bool, ending: str | None) -> Iterator[Path]:
    """A place to write to; what is written there is `path` once the block ends, down to the disk.

    Args:
        path: file or folder that is to be.
        force: replace a file of that ending, or a folder in which only an export's files are.
        ending: of a file; None for a folder, which is made.

    Raises:
        ExportError: something is there that isn't to be replaced, or can't be.
    """
    if ending is not None and path.suffix != ending:
        raise ExportError(f"{path} must end in {ending}.")
    _refuse(path, force=force, folder=ending is None)
    partial = _beside(path, "partial")
    try:
        path.absolute().parent.mkdir(parents=True, exist_ok=True)
        if ending is None:
            partial.mkdir()
        yield partial
        _to_disk(partial)
        if ending is None and path.is_dir():
            old = _beside(path, "replaced")
            os.rename(path, old)
            os.rename(partial, path)
            shutil.rmtree(old)
        else:
            os.replace(partial, path)
    except OSError as error:
        if isinstance(error, ReelstoreError):
            raise
        raise ExportError(f"{path} can't be written: {error.strerror or error}. It is as it was before.") from error
    finally:
        if partial.is_dir():
            shutil.rmtree(partial, ignore_errors=True)
        else:
            partial.unlink(missing_ok=True)


def _to_disk(path: Path) -> None:
    """Down to the disk, before the name says that all is there."""
    files = [path] if path.is_file() else list(path.iterdir())
    if len(files) > ONE_BY_ONE:
        os.sync()
        return
    for one in files:
        with open(one, "rb") as file:
            os.fsync(file.fileno())


def _refuse(path: Path, *, force: bool, folder: bool) -> None:
    if not os.path.lexists(path):
        return
    if not force:
        raise ExportError(f"{path} is there already. To replace it, say --force.")
    if path.is_symlink() or path.is_dir() != folder:
        raise ExportError(f"{path} isn't a {'folder' if folder else 'file'} that an export made. Remove it yourself.")
    if folder:
        others = [entry.name for entry in os.scandir(path) if entry.is_dir() or not _is_ours(entry.name)]
        if others or (any(path.iterdir()) and not (path / TABLE).is_file()):
            raise ExportError(
                f"{path} holds more than an export's files ({', '.join(sorted(others)[:3]) or f'no {TABLE}'}). "
                "Remove it yourself, or choose another name."
            )


def _is_ours(name: str) -> bool:
    return name == TABLE or name.endswith(ENDINGS)


def _beside(path: Path, what: str) -> Path:
    return path.with_name(f"{path.name}.{os.getpid()}-{secrets.token_hex(4)}.{what}")
