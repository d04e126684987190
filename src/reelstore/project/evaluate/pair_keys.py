"""A table of keys -> who belongs to whom between an array of captions and one of videos, by row number or by id."""

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from reelstore.arrays import IntArray
from reelstore.convert.keys import COLUMNS, WHOLE, KeyTable
from reelstore.errors import EvaluationError
from reelstore.store.keys import Key
from reelstore.tables import Table, read_table


class KeyRow(NamedTuple):
    """Key and split of a row of an array."""

    key: Key
    split: str


@dataclass(frozen=True)
class PairKeys:
    """The rows of two arrays, and which belong together.

    Attributes:
        path: of the table.
        caption, video: (n_pairs,) row of the caption and of its video, of each positive pair.
        captions: key, split of each row of captions; a caption's key is (`video_id`, `caption_index`). One that no
            pair names has the `video_id` "". Where there are several splits, what no pair names has the split "".
        videos: the same of videos.
        caption_rows, video_rows: row of each of `captions` and `videos` in the arrays.
    """

    path: Path
    caption: IntArray
    video: IntArray
    captions: list[KeyRow]
    videos: list[KeyRow]
    caption_rows: IntArray
    video_rows: IntArray

    def of_split(self, asked: str | None) -> "PairKeys":
        """What is measured: captions and videos of one split.

        Args:
            asked: its name; `all` for everything; None for the only one.

        Raises:
            EvaluationError: there is no such split, or there are several and none is asked for, or a row is in none.
        """
        sides = {"captions": self.captions, "videos": self.videos}
        names = sorted({row.split for rows in sides.values() for row in rows if row.split})
        if asked == WHOLE and (WHOLE not in names or len(names) == 1):
            return self
        if asked == WHOLE:
            raise EvaluationError(
                f"--split {WHOLE} may be one split or all of them: {self.path} has {', '.join(names)}. Give that split "
                "a name."
            )
        counts = {what: Counter(row.split for row in rows) for what, rows in sides.items()}
        there = ", ".join(
            f"{name} ({', '.join(f'{count[name]} {what}' for what, count in counts.items())})" for name in names
        )
        if names == [WHOLE] and asked is not None:
            raise EvaluationError(f"{self.path} has no column split, so that no split {asked!r} can be measured.")
        if asked is None and len(names) > 1:
            raise EvaluationError(
                f"{self.path} has the splits {there}. Name one with --split, such as --split {names[0]}, or measure "
                f"all together with --split {WHOLE}."
            )
        if asked is not None and asked not in names:
            raise EvaluationError(f"{self.path} has no split {asked!r}. It has the splits {there}.")
        if len(names) == 1:
            return self
        self.refuse_rows_of_no_split()
        kept = {what: np.array([row.split == asked for row in rows]) for what, rows in sides.items()}
        place = {what: np.cumsum(of) - 1 for what, of in kept.items()}
        pairs = kept["captions"][self.caption]
        return replace(
            self,
            caption=place["captions"][self.caption[pairs]],
            video=place["videos"][self.video[pairs]],
            captions=[row for row in self.captions if row.split == asked],
            videos=[row for row in self.videos if row.split == asked],
            caption_rows=self.caption_rows[kept["captions"]],
            video_rows=self.video_rows[kept["videos"]],
        )

    def refuse_rows_of_no_split(self) -> None:
        """Raise EvaluationError where there are several splits and no pair names some row, whose split isn't known."""
        for what, rows in (("caption", self.captions), ("video", self.videos)):
            unknown = [number for number, row in enumerate(rows) if not row.split]
            if unknown:
                raise EvaluationError(
                    f"{self.path} has several splits, and no line names {what} {unknown[0]}, whose split isn't known "
                    f"({len(unknown)} such {what}s). Leave these rows out of the array, or measure everything with "
                    f"--split {WHOLE}."
                )

    def as_keys(self) -> None:
        """See that each caption has one video, as a store needs it: it keeps a caption by its video's id.

        Raises:
            EvaluationError: one has none, or several.
        """
        self.refuse_rows_of_no_split()
        counts = np.bincount(self.caption, minlength=len(self.captions))
        for at_fault, what in ((counts == 0, "no video"), (counts > 1, "several videos")):
            if at_fault.any():
                raise EvaluationError(
                    f"{self.path}: caption {int(np.flatnonzero(at_fault)[0])} has {what}; in a store each has one. "
                    "Without --store it can be measured."
                )


def read_pair_keys(path: Path, n_captions: int, n_videos: int) -> PairKeys:
    """The table of two arrays, in one of two forms.

    By row: the columns `caption` and `video` are row numbers from 0, a line for each positive pair; ids are the videos'
    row numbers, a caption's index is its row. By id: line i is about row i of the captions, `video_id` says which
    video; videos are in the order in which lines name them first, unless a column `video_row` says where each is.
    `caption_index` is optional then. A column `split` is optional in both; a caption and its video have one.

    Raises:
        ForeignFileError: the table can't be read, or a cell isn't what its column says.
        EvaluationError: it has neither form, or arrays have other lengths.
    """
    table = read_table(path, COLUMNS, captions="caption")
    if "video_id" in table:
        return _by_id(table, n_captions, n_videos)
    if {"caption", "video"} <= {*table.names}:
        table = read_table(path, ("caption", "video", "split"))
    if "caption" in table and "video" in table:
        return _by_row(table, n_captions, n_videos)
    raise EvaluationError(
        f"{path} must have a column video_id, or the columns caption and video. It has: {', '.join(table.names[:20])}."
    )


def _by_row(table: Table, n_captions: int, n_videos: int) -> PairKeys:
    caption = table.numbers("caption", stop=n_captions)
    video = table.numbers("video", stop=n_videos)
    first: dict[int, int] = {}
    for row, owner in zip(caption, video, strict=True):
        first.setdefault(row, owner)
    caption_splits = _splits(table, "caption", caption, n_captions)
    video_splits = _splits(table, "video", video, n_videos)
    captions = [KeyRow((str(first.get(row, "")), row), caption_splits[row]) for row in range(n_captions)]
    videos = [KeyRow(str(row), video_splits[row]) for row in range(n_videos)]
    return _pair_keys(table.path, np.array(caption), np.array(video), captions, videos)


def _splits(table: Table, what: str, rows: list[int], n: int) -> list[str]:
    """Split of each of the n rows; "" where no line names it and there are several."""
    if "split" not in table:
        return [WHOLE] * n
    splits = table.splits("split")
    found: dict[int, int] = {}
    for number, row in enumerate(rows):
        other = found.setdefault(row, number)
        if splits[other] != splits[number]:
            of = f"{what} {row} is in the split {splits[number]!r}, and in {splits[other]!r}"
            raise table.refuse(number, f"{of} on line {table.lines[other]}")
    unnamed = splits[0] if len(set(splits)) == 1 else ""
    return [splits[found[row]] if row in found else unnamed for row in range(n)]


def _pair_keys(
    path: Path, caption: IntArray, video: IntArray, captions: list[KeyRow], videos: list[KeyRow]
) -> PairKeys:
    return PairKeys(path, caption, video, captions, videos, np.arange(len(captions)), np.arange(len(videos)))


def _by_id(table: Table, n_captions: int, n_videos: int) -> PairKeys:
    keys = KeyTable(table)
    captions, named = (
        [KeyRow(*one) for one in zip(rows.keys, rows.splits, strict=True)]
        for rows in (keys.rows("text"), keys.rows("video"))
    )
    if len(captions) != n_captions:
        raise EvaluationError(
            f"{table.path} has {len(captions)} lines, there are {n_captions} rows of captions. Line i is about row i."
        )
    places = keys.video_rows(n_videos)
    if places is None:
        if len(named) != n_videos:
            raise EvaluationError(
                f"{table.path} names {len(named)} videos, there are {n_videos} rows of videos. Videos without captions "
                "can be given by row number, in columns caption and video."
            )
        places = list(range(n_videos))
    if sorted(places) != list(range(n_videos)):
        wrong = next(row for row in range(n_videos) if places.count(row) != 1)
        raise EvaluationError(
            f"{table.path}: {places.count(wrong)} videos are row {wrong} of the videos; each row is one video. "
            "Videos without captions can be given by row number, in columns caption and video."
        )
    place = {row.key: where for row, where in zip(named, places, strict=True)}
    videos = [row for _, row in sorted(zip(places, named, strict=True), key=lambda pair: pair[0])]
    video = [place[row.key[0]] for row in captions]
    return _pair_keys(table.path, np.arange(n_captions), np.array(video), captions, videos)
