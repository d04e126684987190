""".npy files, one or a folder: headers are checked against the file, and nothing that could run code is read."""

import io
import os
import re
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np

from reelstore.arrays import Array
from reelstore.convert.items import MAX_ITEM_BYTES, Items
from reelstore.errors import ForeignFileError, IrregularFileError, ReelstoreError
from reelstore.io import Progress, no_progress, open_regular
from reelstore.prefetch import prefetch
from reelstore.records import shortened

Found = TypeVar("Found")
ENDING = ".npy"
MAGIC = b"\x93NUMPY"
THREADS = 4
"""They wait for the disk; a network's most of all."""
_TOGETHER = 256
"""Files a thread takes at a time."""
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
    def about(self) -> tuple[tuple[int, ...], str]:
        """Shape, and dtype whatever its byte order: `float32`."""
        return self.shape, self.dtype.newbyteorder("=").name


def read_header(path: Path) -> NpyHeader:
    """Header of a file whose size is what the header says.

    Raises:
        ForeignFileError: it isn't a .npy file of numbers, or was cut short.
    """
    return _opened(path, lambda file, size: checked_header(path, file, size))


def read_values(path: Path) -> Array:
    """The whole array of a file, in this machine's byte order.

    Raises:
        ForeignFileError: as of `read_header`.
    """
    return _opened(path, lambda file, size: values_in(path, file, size))


def map_values(path: Path) -> Array:
    """The array of a large file, mapped.

    Raises:
        ForeignFileError: as of `read_header`.
    """

    def mapped(file: IO[bytes], size: int) -> Array:
        header = checked_header(path, file, size)
        if not prod(header.shape):
            return np.empty(header.shape, header.dtype)
        values: Array = np.memmap(
            file, header.dtype, "r", header.offset, header.shape, order="F" if header.fortran else "C"
        )
        return values

    return _opened(path, mapped)


def _opened(path: Path, read: Callable[[IO[bytes], int], Found]) -> Found:
    try:
        with open_regular(path) as file:
            return read(file, os.fstat(file.fileno()).st_size)
    except IrregularFileError:
        raise
    except OSError as error:
        raise ForeignFileError(f"{path} can't be read: {error.strerror or error}.") from error


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


class NpyRows:
    """Rows of a large file, read when asked for: a file that is cut short meanwhile is an error, not the end.

    Raises:
        ForeignFileError: as of `read_header`.
    """

    def __init__(self, path: Path) -> None:
        header = read_header(path)
        self._file = open_regular(path)
        self._path = path
        self._close = weakref.finalize(self, self._file.close)
        self._offset = header.offset
        self.shape, self.dtype = header.shape, header.dtype
        # In a file whose columns come first, the numbers of a row are apart: it is mapped.
        self._whole = map_values(path) if header.fortran and len(header.shape) > 1 else None

    def __getitem__(self, index: int | slice) -> Array:
        """Rows from a start to a stop, or one."""
        if self._whole is not None:
            part: Array = self._whole[index]
            return part
        if isinstance(index, int):
            row: Array = self[index : index + 1][0]
            return row
        row_bytes = prod(self.shape[1:]) * self.dtype.itemsize
        self._file.seek(self._offset + index.start * row_bytes)
        content = self._file.read((index.stop - index.start) * row_bytes)
        if len(content) < (index.stop - index.start) * row_bytes:
            raise ForeignFileError(f"{self._path} changed while it was read. Run it again.")
        return np.frombuffer(content, self.dtype).reshape(index.stop - index.start, *self.shape[1:])


def checked_header(path: Path | str, file: IO[bytes], size: int) -> NpyHeader:
    """Header of a file of so many bytes, opened at its beginning.

    Raises:
        ForeignFileError: as of `read_header`.
    """
    beginning = file.read(256)
    if not beginning.startswith(MAGIC):
        what = "it is empty" if not beginning else "it doesn't begin like one; pickles aren't read"
        raise ForeignFileError(f"{path} isn't a .npy file: {what}.")
    width = 2 if beginning[6:7] == b"\1" else 4
    end = 8 + width + int.from_bytes(beginning[8 : 8 + width], "little")
    if end > _MAX_HEADER:
        raise ForeignFileError(f"{path} isn't a .npy file of numbers: its header has {end} bytes.")
    beginning += file.read(max(0, end - len(beginning)))
    if len(beginning) < max(end, 12):
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


@lru_cache(maxsize=1024)  # files of one folder have few different headers
def _parsed(beginning: bytes) -> NpyHeader:
    file = io.BytesIO(beginning)
    version = np.lib.format.read_magic(file)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"its format version is {version[0]}.{version[1]}")
    shape, fortran, dtype = readers[version](file)
    return NpyHeader(dtype, fortran, shape, file.tell())


@lru_cache(maxsize=1024)
def _header_bytes(dtype: np.dtype, shape: tuple[int, ...]) -> bytes:
    """What precedes the values of a C-order array in a file."""
    file = io.BytesIO()
    about = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, about)
    return file.getvalue()


def write_npy(path: Path, dtype: np.dtype, shape: tuple[int, ...], blocks: Iterator[Array]) -> None:
    """Write an array block after block of its rows, to a file that isn't there yet."""
    with open(path, "xb", buffering=0) as file:
        file.write(_header_bytes(dtype, shape))
        for block in blocks:
            file.write(np.ascontiguousarray(block, dtype).data)


@dataclass(frozen=True)
class NpyFolder:
    """Files `<name>.npy`, side by side; others are ignored. A container.

    Attributes:
        path: of the folder.
        progress: called with headers read and to read.
    """

    path: Path
    progress: Progress = no_progress
    kind = "npy"

    def names(self) -> list[str]:
        """Of all files, without the ending."""
        if self.path.exists() and not self.path.is_dir():
            raise ForeignFileError(f"{self.path} isn't a folder. One .npy file is imported by: reelstore import array.")
        try:
            with os.scandir(self.path) as entries:
                names = [
                    entry.name.removesuffix(ENDING)
                    for entry in entries
                    if entry.name.endswith(ENDING) and not entry.name.startswith(".") and not entry.is_dir()
                ]
        except OSError as error:
            raise ForeignFileError(f"{self.path} can't be read as a folder: {error.strerror}.") from error
        if not names:
            raise ForeignFileError(f"{self.path} has no .npy files. Folders below it aren't searched.")
        return names

    def label(self, name: str) -> str:
        """The file's path."""
        return str(self.path / (name + ENDING))

    def about(self, names: Sequence[str]) -> Iterator[tuple[tuple[int, ...], str]]:
        """Shape and dtype of some files: only headers are read."""
        self.progress(0, len(names))
        for done, header in enumerate(self._in_threads(read_header, names), start=1):
            if done % _TOGETHER == 0 or done == len(names):
                self.progress(done, len(names))
            yield header.about

    def read(self, names: Sequence[str]) -> Iterator[Array]:
        """Values of some files."""
        return self._in_threads(read_values, names)

    def rows(self, name: str) -> NpyRows:
        """One file, to be cut by rows."""
        return NpyRows(Path(self.label(name)))

    def _in_threads(self, read: Callable[[Path], Any], names: Sequence[str]) -> Iterator[Any]:
        """Of all files, in order; a thread takes a slice of them at a time."""
        slices = [names[start : start + _TOGETHER] for start in range(0, len(names), _TOGETHER)]

        def read_slice(some: Sequence[str]) -> list[Any]:
            return [read(Path(self.label(name))) for name in some]

        for _, found in prefetch(slices, read_slice, workers=THREADS, depth=0):
            if isinstance(found, ReelstoreError):
                raise found
            yield from found


def refuse_parts(folder: Path, items: Items) -> None:
    """See that the files aren't parts of one matrix, as clip-retrieval writes them: `img_emb/img_emb_0.npy`.

    Raises:
        ForeignFileError: they seem to be.
    """
    part = re.compile(rf"{re.escape(folder.absolute().name)}_[0-9]+")
    names = [Path(items.label(position)).stem for position in range(len(items))]
    if items.by_name and all(map(part.fullmatch, names)) and all(len(shape) == 2 for shape in items.shapes):
        raise ForeignFileError(
            f"{folder} holds {names[0]}.npy and the like: are these parts of one matrix, whose rows are items? Then: "
            f"reelstore import array {folder} TARGET --keys METADATA. If each file is one item, say --layout ragged."
        )
