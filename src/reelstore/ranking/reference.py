"""The score of a pair, defined: float64 arithmetic on the stored values, in one stated order.

The two rows become float64 and are multiplied (for `euclidean` subtracted and squared) element by element. The products
are folded: what is beyond the largest power of two below their number is added onto the front, again and again, until
one is left. `cosine` divides by the product of the two lengths, square roots of the same fold. One rounding a step. The
sums of a BLAS would depend on block shape and number of threads; these depend on the two rows alone, so equal rows tie
exactly, wherever they stand.
"""

from collections.abc import Callable
from typing import Literal, get_args

import numpy as np

from reelstore.arrays import Array, Float64Array, IntArray
from reelstore.ranking.arguments import one_of
from reelstore.ranking.threads import in_parts

Similarity = Literal["cosine", "dot", "euclidean"]

_BLOCK_VALUES = 2**16
"""Products held at once: two buffers of them stay in a core's cache."""
_NARROW = 32
"""From this width on the fold goes down columns, because a strided step costs as much as its few values."""


def check_similarity(similarity: str) -> None:
    """Raise UnknownNameError unless `similarity` is one of `Similarity`."""
    one_of("similarity", similarity, get_args(Similarity))


def as_float64(rows: Array, similarity: Similarity) -> Float64Array:
    """Rows (n, dim) as float64; for `cosine`, float64 ones are scaled by a power of two each.

    Scaling by a power of two is exact. It keeps the squares of huge and tiny rows within float64's range, where those
    of all narrower types are anyway, so that it would change no bit of theirs.
    """
    if similarity != "cosine" or rows.dtype != np.float64:
        return rows.astype(np.float64)
    scaled: Float64Array = np.ldexp(rows, -np.frexp(np.abs(rows).max(axis=1, initial=0.0))[1][:, None])
    return scaled


def rows_at(values: Array, index: IntArray) -> Array:
    """Rows at these places, without a copy where they follow one another."""
    straight = len(index) > 0 and bool((index[1:] == index[:-1] + 1).all())
    return values[index[0] : index[-1] + 1] if straight else values[index]


def pair_scores(
    text: Array,
    video: Array,
    similarity: Similarity,
    *,
    at: tuple[IntArray, IntArray] | None = None,
    text_lengths: Float64Array | None = None,
    video_lengths: Float64Array | None = None,
) -> Float64Array:
    """Scores of text row n with video row n, or of the rows `at`, (n,).

    Args:
        text: (n, dim) finite real numbers of any dtype.
        video: (n, dim).
        similarity: `cosine` (a zero row scores 0 with everything), `dot`, or `euclidean`: minus the squared
            distance, which orders as minus the distance does.
        at: rows of `text` and of `video` to score, (n,) each.
        text_lengths, video_lengths: (n,) what `lengths` says of the rows that are scored, where it is known.

    Example:
        >>> pair_scores(np.array([[2., 0.]]), np.array([[3., 4.]]), "cosine")
        array([0.6])
    """
    left, right = (np.arange(len(text)), np.arange(len(video))) if at is None else at
    scores = np.empty(len(left))

    def work(some: slice) -> None:
        # Gathered by blocks: a copy of all rows would have to come from memory once more.
        ours, theirs = (
            as_float64(rows_at(rows, place[some]), similarity) for rows, place in ((text, left), (video, right))
        )
        if similarity != "cosine":
            scores[some] = _combined(ours, theirs, similarity, out=ours)
            return
        products = fold(ours * theirs)
        own = _lengths(ours, out=ours) if text_lengths is None else text_lengths[some]
        other = _lengths(theirs, out=theirs) if video_lengths is None else video_lengths[some]
        scores[some] = products / (own * other)

    _by_blocks(work, len(left), text.shape[1])
    return scores


def block_scores(text: Array, video: Array, similarity: Similarity) -> Float64Array:
    """Scores of every video row with every text row, (n_videos, n_captions): each the number `pair_scores` gives.

    Equal rows are scored once.
    """
    text, text_place = _distinct(text)
    video, video_place = _distinct(video)
    left, right = as_float64(text, similarity), as_float64(video, similarity)
    scores = _exact_product(right, left) if similarity != "euclidean" else None
    if scores is None:
        scores = np.empty((len(video), len(text)))
        step = max(1, _BLOCK_VALUES // max(text.shape[1], 1))
        for number, row in enumerate(right):
            for some in range(0, len(text), step):
                scores[number, some : some + step] = _combined(left[some : some + step], row[None], similarity)
    if similarity == "cosine":
        scores /= _lengths(right)[:, None] * _lengths(left)
    return scores[video_place[:, None], text_place]


def lengths(rows: Array) -> Float64Array:
    """(n,) lengths that a cosine divides by; 1 for a zero row."""
    found = np.empty(len(rows))

    def work(some: slice) -> None:
        values = as_float64(rows[some], "cosine")
        found[some] = _lengths(values, out=values)

    _by_blocks(work, len(rows), rows.shape[1])
    return found


def fold(products: Float64Array) -> Float64Array:
    """(n,) sum of each row of (n, dim) in the stated order; overwrites `products`. Zeros at a row's end add nothing."""
    products = _halved(products, down_to=_NARROW)
    columns = _halved(np.ascontiguousarray(products.T).T, down_to=1)
    return columns[:, 0] if columns.shape[1] else np.zeros(len(products))


def _halved(values: Float64Array, *, down_to: int) -> Float64Array:
    """The columns beyond the largest power of two below their number added onto the first, until few are left."""
    while (width := values.shape[1]) > down_to:
        half = 1 << (width - 1).bit_length() - 1
        if width == 2 * half:
            values = values[:, :half] + values[:, half:]  # into memory of its own: in place, numpy makes sure by a copy
        else:
            values[:, : width - half] += values[:, half:]
            values = values[:, :half]
    return values


def _combined(
    left: Float64Array, right: Float64Array, similarity: Similarity, out: Float64Array | None = None
) -> Float64Array:
    with np.errstate(over="ignore", invalid="ignore"):
        if similarity != "euclidean":
            return fold(np.multiply(left, right, out=out))
        difference = np.subtract(left, right, out=out)
        difference *= difference
        return -fold(difference)


def _lengths(values: Float64Array, out: Float64Array | None = None) -> Float64Array:
    found = np.sqrt(fold(np.multiply(values, values, out=out)))
    found[found == 0] = 1.0
    return found


def _by_blocks(work: Callable[[slice], None], n: int, dim: int) -> None:
    step = max(1, _BLOCK_VALUES // max(dim, 1))

    def some_blocks(start: int, stop: int) -> None:
        for block in range(start, stop):
            work(slice(block * step, min((block + 1) * step, n)))

    in_parts(some_blocks, -(-n // step))


def _distinct(rows: Array) -> tuple[Array, IntArray]:
    """Rows without repetition, and the place of each row among them."""
    rows = np.ascontiguousarray(rows) + rows.dtype.type(0)  # -0 becomes 0, so that bytes are equal where values are
    if not rows.shape[1]:
        return rows[:1], np.zeros(len(rows), dtype=np.int64)
    as_bytes = rows.view(np.dtype((np.void, rows.dtype.itemsize * rows.shape[1])))[:, 0]
    _, first, place = np.unique(as_bytes, return_index=True, return_inverse=True)
    return rows[first], place.reshape(-1)


def _exact_product(left: Float64Array, right: Float64Array) -> Float64Array | None:
    """The matrix product where every order of its sums gives the same bits; None where that can't be promised.

    True of integer codes, signs, and other values of few digits: if all values are whole multiples of some power of
    two, and so small that every partial sum of products is an integer below 2**53 of them, nothing is ever rounded.
    """
    grains = []
    for values in (left, right):
        with np.errstate(over="ignore"):
            longest = np.sqrt(np.einsum("ij,ij->i", values, values).max(initial=0.0))
        if not np.isfinite(longest) or 0 < longest < 1e-100:
            return None
        # 2**25.5 a side, with a margin for the rounding of `longest` itself.
        grains.append(np.ldexp(1.0, int(np.frexp(longest)[1]) - 26))
    if any(
        (np.rint(values / grain) * grain != values).any() for values, grain in zip((left, right), grains, strict=True)
    ):
        return None
    product: Float64Array = left @ right.T
    return product
