"""What a disk refuses -> errors that say so."""

import errno
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from reelstore.errors import ReelstoreError, StoreError


def disk_free(folder: Path) -> int:
    """Bytes free where the folder lies or will lie."""
    return shutil.disk_usage(_existing(folder)).free


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """What a disk refuses, as a StoreError that says so."""
    try:
        yield
    except OSError as error:
        if isinstance(error, ReelstoreError):
            raise
        reasons = {
            errno.ENOSPC: f"the disk is full ({disk_free(folder) / 2**20:.0f} MiB are free). Make room",
            errno.EDQUOT: "the quota is used up. Make room",
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
    """Heed rights that the system lets root ignore, before there is anything to write.

    Args:
        folder: what is to be written into; where it isn't there yet, the nearest folder above it.

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
