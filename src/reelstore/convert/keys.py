"""A table of keys: which video or caption each row is, its split, and its text."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from reelstore.convert.items import ItemRows
from reelstore.convert.names import NO_AFFIXES, Affixes
from reelstore.convert.parts import one_whole
from reelstore.errors import ForeignFileError
from reelstore.records import Side, name_fault, shortened
from reelstore.store.key_index import first_double
from reelstore.store.keys import Key, Keys
from reelstore.tables import ENDINGS, Table, read_table, write_csv

WHOLE = "all"
"""Split of rows that belong to none."""
TABLE = "keys.csv"
"""Name of the table in an exported folder."""
COLUMNS = ("video_id", "caption_index", "split", "failure", "video_row")
"""Of a table of keys."""


@dataclass(frozen=True)
class Reading:
    """How a table of keys is read.

    Attributes:
        split: of all rows, whatever the table says.
        id_column: the one that is `video_id`.
        name_column: the one that says which item of the source a row is, where its name isn't its key.
        affixes: taken off ids that have them.
    """

    split: str | None = None
    id_column: str = "video_id"
    name_column: str | None = None
    affixes: Affixes = NO_AFFIXES


class KeyTable:
    """Columns `video_id`, and where they are there: `caption_index` (else captions of a video are counted from 0 in
    their order), `split`, `failure` (why an item has no value), `video_row` (row of the video in an array of videos).

    A table of captions serves videos too: each one is its first line there. Other columns are ignored.

    Raises:
        ForeignFileError: there is no `video_id`, or a cell isn't what its column says or a store can keep.
    """

    def __init__(self, table: Table, *, split: str | None = None, affixes: Affixes = NO_AFFIXES) -> None:
        self.path = table.path
        self._table = table
        self._video_ids = table.ids("video_id")
        self.stripped = bool(affixes) and any(map(affixes.fit, self._video_ids))
        """Whether affixes were taken off its ids."""
        if self.stripped:
            for row, video_id in enumerate(self._video_ids):
                if not affixes.fit(video_id):
                    raise table.refuse(row, f"{shortened(video_id)} doesn't have {affixes}, which others have")
            self._video_ids = [affixes.off(video_id) for video_id in self._video_ids]
        self._indices = table.numbers("caption_index") if "caption_index" in table else None
        self._splits = table.splits("split") if "split" in table and split is None else [split or WHOLE] * len(table)

    @classmethod
    def read(cls, path: Path, reading: Reading | None = None) -> "KeyTable":
        """From a file, or from a folder of numbered parts, one behind the other.

        Args:
            path: CSV, TSV, Parquet, Arrow or JSON lines.
            reading: which columns are which.
        """
        reading = reading or Reading()
        parts = [read_columns(part.path, reading, captions="caption") for part in one_whole(path, ENDINGS)]
        return cls(joined(path, parts), split=reading.split, affixes=reading.affixes)

    @property
    def parts(self) -> dict[Path, int]:
        """How many lines each file has that it was read from."""
        parts = self._table.parts if isinstance(self._table, _Joined) else [self._table]
        return {part.path: len(part) for part in parts}

    @cached_property
    def names(self) -> dict[str, int] | None:
        """Name of an item -> line, from 0, that names it first; None where no column was said to have names."""
        if "name" not in self._table:
            return None
        return {name: row for row, name in reversed(list(enumerate(self._table.full("name"))))}

    def key_of_line(self, line: int, side: Side) -> Key:
        """The key of a line, from 0."""
        return self._video_ids[line] if side == "video" else (self._video_ids[line], self.caption_indices[line])

    def holds(self, name: str, side: Side) -> bool:
        """Whether a video has this id; of the text side, a caption this name."""
        ids = {*self._video_ids}
        return name in ids or (side == "text" and name.rpartition("-")[0] in ids)

    def refuse(self, line: int, what: str) -> ForeignFileError:
        """The error about a line, from 0."""
        return self._table.refuse(line, what)

    def _other(self, line: int) -> str:
        """What a message about another line calls this one."""
        part, row = self._table.part(line) if isinstance(self._table, _Joined) else (self._table, line)
        return f"line {part.lines[row]}" + (f" of {part.path}" if part is not self._table else "")

    def rows(self, side: Side) -> ItemRows:
        """The items of one side, in order."""
        failures = self._table.columns.get("failure") or []
        if side == "video":
            lines = self.first_lines
            splits = [self._splits[line] for line in lines]
            return ItemRows.of([self._video_ids[n] for n in lines], splits, [failures[n] for n in lines if failures])
        keys = Keys.of(zip(self._video_ids, self.caption_indices, strict=True))
        double = first_double(keys)
        if double is not None:
            key = keys[double]
            other = next(line for line, one in enumerate(keys) if one == key)
            raise self.refuse(double, f"caption {key!r} is there already, on {self._other(other)}")
        return ItemRows.of(keys, self._splits, failures)

    @property
    def first_lines(self) -> list[int]:
        """Where each video is named first.

        Raises:
            ForeignFileError: a video has two splits.
        """
        first: dict[str, int] = {}
        for number, video_id in enumerate(self._video_ids):
            other = first.setdefault(video_id, number)
            if self._splits[other] != self._splits[number]:
                here, there = self._splits[number], self._splits[other]
                what = f"video {video_id!r} is in the split {here!r}, and in {there!r} on {self._other(other)}"
                raise self.refuse(number, what)
        return list(first.values())

    @cached_property
    def caption_indices(self) -> list[int]:
        """Of each line."""
        if self._indices is not None:
            return self._indices
        count: defaultdict[str, int] = defaultdict(int)
        indices = []
        for video_id in self._video_ids:
            indices.append(count[video_id])
            count[video_id] += 1
        return indices

    def video_rows(self, n_videos: int) -> list[int] | None:
        """Row of each video in an array of `n_videos`, in the order of `rows("video")`; None where there is no such
        column."""
        if "video_row" not in self._table:
            return None
        rows = self._table.numbers("video_row", stop=n_videos)
        place: dict[str, int] = {}
        for number, video_id in enumerate(self._video_ids):
            if place.setdefault(video_id, rows[number]) != rows[number]:
                what = f"video {video_id!r} is row {rows[number]}, and row {place[video_id]} further up"
                raise self.refuse(number, what)
        return list(place.values())


@dataclass(frozen=True)
class _Joined(Table):
    """Tables one behind the other; messages name the part."""

    parts: Sequence[Table] = ()

    def part(self, row: int) -> tuple[Table, int]:
        """The part that a row is in, and which of its rows it is."""
        for part in self.parts:
            if row < len(part):
                return part, row
            row -= len(part)
        raise IndexError(row)

    def refuse(self, row: int, what: str) -> ForeignFileError:
        """The error about a row."""
        part, there = self.part(row)
        return part.refuse(there, what)


def read_columns(path: Path, reading: Reading, *, captions: str | None = None) -> Table:
    """One file's columns under the names that a table of keys has.

    Args:
        path: of the file.
        reading: which columns are which.
        captions: the column whose lists are read as a row for each element.

    Raises:
        ForeignFileError: a column that was named isn't there.
    """
    roles = {**{name: name for name in COLUMNS}, "video_id": reading.id_column}
    if reading.name_column is not None:
        roles["name"] = reading.name_column
    table = read_table(path, {*roles.values()}, captions=captions)
    for role in ("video_id", "name"):
        if role in roles:
            table.full(roles[role])
    columns = {role: table.columns[name] for role, name in roles.items() if name in table.columns}
    return Table(path, columns, table.lines, table.names)


def joined(path: Path, parts: Sequence[Table]) -> Table:
    """Tables one behind the other.

    Raises:
        ForeignFileError: one lacks a column that another has.
    """
    if len(parts) == 1:
        return parts[0]
    for part in parts:
        if part.columns.keys() != parts[0].columns.keys():
            name = sorted(part.columns.keys() ^ parts[0].columns.keys())[0]
            raise ForeignFileError(f"{parts[0].path} and {part.path}: only one of them has the column {name!r}.")
    columns = {name: [cell for part in parts for cell in part.columns[name]] for name in parts[0].columns}
    n_rows = sum(map(len, parts))
    return _Joined(path, columns, range(1, n_rows + 1), parts[0].names, tuple(parts))


def refuse_split(split: str) -> None:
    """Raise ForeignFileError where a split as typed is none that a store can keep."""
    fault = name_fault(split)
    if fault is not None:
        raise ForeignFileError(f"--split {fault}: {shortened(split)}.")


def write_keys(path: Path, side: Side, rows: Iterator[tuple[Key, str, str | None]]) -> None:
    """A table that `KeyTable` reads back: key, split and reason of each row."""
    names = ["video_id", *(["caption_index"] if side == "text" else []), "split", "failure"]

    def cells() -> Iterator[Sequence[str | int]]:
        for key, split, failure in rows:
            yield [*([key] if isinstance(key, str) else key), split, failure or ""]

    write_csv(path, names, cells())
