"""The files of one array, mapped side by side into one NumPy array without a copy.

Each file is checked before it is read. Rows are read with pread where the system maps no more files.
"""

import ctypes
import math
import mmap
import os
import sys
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from reelstore.arrays import Array, IntArray
from reelstore.errors import StoreError
from reelstore.store.arrays import (
    Metadata,
    Pattern,
    ascend,
    holds_raw_rows,
    open_file,
    ranges,
    raw_layout,
    take_in_order,
)


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
            NotRawError: its rows aren't stored in order.
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

    def fetch(self, rows: IntArray, out: Array, *, run_bytes: int, threads: int) -> None:
        """Read ascending rows from their files into `out`, adjacent rows at once.

        A file is open only while it is read: one descriptor a thread.

        Args:
            rows: at least one.
            out: C order.
            run_bytes: most bytes of one read, but at least a row.
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
            raise _rewritten(path) from None
        found = os.fstat(descriptor)
        shorter = found.st_size < n_bytes
        if found.st_ino != inode or (found.st_mtime_ns != changed and not shorter):
            os.close(descriptor)
            raise _rewritten(path)
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


def _rewritten(path: str) -> StoreError:
    return StoreError(f"{path} was rewritten since it was opened. Open the variant again.")


HUGE_PAGE_BYTES = 2 * 2**20
"""Where the first slot begins: a large file's pages are then mapped by the huge page, if the system has them so."""
MOST_ADDRESS_BYTES = 2**46
"""Address space of one array at most; a process has 2^47 bytes."""
MAPPINGS_SHARE = 0.75
"""Of the mappings that a process may have (65,530 by default), what arrays take; its libraries need some too."""

_READERS, _READ_BYTES = 4, 2**20
"""Threads that read files in order, and what each asks for at once.

Blocks of 1 MiB in random order, cold, in a gigabyte of memory: 1 thread 0.77 of a plain sequential read, 2 threads
1.01, 4 threads 1.16; through the mapping 0.22.
"""

_ADVICE: dict[Pattern, int] = {
    "normal": mmap.MADV_NORMAL,
    "random": mmap.MADV_RANDOM,
    "sequential": mmap.MADV_SEQUENTIAL,
}
_MAP_FIXED = 0x10  # the mmap module doesn't name it; the same on Linux, macOS and the BSDs
_MAP_FAILED = ctypes.c_void_p(-1).value
_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.mmap.restype = ctypes.c_void_p
_LIBC.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long)
_LIBC.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
_LIBC.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
_MAPPED: dict[int, int] = {}  # address -> files mapped there


def open_raw(folder: Path, name: str, metadata: Metadata) -> "MappedArray | ReadArray":
    """An array whose files hold its rows: mapped, or read where the system maps no more.

    Raises:
        NotRawError: only a Zarr client can read the array.
        StoreError: a file is missing, too short, or can't be what was written.
    """
    files = RawFiles(folder, name, metadata)
    try:
        return MappedArray(files)
    except CannotMapError:
        pass  # what was mapped is given back before the files are read
    for _ in files.checked():
        pass
    return ReadArray(files, threads=1)


class MappedArray:
    """Rows of one Zarr array, read from the page cache through a memory map.

    Each file has a slot of whole pages. Where a file's rows fill its slot, slots side by side are one C-order array,
    whole; else rows are found by slot and place. After the last file there are zeros, for padding.

    The address space is freed with the last array made from it, whether this object still exists or not.

    A program that cuts a mapped file short, in place, ends with SIGBUS every process that reads the missing part; that
    can't be turned into an error. No writer of reelstore does so: files are replaced, and the old ones stay mapped.
    `walk`, and `take` in order under `sequential`, read the files instead and say which became shorter.

    Attributes:
        shape: (n, *row shape).
        dtype: of the values.
        zero_row: a number beyond the rows; `take` reads zeros there.
    """

    def __init__(self, files: RawFiles) -> None:
        """Raises `CannotMapError` where the system maps no more; else as `RawFiles.checked`."""
        self._files = files
        self.shape, self.dtype = files.shape, files.dtype
        n_rows, n_files, row_bytes, file_rows = self.shape[0], files.n_files, files.row_bytes, files.file_rows
        slot_bytes = -(-file_rows * row_bytes // mmap.PAGESIZE) * mmap.PAGESIZE
        self._in_order = False
        self._space = _AddressSpace((n_files + 2) * slot_bytes, n_files)
        for number, (_, descriptor, n_bytes) in enumerate(files.checked()):
            self._space.map_file(descriptor, number * slot_bytes, n_bytes)
        space, row = np.asarray(self._space), self.shape[1:]
        self._whole: Array | None = None
        if slot_bytes == file_rows * row_bytes or n_files <= 1:
            self.zero_row = -(-n_files * slot_bytes // row_bytes)
            self._rows: Array = np.ndarray((self.zero_row + 1, *row), self.dtype, space)
            self._whole = self._rows[:n_rows]
            self._first = self._rows.reshape(self.zero_row + 1, -1)[:, 0]
        else:
            self.zero_row = n_files * file_rows
            strides = np.empty(row, self.dtype).strides
            self._rows = np.ndarray(
                (n_files + 1, file_rows, *row), self.dtype, space, strides=(slot_bytes, row_bytes, *strides)
            )

    @property
    def whole(self) -> Array | None:
        """All rows as one read-only array, if that is the way to read them."""
        return None if self._in_order else self._whole

    def take(self, rows: IntArray, out: Array, *, scattered: bool = False) -> None:
        """Copy rows into `out`, (*rows.shape, *row shape); their numbers are valid, or `zero_row`.

        Args:
            rows: their numbers.
            out: C order.
            scattered: few rows follow the one before them.
        """
        if self._in_order and len(rows) and out.flags.c_contiguous and ascend(rows, self.shape[0]):
            self._files.fetch(rows, out, run_bytes=_READ_BYTES, threads=_READERS)
        elif self._whole is not None:
            if scattered:
                # Touch the first value of each row: addresses of small pages are then looked up in parallel, and the
                # copy doesn't wait for one after the other. 256 rows of 8 KiB: from 0.82-0.99 of memory's speed to
                # 1.08-1.19.
                self._first[rows]
            # The default mode, "raise", would gather into a buffer and copy that to `out`.
            np.take(self._rows, rows, axis=0, out=out, mode="clip")
        else:
            out[...] = self._rows[rows // self._files.file_rows, rows % self._files.file_rows]

    def read(self, start: int, stop: int) -> Array:
        """Rows from `start` to, without, `stop`: a read-only view where there is one, else a copy."""
        if self._whole is not None:
            return self._whole[start:stop]
        out, file_rows = np.empty((stop - start, *self.shape[1:]), dtype=self.dtype), self._files.file_rows
        for first in range(start - start % file_rows, stop, file_rows):
            here = slice(max(start, first), min(stop, first + file_rows))
            out[here.start - start : here.stop - start] = self._rows[first // file_rows][
                here.start - first : here.stop - first
            ]
        return out

    def advise(self, pattern: Pattern) -> None:
        """Tell the system how the files will be read, so that it adapts read-ahead and caching.

        Under `sequential`, rows that ascend are taken by reading the files rather than through their mapping.
        """
        self._space.advise(pattern)
        self._in_order = pattern == "sequential"

    def walk(self, starts: IntArray, counts: IntArray) -> Iterator[Array]:
        """Rows of items, item after item, read-only: from the files, not through the mapping."""
        return ReadArray(self._files, _READERS).walk(starts, counts)


class ReadArray:
    """Rows of one Zarr array whose files hold them as they are, read with pread: with the interface of `MappedArray`.

    It takes no address space but for the rows, one descriptor a thread, and is safe from files that are cut short
    meanwhile. An array that can't be mapped is read so, in one thread, as there may be no space for the stacks of
    more; so is a mapped one by `walk`, in several.

    Attributes:
        shape: (n, *row shape).
        dtype: of the values.
        zero_row: a number beyond the rows; `take` gives zeros there.
    """

    whole = None

    def __init__(self, files: RawFiles, threads: int) -> None:
        """The files have been checked."""
        self._files, self._threads = files, threads
        self.shape, self.dtype = files.shape, files.dtype
        self.zero_row = self.shape[0]

    def take(self, rows: IntArray, out: Array, *, scattered: bool = False) -> None:
        """Copy rows into `out`, (*rows.shape, *row shape); their numbers are valid, or `zero_row`."""
        if len(rows) and out.flags.c_contiguous and ascend(rows, self.shape[0]):
            self._fetch(rows, out)
        else:
            take_in_order(rows, out, self.zero_row, self._fetch)

    def read(self, start: int, stop: int) -> Array:
        """Rows from `start` to, without, `stop`, read-only."""
        rows = np.empty((stop - start, *self.shape[1:]), dtype=self.dtype)
        if start < stop:
            self._fetch(np.arange(start, stop), rows)
        rows.flags.writeable = False
        return rows

    def walk(self, starts: IntArray, counts: IntArray) -> Iterator[Array]:
        """Rows of items, item after item, read-only; those of many items are read at once."""
        at_once = self._threads * max(1, _READ_BYTES // self._files.row_bytes)
        ends = np.cumsum(counts)
        first = 0
        while first < len(starts):
            done = int(ends[first - 1]) if first else 0
            last = max(first + 1, int(np.searchsorted(ends, done + at_once, side="right")))
            here = slice(first, last)
            rows = np.empty((int(ends[last - 1]) - done, *self.shape[1:]), dtype=self.dtype)
            if len(rows):
                self.take(ranges(starts[here], counts[here]), rows)
            rows.flags.writeable = False
            for end, count in zip((ends[here] - done).tolist(), counts[here].tolist(), strict=True):
                yield rows[end - count : end]
            first = last

    def advise(self, pattern: Pattern) -> None:
        """Does nothing: what is asked for is read, and nothing ahead of it."""

    def _fetch(self, rows: IntArray, out: Array) -> None:
        self._files.fetch(rows, out, run_bytes=_READ_BYTES, threads=self._threads)


class CannotMapError(Exception):
    """The system maps no more: there is no address space, or there are too many mappings."""


class _AddressSpace:
    """Reserved pages, all zeros until files are mapped over them; NumPy takes it for an array of bytes."""

    def __init__(self, n_bytes: int, n_files: int) -> None:
        self.n_bytes = n_bytes
        reserved = n_bytes + HUGE_PAGE_BYTES
        # ctypes would cut off the upper bits of a number that is too large.
        if reserved > MOST_ADDRESS_BYTES or sum(list(_MAPPED.values())) + n_files > _most_mappings():
            raise CannotMapError
        address = _LIBC.mmap(None, reserved, mmap.PROT_READ, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
        if address == _MAP_FAILED:
            raise CannotMapError
        self.address: int = address + -address % HUGE_PAGE_BYTES
        _MAPPED[address] = n_files
        # Not at exit: other threads may still read, and the process's end gives everything back.
        weakref.finalize(self, _give_back, address, reserved).atexit = False

    @property
    def __array_interface__(self) -> dict[str, Any]:
        return {"version": 3, "shape": (self.n_bytes,), "typestr": "|u1", "data": (self.address, True)}

    def map_file(self, descriptor: int, offset: int, n_bytes: int) -> None:
        """Map the first `n_bytes` of a file, which it has, at `offset`."""
        found = _LIBC.mmap(self.address + offset, n_bytes, mmap.PROT_READ, mmap.MAP_SHARED | _MAP_FIXED, descriptor, 0)
        if found == _MAP_FAILED:
            raise CannotMapError

    def advise(self, pattern: Pattern) -> None:
        if _LIBC.madvise(self.address, self.n_bytes, _ADVICE[pattern]):
            raise OSError(ctypes.get_errno(), f"madvise({pattern})")


def _give_back(address: int, n_bytes: int) -> None:
    _MAPPED.pop(address, None)
    _LIBC.munmap(address, n_bytes)


@cache
def _most_mappings() -> int:
    """Files that may be mapped at a time."""
    try:
        return int(int(Path("/proc/sys/vm/max_map_count").read_text()) * MAPPINGS_SHARE)
    except (OSError, ValueError):  # not Linux: no such limit
        return sys.maxsize
