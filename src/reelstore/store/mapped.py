"""The files of an array -> one NumPy array without a copy: mapped side by side into reserved address space."""

import ctypes
import errno
import math
import mmap
import os
import weakref
from collections.abc import Container
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from reelstore.errors import StoreError
from reelstore.store.layout import Metadata, holds_raw_rows, missing, raw_layout

Array = npt.NDArray[Any]
Pattern = Literal["normal", "random", "sequential"]

HUGE_PAGE_BYTES = 2 * 2**20
"""Where the first slot begins: a large file's pages are then mapped by the huge page, if the system has them so."""

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


class MappedArray:
    """Rows of one Zarr array, read where they lie: in the page cache.

    Each file has a slot of whole pages. Where a file's rows fill its slot, slots side by side are one C-order array,
    `whole`; else rows are found by slot and place. Behind the last file zeros are left, for padding.

    The address space is given back when the last array made from it is gone, whether this object lives or not.

    Attributes:
        shape: (n, *row shape).
        dtype: of the values.
        zero_row: a number beyond the rows; `take` reads zeros there.
        whole: all rows as one read-only array, or None.
    """

    def __init__(self, folder: Path, name: str, metadata: Metadata, listed: Container[str]) -> None:
        """Raises `NotRawError` where only a Zarr client can read the array; for the others see `open_array`."""
        layout = raw_layout(name, metadata)
        if layout is None:
            raise NotRawError
        self._source = (folder, name, metadata, listed)
        self.shape: tuple[int, ...] = tuple(metadata["shape"])
        self.dtype = np.dtype(layout.dtype).newbyteorder("<")
        n_rows, file_rows = self.shape[0], layout.file_rows
        row_bytes = math.prod(layout.row_shape) * self.dtype.itemsize
        slot_bytes = -(-file_rows * row_bytes // mmap.PAGESIZE) * mmap.PAGESIZE
        n_files = -(-n_rows // file_rows)
        self._file_rows = file_rows
        self._space = _AddressSpace((n_files + 2) * slot_bytes)
        for number in range(n_files):
            count = min(file_rows, n_rows - number * file_rows)
            key = layout.file_key(number)
            path = f"{folder}/{key}"
            try:
                descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except (FileNotFoundError, NotADirectoryError):
                if key in listed:
                    raise missing(path) from None
                raise NotRawError from None  # to Zarr, a block of the fill value
            try:
                if not holds_raw_rows(path, descriptor, layout, count):
                    raise NotRawError
                self._space.map_file(path, descriptor, number * slot_bytes, count * row_bytes)
            finally:
                os.close(descriptor)
        space, row = np.asarray(self._space), layout.row_shape
        self.whole: Array | None = None
        if slot_bytes == file_rows * row_bytes or n_files <= 1:
            self.zero_row = -(-n_files * slot_bytes // row_bytes)
            self._rows: Array = np.ndarray((self.zero_row + 1, *row), self.dtype, space)
            self.whole = self._rows[:n_rows]
            self._first = self._rows.reshape(self.zero_row + 1, -1)[:, 0]
        else:
            self.zero_row = n_files * file_rows
            strides = np.empty(row, self.dtype).strides
            self._rows = np.ndarray(
                (n_files + 1, file_rows, *row), self.dtype, space, strides=(slot_bytes, row_bytes, *strides)
            )

    def take(self, rows: npt.NDArray[np.int64], out: Array, *, scattered: bool = False) -> None:
        """Copy rows into `out`, (*rows.shape, *row shape); their numbers are right, or `zero_row`.

        Args:
            rows: their numbers.
            out: C order.
            scattered: hardly any row follows the one before it.
        """
        if self.whole is not None:
            if scattered:
                # The first value of each, for its own sake: small pages' addresses are looked up side by side, and the
                # copy doesn't wait for one after the other. 256 rows of 8 KiB: from .82-.99 of memory's speed to
                # 1.08-1.19.
                self._first[rows]
            # The default mode, "raise", would gather into a buffer and copy that to `out`.
            np.take(self._rows, rows, axis=0, out=out, mode="clip")
        else:
            out[...] = self._rows[rows // self._file_rows, rows % self._file_rows]

    def read(self, start: int, stop: int) -> Array:
        """Rows from `start` to, without, `stop`: a read-only view where there is one, else a copy."""
        if self.whole is not None:
            return self.whole[start:stop]
        out = np.empty((stop - start, *self.shape[1:]), dtype=self.dtype)
        for first in range(start - start % self._file_rows, stop, self._file_rows):
            here = slice(max(start, first), min(stop, first + self._file_rows))
            out[here.start - start : here.stop - start] = self._rows[first // self._file_rows][
                here.start - first : here.stop - first
            ]
        return out

    def advise(self, pattern: Pattern) -> None:
        """Tell the system how the files will be read: what it reads ahead, and what it keeps, follows from that."""
        self._space.advise(pattern)

    def scan(self) -> "MappedArray":
        """The same rows mapped once more, for reading in order: what is advised here doesn't touch random reads."""
        again = MappedArray(*self._source)
        again.advise("sequential")
        return again


class NotRawError(Exception):
    """The array's files aren't its rows; a Zarr client has to read them."""


class _AddressSpace:
    """Reserved pages, all zeros until files are mapped over them; NumPy takes it for an array of bytes."""

    def __init__(self, n_bytes: int) -> None:
        self.n_bytes = n_bytes
        reserved = n_bytes + HUGE_PAGE_BYTES
        address = _LIBC.mmap(None, reserved, mmap.PROT_READ, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
        if address == _MAP_FAILED:
            raise OSError(ctypes.get_errno(), f"{reserved} bytes of address space can't be reserved")
        self.address: int = address + -address % HUGE_PAGE_BYTES
        # Not at exit: other threads may still read, and the process's end gives everything back.
        weakref.finalize(self, _LIBC.munmap, address, reserved).atexit = False

    @property
    def __array_interface__(self) -> dict[str, Any]:
        return {"version": 3, "shape": (self.n_bytes,), "typestr": "|u1", "data": (self.address, True)}

    def map_file(self, path: str, descriptor: int, offset: int, n_bytes: int) -> None:
        """Map the first `n_bytes` of a file, which it has, at `offset`."""
        found = _LIBC.mmap(self.address + offset, n_bytes, mmap.PROT_READ, mmap.MAP_SHARED | _MAP_FIXED, descriptor, 0)
        if found == _MAP_FAILED:
            number = ctypes.get_errno()
            help = " Too many files are mapped: raise vm.max_map_count." if number == errno.ENOMEM else ""
            raise StoreError(f"{path} can't be mapped: {os.strerror(number)}.{help}")

    def advise(self, pattern: Pattern) -> None:
        if _LIBC.madvise(self.address, self.n_bytes, _ADVICE[pattern]):
            raise OSError(ctypes.get_errno(), f"madvise({pattern})")
