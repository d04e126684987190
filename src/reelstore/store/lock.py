"""One writer a folder."""

import fcntl
import os
import weakref
from pathlib import Path

from reelstore.errors import StoreError


class FolderLock:
    """Keeps other writers out of a folder until it is released, collected, or the process ends.

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
