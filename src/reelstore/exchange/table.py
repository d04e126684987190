"""A table on disk -> columns of text: CSV, TSV, Parquet, Arrow or JSON lines."""

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reelstore.errors import ForeignFileError


@dataclass(frozen=True)
class Table:
    """Columns of equal length; an empty cell is None.

    Attributes:
        path: where it was read from.
        columns: name -> cells.
        lines: what messages call a row: its line in a text file, else its number from 1.
    """

    path: Path
    columns: dict[str, list[str | None]]
    lines: Sequence[int]

    def __len__(self) -> int:
        return len(self.lines)

    def __contains__(self, column: object) -> bool:
        return column in self.columns

    def full(self, column: str) -> list[str]:
        """A column that must be there and have no empty cell."""
        if column not in self.columns:
            raise ForeignFileError(f"{self.path} has no column {column!r}. It has: {', '.join(self.columns)}.")
        cells = []
        for line, cell in zip(self.lines, self.columns[column], strict=True):
            if cell is None:
                raise ForeignFileError(f"{self.path}, line {line}: {column} is empty.")
            cells.append(cell)
        return cells

    def numbers(self, column: str, *, stop: int | None = None) -> list[int]:
        """A column of whole numbers from 0 to, without, `stop`."""
        numbers = []
        for line, cell in zip(self.lines, self.full(column), strict=True):
            if not (cell.isascii() and cell.isdigit()):
                raise ForeignFileError(f"{self.path}, line {line}: {column} must be row numbers from 0, not {cell!r}.")
            number = int(cell)
            if stop is not None and number >= stop:
                raise ForeignFileError(
                    f"{self.path}, line {line}: {column} {number}, but its rows are 0 to {stop - 1}."
                )
            numbers.append(number)
        return numbers


def read_table(path: Path) -> Table:
    """All of a table, as text.

    Raises:
        ForeignFileError: it isn't there, isn't of a kind that is known, or has no rows.
    """
    readers: dict[str, Callable[[Path], Table]] = {
        ".csv": _read_csv,
        ".tsv": _read_csv,
        ".jsonl": _read_lines,
        ".ndjson": _read_lines,
        ".parquet": _read_parquet,
        ".arrow": _read_arrow,
        ".feather": _read_arrow,
    }
    if path.suffix not in readers:
        raise ForeignFileError(f"{path}: a table ends in one of {', '.join(readers)}.")
    try:
        table = readers[path.suffix](path)
    except ForeignFileError:
        raise
    except (OSError, ValueError, csv.Error) as error:  # pyarrow's and json's errors are of these
        raise ForeignFileError(f"{path} can't be read as {path.suffix[1:]}: {error}") from error
    if not len(table):
        raise ForeignFileError(f"{path} has no rows.")
    return table


def _read_csv(path: Path) -> Table:
    with open(path, newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file, delimiter="\t" if path.suffix == ".tsv" else ",", strict=True)
        names = next(reader, [])
        if len(set(names)) < len(names):
            raise ForeignFileError(f"{path} has two columns of one name: {', '.join(names)}.")
        rows: list[list[str]] = []
        lines: list[int] = []
        before = reader.line_num
        for row in reader:
            if row:
                if len(row) != len(names):
                    raise ForeignFileError(f"{path}, line {before + 1}: {len(row)} cells for {len(names)} columns.")
                rows.append(row)
                lines.append(before + 1)
            before = reader.line_num
    return Table(path, {name: [row[n] or None for row in rows] for n, name in enumerate(names)}, lines)


def _read_lines(path: Path) -> Table:
    rows, lines = [], []
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
        if line.strip():
            row = json.loads(line)
            if not isinstance(row, dict):
                raise ForeignFileError(f"{path}, line {number}: not an object of columns.")
            rows.append(row)
            lines.append(number)
    names = dict.fromkeys(name for row in rows for name in row)
    return Table(path, {name: [_text(row.get(name), path, name) for row in rows] for name in names}, lines)


def _read_parquet(path: Path) -> Table:
    import pyarrow.parquet as pq

    return _of_arrow(path, pq.read_table(path, columns=_plain(pq.read_schema(path)), partitioning=None))


def _read_arrow(path: Path) -> Table:
    import pyarrow.feather as feather

    table = feather.read_table(path)
    return _of_arrow(path, table.select(_plain(table.schema)))


def _of_arrow(path: Path, table: Any) -> Table:
    columns = {
        name: [_text(cell, path, name) for cell in table.column(name).to_pylist()] for name in table.column_names
    }
    return Table(path, columns, range(1, table.num_rows + 1))


def _plain(schema: Any) -> list[str]:
    """Columns of text and numbers: a table may also hold vectors."""
    import pyarrow as pa

    return [field.name for field in schema if not pa.types.is_nested(field.type)]


def _text(cell: Any, path: Path, name: str) -> str | None:
    if cell is None or cell == "":
        return None
    if isinstance(cell, str):
        return cell
    if isinstance(cell, int) and not isinstance(cell, bool):
        return str(cell)
    if name in ("video_id", "caption_index", "split", "video", "video_row"):
        raise ForeignFileError(f"{path}: {name} must be text or whole numbers, not {cell!r}.")
    return str(cell)


def write_csv(path: Path, names: Sequence[str], rows: Iterator[Sequence[str | int]]) -> None:
    """A CSV that `read_table` gives back cell by cell."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(names)
        writer.writerows(rows)
