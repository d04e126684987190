"""Rows of a store -> the sample of videos and captions for checks of pairs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from reelstore.arrays import Array, Float64Array, IntArray
from reelstore.doctor.geometry import unit
from reelstore.pooling import pool
from reelstore.store.read import Rows

MAX_VIDEOS = 2000
"""Videos of a split in the sample; drawn with a fixed seed."""
MAX_CAPTIONS = 10_000
"""Captions of a split in the sample: as many of each video."""
RUN = 50
"""Videos that follow one another in the store are drawn together, so that keys which are off by one show."""
_BLOCK = 1024


@dataclass(frozen=True)
class Sample:
    """Videos of all splits and their captions, in the order of the store.

    Attributes:
        video: (n_videos, dim) in the stored dtype.
        text: (n_captions, other dim).
        video_of_caption: (n_captions,) row of each caption's video; ascending places aren't promised.
        splits: (n_videos,) name of each video's split.
        video_ids: n_videos ids.
        captions: n_captions keys.
        video_places: (n_videos,) ascending row of each video in its variant.
        caption_places: (n_captions,) ascending row of each caption in its variant.
        video_split_places: (n_videos,) row of each video among those of its split.
        caption_split_places: (n_captions,) the same of captions.
    """

    video: Array
    text: Array
    video_of_caption: IntArray
    splits: npt.NDArray[np.str_]
    video_ids: Sequence[str]
    captions: Sequence[tuple[str, int]]
    video_places: IntArray
    caption_places: IntArray
    video_split_places: IntArray
    caption_split_places: IntArray

    @cached_property
    def names(self) -> list[str]:
        """Splits that have videos with captions, those that are fitted on first, then by size."""
        captioned, counts = np.unique(self.splits[self.n_captions > 0], return_counts=True)
        order = {name: -int(count) for name, count in zip(captioned.tolist(), counts, strict=True)}
        return sorted(order, key=lambda name: (name != "train", order[name], name))

    @cached_property
    def n_captions(self) -> IntArray:
        """(n_videos,) captions of each video."""
        return np.bincount(self.video_of_caption, minlength=len(self.video)).astype(np.int64)

    @cached_property
    def caption_splits(self) -> npt.NDArray[np.str_]:
        """(n_captions,) split of each caption's video."""
        return self.splits[self.video_of_caption]

    @cached_property
    def mean_captions(self) -> Float64Array:
        """(n_videos, other dim) sum of each video's captions, each scaled to length 1; 0 where there are none."""
        total = np.zeros((len(self.video), self.text.shape[1]))
        np.add.at(total, self.video_of_caption, unit(self.text))
        return total

    @cached_property
    def one_caption(self) -> IntArray:
        """One caption of each video that has some, drawn with a fixed seed."""
        order = np.random.default_rng(0).permutation(len(self.text))
        return np.sort(order[np.unique(self.video_of_caption[order], return_index=True)[1]]).astype(np.int64)

    def videos_of(self, split: str) -> IntArray:
        """Rows of a split's videos that have captions."""
        return np.flatnonzero((self.splits == split) & (self.n_captions > 0))

    def captions_of(self, split: str) -> tuple[IntArray, IntArray]:
        """Rows of a split's captions, and the place of each one's video in `videos_of`."""
        videos = self.videos_of(split)
        rows = np.flatnonzero(self.caption_splits == split)
        return rows, np.searchsorted(videos, self.video_of_caption[rows])


def draw_sample(videos: Rows, texts: Rows) -> Sample:
    """At most `MAX_VIDEOS` videos of each split, in runs of neighbours, and their captions.

    Args:
        videos: pooled, or tokens, which are pooled by their mean.
        texts: the same of captions.
    """
    videos, texts = videos.ok(), texts.ok()
    ids, splits = videos.ids, np.array(videos.splits, dtype=np.str_)
    rows = _drawn(splits, np.random.default_rng(0))
    of_video: list[list[int]] = [[] for _ in rows]
    keys = texts.ids
    owners = ids.at(rows).find(keys.video_ids)
    for place in np.flatnonzero(owners >= 0).tolist():
        of_video[owners[place]].append(place)
    most = {name: max(1, MAX_CAPTIONS // max(int((splits[rows] == name).sum()), 1)) for name in set(splits.tolist())}
    chosen = [
        (place, number)
        for number, places in enumerate(of_video)
        for place in _spread(places, most[str(splits[rows[number]])])
    ]
    chosen.sort()
    places = np.array([place for place, _ in chosen], dtype=np.int64)
    return Sample(
        video=pooled_values(videos, rows),
        text=pooled_values(texts, places),
        video_of_caption=np.array([number for _, number in chosen], dtype=np.int64),
        splits=splits[rows],
        video_ids=[str(key) for key in ids.at(rows)],
        captions=[(str(key[0]), int(key[1])) for key in keys.at(places)],
        video_places=rows,
        caption_places=places,
        video_split_places=_within(splits)[rows],
        caption_split_places=_within(np.array(texts.splits, dtype=np.str_))[places],
    )


def pooled_values(rows: Rows, positions: IntArray) -> Array:
    """(k, dim) values of a pooled variant, or the mean of each row's tokens in float32."""
    if rows.layout == "pooled":
        return np.asarray(rows.take(positions))
    values = np.empty((len(positions), rows.dim), dtype=np.float32)
    for start, part in _blocks(positions):
        for number, tokens in enumerate(rows.take(part)):
            values[start + number] = pool(tokens, "mean") if len(tokens) else 0
    return values


def _drawn(splits: npt.NDArray[np.str_], rng: np.random.Generator) -> IntArray:
    """Ascending rows: all of a split, or runs of it."""
    chosen = []
    for name in np.unique(splits):
        rows = np.flatnonzero(splits == name)
        if len(rows) > MAX_VIDEOS:
            runs = np.array_split(rows, -(-len(rows) // RUN))
            picked = rng.permutation(len(runs))[: MAX_VIDEOS // RUN]
            rows = np.concatenate([runs[number] for number in picked])
        chosen.append(rows)
    return np.sort(np.concatenate(chosen)).astype(np.int64) if chosen else np.zeros(0, dtype=np.int64)


def _within(splits: npt.NDArray[np.str_]) -> IntArray:
    """(n,) how many earlier rows are of the same split."""
    places = np.empty(len(splits), dtype=np.int64)
    for name in np.unique(splits):
        rows = splits == name
        places[rows] = np.arange(int(rows.sum()))
    return places


def _spread(places: list[int], most: int) -> list[int]:
    """The first, the last, and others evenly between them."""
    if len(places) <= most:
        return places
    return [places[number] for number in sorted(set(np.linspace(0, len(places) - 1, most).round().astype(int)))]


def _blocks(positions: IntArray) -> Iterator[tuple[int, IntArray]]:
    for start in range(0, len(positions), _BLOCK):
        yield start, positions[start : start + _BLOCK]
