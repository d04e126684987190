"""An array that can't be mapped -> its rows, through zarr-python: compressed, checksummed inside, in another order."""

import math
import os
from collections.abc import Container
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from reelstore.store.layout import Metadata, damaged, files_of, missing

Array = npt.NDArray[Any]
HELD_BYTES = 2**30
"""An array up to this size is read once and held in memory: random rows of a compressed file cost all of the file."""


class ZarrArray:
    """Rows of one Zarr array, with the interface of `MappedArray`.

    Attributes:
        shape: (n, *row shape).
        dtype: of the values, in this machine's byte order.
        zero_row: a number beyond the rows; `take` gives zeros there.
    """

    def __init__(self, folder: Path, name: str, metadata: Metadata, listed: Container[str]) -> None:
        import zarr

        self._folder = folder
        self._name = name
        try:
            self._array = zarr.open_array(folder / name, mode="r")
        except Exception as error:  # whatever is wrong with it shows in many ways
            raise damaged(folder / name / "zarr.json", f"zarr-python can't read it ({error})") from error
        self._files = list(files_of(name, metadata))
        for key, _ in self._files:
            try:
                size = os.stat(folder / key).st_size
            except (FileNotFoundError, NotADirectoryError):
                if key in listed:
                    raise missing(folder / key) from None
            else:
                if not size:  # which zarr-python takes for a block of the fill value
                    raise damaged(folder / key, "it is empty")
        self.shape: tuple[int, ...] = tuple(self._array.shape)
        self.dtype = np.dtype(self._array.dtype).newbyteorder("=")
        self.zero_row = self.shape[0]
        self._block: tuple[int, Array] = (0, np.empty((0, *self.shape[1:]), dtype=self.dtype))

    @cached_property
    def whole(self) -> Array | None:
        """All rows as one read-only array, if that may be held in memory."""
        if math.prod(self.shape) * self.dtype.itemsize > HELD_BYTES:
            return None
        return self._padded[: self.shape[0]]

    def take(self, rows: npt.NDArray[np.int64], out: Array, *, scattered: bool = False) -> None:
        """Copy rows into `out`, (*rows.shape, *row shape); their numbers are right, or `zero_row`."""
        if self.whole is not None:
            np.take(self._padded, rows, axis=0, out=out, mode="clip")
            return
        # Each row once and in order, so that no file is read twice and nothing is asked of the client but that.
        wanted, places = np.unique(rows, return_inverse=True)
        found = np.zeros((len(wanted), *self.shape[1:]), dtype=self.dtype)
        n_stored = int(np.searchsorted(wanted, self.zero_row))
        if n_stored:
            found[:n_stored] = self._through_zarr(wanted[:n_stored])
        np.take(found, places.reshape(rows.shape), axis=0, out=out, mode="clip")

    def read(self, start: int, stop: int) -> Array:
        """Rows from `start` to, without, `stop`, read-only; the file they are in is held for the next call."""
        if self.whole is not None:
            return self.whole[start:stop]
        first, block = self._block
        if first <= start <= stop <= first + len(block):
            return block[start - first : stop - first]
        step = (self._array.shards or self._array.chunks)[0]
        first = start // step * step
        if stop > first + step:
            return self._through_zarr(slice(start, stop))
        block = self._through_zarr(slice(first, first + step))
        block.flags.writeable = False
        self._block = (first, block)
        return block[start - first : stop - first]

    def advise(self, pattern: str) -> None:
        """Does nothing: there is no mapping."""

    def scan(self) -> "ZarrArray":
        """Itself: it reads file by file."""
        return self

    @cached_property
    def _padded(self) -> Array:
        """All rows, and one of zeros behind them."""
        padded = np.zeros((self.shape[0] + 1, *self.shape[1:]), dtype=self.dtype)
        padded[:-1] = self._through_zarr(slice(None))
        padded.flags.writeable = False
        return padded

    def _through_zarr(self, rows: Array | slice) -> Array:
        try:
            found = self._array[rows] if isinstance(rows, slice) else self._array.oindex[rows]
        except MemoryError:
            raise
        except Exception as error:  # codecs fail in many ways
            path, cause = self._broken_file() or (self._folder / self._name, error)
            raise damaged(path, f"zarr-python can't read it ({cause})") from error
        return np.asarray(found, dtype=self.dtype)

    def _broken_file(self) -> tuple[Path, Exception] | None:
        """The first file that can't be read; the client's errors don't say."""
        for key, region in self._files:
            try:
                self._array[region]
            except Exception as error:
                return self._folder / key, error
        return None
