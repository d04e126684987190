"""An HDF5 file with a dataset an item -> a source; read by a process of its own, for a damaged file may end it."""

import json
import os
import struct
import subprocess
import sys
import weakref
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from reelstore.errors import ForeignFileError, MissingExtraError
from reelstore.exchange.arrange import Naming, arrange
from reelstore.exchange.base import MAX_ITEM_BYTES, NOTHING, Array, Listing
from reelstore.io import open_regular

_LISTING_BYTES = 2**30
_FLOATS = ("float16", "float32", "float64")


@dataclass(frozen=True)
class Hdf5File:
    """Datasets `video7890`, or captions `video7890-1` or `video7890/1`, in the file's root or in groups.

    Attributes:
        path: of the file.
        naming: side, table and the like.
    """

    path: Path
    naming: Naming
    kind = "hdf5"

    @cached_property
    def listing(self) -> Listing:
        """Every dataset's key, shape and dtype; links are not followed.

        Raises:
            ForeignFileError: the file isn't HDF5, or a dataset's values lie in another file, or nowhere.
        """
        about: dict[str, tuple[tuple[int, ...], str, str | None]] = {
            name: (tuple(shape), dtype, forbidden) for name, shape, dtype, forbidden in self._reader.datasets
        }
        if not about:
            raise ForeignFileError(f"{self.path} holds no datasets.")
        arranged = arrange(about, self.naming, where=str(self.path))
        for name in arranged.names:
            forbidden = None if name is None else about[name][2]
            if forbidden is not None:
                raise ForeignFileError(f"{self.path}: the values of {name!r} {forbidden}.")
        state = os.stat(self.path)
        stamp = (state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino)
        return Listing(
            keys=[row.key for row in arranged.rows],
            splits=[row.split for row in arranged.rows],
            names=[f"{name} of {self.path}" for name in arranged.names],
            shapes=[() if name is None else about[name][0] for name in arranged.names],
            dtypes=["" if name is None else about[name][1] for name in arranged.names],
            stamps=[(*stamp, name) for name in arranged.names],
            failures={n: row.failure for n, row in enumerate(arranged.rows) if row.failure is not None},
            notes=arranged.notes,
        )

    def read(self, start: int, stop: int) -> list[Array]:
        """Values of the datasets from `start` to `stop`."""
        listing = self.listing
        return [
            NOTHING
            if number in listing.failures
            else self._reader.values(
                listing.stamps[number][-1], listing.shapes[number], listing.dtypes[number], listing.names[number]
            )
            for number in range(start, stop)
        ]

    @cached_property
    def _reader(self) -> "_Reader":
        return _Reader(self.path)


class _Reader:
    """The process that reads a file; it ends with this object."""

    def __init__(self, path: Path) -> None:
        if find_spec("h5py") is None:
            raise MissingExtraError("Reading HDF5 needs h5py. Run: pip install 'reelstore[hdf5]'.")
        open_regular(path).close()
        self._path = path
        # -P: no module is taken from the working folder, which may be a stranger's.
        words = [sys.executable, "-P", "-m", "reelstore.exchange.hdf5_child", str(path.absolute())]
        self._child = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0
        )
        self._end = weakref.finalize(self, _end, self._child)
        self.datasets: list[Any] = json.loads(self._answer("", _LISTING_BYTES))

    def values(self, name: str, shape: tuple[int, ...], dtype: str, words: str) -> Array:
        """A dataset's values.

        Raises:
            ForeignFileError: they can't be read.
        """
        if dtype not in _FLOATS or prod(shape) * np.dtype(dtype).itemsize > MAX_ITEM_BYTES:
            raise ForeignFileError(f"{words}: {shape} {dtype} can't be an item.")
        n_bytes = prod(shape) * np.dtype(dtype).itemsize
        try:
            self._child.stdin.write(json.dumps(name).encode() + b"\n")  # type: ignore[union-attr]
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
