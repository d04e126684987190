"""Which columns of a table are wanted, by which names of its header; rows whose captions are a list become several."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from reelstore.errors import ForeignFileError
from reelstore.records import shortened
from reelstore.tables.cells import Cell, as_captions, place

T = TypeVar("T")


@dataclass(frozen=True)
class Wanted:
    """Columns to be read.

    Attributes:
        columns: their names.
        captions: a column whose cells are captions or lists of them; a row with a list becomes a row for each element.
            Where it isn't among `columns`, only the lists count.
    """

    columns: Collection[str]
    captions: str | None = None

    def places(self, names: Sequence[str], where: object) -> dict[str, int]:
        """Name -> its place in a header, of the wanted columns that are there. Blanks around a name don't count.

        Args:
            names: of a header.
            where: file, or file and line, for messages.

        Raises:
            ForeignFileError: two columns have one name, or one is called almost as a wanted one that isn't there.
        """
        own = [bare(name) for name in names]
        if len(set(own)) < len(own):
            double = next((name for name in own if name and own.count(name) > 1), None)
            if double is not None:
                raise ForeignFileError(f"{where} has two columns of one name: {shortened(double)}.")
        wanted = {*self.columns, *([self.captions] if self.captions else [])}
        for name in wanted - {*own}:
            almost = next((other for other in own if _letters(other) == _letters(name)), None)
            if almost is not None:
                raise ForeignFileError(
                    f"{where} has a column {shortened(almost)}, which isn't read as {name!r}. Rename it to {name}, or, "
                    "if it is something else, to another name."
                )
        return {name: at for at, name in enumerate(own) if name in wanted}


def bare(name: str) -> str:
    """A column's name without what spreadsheets and hands leave around it: blanks and byte order marks."""
    return name.strip().strip("\ufeff").strip()


def _letters(name: str) -> str:
    return "".join(filter(str.isalnum, name)).casefold()


@dataclass(frozen=True)
class Columns:
    """Cells of some columns, what messages call each row, and the names of all columns."""

    cells: dict[str, list[Cell]]
    lines: Sequence[int]
    names: Sequence[str]


def columns_of(
    cells: Mapping[str, list[Any]], lines: Sequence[int], names: Sequence[str], wanted: Wanted, path: Path
) -> Columns:
    """Columns of a table with a row for each caption.

    Args:
        cells: column -> a cell for each row, all of them checked but captions.
        lines: what messages call each row.
        names: of all columns of the table.
        wanted: what is kept.
        path: of the table, for messages.

    Raises:
        ForeignFileError: a caption isn't text or a list of texts; or captions are lists, and a row has none, or a
            `caption_index` for several.
    """
    column = wanted.captions
    if column is None or column not in cells:
        return Columns(dict(cells), lines, names)
    is_kept, texts, counts = column in wanted.columns, list[Cell](), list[int]()
    for line, value in zip(lines, cells[column], strict=True):
        captions = as_captions(value, path, line, column) if is_kept or isinstance(value, list) else [None]
        counts.append(len(captions))
        if is_kept:
            texts += captions
    kept = {name: of for name, of in cells.items() if name != column}
    if any(isinstance(value, list) for value in cells[column]):
        _check_lists(cells, lines, column, path)
        kept = {name: _repeated(of, counts) for name, of in kept.items()}
        lines = _repeated(lines, counts)
    return Columns(kept | ({column: texts} if is_kept else {}), lines, names)


def _repeated(values: Sequence[T], counts: Sequence[int]) -> list[T]:
    return [value for value, count in zip(values, counts, strict=True) for _ in range(count)]


def _check_lists(cells: Mapping[str, list[Any]], lines: Sequence[int], column: str, path: Path) -> None:
    for line, value in zip(lines, cells[column], strict=True):
        if value is None:
            raise ForeignFileError(f"{place(path, line)}: {column} is empty; others are lists of captions.")
        if "caption_index" in cells and isinstance(value, list) and len(value) > 1:
            raise ForeignFileError(
                f"{place(path, line)}: {column} is a list of captions, and caption_index is the number of one. Write "
                "a row for each caption, or leave caption_index out: captions of a video are counted from 0."
            )
