"""Tables in text files -> columns: CSV, TSV, JSON lines and JSON, each line within bounds."""

import csv
import io
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NoReturn

from reelstore.errors import DamagedFileError, ForeignFileError
from reelstore.io import encoding_advice, open_regular, read_json
from reelstore.tables.cells import as_cell, place
from reelstore.tables.columns import Columns, Wanted, bare, columns_of

MAX_LINE = 16 * 2**20
"""Characters of a line; a row of a JSON file may hold a vector beside its key."""


def read_csv(path: Path, wanted: Wanted) -> Columns:
    """Columns of a CSV or, by its ending, TSV file.

    Where a blank follows a comma of the header, one may follow every comma.

    Raises:
        ForeignFileError: a line isn't UTF-8, has other than as many cells as there are columns, or a quote never ends.
    """
    kind = path.suffix[1:].lower()
    delimiter = "\t" if kind == "tsv" else ","
    lines, header = _lines(path), list[str]()
    before = 0
    try:
        names = next(csv.reader(_kept(lines, header), delimiter=delimiter, strict=True, skipinitialspace=True), [])
        blanks = header and names != next(csv.reader(header, delimiter=delimiter))
        if not any(names):
            what = "its first line has no names of columns" if header else "it is empty"
            raise ForeignFileError(f"{path} can't be read as {kind}: {what}.")
        places = wanted.places(names, path)
        unnamed = [at for at, name in enumerate(names) if at and not bare(name)]  # the first is pandas' index
        cells: dict[str, list[Any]] = {name: [] for name in places}
        kept = [(cells[name], at) for name, at in places.items()]
        numbers, before = list[int](), len(header)
        reader = csv.reader(lines, delimiter=delimiter, strict=True, skipinitialspace=bool(blanks))
        for row in reader:
            if row:
                if len(row) != len(names) or (unnamed and any(row[at] for at in unnamed)):
                    _refuse_row(row, names, place(path, before + 1), delimiter)
                for column, at in kept:
                    column.append(row[at] or None)
                numbers.append(before + 1)
            before = len(header) + reader.line_num
    except csv.Error as error:
        raise ForeignFileError(
            f"{place(path, before + 1)}: it can't be read as {kind}: {error}. Does a quote never end?"
        ) from None
    return columns_of(cells, numbers, names, wanted, path)


def read_json_lines(path: Path, wanted: Wanted) -> Columns:
    """Columns of a file with a JSON object a line.

    Raises:
        ForeignFileError: a line isn't one, or a cell isn't what its column has.
    """
    lines = ((number, line) for number, line in enumerate(_lines(path), start=1) if line.strip())
    return _of_objects(((number, _parsed(line, path, number)) for number, line in lines), path, wanted)


def read_json_rows(path: Path, wanted: Wanted) -> Columns:
    """Columns of a JSON file that is a list of objects.

    Raises:
        ForeignFileError: it isn't one, or a cell isn't what its column has.
    """
    try:
        rows = read_json(path)
    except DamagedFileError as error:
        hint = " A file with an object in each line ends in .jsonl." if "Extra data" in str(error) else ""
        raise ForeignFileError(f"{error}{hint}") from None
    if not isinstance(rows, list):
        raise ForeignFileError(f"{path} can't be read as a table: a list of objects is expected, one for each row.")
    return _of_objects(enumerate(rows, start=1), path, wanted)


def _of_objects(objects: Iterable[tuple[int, Any]], path: Path, wanted: Wanted) -> Columns:
    names: dict[str, None] = {}
    placed: dict[tuple[str, ...], list[tuple[str, str]]] = {}
    cells: dict[str, list[Any]] = {}
    numbers: list[int] = []
    for number, row in objects:
        if not isinstance(row, dict):
            raise ForeignFileError(f"{place(path, number)}: not an object of columns.")
        keys = (*row,)
        if keys not in placed:
            placed[keys] = [(name, keys[at]) for name, at in wanted.places(keys, place(path, number)).items()]
            names |= dict.fromkeys(keys)
        for name, key in placed[keys]:
            column = cells.setdefault(name, [])
            column += [None] * (len(numbers) - len(column))
            column.append(row[key] if name == wanted.captions else as_cell(row[key], path, number, name))
        numbers.append(number)
    for column in cells.values():
        column += [None] * (len(numbers) - len(column))
    return columns_of(cells, numbers, [*names], wanted, path)


def _refuse_row(row: list[str], names: list[str], where: str, delimiter: str) -> NoReturn:
    word = "comma" if delimiter == "," else "tab"
    if len(row) == len(names):
        at = next(at for at, name in enumerate(names) if at and not bare(name) and row[at])
        raise ForeignFileError(
            f"{where}: column {at + 1} has no name in the first line, and a value here. Give it a name; or, if a "
            f"{word} is part of a cell, put quotes around that cell."
        )
    advice = "Is it cut short?"
    if len(row) > len(names):
        is_blank = not any(row[len(names) :])
        advice = f"A cell with a {word} in it needs quotes around it."
        if is_blank:
            advice = f"It ends in a {word} that the first line doesn't have."
    raise ForeignFileError(f"{where}: {len(row)} cells for {len(names)} columns. {advice}")


def _kept(lines: Iterator[str], into: list[str]) -> Iterator[str]:
    for line in lines:
        into.append(line)
        yield line


def _lines(path: Path) -> Iterator[str]:
    """Lines of a file with their ends, each valid Unicode, without NUL, and not too long."""
    with io.TextIOWrapper(open_regular(path), "utf-8-sig", "surrogateescape", newline="") as file:
        number = 0
        while line := file.readline(MAX_LINE + 1):
            number += 1
            if len(line) > MAX_LINE:
                raise ForeignFileError(f"{path}, line {number}: it has more than {MAX_LINE} characters.")
            if not line.isascii() and (wrong := next((one for one in line if "\ud800" <= one <= "\udfff"), None)):
                what = f"character {line.index(wrong) + 1}: the byte 0x{ord(wrong) - 0xDC00:02x} isn't UTF-8"
                raise ForeignFileError(f"{path}, line {number}, {what}. {_advice(path)}")
            if "\x00" in line:
                what = f"character {line.index(chr(0)) + 1}: it is a NUL"
                raise ForeignFileError(f"{path}, line {number}, {what}. {_advice(path, nul=True)}")
            yield line


def _advice(path: Path, *, nul: bool = False) -> str:
    with open_regular(path) as file:
        return encoding_advice(file.read(8) + b"\0" * nul, path)


def _parsed(line: str, path: Path, number: int) -> Any:
    try:
        return _DECODER.decode(line)
    except (ValueError, RecursionError) as error:
        hint = " A file that is one list ends in .json." if number == 1 and line.lstrip().startswith("[") else ""
        raise ForeignFileError(
            f"{path}, line {number}: it can't be read as {path.suffix[1:]}: {error}.{hint}"
        ) from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        raise ValueError("a key is there twice")
    return row


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} isn't a JSON number")


_DECODER = json.JSONDecoder(object_pairs_hook=_once, parse_constant=_no_constant)
