"""Tables in text files -> columns: CSV, TSV and JSON lines, a line at a time, each within bounds."""

import csv
import io
import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from reelstore.errors import ForeignFileError
from reelstore.io import open_regular
from reelstore.records import shortened

Cell = str | None
MAX_LINE = 16 * 2**20
"""Characters of a line; a row of a JSON file may hold a vector beside its key."""
MAX_CELL = 128 * 1024
"""Characters of a cell; also what Python's csv takes."""


@dataclass(frozen=True)
class Columns:
    """Cells of some columns, what messages call each row, and the names of all columns."""

    cells: dict[str, list[Cell]]
    lines: Sequence[int]
    names: Sequence[str]


def read_csv(path: Path, columns: Collection[str]) -> Columns:
    """Columns of a CSV or, by its ending, TSV file.

    Raises:
        ForeignFileError: a line isn't UTF-8, has other than as many cells as there are columns, or a quote never ends.
    """
    lines: list[int] = []
    before = 0
    try:
        source = _lines(path)
        reader = csv.reader(source, delimiter="\t" if path.suffix == ".tsv" else ",", strict=True)
        names = next(reader, None)
        if names is None:
            raise ForeignFileError(f"{path} can't be read as {path.suffix[1:]}: it is empty.")
        wanted = _places(names, columns, path)
        cells: dict[str, list[Cell]] = {name: [] for name in wanted}
        kept = [(cells[name], place) for name, place in wanted.items()]
        before = reader.line_num
        for row in reader:
            if row:
                if len(row) != len(names):
                    raise ForeignFileError(f"{path}, line {before + 1}: {len(row)} cells for {len(names)} columns.")
                for column, place in kept:
                    column.append(row[place] or None)
                lines.append(before + 1)
            before = reader.line_num
    except csv.Error as error:
        raise ForeignFileError(
            f"{path}, line {before + 1}: it can't be read as {path.suffix[1:]}: {error}. Does a quote never end?"
        ) from None
    return Columns(cells, lines, names)


def read_json_lines(path: Path, columns: Collection[str]) -> Columns:
    """Columns of a file with a JSON object a line.

    Raises:
        ForeignFileError: a line isn't one, or a cell isn't text or a whole number.
    """
    lines: list[int] = []
    names: dict[str, None] = {}
    cells: dict[str, list[Cell]] = {}
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            continue
        row = _object(line, path, number)
        names |= dict.fromkeys(row)
        for name in row:
            if name in columns and name not in cells:
                cells[name] = [None] * len(lines)
        lines.append(number)
        for name, column in cells.items():
            column.append(as_cell(row.get(name), path, number, name))
    return Columns(cells, lines, list(names))


def as_cell(value: Any, path: Path, line: int, column: str) -> Cell:
    """A cell's text; None where it is empty.

    Raises:
        ForeignFileError: it is neither text nor a whole number.
    """
    if value is None or value == "":
        return None
    if isinstance(value, str):
        if len(value) > MAX_CELL:
            raise ForeignFileError(
                f"{path}, line {line}: {column} has {len(value)} characters; at most {MAX_CELL} are read."
            )
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                raise ForeignFileError(
                    f"{path}, line {line}: {column} holds half of a surrogate pair, which isn't text: "
                    f"{shortened(value)}."
                ) from None
        return value
    if type(value) is int and value.bit_length() <= 64:
        return str(value)
    raise ForeignFileError(
        f"{path}, line {line}: {column} must be text or whole numbers of 64 bits, not {shortened(value)}."
    )


def _places(names: Sequence[str], columns: Collection[str], path: Path) -> dict[str, int]:
    if len(set(names)) < len(names):
        double = next(name for name in names if names.count(name) > 1)
        raise ForeignFileError(f"{path} has two columns of one name: {shortened(double)}.")
    return {name: place for place, name in enumerate(names) if name in columns}


def _lines(path: Path) -> Iterator[str]:
    """Lines of a file with their ends, each valid Unicode, without NUL, and not too long."""
    with io.TextIOWrapper(open_regular(path), "utf-8-sig", "surrogateescape", newline="") as file:
        number = 0
        while line := file.readline(MAX_LINE + 1):
            number += 1
            if len(line) > MAX_LINE:
                raise ForeignFileError(f"{path}, line {number}: it has more than {MAX_LINE} characters.")
            if not line.isascii() and (wrong := next((one for one in line if "\ud800" <= one <= "\udfff"), None)):
                place = f"{path}, line {number}, character {line.index(wrong) + 1}"
                raise ForeignFileError(f"{place}: the byte 0x{ord(wrong) - 0xDC00:02x} isn't UTF-8. Save it as UTF-8.")
            if "\x00" in line:
                place = f"{path}, line {number}, character {line.index(chr(0)) + 1}"
                raise ForeignFileError(f"{place}: it is a NUL. Save the file as UTF-8 text.")
            yield line


def _object(line: str, path: Path, number: int) -> dict[str, Any]:
    try:
        row = _DECODER.decode(line)
    except (ValueError, RecursionError) as error:
        raise ForeignFileError(f"{path}, line {number}: it can't be read as {path.suffix[1:]}: {error}.") from None
    if not isinstance(row, dict):
        raise ForeignFileError(f"{path}, line {number}: not an object of columns.")
    return row


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        raise ValueError("a key is there twice")
    return row


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} isn't a JSON number")


_DECODER = json.JSONDecoder(object_pairs_hook=_once, parse_constant=_no_constant)
