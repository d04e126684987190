"""Hard negatives: of the negative captions of a video, those with the nearest embeddings."""

import numpy as np

from reelstore.arrays import Float32Array, IntArray, unit_rows
from reelstore.errors import DatasetError
from reelstore.pairs.build import Rng, SplitCaptions
from reelstore.store.read import Rows

_VIDEOS, _CAPTIONS = 512, 16384
"""Scores held at once: 32 MiB."""


class HardNegatives:
    """The negative captions nearest to each video of a split; some of them are drawn.

    A video variant says which videos are alike, and their captions are near; a text variant says which captions are
    like the mean of the video's own. Both by cosine, after subtracting the mean of the split.

    Args:
        captions: of the split.
        rows: a pooled variant of either side.
        among: captions kept for each video.

    Raises:
        DatasetError: the variant isn't pooled, or lacks a row of the split.
    """

    def __init__(self, captions: SplitCaptions, rows: Rows, *, among: int) -> None:
        name = f"{rows.side}/{rows.encoder}/{rows.variant}"
        if rows.layout != "pooled":
            raise DatasetError(f"{name} holds tokens; hard negatives are mined by a pooled variant, as mean.")
        keys: list[str] | list[tuple[str, int]] = captions.video_ids
        if rows.side == "text":
            keys = [(caption.video_id, caption.caption_index) for caption in captions.captions]
        missing = [keys[place] for place in np.flatnonzero(rows.ok().ids.find(keys) < 0).tolist()]
        if missing:
            raise DatasetError(
                f"{name} has no embedding of {missing[0]!r} and {len(missing) - 1} more of {len(keys)}. "
                "Mine by another variant, or embed them: reelstore embed --retry-failed."
            )
        values = _centred(rows.select(keys).array().astype(np.float32))
        if rows.side == "text":
            own = (values[captions.own(video)].mean(axis=0) for video in range(len(captions.video_ids)))
            self._nearest = _nearest(captions, unit_rows(np.stack(list(own))), values, None, among)
        else:
            self._nearest = _nearest(captions, values, values, captions.video_of_caption, among)

    def __call__(self, video: int, n: int, rng: Rng) -> IntArray:
        """`n` captions drawn from the nearest, or all of those."""
        near = self._nearest[video]
        return near[np.sort(rng.choice(len(near), size=min(n, len(near)), replace=False))]


def _nearest(
    captions: SplitCaptions, videos: Float32Array, candidates: Float32Array, row: IntArray | None, among: int
) -> list[IntArray]:
    """For each video the `among` hardest negatives, nearest first; `row` is each caption's candidate."""
    found: list[IntArray] = []
    every = np.arange(len(captions.captions))
    for first in range(0, len(videos), _VIDEOS):
        block = videos[first : first + _VIDEOS]
        scores = np.empty((len(block), 0), dtype=np.float32)
        kept = np.empty((len(block), 0), dtype=np.int64)
        for start in range(0, len(every), _CAPTIONS):
            some = every[start : start + _CAPTIONS]
            new = block @ candidates[some if row is None else row[some]].T
            for at in range(len(block)):
                excluded = captions.positives(first + at) - start
                new[at, excluded[(excluded >= 0) & (excluded < len(some))]] = -np.inf
            scores = np.concatenate([scores, new], axis=1)
            kept = np.concatenate([kept, np.broadcast_to(some, new.shape)], axis=1)
            if scores.shape[1] > among:
                best = np.argpartition(-scores, among - 1, axis=1)[:, :among]
                scores, kept = np.take_along_axis(scores, best, axis=1), np.take_along_axis(kept, best, axis=1)
        order = np.lexsort((kept, -scores), axis=1)
        scores, kept = np.take_along_axis(scores, order, axis=1), np.take_along_axis(kept, order, axis=1)
        found += [near[score > -np.inf] for near, score in zip(kept, scores, strict=True)]
    return found


def _centred(values: Float32Array) -> Float32Array:
    values = unit_rows(values)
    return unit_rows(values - values.mean(axis=0, dtype=np.float64).astype(np.float32))
