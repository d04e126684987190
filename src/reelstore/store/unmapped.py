"""An array that can't be mapped -> its rows, through zarr-python: compressed, checksummed inside, in another order."""

import math
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from reelstore.errors import SchemaError
from reelstore.store.encoding import read_encoding
from reelstore.store.layout import Metadata, damaged
from reelstore.store.ordered import take_in_order

Array = npt.NDArray[Any]
HELD_BYTES = 2**30
"""An array up to this size is read once and held in memory: random rows of a compressed file cost all of the file."""
BLOCK_BYTES = 2**28
"""Rows read in order are read by shards up to this size, by the chunks of larger ones."""


class ZarrArray:
    """Rows of one Zarr array, with the interface of `MappedArray`.

    Attributes:
        shape: (n, *row shape).
        dtype: of the values, in this machine's byte order.
        zero_row: a number beyond the rows; `take` gives zeros there.
    """

    def __init__(
        self, folder: Path, name: str, metadata: Metadata, dtype: str, refuse_changed: Callable[[], None]
    ) -> None:
        """Arguments and errors are those of `open_array`."""
        import zarr

        from reelstore.store.bounded import bounded_codecs

        self._folder = folder
        self._name = name
        self._refuse_changed = refuse_changed
        path = folder / name / "zarr.json"
        self._encoding = read_encoding(path, name, metadata)
        try:
            with bounded_codecs():
                self._array = zarr.open_array(folder / name, mode="r", zarr_format=3)
        except Exception as error:  # whatever is wrong with it shows in many ways
            raise damaged(path, f"zarr-python can't read it ({error})") from error
        self.shape: tuple[int, ...] = tuple(self._array.shape)
        self.dtype = np.dtype(self._array.dtype).newbyteorder("=")
        if self.shape != tuple(metadata["shape"]) or self.dtype != np.dtype(dtype):
            raise SchemaError(f"{folder / name} holds {self.shape} {self.dtype}, expected {dtype}.")
        for key, numbers in self._encoding.files():
            self._encoding.check_file(folder / key, numbers)
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
        take_in_order(rows, out, self.zero_row, self._fetch)

    def read(self, start: int, stop: int) -> Array:
        """Rows from `start` to, without, `stop`, read-only; the file they are in is held for the next call."""
        if self.whole is not None:
            return self.whole[start:stop]
        first, block = self._block
        if first <= start <= stop <= first + len(block):
            return block[start - first : stop - first]
        step = self._block_rows
        first = start // step * step
        if stop > first + step:
            return self._through_zarr(slice(start, stop))
        block = self._through_zarr(slice(first, first + step))
        block.flags.writeable = False
        self._block = (first, block)
        return block[start - first : stop - first]

    def advise(self, pattern: str) -> None:
        """Does nothing: there is no mapping."""

    def walk(self, starts: npt.NDArray[np.int64], counts: npt.NDArray[np.int64]) -> Iterator[Array]:
        """Rows of items, item after item, read-only."""
        for start, count in zip(starts.tolist(), counts.tolist(), strict=True):
            yield self.read(start, start + count)

    @cached_property
    def _padded(self) -> Array:
        """All rows, and one of zeros behind them."""
        padded = np.zeros((self.shape[0] + 1, *self.shape[1:]), dtype=self.dtype)
        padded[:-1] = self._through_zarr(slice(None))
        padded.flags.writeable = False
        return padded

    @cached_property
    def _block_rows(self) -> int:
        row_bytes = math.prod(self.shape[1:]) * self.dtype.itemsize
        rows, at_least = self._encoding.file_shape[0], self._encoding.chunk_shape[0]
        return rows if rows * row_bytes <= BLOCK_BYTES else at_least

    def _fetch(self, rows: Array, out: Array) -> None:
        out[...] = self._through_zarr(rows)

    def _through_zarr(self, rows: Array | slice) -> Array:
        try:
            found = self._array[rows] if isinstance(rows, slice) else self._array.oindex[rows]
        except MemoryError:
            raise
        except Exception as error:  # codecs fail in many ways
            self._refuse_changed()
            path, cause = self._broken_file() or (self._folder / self._name, error)
            raise damaged(path, f"zarr-python can't read it ({cause})") from error
        self._refuse_changed()
        return np.asarray(found, dtype=self.dtype)

    def _broken_file(self) -> tuple[Path, Exception] | None:
        """The first file that can't be read; the client's errors don't say."""
        for key, numbers in self._encoding.files():
            try:
                self._array[self._encoding.region(numbers)]
            except Exception as error:
                return self._folder / key, error
        return None
