"""A table on disk -> the columns asked for, as text: CSV, TSV, JSON lines, JSON, Parquet or Arrow."""

import csv
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from reelstore.errors import ForeignFileError
from reelstore.io import open_regular
from reelstore.records import MAX_CAPTION_INDEX, MAX_SPLITS, first_fault, shortened
from reelstore.tables.cells import Cell, place
from reelstore.tables.columns import Columns, Wanted
from reelstore.tables.lines import read_csv, read_json_lines, read_json_rows

ARROW_ENDINGS = (".parquet", ".arrow", ".feather")


@dataclass(frozen=True)
class Table:
    """Columns of equal length; an empty cell is None, every other one is valid Unicode.

    Attributes:
        path: where it was read from.
        columns: name -> cells, of the columns asked for that are there.
        lines: what messages call a row: its line in a text file, else its number from 1.
        names: of all columns.
    """

    path: Path
    columns: dict[str, list[Cell]]
    lines: Sequence[int]
    names: Sequence[str]

    def __len__(self) -> int:
        return len(self.lines)

    def __contains__(self, column: object) -> bool:
        return column in self.columns

    def refuse(self, row: int, what: str) -> ForeignFileError:
        """The error about a row, `line 3: video_id is empty`."""
        return ForeignFileError(f"{self.where(row)}: {what}.")

    def where(self, row: int) -> str:
        """What messages call a row: `keys.csv, line 3`, or `keys.parquet, row 2`."""
        return place(self.path, self.lines[row])

    def full(self, column: str) -> list[str]:
        """A column that must be there and have no empty cell."""
        if column not in self.columns:
            names = ", ".join(map(shortened_name, self.names[:20])) + (", …" if len(self.names) > 20 else "")
            raise ForeignFileError(f"{self.path} has no column {column!r}. It has: {names}.")
        cells = [cell for cell in self.columns[column] if cell is not None]
        if len(cells) < len(self):
            raise self.refuse(self.columns[column].index(None), f"{column} is empty")
        return cells

    def ids(self, column: str) -> list[str]:
        """A column of names that a store can keep."""
        cells = self.full(column)
        self.check_names(column)
        return cells

    def splits(self, column: str) -> list[str]:
        """The same, with no more different ones than a store has numbers for."""
        cells = self.full(column)
        self.check_names(column, few=True)
        return cells

    def check_names(self, column: str, *, few: bool = False) -> None:
        """See that every cell that isn't empty is a name that a store can keep.

        Args:
            column: one that may be missing.
            few: of splits, of which a store keeps some; a blank around one would make it another.
        """
        cells = self.columns.get(column, [])
        fault = first_fault(["-" if cell is None else cell for cell in cells])
        if fault is not None:
            raise self.refuse(fault[0], f"{column} {fault[1]}: {shortened(cells[fault[0]])}")
        if few:
            self.refuse_blanks(column)
            self._refuse_other_case(column)
        if few and len({*cells} - {None}) > MAX_SPLITS:
            seen: set[Cell] = {None}
            for row, cell in enumerate(cells):
                seen.add(cell)
                if len(seen) - 1 > MAX_SPLITS:
                    what = f"{column} {shortened(cell)} is number {len(seen) - 1}; a store keeps {MAX_SPLITS} at most"
                    raise self.refuse(row, what)

    def refuse_blanks(self, column: str) -> None:
        """See that no cell of a column begins or ends with a blank."""
        cells = self.columns.get(column, [])
        wrong = next((cell for cell in {*cells} if cell is not None and cell != cell.strip()), None)
        if wrong is not None:
            row = cells.index(wrong)
            raise self.refuse(row, f"{column} begins or ends with a blank: {shortened(wrong)}. Remove the blank")

    def _refuse_other_case(self, column: str) -> None:
        """See that no two names differ in capital letters alone: `Test` would be a split beside `test`."""
        cells = self.columns.get(column, [])
        names = {cell for cell in cells if cell is not None}
        if len({name.casefold() for name in names}) < len(names):
            first: dict[str, str] = {}
            for row, cell in enumerate(cells):
                if cell is not None and (other := first.setdefault(cell.casefold(), cell)) != cell:
                    raise self.refuse(
                        row, f"{column} {shortened(cell)} is {shortened(other)} elsewhere. Write one of them"
                    )

    def numbers(self, column: str, *, stop: int | None = None) -> list[int]:
        """A column of whole numbers from 0 to, without, `stop`, or as many as a store has."""
        numbers = []
        end = MAX_CAPTION_INDEX + 1 if stop is None else stop
        kind = "whole numbers" if stop is None else "row numbers"
        for row, cell in enumerate(self.full(column)):
            if not (cell.isascii() and cell.isdigit()):
                raise self.refuse(row, f"{column} must be {kind} from 0, not {shortened(cell)}")
            number = int(cell) if len(cell) < 20 else end
            if number >= end:
                what = f"its rows are 0 to {end - 1}" if stop is not None else f"at most {end - 1} is kept"
                raise self.refuse(row, f"{column} {cell[:30]}{'…' if len(cell) > 30 else ''}, but {what}")
            numbers.append(number)
        return numbers


def shortened_name(name: str) -> str:
    """A column's name in a list of them."""
    return name if len(name) <= 60 else f"{name[:57]}…"


def read_table(path: Path, columns: Collection[str], *, captions: str | None = None) -> Table:
    """The columns of a table that are named here, as text.

    Args:
        path: its ending says what it is, in whatever case.
        columns: those wanted; blanks around a name in the file don't count.
        captions: a column whose cells are captions, or lists of captions: a row with a list is given as a row for each
            of its elements. Where it isn't among `columns`, only lists are looked at.

    Raises:
        ForeignFileError: it isn't a file of a kind that is known, is damaged, or has no rows; the message has the line.
        OSError: it isn't there, or can't be read.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise ForeignFileError(f"{path}: the ending must be one of {', '.join(_READERS)}.")
    open_regular(path).close()
    found = reader(path, Wanted(columns, captions))
    if not len(found.lines):
        raise ForeignFileError(f"{path} has no rows.")
    return Table(path, found.cells, found.lines, found.names)


def _read_arrow(path: Path, wanted: Wanted) -> Columns:
    from reelstore.tables.arrow import ArrowFile

    return ArrowFile(path).text(wanted)


_READERS: dict[str, Callable[[Path, Wanted], Columns]] = {
    ".csv": read_csv,
    ".tsv": read_csv,
    ".jsonl": read_json_lines,
    ".ndjson": read_json_lines,
    ".json": read_json_rows,
    **dict.fromkeys(ARROW_ENDINGS, _read_arrow),
}
ENDINGS = tuple(ending for ending in _READERS if ending != ".json")
"""Of files that are tables whatever else is beside them; those in .json may be anything."""


def write_csv(path: Path, names: Sequence[str], rows: Iterator[Sequence[str | int]]) -> None:
    """A CSV that `read_table` gives back cell by cell; of a file that isn't there yet."""
    with open(path, "x", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(names)
        writer.writerows(rows)
