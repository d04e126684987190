"""One array whose row i is item i, and a table of keys -> a source."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from reelstore.errors import ForeignFileError
from reelstore.exchange.base import NOTHING, Array, Listing
from reelstore.exchange.keys import KeyRow, KeyTable
from reelstore.exchange.npy import NpyRows, map_values
from reelstore.records import Side


@dataclass(frozen=True)
class RowsOfFile:
    """Rows of an array in the order of a table, or ragged ones by their offsets.

    Attributes:
        kind: of the file.
        path: of the file, for messages.
        values: (n, dim) or (n, n_tokens, dim), (n_tokens_total, dim) with offsets; anything that is cut like an array.
        dtype: of the values, `float32`.
        rows: the items.
        places: row of the array that each item is; None for the same order. Items without a value have none.
        offsets: (n + 1,) where the values are ragged.
    """

    kind: str
    path: Path
    values: Any
    dtype: str
    rows: Sequence[KeyRow]
    places: Sequence[int] | None = None
    offsets: Sequence[int] | None = None

    @cached_property
    def listing(self) -> Listing:
        """Keys of the table, shapes of the array.

        Raises:
            ForeignFileError: the array hasn't as many rows as the table.
        """
        shape, n_rows = tuple(self.values.shape), len(self.rows)
        if len(shape) not in (2, 3) or (self.offsets is not None and len(shape) != 2):
            raise ForeignFileError(f"{self.path} has shape {shape}; it must be (rows, dim) or (rows, n_tokens, dim).")
        n_there = shape[0] if self.offsets is None else len(self.offsets) - 1
        if self.places is None and n_there != n_rows:
            raise ForeignFileError(
                f"{self.path} has {n_there} rows {shape}, the table of keys {n_rows}. Row i must be the table's row i."
            )
        self._check_offsets(shape[0])
        stamp = _stamp(self.path)
        return Listing(
            keys=[row.key for row in self.rows],
            splits=[row.split for row in self.rows],
            names=[f"row {self._place(n)} of {self.path}" for n in range(n_rows)],
            shapes=[self._shape(n) for n in range(n_rows)],
            dtypes=[self.dtype] * n_rows,
            stamps=[stamp if self.places is None else (*stamp, self.places[n]) for n in range(n_rows)],
            failures={n: row.failure for n, row in enumerate(self.rows) if row.failure is not None},
        )

    def read(self, start: int, stop: int) -> list[Array]:
        """Values of the rows from `start` to `stop`."""
        failures = self.listing.failures
        if self.offsets is None and self.places is None:
            block = np.asarray(self.values[start:stop])
            return [NOTHING if n in failures else block[n - start] for n in range(start, stop)]
        return [NOTHING if n in failures else np.asarray(self._value(n)) for n in range(start, stop)]

    def _value(self, number: int) -> Any:
        place = self._place(number)
        if self.offsets is None:
            return self.values[place]
        return self.values[self.offsets[place] : self.offsets[place + 1]]

    def _place(self, number: int) -> int:
        return number if self.places is None else self.places[number]

    def _shape(self, number: int) -> tuple[int, ...]:
        shape = tuple(self.values.shape)[1:]
        if self.offsets is None:
            return shape
        place = self._place(number)
        return (self.offsets[place + 1] - self.offsets[place], *shape)

    def _check_offsets(self, n_values: int) -> None:
        if self.offsets is None:
            return
        ends = self.offsets
        if not len(ends) or ends[0] != 0 or ends[-1] != n_values or any(a > b for a, b in pairwise(ends)):
            raise ForeignFileError(f"{self.path}: its offsets don't ascend from 0 to its {n_values} rows of values.")


def array_file(path: Path, keys: KeyTable, side: Side, *, offsets: Path | None = None) -> RowsOfFile:
    """A .npy whose row i belongs to the table's row i; of videos, to the i-th video named, or to its `video_row`.

    With a .npy of offsets, (n + 1,), item i is `values[offsets[i]:offsets[i + 1]]`.

    Raises:
        ForeignFileError: it isn't a whole .npy of numbers.
    """
    values = NpyRows(path)
    name = values.dtype.newbyteorder("=").name
    if offsets is not None:
        ends = map_values(offsets)
        if ends.ndim != 1 or ends.dtype.kind not in "iu":
            raise ForeignFileError(f"{offsets} must hold whole numbers (n + 1,), not {ends.dtype} {ends.shape}.")
        return RowsOfFile("array", path, values, name, keys.rows(side), offsets=ends.tolist())
    places = keys.video_rows(values.shape[0]) if side == "video" and values.shape else None
    return RowsOfFile("array", path, values, name, keys.rows(side), places)


def _stamp(path: Path) -> tuple[int, ...]:
    state = os.stat(path)
    return state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino
