"""One .npy file: its header, its values, and nothing that could run code."""

import io
import os
import struct
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import IO

import numpy as np

from reelstore.arrays import Array
from reelstore.convert.base import MAX_ITEM_BYTES
from reelstore.errors import ForeignFileError, IrregularFileError
from reelstore.io import open_regular
from reelstore.records import shortened

MAGIC = b"\x93NUMPY"
_MAX_HEADER = 64 * 1024
_MAX_DIMS = 32
_MAX_LENGTH = 2**48
"""Of an axis; a file's size says the rest."""


@dataclass(frozen=True)
class NpyHeader:
    """What an .npy file says of its values.

    Attributes:
        dtype: as stored, maybe of the other byte order.
        fortran: whether columns come first.
        shape: of the array.
        offset: bytes before the values.
    """

    dtype: np.dtype
    fortran: bool
    shape: tuple[int, ...]
    offset: int

    @property
    def n_bytes(self) -> int:
        """Of the whole file."""
        return self.offset + prod(self.shape) * self.dtype.itemsize

    @property
    def dtype_name(self) -> str:
        """`float32`, whatever its byte order."""
        return self.dtype.newbyteorder("=").name


def read_header(path: Path) -> tuple[NpyHeader, os.stat_result]:
    """Header and state of a file whose size is what the header says.

    Raises:
        ForeignFileError: it isn't a .npy file of numbers, or was cut short.
    """
    try:
        with open_regular(path) as file:
            state = os.fstat(file.fileno())
            return checked_header(path, file, state.st_size), state
    except OSError as error:
        raise _unreadable(path, error) from error


def read_values(path: Path) -> Array:
    """The whole array of a file, in this machine's byte order.

    Raises:
        ForeignFileError: as of `read_header`.
    """
    try:
        with open_regular(path) as file:
            return values_in(path, file, os.fstat(file.fileno()).st_size)
    except OSError as error:
        raise _unreadable(path, error) from error


def values_in(path: Path | str, file: IO[bytes], size: int) -> Array:
    """The whole array of a file of so many bytes, opened at its beginning, in this machine's byte order.

    Raises:
        ForeignFileError: as of `read_header`.
    """
    header = checked_header(path, file, size)
    if header.n_bytes > header.offset + MAX_ITEM_BYTES:
        raise ForeignFileError(f"{path} has {header.n_bytes} bytes: too large for one item.")
    file.seek(0)
    content = file.read(header.n_bytes)
    if len(content) < header.n_bytes:
        raise ForeignFileError(f"{path} changed while it was read. Run it again.")
    values = np.frombuffer(content, header.dtype, prod(header.shape), header.offset)
    values = values.reshape(header.shape, order="F" if header.fortran else "C")
    return values.astype(header.dtype.newbyteorder("="), copy=False)


def map_values(path: Path) -> Array:
    """The array of a large file, mapped.

    Raises:
        ForeignFileError: as of `read_header`.
    """
    try:
        with open_regular(path) as file:
            header = checked_header(path, file, os.fstat(file.fileno()).st_size)
            if not prod(header.shape):
                return np.empty(header.shape, header.dtype)
            values: Array = np.memmap(
                file, header.dtype, "r", header.offset, header.shape, order="F" if header.fortran else "C"
            )
            return values
    except OSError as error:
        raise _unreadable(path, error) from error


class NpyRows:
    """Rows of a large file, read when asked for: a file that is cut short meanwhile is an error, not the end.

    Raises:
        ForeignFileError: as of `read_header`.
    """

    def __init__(self, path: Path) -> None:
        header, _ = read_header(path)
        self._file = open_regular(path)
        self._path = path
        self._close = weakref.finalize(self, self._file.close)
        self._offset = header.offset
        self.shape, self.dtype = header.shape, header.dtype
        # Of a file whose columns come first the rows don't lie together: it is mapped.
        self._whole = map_values(path) if header.fortran and len(header.shape) > 1 else None

    def __getitem__(self, index: int | slice) -> Array:
        """Rows from a start to a stop, or one."""
        if self._whole is not None:
            part: Array = self._whole[index]
            return part
        start, stop = (index.start, index.stop) if isinstance(index, slice) else (index, index + 1)
        row_bytes = prod(self.shape[1:]) * self.dtype.itemsize
        self._file.seek(self._offset + start * row_bytes)
        content = self._file.read((stop - start) * row_bytes)
        if len(content) < (stop - start) * row_bytes:
            raise ForeignFileError(f"{self._path} changed while it was read. Run it again.")
        rows: Array = np.frombuffer(content, self.dtype).reshape(stop - start, *self.shape[1:])
        return rows if isinstance(index, slice) else rows[0]


@lru_cache(maxsize=1024)
def header_bytes(dtype: np.dtype, shape: tuple[int, ...]) -> bytes:
    """What precedes the values of a C-order array in a file."""
    file = io.BytesIO()
    about = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, about)
    return file.getvalue()


def checked_header(path: Path | str, file: IO[bytes], size: int) -> NpyHeader:
    """Header of a file of so many bytes, opened at its beginning.

    Raises:
        ForeignFileError: as of `read_header`.
    """
    beginning = file.read(256)
    if not beginning.startswith(MAGIC):
        what = "it is empty" if not beginning else "it doesn't begin like one; pickles aren't read"
        raise ForeignFileError(f"{path} isn't a .npy file: {what}.")
    end = _header_end(beginning)
    if end is not None and end > _MAX_HEADER:
        raise ForeignFileError(f"{path} isn't a .npy file of numbers: its header has {end} bytes.")
    if end is not None and end > len(beginning):
        beginning += file.read(end - len(beginning))
    if end is None or end > len(beginning):
        raise ForeignFileError(f"{path} is truncated: it ends within its header.")
    try:
        header = _parsed(beginning[:end])
    except Exception as error:  # the header is a Python expression, whose parser raises many kinds
        said = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise ForeignFileError(f"{path} isn't a .npy file of numbers: {said}") from error
    if header.dtype.hasobject or header.dtype.kind not in "biufc":
        raise ForeignFileError(f"{path} holds Python objects or records ({header.dtype}), not numbers; it isn't read.")
    if len(header.shape) > _MAX_DIMS or not all(type(n) is int and 0 <= n <= _MAX_LENGTH for n in header.shape):
        raise ForeignFileError(f"{path} isn't a .npy file of numbers: its shape is {shortened(header.shape)}.")
    if size != header.n_bytes:
        word = "is truncated" if size < header.n_bytes else "has something behind its array"
        raise ForeignFileError(
            f"{path} {word}: {size} bytes, {header.n_bytes} by its header ({header.dtype} {header.shape})."
        )
    return header


def _header_end(beginning: bytes) -> int | None:
    """Bytes up to the end of the header; None where that isn't among them."""
    if len(beginning) < 12:
        return None
    if beginning[6] == 1:
        return 10 + int(struct.unpack_from("<H", beginning, 8)[0])
    return 12 + int(struct.unpack_from("<I", beginning, 8)[0])


@lru_cache(maxsize=1024)  # files of one folder have few different headers
def _parsed(beginning: bytes) -> NpyHeader:
    file = io.BytesIO(beginning)
    version = np.lib.format.read_magic(file)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"its format version is {version[0]}.{version[1]}")
    shape, fortran, dtype = readers[version](file)
    return NpyHeader(dtype, fortran, shape, file.tell())


def write_rows(path: Path, dtype: np.dtype, shape: tuple[int, ...], blocks: Iterator[Array]) -> None:
    """Write an array block after block of its rows; of a file that isn't there yet."""
    with open(path, "xb") as file:
        file.write(header_bytes(dtype, shape))
        for block in blocks:
            file.write(np.ascontiguousarray(block, dtype).data)


def write_value(path: Path, value: Array) -> None:
    """Write one item's array."""
    with open(path, "xb", buffering=0) as file:
        file.write(header_bytes(value.dtype, value.shape) + value.tobytes())


def _unreadable(path: Path, error: OSError) -> OSError | ForeignFileError:
    if isinstance(error, IrregularFileError):
        return error
    return ForeignFileError(f"{path} can't be read: {error.strerror or error}.")
