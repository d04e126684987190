"""One .npy file: its header, its values, and nothing that could run code."""

import io
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from pathlib import Path

import numpy as np

from reelstore.errors import ForeignFileError
from reelstore.exchange.base import Array

MAGIC = b"\x93NUMPY"


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
        with open(path, "rb", buffering=0) as file:
            return _checked(path, file.read(256), file, os.fstat(file.fileno()))
    except OSError as error:
        raise ForeignFileError(f"{path} can't be read: {error.strerror}.") from error


def read_values(path: Path) -> Array:
    """The whole array of a file, in this machine's byte order.

    Raises:
        ForeignFileError: as of `read_header`.
    """
    try:
        with open(path, "rb", buffering=0) as file:
            size = os.fstat(file.fileno())
            content = file.readall()
    except OSError as error:
        raise ForeignFileError(f"{path} can't be read: {error.strerror}.") from error
    header, _ = _checked(path, content, None, size)
    values = np.frombuffer(content, header.dtype, prod(header.shape), header.offset)
    values = values.reshape(header.shape, order="F" if header.fortran else "C")
    return values.astype(header.dtype.newbyteorder("="), copy=False)


def map_values(path: Path) -> Array:
    """The array of a large file, mapped.

    Raises:
        ForeignFileError: as of `read_header`.
    """
    header, _ = read_header(path)
    if not prod(header.shape):
        return np.empty(header.shape, header.dtype)
    values: Array = np.memmap(
        path, header.dtype, "r", header.offset, header.shape, order="F" if header.fortran else "C"
    )
    return values


@lru_cache(maxsize=1024)
def header_bytes(dtype: np.dtype, shape: tuple[int, ...]) -> bytes:
    """What precedes the values of a C-order array in a file."""
    file = io.BytesIO()
    about = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, about)
    return file.getvalue()


def _checked(
    path: Path, beginning: bytes, file: io.RawIOBase | None, state: os.stat_result
) -> tuple[NpyHeader, os.stat_result]:
    if not beginning.startswith(MAGIC):
        what = "it is empty" if not beginning else "it doesn't begin like one; pickles aren't read"
        raise ForeignFileError(f"{path} isn't a .npy file: {what}.")
    end = _header_end(beginning)
    if end is not None and end > len(beginning) and file is not None:
        beginning += file.read(end - len(beginning)) or b""
    if end is None or end > len(beginning):
        raise ForeignFileError(f"{path} is truncated: it ends within its header.")
    try:
        header = _parsed(beginning[:end])
    except (ValueError, SyntaxError, TypeError) as error:
        raise ForeignFileError(f"{path} isn't a .npy file of numbers: {error}") from error
    if header.dtype.hasobject or header.dtype.names is not None:
        raise ForeignFileError(f"{path} holds Python objects or records ({header.dtype}), not numbers; it isn't read.")
    if state.st_size != header.n_bytes:
        word = "is truncated" if state.st_size < header.n_bytes else "has something behind its array"
        raise ForeignFileError(
            f"{path} {word}: {state.st_size} bytes, {header.n_bytes} by its header ({header.dtype} {header.shape})."
        )
    return header, state


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
    """Write an array block after block of its rows."""
    with open(path, "wb") as file:
        file.write(header_bytes(dtype, shape))
        for block in blocks:
            file.write(np.ascontiguousarray(block, dtype).data)


def write_value(path: Path, value: Array) -> None:
    """Write one item's array."""
    path.write_bytes(header_bytes(value.dtype, value.shape) + value.tobytes())
