"""An HDF5 file, as a container of arrays; read by a process of its own, for a damaged file may end it."""

import json
import os
import struct
import subprocess
import sys
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from reelstore.arrays import Array
from reelstore.convert.base import MAX_ITEM_BYTES, stamp_of
from reelstore.convert.named import About
from reelstore.errors import ForeignFileError
from reelstore.extras import not_installed
from reelstore.io import open_regular

_LISTING_BYTES = 2**30
_NUMBERS = ("float16", "float32", "float64", "int32", "int64", "uint32", "uint64")
"""Of values, and of offsets."""


@dataclass(frozen=True)
class Hdf5File:
    """Datasets in the file's root or in groups; links are not followed. A container.

    Attributes:
        path: of the file.
    """

    path: Path
    kind = "hdf5"

    def names(self) -> list[str]:
        """Paths of all datasets.

        Raises:
            ForeignFileError: the file isn't HDF5, or holds none.
        """
        if not self._about:
            raise ForeignFileError(f"{self.path} holds no datasets.")
        return list(self._about)

    def label(self, name: str) -> str:
        """The path and the file's."""
        return f"{name} of {self.path}"

    def about(self, names: Sequence[str]) -> list[About]:
        """Of some datasets.

        Raises:
            ForeignFileError: the values of one lie in another file, or nowhere.
        """
        stamp = stamp_of(os.stat(self.path))
        found = []
        for name in names:
            shape, dtype, forbidden = self._about[name]
            if forbidden is not None:
                raise ForeignFileError(f"{self.path}: the values of {name!r} {forbidden}.")
            found.append(About(shape, dtype, stamp))
        return found

    def read(self, names: Sequence[str], about: Sequence[About]) -> Iterator[Array]:
        """Values of some datasets."""
        for name, one in zip(names, about, strict=True):
            yield self._reader.values(name, None, one.shape, one.dtype, self.label(name))

    def rows(self, name: str) -> "_Rows":
        """One dataset, to be cut by rows."""
        shape, dtype, _ = self._about[name]
        return _Rows(self._reader, name, shape, dtype, self.label(name))

    @cached_property
    def _about(self) -> dict[str, tuple[tuple[int, ...], str, str | None]]:
        return {name: (tuple(shape), dtype, why) for name, shape, dtype, why in self._reader.datasets}

    @cached_property
    def _reader(self) -> "_Reader":
        return _Reader(self.path)


@dataclass(frozen=True)
class _Rows:
    """Rows of a dataset, read when asked for."""

    reader: "_Reader"
    name: str
    shape: tuple[int, ...]
    dtype: str
    label: str

    def __getitem__(self, index: int | slice) -> Array:
        if isinstance(index, int):
            row: Array = self[index : index + 1][0]
            return row
        start, stop, _ = index.indices(self.shape[0])
        shape = (max(0, stop - start), *self.shape[1:])
        return self.reader.values(self.name, (start, stop), shape, self.dtype, self.label)


class _Reader:
    """The process that reads a file; it ends with this object."""

    def __init__(self, path: Path) -> None:
        if find_spec("h5py") is None:
            raise not_installed("h5py", "Reading HDF5")
        open_regular(path).close()
        self._path = path
        # -P: no module is taken from the working folder, which may be a stranger's.
        words = [sys.executable, "-P", "-m", "reelstore.convert.hdf5_child", str(path.absolute())]
        self._child = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0
        )
        self._end = weakref.finalize(self, _end, self._child)
        self.datasets: list[Any] = json.loads(self._answer("", _LISTING_BYTES))

    def values(self, name: str, rows: tuple[int, int] | None, shape: tuple[int, ...], dtype: str, words: str) -> Array:
        """A dataset's values, or some rows of them, which have this shape.

        Raises:
            ForeignFileError: they can't be read.
        """
        if dtype not in _NUMBERS or prod(shape) * np.dtype(dtype).itemsize > MAX_ITEM_BYTES:
            raise ForeignFileError(f"{words}: {shape} {dtype} can't be an item.")
        n_bytes = prod(shape) * np.dtype(dtype).itemsize
        try:
            self._child.stdin.write(json.dumps([name, rows]).encode() + b"\n")  # type: ignore[union-attr]
        except BrokenPipeError:
            raise self._ended(words) from None
        content = self._answer(words, n_bytes)
        if len(content) != n_bytes:
            raise ForeignFileError(f"{words} has {len(content)} bytes; {n_bytes} were expected.")
        return np.frombuffer(content, np.dtype(dtype).newbyteorder("<")).reshape(shape)

    def _answer(self, words: str, at_most: int) -> bytes:
        n_bytes = struct.unpack("<q", self._exactly(8, words))[0]
        if n_bytes < 0:
            said = json.loads(self._exactly(min(-n_bytes, 10_000), words))["error"]
            raise ForeignFileError(f"{words or self._path} can't be read as HDF5: {said}.")
        if n_bytes > at_most:
            raise ForeignFileError(f"{words or self._path} can't be read as HDF5: {n_bytes} bytes are too many.")
        return self._exactly(n_bytes, words)

    def _exactly(self, n_bytes: int, words: str) -> bytes:
        content = bytearray(n_bytes)
        view = memoryview(content)
        while len(view):
            n_read = self._child.stdout.readinto(view)  # type: ignore[union-attr]
            if not n_read:
                raise self._ended(words)
            view = view[n_read:]
        return bytes(content)

    def _ended(self, words: str) -> ForeignFileError:
        code = self._child.wait()
        return ForeignFileError(
            f"{words or self._path} can't be read as HDF5: the file is damaged, reading it ended with code {code}."
        )


def _end(child: subprocess.Popen[bytes]) -> None:
    child.kill()
    child.wait()
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            pipe.close()
