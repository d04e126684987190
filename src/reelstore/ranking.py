"""Scores -> exact counts: how many wrong items stand above, and beside, every right one.

The score of a pair is defined by float64 arithmetic in one stated order, element by element: products of the stored
values, added from the first dimension to the last, one rounding a step; for `cosine` then divided by the product of the
two lengths, which are summed the same way. A matrix product of a BLAS would order its sums by block shape and number of
threads, so that ranks would depend on both. Here equal rows tie exactly, and the counts are the same for every tile.
"""

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from reelstore.errors import NonFiniteError, UnknownNameError

Similarity = Literal["cosine", "dot"]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

TILE = 256
"""Queries and items scored at once: both buffers of a tile stay in the processor's cache."""


@dataclass(frozen=True)
class PairCounts:
    """One direction: the right items of every query, and the wrong ones above and beside them.

    Every metric under every tie rule follows from these. Pairs are sorted by query.

    Attributes:
        n_queries: number of queries, those without a right item among them.
        n_items: number of items.
        query: (n_pairs,) query of each right pair.
        item: (n_pairs,) its right item.
        score: (n_pairs,) float64.
        greater: (n_pairs,) wrong items that score higher for this query.
        equal: (n_pairs,) wrong items that score exactly the same.
        best_wrong: (n_queries,) wrong item with the highest score, the first of several; -1 where all are right.
        best_wrong_score: (n_queries,) its score; -inf where all are right.
    """

    n_queries: int
    n_items: int
    query: Ints
    item: Ints
    score: Floats
    greater: Ints
    equal: Ints
    best_wrong: Ints
    best_wrong_score: Floats

    def __repr__(self) -> str:
        return f"PairCounts({self.n_queries} queries, {self.n_items} items, {len(self.query)} right pairs)"


def count_pairs(
    text: npt.NDArray[Any],
    video: npt.NDArray[Any],
    caption: npt.NDArray[np.integer],
    video_of: npt.NDArray[np.integer],
    *,
    similarity: Similarity = "cosine",
    tile: int = TILE,
) -> tuple[PairCounts, PairCounts]:
    """Counts of both directions from one product, in memory bounded by the tile.

    Args:
        text: (n_captions, dim) real numbers; rows are read block by block.
        video: (n_videos, dim).
        caption: (n_pairs,) int; with `video_of`, the right pairs. A caption or video may have several, or none.
        video_of: (n_pairs,) int.
        similarity: `cosine` (a zero vector scores 0 with everything) or `dot`.
        tile: captions and videos scored at once; changes speed and memory, never a count.

    Returns:
        Text-to-video, video-to-text.

    Raises:
        NonFiniteError: a row holds NaN or infinity, or a dot product overflows.
    """
    refuse_nonfinite(text, "text")
    refuse_nonfinite(video, "video")
    pairs = np.unique(np.stack([caption, video_of], axis=1).astype(np.int64).reshape(-1, 2), axis=0)
    score = _pair_scores(text, video, pairs, similarity)
    t2v = _empty_counts(len(text), len(video), pairs[:, 0], pairs[:, 1], score)
    by_video = np.lexsort((pairs[:, 0], pairs[:, 1]))
    v2t = _empty_counts(len(video), len(text), pairs[by_video, 1], pairs[by_video, 0], score[by_video])
    for start in range(0, len(text), tile):
        rows = slice(start, start + tile)
        own = slice(*np.searchsorted(t2v.query, [start, start + tile]))
        block = _Block(text[rows], similarity)
        for first in range(0, len(video), tile):
            scores = _scores(block, _Block(video[first : first + tile], similarity), first=start)
            inside = (t2v.item[own] >= first) & (t2v.item[own] < first + tile)
            # Right items don't compete with one another: -inf is neither above nor equal to any score.
            scores[t2v.query[own][inside] - start, t2v.item[own][inside] - first] = -np.inf
            _tally(t2v, scores, start, first)
            _tally(v2t, np.ascontiguousarray(scores.T), first, start)
    return t2v, v2t


def score_matrix(
    text: npt.NDArray[Any], video: npt.NDArray[Any], *, similarity: Similarity = "cosine", tile: int = TILE
) -> Floats:
    """All scores, (n_captions, n_videos) float64, each the very number `count_pairs` compares.

    Example:
        >>> score_matrix(np.array([[2., 0.], [0., 0.]]), np.array([[1., 0.], [3., 4.]]))
        array([[1. , 0.6],
               [0. , 0. ]])
    """
    refuse_nonfinite(text, "text")
    refuse_nonfinite(video, "video")
    scores = np.empty((len(text), len(video)))
    columns = [_Block(video[first : first + tile], similarity) for first in range(0, len(video), tile)]
    for start in range(0, len(text), tile):
        block = _Block(text[start : start + tile], similarity)
        for number, column in enumerate(columns):
            scores[start : start + tile, number * tile : (number + 1) * tile] = _scores(block, column, first=start)
    return scores


def refuse_nonfinite(values: npt.NDArray[Any], name: str, *, block: int = 4096) -> None:
    """Raise NonFiniteError with the rows of `values` (n, dim) that hold NaN or infinity."""
    bad = [
        start + int(row)
        for start in range(0, len(values), block)
        for row in np.flatnonzero(~np.isfinite(values[start : start + block]).all(axis=1))
    ]
    if bad:
        shown = ", ".join(map(str, bad[:10])) + (", …" if len(bad) > 10 else "")
        raise NonFiniteError(
            f"{name}: {len(bad)} of {len(values)} rows hold NaN or infinity: {shown}. "
            "NaN compares as false everywhere and would look like a perfect hit; mend or leave out these rows."
        )


class _Block:
    """Some rows, ready to be scored: `columns` (dim, n) float64, lengths, and which dimensions aren't all zero."""

    def __init__(self, rows: npt.NDArray[Any], similarity: Similarity) -> None:
        if similarity not in get_args(Similarity):
            raise UnknownNameError("similarity", similarity, get_args(Similarity))
        values = np.asarray(rows, dtype=np.float64)
        self.length: Floats | None = None
        if similarity == "cosine":
            # Scaling by a power of two is exact, and keeps the squares of huge and tiny rows within range.
            exponent = np.frexp(np.abs(values).max(axis=1, initial=0.0))[1]
            values = np.ldexp(values, -exponent[:, None])
        self.columns = np.ascontiguousarray(values.T)
        self.used = self.columns.any(axis=1)
        if similarity == "cosine":
            length = np.sqrt(_dots(self.columns, self.columns))
            self.length = np.where(length > 0, length, 1.0)


def _scores(text: _Block, video: _Block, *, first: int) -> Floats:
    # A dimension that is zero on one side adds exactly nothing: zero-padded towers cost their own width.
    used = text.used & video.used
    scores = _dots(text.columns[used, :, None], video.columns[used, None, :])
    if text.length is not None and video.length is not None:
        scores /= text.length[:, None] * video.length
    _refuse_overflow(scores, first)
    return scores


def _pair_scores(text: npt.NDArray[Any], video: npt.NDArray[Any], pairs: Ints, similarity: Similarity) -> Floats:
    scores = np.empty(len(pairs))
    for start in range(0, len(pairs), 4096):
        some = pairs[start : start + 4096]
        left, right = _Block(text[some[:, 0]], similarity), _Block(video[some[:, 1]], similarity)
        dots = _dots(left.columns, right.columns)
        if left.length is not None and right.length is not None:
            dots /= left.length * right.length
        scores[start : start + 4096] = dots
    _refuse_overflow(scores[:, None], 0)
    return scores


def _dots(left: Floats, right: Floats) -> Floats:
    """Sum of products over the first axis, strictly from first to last; the other axes broadcast."""
    total = np.zeros(np.broadcast_shapes(left.shape[1:], right.shape[1:]))
    product = np.empty_like(total)
    with np.errstate(over="ignore", invalid="ignore"):
        for a, b in zip(left, right, strict=True):
            np.multiply(a, b, out=product)
            total += product
    return total


def _refuse_overflow(scores: Floats, first: int) -> None:
    if not np.isfinite(scores).all():
        row = first + int(np.flatnonzero(~np.isfinite(scores).all(axis=1))[0])
        raise NonFiniteError(f"text row {row}: its dot product with a video overflows. Use similarity='cosine'.")


def _empty_counts(n_queries: int, n_items: int, query: Ints, item: Ints, score: Floats) -> PairCounts:
    zeros = np.zeros((2, len(query)), dtype=np.int64)
    worst = np.full(n_queries, -np.inf)
    return PairCounts(
        n_queries, n_items, query, item, score, zeros[0], zeros[1], np.full(n_queries, -1, dtype=np.int64), worst
    )


def _tally(counts: PairCounts, scores: Floats, first_query: int, first_item: int) -> None:
    """Add one tile (queries, items) of wrong scores to the counts."""
    n_queries = len(scores)
    start, stop = np.searchsorted(counts.query, [first_query, first_query + n_queries])
    # As many pairs at a time as the tile has rows: memory stays that of a tile however many captions a video has.
    for low in range(start, stop, n_queries):
        pairs = slice(low, min(low + n_queries, stop))
        against = scores[counts.query[pairs] - first_query]
        counts.greater[pairs] += np.count_nonzero(against > counts.score[pairs, None], axis=1)
        counts.equal[pairs] += np.count_nonzero(against == counts.score[pairs, None], axis=1)
    queries = slice(first_query, first_query + n_queries)
    column = scores.argmax(axis=1)
    top = scores[np.arange(n_queries), column]
    better = top > counts.best_wrong_score[queries]
    counts.best_wrong[queries][better] = column[better] + first_item
    counts.best_wrong_score[queries][better] = top[better]
