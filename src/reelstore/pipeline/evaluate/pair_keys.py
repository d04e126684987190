"""A table of keys -> who belongs to whom between an array of captions and one of videos, by row number or by id."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from reelstore.errors import EvaluationError
from reelstore.exchange.keys import COLUMNS, WHOLE, KeyRow, KeyTable
from reelstore.ranking import Ints
from reelstore.tables import Table, read_table


@dataclass(frozen=True)
class PairKeys:
    """The rows of two arrays, and which belong together.

    Attributes:
        path: of the table.
        caption, video: (n_pairs,) row of the caption and of its video, of each right pair.
        captions: key, split of each row of captions; a caption's key is (`video_id`, `caption_index`). One that no
            pair names has the `video_id` "".
        videos: the same of videos.
    """

    path: Path
    caption: Ints
    video: Ints
    captions: list[KeyRow]
    videos: list[KeyRow]

    def as_keys(self) -> None:
        """See that each caption has one video, as a store needs it: it keeps a caption by its video's id.

        Raises:
            EvaluationError: one has none, or several.
        """
        counts = np.bincount(self.caption, minlength=len(self.captions))
        for wrong, what in ((counts == 0, "no video"), (counts > 1, "several videos")):
            if wrong.any():
                raise EvaluationError(
                    f"{self.path}: caption {int(np.flatnonzero(wrong)[0])} has {what}; in a store each has one. "
                    "Without --store it can be measured."
                )


def read_pair_keys(path: Path, n_captions: int, n_videos: int) -> PairKeys:
    """The table of two arrays, in one of two forms.

    By row: the columns `caption` and `video` are row numbers from 0, a line for each right pair; ids are the videos'
    row numbers, a caption's index is its row. By id: line i is about row i of the captions, `video_id` says which
    video; videos are in the order in which lines name them first, unless a column `video_row` says where each is.
    `caption_index` and `split` are optional then.

    Raises:
        ForeignFileError: the table can't be read, or a cell isn't what its column says.
        EvaluationError: it has neither form, or arrays have other lengths.
    """
    table = read_table(path, COLUMNS, captions="caption")
    if "video_id" in table:
        return _by_id(table, n_captions, n_videos)
    if {"caption", "video"} <= {*table.names}:
        table = read_table(path, ("caption", "video"))
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
    captions = [KeyRow((str(first.get(row, "")), row), WHOLE, None) for row in range(n_captions)]
    videos = [KeyRow(str(row), WHOLE, None) for row in range(n_videos)]
    return PairKeys(table.path, np.array(caption), np.array(video), captions, videos)


def _by_id(table: Table, n_captions: int, n_videos: int) -> PairKeys:
    keys = KeyTable(table)
    captions, named = keys.rows("text"), keys.rows("video")
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
    return PairKeys(table.path, np.arange(n_captions), np.array(video), captions, videos)
