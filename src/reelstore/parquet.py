"""Parquet tables that reelstore wrote, read back: within bounds, pages by their checksums, columns by their types."""

import math
import os
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from reelstore.errors import DamagedFileError
from reelstore.io import open_regular

FEW_ROWS = 1_000_000
ROWS_PER_BYTE = 8
"""Beyond FEW_ROWS a table of ours has fewer rows for each byte of its file; another would only fill memory."""
TEXT_BYTES = 2**31
MAX_COLUMNS = 1000

Columns = dict[str, list[Any]]


def read_columns(
    path: Path | str, columns: Mapping[str, str], *, others: str | None = None, content: bytes | None = None
) -> Columns:
    """Columns of a table as lists of plain values.

    Args:
        path: of the file, for messages where `content` is given.
        columns: name -> `text`, `whole` or `number`; with a `?` behind it, a value may be null.
        others: kind of all other columns; None leaves them unread.
        content: of the file, where it isn't on this disk.

    Raises:
        DamagedFileError: it isn't such a table, or too large; the message has the column, and the row where it can.
        IrregularFileError, OSError: as of `io.open_regular`.
    """
    with open_regular(path) if content is None else BytesIO(content) as file:
        return _read(file, path, columns, others)


def _read(file: BinaryIO, path: Path | str, columns: Mapping[str, str], others: str | None) -> Columns:
    import pyarrow as pa
    import pyarrow.parquet as pq

    n_bytes = file.seek(0, os.SEEK_END)
    file.seek(0)
    try:
        found = pq.ParquetFile(file, page_checksum_verification=True)
        schema, n_rows = found.schema_arrow, found.metadata.num_rows
        kinds = _kinds(schema, path, columns, others)
        if (n_rows > FEW_ROWS and n_rows > ROWS_PER_BYTE * n_bytes) or len(kinds) > MAX_COLUMNS:
            raise DamagedFileError(f"{path} claims {n_rows} rows, {len(schema)} columns in {n_bytes} bytes.")
        texts = [name for name, kind in kinds.items() if kind.startswith("text")]
        # Text as a dictionary: a long one that repeats would be copied for every row.
        found = pq.ParquetFile(file, page_checksum_verification=True, read_dictionary=texts)
        table = found.read(columns=list(kinds))
        table.validate(full=True)
    except (pa.ArrowException, OSError, ValueError) as error:
        if isinstance(error, DamagedFileError) or (isinstance(error, OSError) and error.errno):
            raise
        raise DamagedFileError(f"{path} isn't a whole Parquet table: {' '.join(str(error).split())[:160]}.") from error
    return {name: _values(table.column(name), kind, f"{path}, column {name}") for name, kind in kinds.items()}


def _kinds(schema: Any, path: Path | str, columns: Mapping[str, str], others: str | None) -> dict[str, str]:
    """Column -> kind, of those that are read."""
    import pyarrow as pa

    names = schema.names
    if len(set(names)) < len(names):
        raise DamagedFileError(f"{path} has two columns of one name.")
    missing = [name for name in columns if name not in names]
    if missing:
        raise DamagedFileError(f"{path} has no column {missing[0]}.")
    kinds = {name: columns.get(name, others) for name in names}
    of_kind = {
        "text": (pa.types.is_string, pa.types.is_large_string),
        "whole": (pa.types.is_integer,),
        "number": (pa.types.is_floating, pa.types.is_integer),
    }
    for name, kind in kinds.items():
        type_ = schema.field(name).type
        if kind and not any(fits(type_) for fits in of_kind[kind.rstrip("?")]):
            raise DamagedFileError(f"{path}, column {name!r:.60} is {str(type_)[:60]}; {kind.rstrip('?')} is expected.")
    return {name: kind for name, kind in kinds.items() if kind}


def _values(column: Any, kind: str, where: str) -> list[Any]:
    if not kind.endswith("?") and column.null_count:
        row = next(number for number, value in enumerate(column.is_null().to_pylist()) if value)
        raise DamagedFileError(f"{where}, row {row} is empty.")
    if kind.startswith("text"):
        return _texts(column, where)
    values: list[Any] = column.to_pylist()
    if kind.startswith("number") and not all(value is None or math.isfinite(value) for value in values):
        raise DamagedFileError(f"{where} holds NaN or infinity.")
    return values


def _texts(column: Any, where: str) -> list[Any]:
    """Every text of the dictionary once, however many rows have it."""
    import pyarrow as pa

    texts: list[Any] = []
    for chunk in column.chunks:
        if not pa.types.is_dictionary(chunk.type):
            texts += chunk.to_pylist()
            continue
        if chunk.dictionary.nbytes > TEXT_BYTES:
            raise DamagedFileError(f"{where} holds more than {TEXT_BYTES} bytes of text.")
        known = chunk.dictionary.to_pylist()
        texts += [None if at is None else known[at] for at in chunk.indices.to_pylist()]
    return texts
