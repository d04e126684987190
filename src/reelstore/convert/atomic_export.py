"""A file or folder that appears under its name when all of it is written, and not before."""

import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from reelstore.errors import DamagedFileError, ExportError, IrregularFileError, ReelstoreError
from reelstore.io import is_folder, make_output_folder, read_json

MARKER = "export.json"
"""In an exported folder: which files were written, and what state each was in."""
ONE_BY_ONE = 64
"""Files that are brought to the disk each by itself; more of them would take minutes, so all of the disk is synced."""


@contextmanager
def atomic_export(
    path: Path, *, force: bool, ending: str | None, is_ours: Callable[[Path], bool] = lambda path: False
) -> Iterator[Path]:
    """A place to write to; what is written there is `path` once the block ends, down to the disk.

    Args:
        path: file or folder that is to be.
        force: replace what an export wrote there, if nobody changed or added anything since.
        ending: of a file; None for a folder, which is made.
        is_ours: whether a file there is one that an export wrote.

    Raises:
        ExportError: something is there that isn't to be replaced, or can't be.
        OccupiedError: a link leads there.
    """
    if ending is not None and path.suffix != ending:
        raise ExportError(f"{path} must end in {ending}.")
    _refuse(path, force=force, folder=ending is None, is_ours=is_ours)
    partial = _beside(path, "partial")
    try:
        make_output_folder(path.absolute().parent if path.is_absolute() else path.parent)
        if ending is None:
            partial.mkdir()
        yield partial
        if ending is None:
            _mark(partial)
        _to_disk(partial)
        _refuse(path, force=force, folder=ending is None, is_ours=is_ours)  # it may have taken hours
        if is_folder(path):
            _swap(partial, path)
        else:
            os.replace(partial, path)
    except OSError as error:
        if isinstance(error, ReelstoreError):
            raise
        raise ExportError(f"{path} can't be written: {error.strerror or error}. It is as it was before.") from error
    finally:
        if is_folder(partial):
            shutil.rmtree(partial, ignore_errors=True)
        else:
            partial.unlink(missing_ok=True)


def _swap(partial: Path, path: Path) -> None:
    """Put a folder in the place of an earlier export, whose files go; a file that came meanwhile stays beside it."""
    old = _beside(path, "replaced")
    os.rename(path, old)
    try:
        os.rename(partial, path)
    except OSError:
        os.rename(old, path)
        raise
    for name in _listed(old):
        (old / name).unlink(missing_ok=True)
    (old / MARKER).unlink(missing_ok=True)
    with suppress(OSError):
        old.rmdir()


def _mark(folder: Path) -> None:
    files = {entry.name: _state(entry.stat()) for entry in os.scandir(folder)}
    (folder / MARKER).write_text(json.dumps({"written_by": "reelstore export", "files": files}) + "\n")


def _listed(folder: Path) -> dict[str, Any]:
    """Name and state of the files that an export wrote into a folder; none where none did."""
    try:
        files = read_json(folder / MARKER)["files"]
    except (FileNotFoundError, DamagedFileError, IrregularFileError, KeyError, TypeError):
        return {}
    return (
        files if isinstance(files, dict) and not any("/" in name or name in ("", ".", "..") for name in files) else {}
    )


def _state(found: os.stat_result) -> list[int]:
    return [found.st_size, found.st_mtime_ns]


def _to_disk(path: Path) -> None:
    """Down to the disk, before the name says that all is there."""
    files = [path] if path.is_file() else list(path.iterdir())
    if len(files) > ONE_BY_ONE:
        os.sync()
        return
    for one in files:
        with open(one, "rb") as file:
            os.fsync(file.fileno())


def _refuse(path: Path, *, force: bool, folder: bool, is_ours: Callable[[Path], bool]) -> None:
    if not os.path.lexists(path):
        return
    if not force:
        raise ExportError(f"{path} is there already. To replace what an export wrote, say --force.")
    if path.is_symlink():
        raise ExportError(f"{path} is a link. Remove it yourself, or choose another name.")
    if is_folder(path) != folder or not (folder or (path.is_file() and is_ours(path))):
        raise ExportError(
            f"{path} isn't a {'folder' if folder else 'file'} that an export made. Move it away, or choose another."
        )
    if folder:
        listed = _listed(path)
        others = [
            entry.name
            for entry in os.scandir(path)
            if entry.name != MARKER
            and (
                not entry.is_file(follow_symlinks=False)
                or _state(entry.stat(follow_symlinks=False)) != listed.get(entry.name)
            )
        ]
        if others:
            raise ExportError(
                f"{path} holds what no export wrote, or what was changed since: {', '.join(sorted(others)[:3])}"
                f"{', …' if len(others) > 3 else ''}. Move it away, or choose another name."
            )


def _beside(path: Path, what: str) -> Path:
    return path.with_name(f"{path.name}.{os.getpid()}-{secrets.token_hex(4)}.{what}")
