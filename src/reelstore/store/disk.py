"""What a disk refuses -> errors that say so."""

import errno
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from reelstore.errors import StoreError


def disk_free(folder: Path) -> int:
    """Bytes free where the folder lies or will lie."""
    existing = next(path for path in [folder.absolute(), *folder.absolute().parents] if path.exists())
    return shutil.disk_usage(existing).free


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """What a disk refuses, as a StoreError that says so."""
    try:
        yield
    except OSError as error:
        if isinstance(error, StoreError):
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
    """Heed rights that the system lets root ignore.

    Raises:
        StoreError: nobody has the right to write into this folder.
    """
    mode = stat.S_IMODE(folder.stat().st_mode)
    if not mode & 0o222:
        raise StoreError(
            f"{folder} is read-only (mode {mode:o}): nothing has changed. Allow it with chmod u+w, or write elsewhere."
        )
