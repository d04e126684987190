"""A Parquet or Arrow table with a column of vectors -> a source; and such a Parquet written."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from reelstore.errors import ForeignFileError
from reelstore.exchange.base import NOTHING, Array, Held, Key, Listing
from reelstore.exchange.keys import KeyTable
from reelstore.exchange.table import Table, read_table
from reelstore.records import Side

VALUES = "values"
"""Column of an export."""
READ_ROWS = 1024
"""Decoded at a time."""
_DTYPES = {"halffloat": "float16", "float": "float32", "double": "float64"}


@dataclass
class VectorTable:
    """Rows of a table with the columns of `KeyTable` and one of vectors: lists of numbers, or of tokens that are such.

    Attributes:
        path: .parquet, or .arrow or .feather.
        side: `video` or `text`.
        split: of all rows, whatever the table says.
        vector: column; by default the only one of lists.
        id_column: the one that is `video_id`.
    """

    path: Path
    side: Side
    split: str | None = None
    vector: str | None = None
    id_column: str = "video_id"
    kind = "parquet"
    _at: int = field(default=0, init=False)
    _batches: Iterator[list[Array]] | None = field(default=None, init=False)
    _waiting: list[Array] = field(default_factory=list, init=False)

    @cached_property
    def listing(self) -> Listing:
        """Keys, and shapes: the vectors are read once to see how long each is, unless their type says.

        Raises:
            ForeignFileError: there is no such column, a row has no vector and no reason, or no key.
        """
        dtype, shapes = _DTYPES.get(str(self._innermost), str(self._innermost)), self._shapes()
        table = self._keys()
        if self.side == "video" and len(table.first_lines) < len(shapes):
            raise ForeignFileError(f"{self.path}: a video_id occurs twice. A row is a video, and keys must be unique.")
        rows = table.rows(self.side)
        failures = {n: row.failure for n, row in enumerate(rows) if row.failure is not None}
        for number, shape in enumerate(shapes):
            if shape is None and number not in failures:
                raise ForeignFileError(
                    f"{self.path}, row {number + 1} ({rows[number].key!r}): {self._column} is null. "
                    "A row without a value says why in a column `failure`."
                )
        state = os.stat(self.path)
        stamp = (state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino)
        return Listing(
            keys=[row.key for row in rows],
            splits=[row.split for row in rows],
            names=[f"row {n + 1} of {self.path}" for n in range(len(rows))],
            shapes=[shape or () for shape in shapes],
            dtypes=[dtype] * len(rows),
            stamps=[stamp] * len(rows),
            failures=failures,
        )

    def read(self, start: int, stop: int) -> list[Array]:
        """Values of the rows from `start` to `stop`; those before them are read over."""
        if self._batches is None or start < self._at:
            self._batches, self._waiting, self._at = self._decoded(), [], 0
        values: list[Array] = []
        while self._at < stop:
            if not self._waiting:
                self._waiting = next(self._batches)
            skipped = min(max(0, start - self._at), len(self._waiting))
            taken = min(stop - self._at, len(self._waiting))
            values += self._waiting[skipped:taken]
            self._waiting = self._waiting[taken:]
            self._at += taken
        return values

    def _decoded(self) -> Iterator[list[Array]]:
        for column in self._chunks():
            values, ends = _flat(column)
            missing = column.is_null().to_numpy(zero_copy_only=False)
            dim = self._dim(column)
            rows = np.split(values, ends[1:-1])
            yield [
                NOTHING if gone else row if dim is None else row.reshape(-1, dim)
                for row, gone in zip(rows, missing, strict=True)
            ]

    def _shapes(self) -> list[tuple[int, ...] | None]:
        """Of each row; None where it is null."""
        import pyarrow as pa

        if pa.types.is_fixed_size_list(self._type) and not _is_list(self._type.value_type):
            shape = (self._type.list_size,)
            return [
                None if gone else shape
                for column in self._chunks()
                for gone in column.is_null().to_numpy(zero_copy_only=False)
            ]
        shapes: list[tuple[int, ...] | None] = []
        for column in self._chunks():
            _, ends = _flat(column)
            missing = column.is_null().to_numpy(zero_copy_only=False)
            dim = self._dim(column)
            for size, gone in zip(np.diff(ends).tolist(), missing, strict=True):
                shapes.append(None if gone else (size,) if dim is None else (size // dim, dim))
        return shapes

    def _dim(self, column: Any) -> int | None:
        """Width of a token; None where rows are vectors."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if not _is_list(self._type.value_type):
            return None
        if pa.types.is_fixed_size_list(self._type.value_type):
            return int(self._type.value_type.list_size)
        widths = pc.list_value_length(column.flatten())
        if widths.null_count or len(pc.unique(widths)) > 1:
            raise ForeignFileError(f"{self.path}: tokens of {self._column} have different widths, or are null.")
        return int(widths[0].as_py()) if len(widths) else 1

    @cached_property
    def _column(self) -> str:
        lists: list[str] = [one.name for one in self._schema if _is_list(one.type)]
        if self.vector is None and len(lists) == 1:
            return lists[0]
        if self.vector is None or self.vector not in lists:
            wanted = "Name one with --vector" if self.vector is None else f"There is no {self.vector!r} among them"
            raise ForeignFileError(f"{self.path}: columns of vectors: {', '.join(lists) or 'none'}. {wanted}.")
        return self.vector

    @cached_property
    def _type(self) -> Any:
        return self._schema.field(self._column).type

    @property
    def _innermost(self) -> Any:
        inner = self._type.value_type
        return inner.value_type if _is_list(inner) else inner

    def _keys(self) -> KeyTable:
        table = read_table(self.path)
        if self.id_column != "video_id":
            columns = {"video_id" if name == self.id_column else name: cells for name, cells in table.columns.items()}
            table = Table(self.path, columns, table.lines)
        return KeyTable(table, split=self.split)

    @cached_property
    def _schema(self) -> Any:
        return self._reading(self._read_schema)

    def _read_schema(self) -> Any:
        import pyarrow.ipc as ipc
        import pyarrow.parquet as pq

        if self.path.suffix == ".parquet":
            return pq.read_schema(self.path)
        with ipc.open_file(self.path) as file:
            return file.schema

    def _chunks(self) -> Iterator[Any]:
        """The column of vectors, some rows at a time."""
        import pyarrow.ipc as ipc
        import pyarrow.parquet as pq

        if self.path.suffix == ".parquet":
            with self._reading(lambda: pq.ParquetFile(self.path, memory_map=True)) as file:
                batches = file.iter_batches(READ_ROWS, columns=[self._column], use_threads=False)
                yield from self._checked(batch.column(0) for batch in batches)
            return
        with self._reading(lambda: ipc.open_file(self.path)) as file:
            yield from self._checked(
                batch.column(self._column).slice(start, READ_ROWS)
                for batch in map(file.get_batch, range(file.num_record_batches))
                for start in range(0, batch.num_rows, READ_ROWS)
            )

    def _checked(self, columns: Iterator[Any]) -> Iterator[Any]:
        while True:
            column = self._reading(lambda: next(columns, None))
            if column is None:
                return
            yield column

    def _reading(self, work: Any) -> Any:
        try:
            return work()
        except (OSError, ValueError) as error:  # pyarrow's are of these
            if isinstance(error, ForeignFileError):
                raise
            raise ForeignFileError(f"{self.path} can't be read as {self.path.suffix[1:]}: {error}") from error


def vector_type(held: Held) -> Any:
    """Arrow type of a row's value."""
    import pyarrow as pa

    vector = pa.list_(pa.float16() if held.dtype == "float16" else pa.float32(), held.dim)
    return vector if held.layout == "pooled" else pa.list_(vector)


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
    with pq.ParquetWriter(path, pa.schema(list(zip(names, types, strict=True))), use_dictionary=["split"]) as writer:
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
            writer.write_batch(pa.record_batch(columns, names=names).cast(writer.schema))


def _is_list(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _flat(column: Any) -> tuple[Array, Array]:
    """All numbers of a column of lists, one behind the other, and where each row's begin and end, (n + 1,)."""
    import pyarrow.compute as pc

    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False).astype(np.int64)
    inner = column.flatten()
    ends = np.concatenate([[0], np.cumsum(lengths)])
    if _is_list(inner.type):
        widths = pc.fill_null(pc.list_value_length(inner), 0).to_numpy(zero_copy_only=False).astype(np.int64)
        ends = np.concatenate([[0], np.cumsum(widths)])[ends]
        inner = inner.flatten()
    if inner.null_count:
        raise ForeignFileError(f"A vector holds null among its numbers ({inner.null_count} in some rows).")
    return inner.to_numpy(zero_copy_only=False), ends
