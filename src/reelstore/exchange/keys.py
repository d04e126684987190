"""A table of keys: which video or caption each row is, its split, and its text."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from reelstore.errors import ForeignFileError
from reelstore.exchange.base import Key
from reelstore.records import Side, name_fault, shortened
from reelstore.tables import Table, read_table, write_csv

WHOLE = "all"
"""Split of rows that belong to none."""
TABLE = "keys.csv"
"""Name of the table in an exported folder."""
COLUMNS = ("video_id", "caption_index", "split", "failure", "video_row")
"""Of a table of keys."""


@dataclass(frozen=True)
class KeyRow:
    """One item of a table: its key, split, and why it has no value, if it has none."""

    key: Key
    split: str
    failure: str | None


class KeyTable:
    """Columns `video_id`, and where they are there: `caption_index` (else captions of a video are counted from 0 in
    their order), `split`, `failure` (why an item has no value), `video_row` (row of the video in an array of videos).

    A table of captions serves videos too: each one is its first line there. Other columns are left alone.

    Raises:
        ForeignFileError: there is no `video_id`, or a cell isn't what its column says or a store can keep.
    """

    def __init__(self, table: Table, *, split: str | None = None) -> None:
        self.path = table.path
        self._table = table
        self._video_ids = table.ids("video_id")
        self._indices = table.numbers("caption_index") if "caption_index" in table else None
        self._splits = table.splits("split") if "split" in table and split is None else [split or WHOLE] * len(table)

    @classmethod
    def read(cls, path: Path, *, split: str | None = None) -> "KeyTable":
        """From a file.

        Args:
            path: CSV, TSV, Parquet, Arrow or JSON lines.
            split: of all rows, whatever the table says.
        """
        return cls(read_table(path, COLUMNS), split=split)

    def rows(self, side: Side) -> list[KeyRow]:
        """The items of one side, in order."""
        failures = self._table.columns.get("failure") or [None] * len(self._table)
        if side == "text":
            keys: list[Key] = list(zip(self._video_ids, self.caption_indices, strict=True))
            if len(set(keys)) < len(keys):
                first: dict[Key, int] = {}
                row = next(row for row, key in enumerate(keys) if first.setdefault(key, row) != row)
                line = self._table.lines[first[keys[row]]]
                raise self._table.refuse(row, f"caption {keys[row]!r} is there already, on line {line}")
            return [KeyRow(*cells) for cells in zip(keys, self._splits, failures, strict=True)]
        return [KeyRow(self._video_ids[n], self._splits[n], failures[n]) for n in self.first_lines]

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
                raise ForeignFileError(
                    f"{self.path}, line {self._table.lines[number]}: video {video_id!r} is in the split "
                    f"{self._splits[number]!r}, and in {self._splits[other]!r} on line {self._table.lines[other]}."
                )
        return list(first.values())

    @property
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
                raise ForeignFileError(
                    f"{self.path}, line {self._table.lines[number]}: video {video_id!r} is row {rows[number]}, "
                    f"and row {place[video_id]} further up."
                )
        return list(place.values())


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
