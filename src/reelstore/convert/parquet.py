"""A Parquet or Arrow table with a column of vectors -> a source; and such a Parquet written."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from reelstore.arrays import Array
from reelstore.convert.base import NOTHING, Held, Key, Listing, stamp_of
from reelstore.convert.keys import KeyTable, Reading, joined, read_columns
from reelstore.convert.names import NO_AFFIXES, Affixes
from reelstore.convert.shards import Shard, shards_of
from reelstore.errors import ForeignFileError
from reelstore.records import Side, shortened
from reelstore.tables import Table
from reelstore.tables.arrow import ArrowFile

VALUES = "values"
"""Column of an export."""
_MADE_BY = {b"reelstore": b"export"}
"""Among the metadata of an exported file."""
_DTYPES = {"halffloat": "float16", "float": "float32", "double": "float64"}


@dataclass
class VectorTable:
    """Rows of a table with the columns of `KeyTable` and one of vectors: lists of numbers, or of tokens that are such.

    Attributes:
        path: .parquet, .arrow or .feather, or a folder of such that are one table: `shards_of`.
        side: `video` or `text`.
        split: of all rows, whatever the table says.
        vector: column; by default the only one of lists.
        id_column: the one that is `video_id`.
        affixes: taken off the ids.
    """

    path: Path
    side: Side
    split: str | None = None
    vector: str | None = None
    id_column: str = "video_id"
    affixes: Affixes = NO_AFFIXES
    kind = "parquet"
    _at: int = field(default=0, init=False)
    _batches: Iterator[list[Array]] | None = field(default=None, init=False)
    _waiting: list[Array] = field(default_factory=list, init=False)
    _width: int | None = field(default=None, init=False)

    @cached_property
    def listing(self) -> Listing:
        """Keys, and shapes: the vectors are read once to see how long each is, unless their type says.

        Raises:
            ForeignFileError: there is no such column, a row has no vector and no reason, or no key.
        """
        dtype, shapes = self._dtype, self._shapes()
        table = self._keys()
        counts = list(table.parts.values())
        if self.affixes and not table.stripped:
            raise ForeignFileError(f"{self.path}: no id has {self.affixes}.")
        if self.side == "video" and len(table.first_lines) < len(shapes):
            raise ForeignFileError(f"{self.path}: a video_id occurs twice. A row is a video, and keys must be unique.")
        rows = table.rows(self.side)
        failures = {n: row.failure for n, row in enumerate(rows) if row.failure is not None}
        for number, shape in enumerate(shapes):
            if shape is None and number not in failures:
                raise ForeignFileError(
                    f"{self._row(counts, number)} ({rows[number].key!r}): {self._column} is null. "
                    "A row without a value says why in a column `failure`."
                )
            if shape is not None and number in failures:
                raise ForeignFileError(
                    f"{self._row(counts, number)} ({rows[number].key!r}): failure says that it has no value "
                    f"({shortened(failures[number])}), but {self._column} has one."
                )
        stamps = [(*stamp_of(os.stat(shard.path)), self._column) for shard in self._shards]
        return Listing(
            keys=[row.key for row in rows],
            splits=[row.split for row in rows],
            names=[f"row {n + 1} of {self._shards[s].path}" for s, n_rows in enumerate(counts) for n in range(n_rows)],
            shapes=[shape or () for shape in shapes],
            dtypes=[dtype] * len(rows),
            stamps=[stamps[s] for s, n_rows in enumerate(counts) for _ in range(n_rows)],
            failures=failures,
        )

    def read(self, start: int, stop: int) -> list[Array]:
        """Values of the rows from `start` to `stop`; those before them are read over."""
        if self._batches is None or start < self._at:
            self._batches, self._waiting, self._at = self._decoded(), [], 0
        values: list[Array] = []
        while self._at < stop:
            if not self._waiting:
                self._waiting = next(self._batches, [])
            if not self._waiting:
                raise ForeignFileError(f"{self.path} changed while it was imported. Run it again.")
            skipped = min(max(0, start - self._at), len(self._waiting))
            taken = min(stop - self._at, len(self._waiting))
            values += self._waiting[skipped:taken]
            self._waiting = self._waiting[taken:]
            self._at += taken
        return values

    def _decoded(self) -> Iterator[list[Array]]:
        for column, first in self._chunks():
            values, ends = self._flat(column, first)
            missing = column.is_null().to_numpy(zero_copy_only=False)
            rows = np.split(values, ends[1:-1])
            yield [
                NOTHING if gone else row.reshape(self._shape(len(row))) for row, gone in zip(rows, missing, strict=True)
            ]

    def _shapes(self) -> list[tuple[int, ...] | None]:
        """Of each row; None where it is null."""
        import pyarrow as pa

        tokens = self._type.value_type
        if pa.types.is_fixed_size_list(tokens):
            self._width = tokens.list_size
        sizes: list[int | None] = []
        for column, first in self._chunks():
            _, ends = self._flat(column, first)
            missing = column.is_null().to_numpy(zero_copy_only=False)
            if _is_list(tokens):
                self._check_width(column, first)
            sizes += [None if gone else size for size, gone in zip(np.diff(ends).tolist(), missing, strict=True)]
        return [None if size is None else self._shape(size) for size in sizes]

    def _shape(self, size: int) -> tuple[int, ...]:
        """Of a row with so many numbers: a vector's, or, by the width that `_shapes` found, of tokens."""
        if self._tensor is not None:
            return self._tensor
        width = self._width or 1
        return (size // width, width) if _is_list(self._type.value_type) else (size,)

    def _check_width(self, column: Any, first: "_Row") -> None:
        """See that every token has as many numbers as the others."""
        import pyarrow.compute as pc

        widths = pc.list_value_length(column.flatten()).to_numpy(zero_copy_only=False)
        if not len(widths):
            return
        if self._width is None:
            self._width = int(widths[0])
        if not self._width:
            raise ForeignFileError(f"{self.path}: tokens of {self._column} have no numbers.")
        other = np.flatnonzero(widths != self._width)
        if len(other):
            row = first.after(_row_of(int(other[0]), _ends(column)))
            raise ForeignFileError(
                f"{row}: tokens of {self._column} have different widths: "
                f"{int(widths[other[0]])}, and {self._width} before."
            )

    def _flat(self, column: Any, first: "_Row") -> tuple[Array, Array]:
        """All numbers of some rows, one behind the other, and where each row's begin and end, (n + 1,).

        Raises:
            ForeignFileError: a token or a number is null: what is left would be taken for the whole.
        """
        ends = _ends(column)
        inner = column.flatten()
        if _is_list(inner.type):
            self._refuse_null("token", inner, ends, first)
            ends = _ends(inner)[ends]
            inner = inner.flatten()
        self._refuse_null("number", inner, ends, first)
        return inner.to_numpy(zero_copy_only=False), ends

    def _refuse_null(self, what: str, inner: Any, ends: Array, first: "_Row") -> None:
        if inner.null_count:
            null = int(inner.is_null().to_numpy(zero_copy_only=False).argmax())
            row = _row_of(null, ends)
            raise ForeignFileError(
                f"{first.after(row)}: {what} {null - int(ends[row]) + 1} of {self._column} is null "
                f"({inner.null_count} such in {len(ends) - 1} rows)."
            )

    @cached_property
    def _column(self) -> str:
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

    @cached_property
    def _type(self) -> Any:
        return _storage(self._schema.field(self._column).type)

    @cached_property
    def _tensor(self) -> tuple[int, ...] | None:
        """Shape of all rows, where their type says it beside the list that holds them.

        Raises:
            ForeignFileError: their axes are swapped.
        """
        kind = self._schema.field(self._column).type
        if getattr(kind, "extension_name", "") != "arrow.fixed_shape_tensor":
            return None
        if kind.permutation is not None and list(kind.permutation) != sorted(kind.permutation):
            raise ForeignFileError(f"{self.path}: {self._column} is {kind}: its axes are swapped. Write it in C order.")
        return tuple(kind.shape)

    @cached_property
    def _dtype(self) -> str:
        """Of the numbers.

        Raises:
            ForeignFileError: they aren't floating point.
        """
        inner = self._type.value_type
        name = str(inner.value_type if _is_list(inner) else inner)
        if name not in _DTYPES:
            raise ForeignFileError(
                f"{self.path}: embeddings are floating point, {self._column} is {self._type} (numbers of type {name})."
            )
        return _DTYPES[name]

    def _keys(self) -> KeyTable:
        reading = Reading(self.split, self.id_column)
        tables = []
        for shard in self._shards:
            table = read_columns(shard.path, reading)
            if shard.split is not None and "split" not in table:
                columns: dict[str, list[str | None]] = {**table.columns, "split": [shard.split] * len(table)}
                table = Table(table.path, columns, table.lines, table.names)
            tables.append(table)
        return KeyTable(joined(self.path, tables), split=self.split, affixes=self.affixes)

    @cached_property
    def _shards(self) -> list[Shard]:
        return shards_of(self.path)

    @cached_property
    def _schema(self) -> Any:
        """Of all shards.

        Raises:
            ForeignFileError: they have different columns.
        """
        first = ArrowFile(self._shards[0].path).schema
        for shard in self._shards[1:]:
            other = ArrowFile(shard.path).schema
            if not other.equals(first):
                raise ForeignFileError(
                    f"{self._shards[0].path} and {shard.path} have different columns, or types of them."
                )
        return first

    def _chunks(self) -> Iterator[tuple[Any, "_Row"]]:
        """The column of vectors, some rows at a time, and the first of them."""
        for shard in self._shards:
            number = 0
            for column in ArrowFile(shard.path).column(self._column):
                yield getattr(column, "storage", column), _Row(shard.path, number)
                number += len(column)

    def _row(self, counts: Sequence[int], number: int) -> str:
        """What messages call a row of all shards."""
        for shard, n_rows in zip(self._shards, counts, strict=True):
            if number < n_rows:
                return str(_Row(shard.path, number))
            number -= n_rows
        raise IndexError(number)


class _Row(NamedTuple):
    """A row of a file, from 0; messages count from 1."""

    path: Path
    number: int

    def __str__(self) -> str:
        return f"{self.path}, row {self.number + 1}"

    def after(self, n_rows: int) -> "_Row":
        """So many rows on."""
        return _Row(self.path, self.number + n_rows)


def vector_type(held: Held) -> Any:
    """Arrow type of a row's value."""
    import pyarrow as pa

    vector = pa.list_(pa.float16() if held.dtype == "float16" else pa.float32(), held.dim)
    return vector if held.layout == "pooled" else pa.list_(vector)


def is_export(path: Path) -> bool:
    """Whether an export wrote this file: it says so, and has an export's columns and no others."""
    try:
        schema = ArrowFile(path).schema
    except (ForeignFileError, OSError):
        return False
    names = [name for name in schema.names if name != "caption_index"]
    return names == ["video_id", "split", "failure", VALUES] and (schema.metadata or {}).items() >= _MADE_BY.items()


def write_parquet(
    path: Path,
    held: Held,
    side: Side,
    blocks: Iterator[tuple[Sequence[Key], Sequence[str], Sequence[str | None], Array, Array | None]],
) -> None:
    """Write a table, block after block.

    Args:
        path: of the file.
        held: what a value is.
        side: `video` or `text`.
        blocks: keys, splits and reasons of k rows; the values of those that have one, (n_ok, dim) or
            (n_tokens_total, dim); and the tokens of each of these, None where they're pooled.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = ["video_id", *(["caption_index"] if side == "text" else []), "split", "failure", VALUES]
    types = [pa.string(), *([pa.int32()] if side == "text" else []), pa.string(), pa.string(), vector_type(held)]
    schema = pa.schema(list(zip(names, types, strict=True)), metadata=_MADE_BY)
    with pq.ParquetWriter(path, schema, use_dictionary=["split"]) as writer:
        for keys, splits, failures, values, counts in blocks:
            ids = [key if isinstance(key, str) else key[0] for key in keys]
            numbers = [pa.array([key[1] for key in keys], pa.int32())] if side == "text" else []
            columns = [pa.array(ids), *numbers, pa.array(splits), pa.array(failures, pa.string())]
            vectors = pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), held.dim)
            if counts is not None:
                ends = np.concatenate([[0], np.cumsum(counts)])
                vectors = pa.ListArray.from_arrays(pa.array(ends, pa.int32()), vectors)
            places, next_value = [], 0
            for failure in failures:
                places.append(next_value if failure is None else None)
                next_value += failure is None
            columns.append(vectors if None not in places else vectors.take(pa.array(places, pa.int64())))
            writer.write_batch(pa.record_batch(columns, names=names).cast(schema))


def _storage(kind: Any) -> Any:
    """What an extension type, such as `datasets`' Array2D, is kept as; other types are themselves."""
    import pyarrow as pa

    return kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind


def _is_list(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _ends(lists: Any) -> Array:
    """Where each list begins and ends among the values of all of them, (n + 1,); null ones have none."""
    import pyarrow.compute as pc

    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False).astype(np.int64)
    return np.concatenate([[0], np.cumsum(lengths)])


def _row_of(position: int, ends: Array) -> int:
    return int(np.searchsorted(ends, position, side="right")) - 1
