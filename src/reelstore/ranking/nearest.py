"""The items nearest to each query, exactly: a fast product filters, the reference decides.

Every block of items is multiplied in float32 (or float64, where the values need its range). An item whose approximate
score can't reach the k best that are known so far is out; the others are scored as the reference defines, so that the
order is that of the evaluation, ties included.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from reelstore.arrays import Array, Float64Array, IntArray
from reelstore.errors import EvaluationError, NonFiniteError
from reelstore.ranking.arguments import whole_number
from reelstore.ranking.counts import MEMORY
from reelstore.ranking.filters import LEVELS, OperandBlock, band
from reelstore.ranking.reference import Similarity, block_scores, check_similarity, pair_scores
from reelstore.ranking.sources import Source
from reelstore.ranking.threads import keep_memory

_QUERIES = 256
"""Queries that are looked up at once."""


@dataclass(frozen=True)
class Nearest:
    """The best items of every query, the best first; of equal ones the first in the items' order.

    Attributes:
        item: (n_queries, k) int64, row of each item; k is at most the number of items.
        score: (n_queries, k) float64, never rising along a row.
    """

    item: IntArray
    score: Float64Array

    def __repr__(self) -> str:
        return f"Nearest({self.item.shape[0]} queries, {self.item.shape[1]} items each)"


def nearest(
    queries: Any, items: Any, k: int = 10, *, similarity: Similarity = "cosine", memory: int = MEMORY
) -> Nearest:
    """The k items of the highest score for every query, in bounded memory.

    Args:
        queries: (n_queries, dim): an array, a tensor, or rows of a store.
        items: (n_items, dim), of the same width; read block by block.
        k: items a query.
        similarity: `cosine` (a zero vector scores 0 with everything), `dot`, or `euclidean`: minus the squared
            distance.
        memory: bytes for blocks and scores; changes speed, never a result.

    Raises:
        NonFiniteError: a row holds NaN or infinity, or a product of float64 numbers overflows.
        EvaluationError: widths differ, or k isn't a whole number from 1 on.

    Example:
        >>> found = nearest(np.array([[1., 0.]]), np.array([[0., 1.], [3., 0.], [1., 1.]]), k=2)
        >>> found.item, found.score.round(3)
        (array([[1, 2]]), array([[1.   , 0.707]]))
    """
    keep_memory()
    check_similarity(similarity)
    k, memory = whole_number("k", k, 1), whole_number("memory", memory, 1)
    asked, sought = Source(queries, "queries"), Source(items, "items")
    if asked.shape[1] != sought.shape[1]:
        raise EvaluationError(
            f"queries are {asked.shape[1]} wide and items {sought.shape[1]}: they share no space. Align them first."
        )
    k = min(k, len(sought))
    found = [
        _nearest(asked.rows(start, start + _QUERIES), asked, sought, k, similarity, memory)
        for start in range(0, len(asked), _QUERIES)
    ]
    nothing = np.zeros((0, k), dtype=np.int64), np.zeros((0, k))
    item, score = (np.concatenate([nothing[part], *(one[part] for one in found)]) for part in (0, 1))
    return Nearest(item, score)


def _nearest(
    rows: Array, asked: Source, sought: Source, k: int, similarity: Similarity, memory: int
) -> tuple[IntArray, Float64Array]:
    """Items and scores of some queries."""
    queries = OperandBlock(rows, similarity)
    if not queries.finite:
        asked.refuse_nonfinite()
    best = np.full((len(rows), k), -np.inf)
    item = np.full((len(rows), k), -1, dtype=np.int64)
    step = max(k, 1, memory // 2 // (24 * max(sought.shape[1], 16) + 8 * len(rows)))
    for start in range(0, len(sought), step):
        block = OperandBlock(sought.rows(start, start + step), similarity, left=True)
        if not block.finite:
            sought.refuse_nonfinite()
        query, place, score = _candidates(queries, block, best[:, -1], k, similarity)
        if not np.isfinite(score).all():
            row = start + int(place[~np.isfinite(score)][0])
            raise NonFiniteError(f"items row {row}: its product with a query overflows. Use similarity='cosine'.")
        best, item = _merged(best, item, query, place + start, score)
    return item, best


def _candidates(
    queries: OperandBlock, block: OperandBlock, known: Float64Array, k: int, similarity: Similarity
) -> tuple[IntArray, IntArray, Float64Array]:
    """Query, row of the block and score of what may be among the k best: `known` (n_queries,) must be met."""
    level = max(queries.lowest, block.lowest, "float32", key=LEVELS.index)
    if level == "exact":
        scores = block_scores(queries.stored, block.stored, similarity)  # (n_block, n_queries)
        place, query = np.nonzero(scores >= known)
        return query, place, scores[place, query]
    ours, theirs = getattr(queries, level), getattr(block, level)
    scores = theirs.values @ ours.values.T
    scale = 0.5 if similarity == "euclidean" else 1.0  # a product is half of a squared distance
    bound = band(level, ours, theirs, None)
    met = known * scale
    if len(scores) >= k:
        reached = np.partition(scores, len(scores) - k, axis=0)[len(scores) - k].astype(np.float64)
        met = np.maximum(met, reached - bound.error - bound.slope * np.abs(reached))  # k items have at least as much
    place, query = np.nonzero(scores >= bound.around(met, scores.dtype)[0])
    exact = pair_scores(queries.stored, block.stored, similarity, at=(query, place))
    return query, place, exact


def _merged(
    best: Float64Array, item: IntArray, query: IntArray, place: IntArray, score: Float64Array
) -> tuple[Float64Array, IntArray]:
    """The k best of what was known and of what came."""
    n, k = best.shape
    query = np.r_[np.repeat(np.arange(n), k), query]
    place, score = np.r_[item.ravel(), place], np.r_[best.ravel(), score]
    order = np.lexsort((place, -score, query))
    first = np.searchsorted(query[order], np.arange(n))
    kept: IntArray = order[(first[:, None] + np.arange(k)).ravel()]
    return score[kept].reshape(n, k), place[kept].reshape(n, k)
