"""One array whose row i is item i of a table of keys; or ragged tokens, with offsets."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from reelstore.arrays import Array
from reelstore.convert.items import ItemRows, Items
from reelstore.convert.keys import KeyTable
from reelstore.convert.npy import NpyRows, map_values, read_header
from reelstore.convert.parts import one_whole
from reelstore.errors import ForeignFileError
from reelstore.records import Side
from reelstore.tables import ENDINGS

BLOCK_BYTES = 16 * 2**20
"""Read at a time where rows are in the array's order."""


def matrix_items(
    kind: str,
    values: Any,
    dtype: str,
    rows: ItemRows,
    *,
    label: str,
    places: Sequence[int] | None = None,
    offsets: Array | None = None,
    parts: Sequence[tuple[Path, int]] = (),
) -> Items:
    """Rows of an array in the order of a table, or ragged ones by their offsets.

    Args:
        kind: of the file.
        values: (n, dim) or (n, n_tokens, dim), (n_tokens_total, dim) with offsets; anything that is cut like an array.
        dtype: of the values, `float32`.
        rows: the items.
        label: what messages call the array.
        places: row of the array that each item is; None for the same order.
        offsets: (n + 1,) whole numbers, where the values are ragged.
        parts: files that the array is cut into, and how many rows each has; by default it is one.

    Raises:
        ForeignFileError: the array hasn't as many rows as the table, or offsets don't fit it.
    """
    shape = tuple(values.shape)
    if len(shape) not in (2, 3) or (offsets is not None and len(shape) != 2):
        raise ForeignFileError(f"{label} has shape {shape}; it must be (rows, dim) or (rows, n_tokens, dim).")
    ends = None if offsets is None else _checked_offsets(offsets, shape[0], label)
    n_there = shape[0] if ends is None else len(ends) - 1
    if places is None and n_there != len(rows):
        raise ForeignFileError(
            f"{label} has {n_there} rows {shape}, the table of keys {len(rows)}. Row i must be the table's row i."
        )
    at = range(len(rows)) if places is None else places
    starts = [0, *accumulate(n for _, n in parts)]

    def named(position: int) -> str:
        row = at[position]
        if not parts:
            return f"row {row} of {label}"
        part = bisect_right(starts, row) - 1
        return f"row {row - starts[part]} of {parts[part][0]}"

    def read() -> Iterator[Array | list[Array]]:
        here = rows.with_value.tolist()
        if ends is not None:
            yield from ([np.asarray(values[ends[n] : ends[n + 1]])] for n in here)
        elif places is not None:
            yield from ([np.asarray(values[places[n]])] for n in here)
        else:
            step = max(1, BLOCK_BYTES // (8 * max(1, prod(shape[1:]))))
            for start in range(0, len(rows), step):
                block = np.asarray(values[start : min(start + step, len(rows))])
                kept = [n for n in range(len(block)) if start + n not in rows.failures] if rows.failures else None
                yield block if kept is None else block[kept]

    shapes = [shape[1:]] * len(rows) if ends is None else [(stop - start, *shape[1:]) for start, stop in pairwise(ends)]
    return Items(kind, rows, shapes, [dtype] * len(rows), named, read)


def _checked_offsets(offsets: Array, n_values: int, label: str) -> list[int]:
    if offsets.ndim != 1 or offsets.dtype.kind not in "iu":
        raise ForeignFileError(f"{label}: offsets must be whole numbers (n + 1,), not {offsets.dtype} {offsets.shape}.")
    ends: list[int] = offsets.tolist()
    if not ends or ends[0] != 0 or ends[-1] != n_values or any(a > b for a, b in pairwise(ends)):
        raise ForeignFileError(f"{label}: its offsets don't ascend from 0 to its {n_values} rows of values.")
    return ends


def array_items(path: Path, keys: KeyTable, side: Side, *, offsets: Path | None = None) -> Items:
    """A .npy whose row i belongs to the table's row i; of videos, to the i-th video named, or to its `video_row`.

    A folder has numbered parts of it, `img_emb_0.npy`, `img_emb_1.npy`, …, one behind the other. With a .npy of
    offsets, (n + 1,), item i is `values[offsets[i]:offsets[i + 1]]`.

    Raises:
        ForeignFileError: it isn't a whole .npy of numbers, parts don't fit each other, or a part of the table.
    """
    if offsets is not None:
        if path.is_dir():
            raise ForeignFileError(f"{path} is a folder of parts; --offsets is for one array.")
        values = NpyRows(path)
        dtype = values.dtype.newbyteorder("=").name
        return matrix_items("array", values, dtype, keys.rows(side), label=str(path), offsets=map_values(offsets))
    parts = one_whole(path, [".npy"])
    array = _Joined([part.path for part in parts])
    if path.is_dir() and len(keys.parts) > 1:
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
    several = array.parts if path.is_dir() else ()
    return matrix_items("array", array, array.dtype, keys.rows(side), label=str(path), places=places, parts=several)


class _Joined:
    """Rows of one or several files, one behind the other; one of them is open at a time."""

    def __init__(self, paths: Sequence[Path]) -> None:
        abouts = [read_header(path).about for path in paths]
        kinds = {
            (shape[1:], dtype): f"{path} {shape} {dtype}" for path, (shape, dtype) in zip(paths, abouts, strict=True)
        }
        if len(kinds) > 1 or not abouts[0][0]:
            raise ForeignFileError(
                f"Parts of one array have one width and kind of numbers: {', '.join(kinds.values())}."
            )
        ((width, self.dtype),) = kinds
        self.parts = [(path, shape[0]) for path, (shape, _) in zip(paths, abouts, strict=True)]
        self._starts = [0, *accumulate(n_rows for _, n_rows in self.parts)]
        self.shape = (self._starts[-1], *width)
        self._open: tuple[Path, NpyRows] | None = None

    def __getitem__(self, index: int | slice) -> Array:
        if isinstance(index, int):
            row: Array = self[index : index + 1][0]
            return row
        cut = []
        for (path, n_rows), first in zip(self.parts, self._starts, strict=False):
            if first < index.stop and index.start < first + n_rows:
                if self._open is None or self._open[0] != path:
                    self._open = path, NpyRows(path)
                cut.append(self._open[1][max(0, index.start - first) : min(n_rows, index.stop - first)])
        return np.concatenate(cut)
