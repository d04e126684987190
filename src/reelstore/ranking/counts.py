"""What ranking finds: for every relevant pair, how many non-relevant items rank above it, or equal to it."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from reelstore.arrays import Float64Array, IntArray

Direction = Literal["t2v", "v2t"]
DIRECTIONS: tuple[Direction, ...] = ("t2v", "v2t")
MEMORY = 2**30
"""Bytes that blocks and their tiles may take together."""


@dataclass(frozen=True)
class PairCounts:
    """One direction: the relevant items of every query, and the non-relevant ones above and beside them.

    Every metric under every tie rule follows from these. Pairs are sorted by query.

    Attributes:
        n_queries: number of queries, those without a relevant item among them.
        n_items: number of items.
        query: (n_pairs,) query of each relevant pair.
        item: (n_pairs,) its relevant item.
        score: (n_pairs,) float64; NaN where no comparison needed it: a query's only relevant
            pair, if no hardest negatives were asked for.
        greater: (n_pairs,) non-relevant items that score higher for this query.
        equal: (n_pairs,) non-relevant items that score exactly the same.
        hardest_negative: (n_queries,) non-relevant item with the highest score, the first of several; -1 where there
            is none and where it wasn't looked for.
        hardest_negative_score: (n_queries,) its score; -inf where there is none.
    """

    n_queries: int
    n_items: int
    query: IntArray
    item: IntArray
    score: Float64Array
    greater: IntArray
    equal: IntArray
    hardest_negative: IntArray
    hardest_negative_score: Float64Array

    def __repr__(self) -> str:
        return f"PairCounts({self.n_queries} queries, {self.n_items} items, {len(self.query)} relevant pairs)"

    @classmethod
    def empty(cls, n_queries: int, n_items: int, query: IntArray, item: IntArray, score: Float64Array) -> "PairCounts":
        """Nothing counted yet; pairs in any order."""
        again = query[1:] == query[:-1]
        in_order = (query[1:] > query[:-1]) | (again & (item[1:] >= item[:-1]))
        order = slice(None) if in_order.all() else np.lexsort((item, query))
        zeros = np.zeros((2, len(query)), dtype=np.int64)
        none = np.full(n_queries, -1, dtype=np.int64)
        worst = np.full(n_queries, -np.inf)
        return cls(n_queries, n_items, query[order], item[order], score[order], zeros[0], zeros[1], none, worst)

    @property
    def one_relevant(self) -> bool:
        """Whether no query has a second relevant item."""
        return bool((self.query[1:] != self.query[:-1]).all())

    def of(self, start: int, stop: int) -> slice:
        """Pairs of the queries from start (inclusive) to stop (exclusive)."""
        return slice(*np.searchsorted(self.query, [start, stop]))

    def improve(self, query: IntArray, item: IntArray, score: Float64Array) -> None:
        """Take these non-relevant items where they are better than what is known; of equals the first."""
        if not len(query):
            return
        order = np.lexsort((item, -score, query))
        query, item, score = query[order], item[order], score[order]
        first = np.r_[True, query[1:] != query[:-1]]
        query, item, score = query[first], item[first], score[first]
        known, place = self.hardest_negative_score[query], self.hardest_negative[query]
        better = (score > known) | ((score == known) & ((item < place) | (place < 0)))
        self.hardest_negative[query[better]] = item[better]
        self.hardest_negative_score[query[better]] = score[better]


def unique_pairs(caption: Any, video_of: Any, n_videos: int) -> tuple[IntArray, IntArray]:
    """Sorted by caption, then video."""
    key = np.asarray(caption, dtype=np.int64) * max(n_videos, 1) + np.asarray(video_of, dtype=np.int64)
    if not (key[1:] > key[:-1]).all():
        key = np.unique(key)
    return key // max(n_videos, 1), key % max(n_videos, 1)
