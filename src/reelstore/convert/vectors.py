"""A Parquet or Arrow table with a column of vectors -> items."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from reelstore.arrays import Array, IntArray
from reelstore.convert.items import Items
from reelstore.convert.keys import KeyTable, Reading, joined, read_columns
from reelstore.convert.names import NO_AFFIXES, Affixes
from reelstore.convert.parts import shards_of
from reelstore.errors import ForeignFileError
from reelstore.records import Side, shortened
from reelstore.tables import Table
from reelstore.tables.arrow import ArrowFile

_DTYPES = {"halffloat": "float16", "float": "float32", "double": "float64"}


def vector_items(
    path: Path,
    side: Side,
    *,
    split: str | None = None,
    vector: str | None = None,
    id_column: str = "video_id",
    affixes: Affixes = NO_AFFIXES,
) -> Items:
    """Rows of a table with the columns of `KeyTable` and one of vectors: lists of numbers, or of tokens that are such.

    The vectors are read once to see how long each is, and again for their values.

    Args:
        path: .parquet, .arrow or .feather, or a folder of such that are one table: `shards_of`.
        side: `video` or `text`.
        split: of all rows, whatever the table says.
        vector: column; by default the only one of lists.
        id_column: the one that is `video_id`.
        affixes: taken off the ids.

    Raises:
        ForeignFileError: there is no such column, a row has no vector and no reason, or no key.
    """
    shards = shards_of(path)
    column = _Column(path, [shard.path for shard in shards], vector)
    dtype = column.dtype
    sizes = [None if value is None else value.size for block in column.values() for value in block]
    shapes = [None if size is None else column.shape(size) for size in sizes]
    reading, tables = Reading(split, id_column), []
    for shard in shards:
        one = read_columns(shard.path, reading)
        if shard.split is not None and "split" not in one:
            one = Table(one.path, {**one.columns, "split": [shard.split] * len(one)}, one.lines, one.names)
        tables.append(one)
    table = KeyTable(joined(path, tables), split=split, affixes=affixes)
    if affixes and not table.stripped:
        raise ForeignFileError(f"{path}: no id has {affixes}.")
    if side == "video" and len(table.first_lines) < len(shapes):
        raise ForeignFileError(f"{path}: a video_id occurs twice. A row is a video, and keys must be unique.")
    rows = table.rows(side)
    if len(rows) != len(shapes):
        raise ForeignFileError(f"{path} is damaged: {len(shapes)} rows of {column.name}, {len(rows)} of keys.")
    starts = np.cumsum([0, *map(len, tables)])

    def place(position: int) -> "_Row":
        shard = int(np.searchsorted(starts, position, side="right")) - 1
        return _Row(shards[shard].path, position - int(starts[shard]))

    for number, shape in enumerate(shapes):
        failure = rows.failures.get(number)
        if shape is None and failure is None:
            raise ForeignFileError(
                f"{place(number)} ({rows.keys[number]!r}): {column.name} is null. A row without a value says why in a "
                "column `failure`."
            )
        if shape is not None and failure is not None:
            raise ForeignFileError(
                f"{place(number)} ({rows.keys[number]!r}): failure says that it has no value ({shortened(failure)}), "
                f"but {column.name} has one."
            )
    return Items(
        kind="parquet",
        rows=rows,
        shapes=[shape or () for shape in shapes],
        dtypes=[dtype] * len(rows),
        label=lambda position: f"row {place(position).number + 1} of {place(position).path}",
        values=lambda: ([value for value in block if value is not None] for block in column.values()),
    )


class _Row(NamedTuple):
    """A row of a file, from 0; messages count from 1."""

    path: Path
    number: int

    def __str__(self) -> str:
        return f"{self.path}, row {self.number + 1}"

    def after(self, n_rows: int) -> "_Row":
        """So many rows on."""
        return _Row(self.path, self.number + n_rows)


@dataclass
class _Column:
    """A column of vectors in the shards of a table."""

    path: Path
    shards: Sequence[Path]
    vector: str | None
    _width: int | None = None

    def values(self) -> Iterator[list[Array | None]]:
        """Of every row, in order, some at a time; None where it is null.

        Raises:
            ForeignFileError: a token or a number is null: the rest would be taken for all; or tokens differ in width.
        """
        import pyarrow as pa

        tokens = self._type.value_type
        if pa.types.is_fixed_size_list(tokens):
            self._width = tokens.list_size
        for shard in self.shards:
            first = _Row(shard, 0)
            for column in ArrowFile(shard).column(self.name):
                column = getattr(column, "storage", column)
                ends, inner = _ends(column), column.flatten()
                if _is_list(tokens):
                    self._refuse_null("token", inner, ends, first)
                    self._check_width(inner, ends, first)
                    ends, inner = _ends(inner)[ends], inner.flatten()
                self._refuse_null("number", inner, ends, first)
                missing = column.is_null().to_numpy(zero_copy_only=False)
                flat = inner.to_numpy(zero_copy_only=False)
                rows = zip(np.split(flat, ends[1:-1]), missing, strict=True)
                yield [None if gone else row.reshape(self.shape(len(row))) for row, gone in rows]
                first = first.after(len(column))

    def shape(self, size: int) -> tuple[int, ...]:
        """Of a row with so many numbers."""
        if self._tensor is not None:
            return self._tensor
        width = self._width or 1
        return (size // width, width) if _is_list(self._type.value_type) else (size,)

    def _check_width(self, tokens: Any, ends: IntArray, first: _Row) -> None:
        """See that every token has as many numbers as the others."""
        widths = np.diff(_ends(tokens))
        if self._width is None and len(widths):
            self._width = int(widths[0])
        if self._width == 0:
            raise ForeignFileError(f"{self.path}: tokens of {self.name} have no numbers.")
        other = np.flatnonzero(widths != self._width)
        if len(other):
            row = first.after(_row_of(int(other[0]), ends))
            raise ForeignFileError(
                f"{row}: tokens of {self.name} have different widths: {int(widths[other[0]])}, and {self._width} "
                "before."
            )

    def _refuse_null(self, what: str, inner: Any, ends: IntArray, first: _Row) -> None:
        if inner.null_count:
            null = int(inner.is_null().to_numpy(zero_copy_only=False).argmax())
            row = _row_of(null, ends)
            raise ForeignFileError(
                f"{first.after(row)}: {what} {null - int(ends[row]) + 1} of {self.name} is null "
                f"({inner.null_count} such in {len(ends) - 1} rows)."
            )

    @cached_property
    def name(self) -> str:
        """The column's.

        Raises:
            ForeignFileError: there is no such column of lists, or several and none is named.
        """
        lists: list[str] = [one.name for one in self._schema if _is_list(_storage(one.type))]
        if self.vector is None and len(lists) == 1:
            return lists[0]
        if self.vector is None or self.vector not in lists:
            wanted = "Name one with --vector" if self.vector is None else f"There is no {self.vector!r} among them"
            types = [f"{one.name} ({one.type})" for one in self._schema if one.name == self.vector]
            raise ForeignFileError(
                f"{self.path}: columns of vectors: {', '.join(lists[:20]) or 'none'}. {wanted}."
                + (f" A column of vectors has lists of numbers; this is {types[0]}." if types else "")
            )
        return self.vector

    @property
    def dtype(self) -> str:
        """Of the numbers.

        Raises:
            ForeignFileError: they aren't floating point.
        """
        inner = self._type.value_type
        name = str(inner.value_type if _is_list(inner) else inner)
        if name not in _DTYPES:
            raise ForeignFileError(
                f"{self.path}: embeddings are floating point, {self.name} is {self._type} (numbers of type {name})."
            )
        return _DTYPES[name]

    @cached_property
    def _type(self) -> Any:
        return _storage(self._schema.field(self.name).type)

    @cached_property
    def _tensor(self) -> tuple[int, ...] | None:
        """Shape of all rows, where their type says it beside the list that holds them.

        Raises:
            ForeignFileError: their axes are swapped.
        """
        kind = self._schema.field(self.name).type
        if getattr(kind, "extension_name", "") != "arrow.fixed_shape_tensor":
            return None
        if kind.permutation is not None and list(kind.permutation) != sorted(kind.permutation):
            raise ForeignFileError(f"{self.path}: {self.name} is {kind}: its axes are swapped. Write it in C order.")
        return tuple(kind.shape)

    @cached_property
    def _schema(self) -> Any:
        """Of all shards.

        Raises:
            ForeignFileError: they have different columns.
        """
        first = ArrowFile(self.shards[0]).schema
        for shard in self.shards[1:]:
            if not ArrowFile(shard).schema.equals(first):
                raise ForeignFileError(f"{self.shards[0]} and {shard} have different columns, or types of them.")
        return first


def _storage(kind: Any) -> Any:
    """What an extension type, such as `datasets`' Array2D, is kept as; other types are themselves."""
    import pyarrow as pa

    return kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind


def _is_list(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _ends(lists: Any) -> IntArray:
    """Where each list begins and ends among the values of all of them, (n + 1,); null ones have none."""
    import pyarrow.compute as pc

    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False).astype(np.int64)
    return np.concatenate([[0], np.cumsum(lengths)])


def _row_of(position: int, ends: IntArray) -> int:
    return int(np.searchsorted(ends, position, side="right")) - 1
