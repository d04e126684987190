"""One array whose row i is item i, and a table of keys -> a source."""

import os
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from reelstore.arrays import Array
from reelstore.convert.base import NOTHING, Listing, stamp_of
from reelstore.convert.keys import KeyRow, KeyTable
from reelstore.convert.npy import NpyRows, map_values, read_header
from reelstore.convert.parts import one_whole
from reelstore.errors import ForeignFileError
from reelstore.records import Side
from reelstore.tables import ENDINGS


@dataclass(frozen=True)
class RowsOfFile:
    """Rows of an array in the order of a table, or ragged ones by their offsets.

    Attributes:
        kind: of the file.
        path: of the file.
        values: (n, dim) or (n, n_tokens, dim), (n_tokens_total, dim) with offsets; anything that is cut like an array.
        dtype: of the values, `float32`.
        rows: the items.
        places: row of the array that each item is; None for the same order. Items without a value have none.
        offsets: (n + 1,) where the values are ragged.
        parts: files that the array is cut into, and how many rows each has; by default it is all in `path`.
        label: what messages call the array; by default the file's path.
    """

    kind: str
    path: Path
    values: Any
    dtype: str
    rows: Sequence[KeyRow]
    places: Sequence[int] | None = None
    offsets: Sequence[int] | None = None
    parts: Sequence[tuple[Path, int]] = ()
    label: str = ""

    @cached_property
    def listing(self) -> Listing:
        """Keys of the table, shapes of the array.

        Raises:
            ForeignFileError: the array hasn't as many rows as the table.
        """
        shape, n_rows, where = tuple(self.values.shape), len(self.rows), self.label or self.path
        if len(shape) not in (2, 3) or (self.offsets is not None and len(shape) != 2):
            raise ForeignFileError(f"{where} has shape {shape}; it must be (rows, dim) or (rows, n_tokens, dim).")
        n_there = shape[0] if self.offsets is None else len(self.offsets) - 1
        if self.places is None and n_there != n_rows:
            raise ForeignFileError(
                f"{where} has {n_there} rows {shape}, the table of keys {n_rows}. Row i must be the table's row i."
            )
        self._check_offsets(shape[0])
        parts = self.parts or [(self.path, n_there)]
        stamps = [stamp_of(os.stat(path)) for path, _ in parts]
        starts = [0, *accumulate(n for _, n in parts)]
        at = [bisect_right(starts, self._place(n)) - 1 for n in range(n_rows)] if self.parts else [0] * n_rows
        return Listing(
            keys=[row.key for row in self.rows],
            splits=[row.split for row in self.rows],
            names=[f"row {self._place(n) - starts[p]} of {self.label or parts[p][0]}" for n, p in enumerate(at)],
            shapes=[self._shape(n) for n in range(n_rows)],
            dtypes=[self.dtype] * n_rows,
            stamps=[stamps[p] if self.places is None else (*stamps[p], self.places[n]) for n, p in enumerate(at)],
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


class _Joined:
    """Rows of several files, one behind the other; one of them is open at a time."""

    def __init__(self, paths: Sequence[Path]) -> None:
        headers = [read_header(path)[0] for path in paths]
        kinds = {
            (one.shape[1:], one.dtype_name): f"{path} {one.shape} {one.dtype_name}"
            for path, one in zip(paths, headers, strict=True)
        }
        if len(kinds) > 1 or not headers[0].shape:
            raise ForeignFileError(
                f"Parts of one array have one width and kind of numbers: {', '.join(kinds.values())}."
            )
        ((width, self.dtype),) = kinds
        self.parts = [(path, one.shape[0]) for path, one in zip(paths, headers, strict=True)]
        self._starts = [0, *accumulate(n_rows for _, n_rows in self.parts)]
        self.shape = (self._starts[-1], *width)
        self._open: tuple[Path, NpyRows] | None = None

    def __getitem__(self, index: int | slice) -> Array:
        if isinstance(index, int):
            row: Array = self[index : index + 1][0]
            return row
        start, stop, _ = index.indices(self.shape[0])
        cut = []
        for (path, n_rows), first in zip(self.parts, self._starts, strict=False):
            if first < stop and start < first + n_rows:
                cut.append(self._rows(path)[max(0, start - first) : min(n_rows, stop - first)])
        return np.concatenate(cut)

    def _rows(self, path: Path) -> NpyRows:
        if self._open is None or self._open[0] != path:
            self._open = path, NpyRows(path)
        return self._open[1]


def array_file(path: Path, keys: KeyTable, side: Side, *, offsets: Path | None = None) -> RowsOfFile:
    """A .npy whose row i belongs to the table's row i; of videos, to the i-th video named, or to its `video_row`.

    A folder has numbered parts of it, `img_emb_0.npy`, `img_emb_1.npy`, …, one behind the other. With a .npy of
    offsets, (n + 1,), item i is `values[offsets[i]:offsets[i + 1]]`.

    Raises:
        ForeignFileError: it isn't a whole .npy of numbers, parts don't fit each other, or a part of the table.
    """
    if path.is_dir():
        if offsets is not None:
            raise ForeignFileError(f"{path} is a folder of parts; --offsets is for one array.")
        return _parts_file(path, keys, side)
    values = NpyRows(path)
    name = values.dtype.newbyteorder("=").name
    if offsets is not None:
        ends = map_values(offsets)
        if ends.ndim != 1 or ends.dtype.kind not in "iu":
            raise ForeignFileError(f"{offsets} must hold whole numbers (n + 1,), not {ends.dtype} {ends.shape}.")
        return RowsOfFile("array", path, values, name, keys.rows(side), offsets=ends.tolist())
    places = keys.video_rows(values.shape[0]) if side == "video" and values.shape else None
    return RowsOfFile("array", path, values, name, keys.rows(side), places)


def _parts_file(path: Path, keys: KeyTable, side: Side) -> RowsOfFile:
    parts = one_whole(path, [".npy"])
    array = _Joined([part.path for part in parts])
    if len(keys.parts) > 1:
        tables = {part.number: part.path for part in one_whole(keys.path, ENDINGS)}
        arrays = {part.number: one for part, one in zip(parts, array.parts, strict=True)}
        if arrays.keys() != tables.keys():
            number = min(arrays.keys() ^ tables.keys())
            raise ForeignFileError(f"{path if number in tables else keys.path} has no part {number}; the other has.")
        for number, (part, n_rows) in arrays.items():
            n_lines = keys.parts[tables[number]]
            if n_rows != n_lines:
                raise ForeignFileError(
                    f"{part} has {n_rows} rows, {tables[number]} {n_lines}. Row i must be the table's row i."
                )
    places = keys.video_rows(array.shape[0]) if side == "video" else None
    return RowsOfFile("array", path, array, array.dtype, keys.rows(side), places, parts=array.parts)
