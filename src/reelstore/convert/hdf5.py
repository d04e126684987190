"""An HDF5 file, as a container of arrays; read by a process of its own, because a damaged file may end it."""

import json
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
from reelstore.convert.containers import About
from reelstore.convert.items import MAX_ITEM_BYTES
from reelstore.errors import ForeignFileError
from reelstore.extras import not_installed
from reelstore.io import open_regular

_LISTING_BYTES = 2**30
_NUMBERS = ("float16", "float32", "float64", "int32", "int64", "uint32", "uint64")
"""Of values, and of offsets."""


@dataclass(frozen=True)
class Hdf5File:
    """Datasets in the file's root or in groups; links are not followed. A container."""

    path: Path
    kind = "hdf5"

    def names(self) -> list[str]:
        """Paths of all datasets.

        Raises:
            ForeignFileError: the file isn't HDF5, or holds none.
        """
        if not self._reader.datasets:
            raise ForeignFileError(f"{self.path} holds no datasets.")
        return list(self._reader.datasets)

    def label(self, name: str) -> str:
        """The path and the file's."""
        return f"{name} of {self.path}"

    def about(self, names: Sequence[str]) -> list[About]:
        """Shape and dtype of some datasets.

        Raises:
            ForeignFileError: the values of one lie in another file, or nowhere.
        """
        for name in names:
            if (forbidden := self._reader.datasets[name][2]) is not None:
                raise ForeignFileError(f"{self.path}: the values of {name!r} {forbidden}.")
        return [self._reader.datasets[name][:2] for name in names]

    def read(self, names: Sequence[str]) -> Iterator[Array]:
        """Values of some datasets."""
        return (self._reader.values(name, None, self.label(name)) for name in names)

    def rows(self, name: str) -> "_Rows":
        """One dataset, to be cut by rows."""
        return _Rows(self._reader, name, self._reader.datasets[name][0], self.label(name))

    @cached_property
    def _reader(self) -> "_Reader":
        return _Reader(self.path)


@dataclass(frozen=True)
class _Rows:
    """Rows of a dataset, read when asked for."""

    reader: "_Reader"
    name: str
    shape: tuple[int, ...]
    label: str

    def __getitem__(self, index: int | slice) -> Array:
        if isinstance(index, int):
            row: Array = self[index : index + 1][0]
            return row
        return self.reader.values(self.name, index.indices(self.shape[0])[:2], self.label)


class _Reader:
    """The process that reads a file; it ends with this object."""

    def __init__(self, path: Path) -> None:
        if find_spec("h5py") is None:
            raise not_installed("h5py", "Reading HDF5")
        open_regular(path).close()
        # -P: no module is taken from the working folder, whose files may be anybody's.
        command = [sys.executable, "-P", "-m", "reelstore.convert.hdf5_child", str(path.absolute())]
        self._child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self._end = weakref.finalize(self, _end, self._child)
        listed = self._answer(str(path))["datasets"]
        self.datasets: dict[str, tuple[tuple[int, ...], str, str | None]] = {
            name: (tuple(shape), dtype, forbidden) for name, shape, dtype, forbidden in listed
        }

    def values(self, name: str, rows: tuple[int, int] | None, label: str) -> Array:
        """A dataset's values, or rows from one to, without, another.

        Raises:
            ForeignFileError: they can't be read.
        """
        shape, dtype, _ = self.datasets[name]
        if rows is not None:
            shape = (max(0, rows[1] - rows[0]), *shape[1:])
        n_bytes = prod(shape) * np.dtype(dtype).itemsize if dtype in _NUMBERS else MAX_ITEM_BYTES + 1
        if n_bytes > MAX_ITEM_BYTES:
            raise ForeignFileError(f"{label}: {shape} {dtype} can't be an item.")
        assert self._child.stdin is not None and self._child.stdout is not None
        try:
            self._child.stdin.write(json.dumps([name, rows]).encode() + b"\n")
            self._child.stdin.flush()
        except BrokenPipeError:
            raise self._ended(label) from None
        found = self._answer(label)["n_bytes"]
        if found != n_bytes:
            raise ForeignFileError(f"{label} has {found} bytes; {n_bytes} were expected.")
        content = self._child.stdout.read(n_bytes)
        if len(content) < n_bytes:
            raise self._ended(label)
        return np.frombuffer(content, np.dtype(dtype).newbyteorder("<")).reshape(shape)

    def _answer(self, label: str) -> dict[str, Any]:
        assert self._child.stdout is not None
        line = self._child.stdout.readline(_LISTING_BYTES)
        if not line.endswith(b"\n"):
            raise self._ended(label)
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise ForeignFileError(f"{label} can't be read as HDF5: {answer['error']}.")
        return answer

    def _ended(self, label: str) -> ForeignFileError:
        self._child.kill()
        code = self._child.wait()
        return ForeignFileError(
            f"{label} can't be read as HDF5: the file is damaged, reading it ended with code {code}."
        )


def _end(child: "subprocess.Popen[bytes]") -> None:
    child.kill()
    child.wait()
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            pipe.close()
