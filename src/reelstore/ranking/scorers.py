"""Counts from anything that yields blocks of scores: a ready matrix, a scorer on tokens, a reranker."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from reelstore.arrays import Array, IntArray
from reelstore.errors import NonFiniteError
from reelstore.ranking.counts import DIRECTIONS, MEMORY, Direction, PairCounts, unique_pairs
from reelstore.ranking.maxsim import MaxSim
from reelstore.ranking.sources import Source
from reelstore.ranking.threads import keep_memory
from reelstore.ranking.tiles import Tile

_BLOCK = 1024


class Scorer(Protocol):
    """Scores of every caption with every video, block by block.

    A pair must get the same bits in any block it comes in, or its rank depends on where blocks are cut.

    Attributes:
        shape: (n_captions, n_videos).
    """

    shape: tuple[int, int]

    def block(self, captions: slice, videos: slice) -> Array:
        """(n_captions, n_videos) scores of these captions with these videos, float32 or float64."""
        ...


class Matrix:
    """A ready score matrix (n_queries, n_items): an array, a tensor, a memory-mapped file; higher is closer.

    A masked score is -inf: its item wasn't retrieved.
    """

    def __init__(self, scores: Any) -> None:
        if isinstance(scores, list | tuple) and any(isinstance(row, np.ma.MaskedArray) for row in scores):
            scores = np.ma.stack(scores)
        if np.ma.is_masked(scores):
            scores = (scores if scores.dtype.kind == "f" else scores.astype(np.float64)).filled(-np.inf)
        self._source = Source(scores, "scores")
        self.shape = self._source.shape

    def block(self, captions: slice, videos: slice) -> Array:
        """The scores as they are."""
        rows = self._source.rows(captions.start, captions.stop)[:, videos]
        return rows.astype(np.float32 if rows.dtype == np.float16 else np.float64) if rows.dtype != np.float32 else rows


def count_scores(
    scorer: Scorer,
    caption: npt.NDArray[np.integer],
    video_of: npt.NDArray[np.integer],
    *,
    directions: Sequence[Direction] = DIRECTIONS,
    return_hard_negatives: bool = False,
    memory: int = MEMORY,
) -> dict[Direction, PairCounts]:
    """Counts of the directions asked for. What the scorer gives is compared as it is; infinities are in order.

    Where all scores fit into `memory` each block is asked for once, else twice. `MaxSim` counts by itself, without
    defining every score.

    Raises:
        NonFiniteError: a score is NaN.
    """
    keep_memory()
    if isinstance(scorer, MaxSim):
        return scorer.count(
            caption, video_of, directions=directions, return_hard_negatives=return_hard_negatives, memory=memory
        )
    n_captions, n_videos = scorer.shape
    cache = _ScoreCache(scorer, memory)
    pairs = unique_pairs(caption, video_of, n_videos)
    score = np.empty(len(pairs[0]))
    for captions, videos in cache.blocks():
        own = _inside(pairs, captions, videos)
        if len(own) or cache.keeps:
            scores = cache.block(captions, videos)
            score[own] = scores[pairs[0][own] - captions.start, pairs[1][own] - videos.start]
    counts: dict[Direction, PairCounts] = {}
    if "t2v" in directions:
        counts["t2v"] = PairCounts.empty(n_captions, n_videos, pairs[0], pairs[1], score)
    if "v2t" in directions:
        counts["v2t"] = PairCounts.empty(n_videos, n_captions, pairs[1], pairs[0], score)
    if not len(score):
        return counts
    for captions, videos in cache.blocks():
        scores = cache.block(captions, videos)
        own = _inside(pairs, captions, videos)
        at = pairs[0][own] - captions.start, pairs[1][own] - videos.start
        for direction, of in counts.items():
            straight = direction == "t2v"
            lines = (captions, videos) if straight else (videos, captions)
            _add(
                of,
                scores if straight else np.ascontiguousarray(scores.T),
                *lines,
                at if straight else at[::-1],
                return_hard_negatives,
            )
    for of in counts.values():
        _take_off_relevant(of)
    return counts


def _add(
    counts: PairCounts,
    scores: Array,
    queries: slice,
    items: slice,
    relevant: tuple[IntArray, IntArray],
    return_hard_negatives: bool,
) -> None:
    """Compare one block (n_queries, n_items); relevant items are counted like others."""
    own = counts.of(queries.start, queries.stop)
    exact = counts.score[own].astype(scores.dtype)
    found = Tile(scores, len(scores)).in_rows(counts.query[own] - queries.start, exact, exact, listed=False)
    counts.greater[own] += found.above
    counts.equal[own] += found.between
    if not return_hard_negatives:
        return
    others = np.ones(scores.shape, dtype=bool)
    others[relevant] = False
    asked = np.unique(counts.query[own]) - queries.start
    asked = asked[others[asked].any(axis=1)]
    best = np.where(others[asked], scores[asked], -np.inf).argmax(axis=1)
    # Where every non-relevant score is -inf the first of them is the best, not a relevant item made -inf.
    best = np.where(others[asked, best], best, others[asked].argmax(axis=1))
    counts.improve(asked + queries.start, best + items.start, scores[asked, best].astype(np.float64))


def _take_off_relevant(counts: PairCounts) -> None:
    """Relevant items don't compete with one another."""
    order = np.lexsort((-counts.score, counts.query))
    query, score = counts.query[order], counts.score[order]
    new_query = np.r_[True, query[1:] != query[:-1]]
    new_group = new_query | np.r_[True, score[1:] != score[:-1]]
    first = np.flatnonzero(new_group)
    group = np.cumsum(new_group) - 1
    above = first[group] - np.maximum.accumulate(np.where(new_query, np.arange(len(query)), 0))
    counts.greater[order] -= above
    counts.equal[order] -= np.bincount(group)[group]


class _ScoreCache:
    """A scorer's blocks, kept where they fit into memory."""

    def __init__(self, scorer: Scorer, memory: int) -> None:
        self.scorer = scorer
        n_captions, n_videos = scorer.shape
        self.keeps = not isinstance(scorer, Matrix) and 8 * n_captions * n_videos <= memory
        self._kept: dict[tuple[int, int], Array] = {}
        # A block, its transpose and marks, at eight bytes a score or less.
        values = max(memory // 64, 64 * 64)
        self.n_videos = min(max(n_videos, 1), max(64, min(_BLOCK * _BLOCK, values) // 64))
        self.n_captions = max(1, min(values, 2 * _BLOCK * _BLOCK) // self.n_videos)

    def blocks(self) -> list[tuple[slice, slice]]:
        """Where blocks are cut."""
        n_captions, n_videos = self.scorer.shape
        return [
            (slice(start, min(start + self.n_captions, n_captions)), slice(begin, min(begin + self.n_videos, n_videos)))
            for start in range(0, n_captions, self.n_captions)
            for begin in range(0, n_videos, self.n_videos)
        ]

    def block(self, captions: slice, videos: slice) -> Array:
        """One of them; NaN is refused."""
        key = captions.start, videos.start
        if key in self._kept:
            return self._kept[key]
        scores = self.scorer.block(captions, videos)
        if np.isnan(scores).any():
            bad = captions.start + np.flatnonzero(np.isnan(scores).any(axis=1))
            raise NonFiniteError(
                f"scores: {len(bad)} of the rows {captions.start} to {captions.stop - 1} hold NaN: "
                f"{', '.join(map(str, bad[:10].tolist()))}{', …' if len(bad) > 10 else ''}. "
                "NaN compares as false everywhere and would look like a perfect hit."
            )
        if self.keeps:
            self._kept[key] = scores
        return scores


def _inside(pairs: tuple[IntArray, IntArray], captions: slice, videos: slice) -> IntArray:
    first, last = np.searchsorted(pairs[0], [captions.start, captions.stop])
    own = np.arange(first, last)
    inside: IntArray = own[(pairs[1][own] >= videos.start) & (pairs[1][own] < videos.stop)]
    return inside
