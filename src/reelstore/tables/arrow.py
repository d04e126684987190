"""Columns of Parquet and Arrow files, some rows at a time, each checked before anything is read of it.

pyarrow believes what a file says of itself: offsets of a damaged one lead into other memory, or end the process.
"""

from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from reelstore.errors import ForeignFileError
from reelstore.io import open_regular, refuse_irregular
from reelstore.records import shortened
from reelstore.tables.cells import MAX_CELL, as_cell
from reelstore.tables.claims import CONTINUES, claimed_by_stream, claimed_bytes
from reelstore.tables.columns import Columns, Wanted, columns_of

READ_ROWS = 1024
"""Decoded at a time."""
_FREE_ROWS = 10**6
_FREE_VALUES = 2**27
_FREE_BYTES = 2**30
_PER_BYTE = 64
"""What a file may hold: so many rows, numbers in one row group and bytes in one batch, and this many more for each of
its bytes. Beyond that it says more than it has."""


class ArrowFile:
    """A Parquet file, or an Arrow file or stream (.arrow, .feather).

    Raises:
        IrregularFileError: it is a folder, pipe or device.
        OSError: it isn't there.
    """

    def __init__(self, path: Path) -> None:
        refuse_irregular(path)
        self.path = path
        self._is_parquet = path.suffix.lower() == ".parquet"
        self._size = path.stat().st_size
        self._row_limit = _FREE_ROWS + _PER_BYTE * self._size

    @cached_property
    def schema(self) -> Any:
        """Names and types of its columns.

        Raises:
            ForeignFileError: the file is damaged, or two columns have one name.
        """
        schema = self._reading(self._read_schema)
        if len(set(schema.names)) < len(schema.names):
            raise ForeignFileError(f"{self.path} has two columns of one name: {', '.join(schema.names[:20])}.")
        return schema

    def column(self, name: str) -> Iterator[Any]:
        """Arrays of one column, of at most `READ_ROWS` rows each; what is in them is valid.

        Raises:
            ForeignFileError: the file is damaged, or has more rows than it can.
        """
        batches = self._parquet(name) if self._is_parquet else self._arrow(name)
        n_rows = 0
        while True:
            array = self._reading(lambda: next(batches, None), f"column {shortened(name)} from row {n_rows + 1} on")
            if array is None:
                return
            n_rows += len(array)
            yield array

    def text(self, wanted: Wanted) -> Columns:
        """Some columns as text.

        Raises:
            ForeignFileError: a cell isn't text or a whole number; or, of captions, text or a list of texts.
        """
        names = self.schema.names
        places = wanted.places(names, self.path)
        if wanted.captions not in wanted.columns and not self._is_list(places.get(wanted.captions or "")):
            places.pop(wanted.captions or "", None)
        if not places:
            return Columns({}, range(1, self._n_rows + 1), names)
        cells = {name: self._cells(names[at], name, wanted) for name, at in places.items()}
        n_rows = len(next(iter(cells.values())))
        if any(len(column) != n_rows for column in cells.values()):
            raise ForeignFileError(f"{self.path} is damaged: its columns have different numbers of rows.")
        return columns_of(cells, range(1, n_rows + 1), names, wanted, self.path)

    def _cells(self, name: str, called: str, wanted: Wanted) -> list[Any]:
        found: list[Any] = []
        n_texts, is_captions = 0, called == wanted.captions
        for array in self.column(name):
            if is_captions and _element(array.type) is not None:
                n_texts += _n_elements(array)
                self._refuse_rows(n_texts)
            values = self._values(array, called, len(found), is_captions=is_captions)
            if is_captions:
                found += values
            else:
                found += [
                    as_cell(value, self.path, number, called) for number, value in enumerate(values, len(found) + 1)
                ]
        return found

    def _is_list(self, at: int | None) -> bool:
        return at is not None and _element(self.schema.field(at).type) is not None

    def _values(self, array: Any, name: str, n_before: int, *, is_captions: bool) -> list[Any]:
        import pyarrow as pa
        import pyarrow.compute as pc

        kind, texts = array.type, array
        if is_captions and (element := _element(kind)) is not None:
            kind, texts = element, pc.list_flatten(array)
        if pa.types.is_dictionary(kind):
            kind, texts = kind.value_type, texts.dictionary
        if pa.types.is_null(kind) and texts is array:
            return [None] * len(array)
        is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
        if is_text:
            longest = pc.max(pc.binary_length(texts)).as_py() or 0
            if longest > 4 * MAX_CELL:
                raise ForeignFileError(
                    f"{self.path}, rows {n_before + 1} to {n_before + len(array)}: {shortened(name)} has a cell of "
                    f"{longest} bytes; at most {4 * MAX_CELL} are read."
                )
        elif not (pa.types.is_string_view(kind) or pa.types.is_null(kind)):
            expected = "text or lists of text" if is_captions else "text or whole numbers"
            if is_captions or not pa.types.is_integer(kind):
                raise ForeignFileError(
                    f"{self.path}, rows {n_before + 1} to {n_before + len(array)}: column {shortened(name)} must be "
                    f"{expected}, not {array.type}."
                )
        values: list[Any] = self._reading(array.to_pylist, f"column {shortened(name)}")
        return values

    @cached_property
    def _n_rows(self) -> int:
        return sum(len(array) for array in self.column(self.schema.names[0])) if self.schema.names else 0

    def _read_schema(self) -> Any:
        import pyarrow as pa
        import pyarrow.parquet as pq

        with pa.OSFile(str(self.path)) as source:
            if self._is_parquet:
                return pq.read_schema(source)
            schema = (pa.ipc.open_stream if self._is_stream else pa.ipc.open_file)(source).schema
        with open_regular(self.path) as file:
            claimed = claimed_by_stream(file) if self._is_stream else claimed_bytes(file)
        if claimed > _FREE_BYTES + _PER_BYTE * self._size:
            raise ForeignFileError(
                f"{self.path} would grow to {claimed} bytes in memory, and has {self._size}. "
                "Write it uncompressed, or in smaller batches."
            )
        return schema

    @cached_property
    def _is_stream(self) -> bool:
        """Whether an Arrow file is a stream, as Hugging Face's `datasets` writes it, rather than one with a footer."""
        with open_regular(self.path) as file:
            return file.read(len(CONTINUES)) == CONTINUES

    def _arrow(self, name: str) -> Iterator[Any]:
        import pyarrow as pa

        options = pa.ipc.IpcReadOptions(included_fields=[self.schema.names.index(name)], use_threads=False)
        n_rows = 0
        opened = pa.ipc.open_stream if self._is_stream else pa.ipc.open_file
        with pa.OSFile(str(self.path)) as source, opened(source, options=options) as file:
            batches = file if self._is_stream else map(file.get_batch, range(file.num_record_batches))
            for batch in batches:
                n_rows += batch.num_rows
                self._refuse_rows(n_rows)
                batch.validate(full=True)
                array = batch.column(0)
                for start in range(0, len(array), READ_ROWS):
                    yield array.slice(start, READ_ROWS)

    def _parquet(self, name: str) -> Iterator[Any]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        with pa.OSFile(str(self.path)) as source, pq.ParquetFile(source) as file:
            self._refuse_claims(file.metadata, name)
            n_rows = 0
            for batch in file.iter_batches(READ_ROWS, columns=[name], use_threads=False):
                n_rows += batch.num_rows
                self._refuse_rows(n_rows)
                batch.validate(full=True)
                yield batch.column(0)

    def _refuse_claims(self, metadata: Any, name: str) -> None:
        """What the footer says, before memory is taken for it."""
        self._refuse_rows(metadata.num_rows)
        for group in map(metadata.row_group, range(metadata.num_row_groups)):
            self._refuse_rows(group.num_rows)
            for column in map(group.column, range(group.num_columns)):
                path = column.path_in_schema
                if path != name and not path.startswith(f"{name}."):
                    continue
                if not 0 <= column.num_values <= _FREE_VALUES + _PER_BYTE * self._size:
                    raise ForeignFileError(
                        f"{self.path} is damaged: {column.num_values} values in a row group of {self._size} bytes."
                    )

    def _refuse_rows(self, n_rows: int) -> None:
        if not 0 <= n_rows <= self._row_limit:
            raise ForeignFileError(f"{self.path} is damaged: it speaks of {n_rows} rows, and has {self._size} bytes.")

    def _reading(self, work: Callable[[], Any], what: str = "") -> Any:
        try:
            return work()
        except ForeignFileError:
            raise
        except Exception as error:  # what pyarrow raises on damaged files is of many kinds
            where = f"{self.path}, {what}:" if what else f"{self.path}"
            said = (str(error).splitlines() or [type(error).__name__])[0][:200]
            raise ForeignFileError(f"{where} can't be read as {self.path.suffix[1:]}: {said}.") from error


def _element(kind: Any) -> Any:
    """Type of a list's elements; None where it is no list."""
    import pyarrow as pa

    types = pa.types
    is_view = types.is_list_view(kind) or types.is_large_list_view(kind)
    is_list = is_view or types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    return kind.value_type if is_list else None


def _n_elements(lists: Any) -> int:
    """Of all lists; a view may have the same ones many times."""
    import pyarrow.compute as pc

    return pc.sum(pc.list_value_length(lists)).as_py() or 0
