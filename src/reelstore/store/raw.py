"""The files of an array that hold its rows as they are: each checked, and rows read from them in order with pread."""

import math
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from reelstore.errors import StoreError
from reelstore.store.layout import Metadata, holds_raw_rows, open_file, raw_layout

Array = npt.NDArray[Any]


class NotRawError(Exception):
    """The array's files aren't its rows; a Zarr client has to read them."""


class RawFiles:
    """The files of one array, whose bytes are its rows.

    Attributes:
        shape: (n, *row shape).
        dtype: of the values.
        file_rows: rows of a file.
        row_bytes: bytes of a row.
        n_files: all of which must be there.
    """

    def __init__(self, folder: Path, name: str, metadata: Metadata) -> None:
        """Raises `NotRawError` where only a Zarr client can read the array."""
        layout = raw_layout(name, metadata)
        if layout is None:
            raise NotRawError
        self._folder, self._layout = folder, layout
        self.shape: tuple[int, ...] = tuple(metadata["shape"])
        self.dtype = np.dtype(layout.dtype).newbyteorder("<")
        self.file_rows = layout.file_rows
        self.row_bytes = math.prod(layout.row_shape) * self.dtype.itemsize
        self.n_files = -(-self.shape[0] // self.file_rows)
        self._versions: list[tuple[int, int]] = []  # inode and time of the last change

    def checked(self) -> Iterator[tuple[str, int, int]]:
        """Every file's path, its descriptor, open until the next one, and how many bytes of it are rows of the array.

        Raises:
            StoreError: the file is missing, too short, or can't be what was written.
            NotRawError: rows don't lie in it in order.
        """
        self._versions = []
        for number in range(self.n_files):
            count = min(self.file_rows, self.shape[0] - number * self.file_rows)
            path = self._path(number)
            descriptor = open_file(path)
            try:
                found = os.fstat(descriptor)
                if not holds_raw_rows(path, descriptor, found.st_size, self._layout, count):
                    raise NotRawError
                self._versions.append((found.st_ino, found.st_mtime_ns))
                yield path, descriptor, count * self.row_bytes
            finally:
                os.close(descriptor)

    def fetch(self, rows: npt.NDArray[np.int64], out: Array, *, run_bytes: int, threads: int) -> None:
        """Read ascending rows from their files into `out`, runs of neighbours at once.

        A file is open only while it is read: one descriptor a thread.

        Args:
            rows: at least one.
            out: C order.
            run_bytes: what is asked for at once, at most, but a row at least.
            threads: how many; in the caller's own where the system has no more.

        Raises:
            StoreError: a file isn't the one that was checked, or became shorter.
        """
        most = max(1, run_bytes // self.row_bytes)
        place = np.arange(len(rows))
        new = np.empty(len(rows), dtype=bool)
        new[0] = True
        new[1:] = (np.diff(rows) != 1) | (rows[1:] % self.file_rows == 0)
        first = np.maximum.accumulate(np.where(new, place, 0))
        starts = np.flatnonzero(new | ((place - first) % most == 0))
        counts = np.diff(starts, append=len(rows))
        into = memoryview(out.reshape(-1).view(np.uint8))  # type: ignore[arg-type]
        files = rows[starts] // self.file_rows

        def read_runs(runs: Array) -> None:
            number, descriptor = -1, -1
            try:
                for run in runs.tolist():
                    if files[run] != number:
                        if descriptor >= 0:
                            os.close(descriptor)
                            descriptor = -1
                        number = int(files[run])
                        descriptor = self._open_again(number)
                    start, n_bytes = int(starts[run]) * self.row_bytes, int(counts[run]) * self.row_bytes
                    at = int(rows[starts[run]] % self.file_rows) * self.row_bytes
                    _read_fully(descriptor, into[start : start + n_bytes], at, self._path(number))
            finally:
                if descriptor >= 0:
                    os.close(descriptor)

        runs = np.arange(len(starts))
        if threads > 1 and len(runs) > 1:
            try:
                with ThreadPoolExecutor(threads, "reelstore-read") as pool:
                    list(pool.map(read_runs, np.array_split(runs, threads)))
                return
            except RuntimeError:  # no more threads, or no address space for their stacks
                pass
        read_runs(runs)

    def _path(self, number: int) -> str:
        return f"{self._folder}/{self._layout.file_key(number)}"

    def _open_again(self, number: int) -> int:
        path, (inode, changed) = self._path(number), self._versions[number]
        n_bytes = min(self.file_rows, self.shape[0] - number * self.file_rows) * self.row_bytes
        try:
            descriptor = open_file(path)
        except StoreError:
            raise _written_anew(path) from None
        found = os.fstat(descriptor)
        shorter = found.st_size < n_bytes
        if found.st_ino != inode or (found.st_mtime_ns != changed and not shorter):
            os.close(descriptor)
            raise _written_anew(path)
        if shorter:
            os.close(descriptor)
            raise _became_shorter(path)
        if hasattr(os, "posix_fadvise"):  # what is asked for, and nothing ahead of it; macOS has no such call
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)
        return descriptor


def _read_fully(descriptor: int, into: memoryview, offset: int, path: str) -> None:
    done = 0
    while done < len(into):
        count = os.preadv(descriptor, [into[done:]], offset + done)
        if not count:
            raise _became_shorter(path)
        done += count


def _became_shorter(path: str) -> StoreError:
    return StoreError(f"{path} became shorter while it was read. Fetch it again with dvc checkout.")


def _written_anew(path: str) -> StoreError:
    return StoreError(f"{path} was written anew since it was opened. Open the variant again.")
