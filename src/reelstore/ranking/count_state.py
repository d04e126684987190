"""What all tiles of one count share: the relevant pairs, what has been counted, and what was found out on the way."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from reelstore.arrays import Array, Float64Array, IntArray
from reelstore.errors import NonFiniteError
from reelstore.ranking.counts import Direction, PairCounts
from reelstore.ranking.filters import Band, Centres
from reelstore.ranking.products import Products
from reelstore.ranking.reference import Similarity, lengths
from reelstore.ranking.threads import do_nothing


class Lengths:
    """Lengths of the rows of one side that were needed so far, (n,); NaN of the others."""

    def __init__(self, n: int) -> None:
        self._known = np.full(n, np.nan)

    def of(self, block: Array, rows: IntArray, first: int) -> Float64Array:
        """Lengths of these rows of a block that begins at row `first`."""
        found = self._known[rows + first]
        if np.isnan(found).any():
            missing = np.unique(rows[np.isnan(found)])
            self._known[missing + first] = lengths(block[missing])
            found = self._known[rows + first]
        return found

    def put(self, rows: IntArray, values: Array) -> Float64Array:
        """Lengths of these distinct rows, of which `values` are given."""
        missing = np.isnan(self._known[rows])
        if missing.any():
            self._known[rows[missing]] = lengths(values[missing])
        return self._known[rows]


@dataclass(frozen=True)
class Estimates:
    """Products of the relevant pairs, so nearly their scores that most comparisons need no more.

    Attributes:
        product: direction -> (n_pairs,) in the order of its pairs.
        error: bound of its absolute error.
    """

    product: dict[Direction, Float64Array]
    error: float


@dataclass
class CountState:
    """What all tiles of one count share.

    Attributes:
        similarity: what is compared.
        counts: added to, under `lock`.
        caption, video_of: (n_pairs,) the relevant pairs, sorted by caption.
        products: what multiplies.
        known: lengths of captions and of videos.
        return_hard_negatives: whether the hardest negative are looked for.
        right_scores: scores of the pairs of these captions and videos, (n,) each, as they are defined.
        define: puts the scores of all relevant pairs into `counts`.
        centres: subtracted before products; None where nothing is.
        group: (n_captions,) group of each caption, ascending, where videos search groups instead of captions: a
            group's score is that of its best caption. Captions of no group have the largest number.
        n_groups: groups.
        wait: until the scores of the relevant pairs are in `counts`.
        deferred: whether scores of relevant pairs aren't in `counts`, and estimates, made from the first tile, take
            their place. Only where one block holds each side, and no query has a second relevant item.
        estimates: those.
    """

    similarity: Similarity
    counts: dict[Direction, PairCounts]
    caption: IntArray
    video_of: IntArray
    products: Products
    known: tuple[Lengths, Lengths]
    return_hard_negatives: bool
    relevant_scores: Callable[[IntArray, IntArray], Float64Array]
    define: Callable[[], None]
    centres: Centres | None = None
    group: IntArray | None = None
    n_groups: int = 0
    wait: Callable[[], None] = do_nothing
    deferred: bool = False
    estimates: Estimates | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    def around(self, direction: Direction, pairs: IntArray, bounds: Band, dtype: npt.DTypeLike) -> tuple[Array, Array]:
        """Lowest and highest product, (n,) of `dtype` each, that can belong to the scores of these relevant pairs."""
        if self.estimates is None:
            return bounds.around(self.as_product(self.counts[direction].score[pairs]), dtype)
        wider = replace(bounds, error=bounds.error + self.estimates.error)
        return wider.around(self.estimates.product[direction][pairs], dtype)

    def as_product(self, exact: Float64Array) -> Float64Array:
        """What a product without error is where the score is `exact`."""
        if self.similarity == "euclidean":
            return exact * 0.5
        return exact if self.centres is None else exact - self.centres.common

    def leave_open(self) -> None:
        """Leave the scores of relevant pairs open."""
        self.deferred = True
        for counts in self.counts.values():
            counts.score[:] = np.nan

    def estimate(self, product: Array, error: float) -> None:
        """Take these products of all relevant pairs, (n_pairs,), for their scores."""
        wide = product.astype(np.float64)
        self.estimates = Estimates({"t2v": wide, "v2t": wide[np.argsort(self.video_of)]}, error)

    def score_relevant(self) -> None:
        """The scores of relevant pairs themselves from now on."""
        self.define()
        self.deferred, self.estimates = False, None

    def score_of(self, direction: Direction, pairs: IntArray) -> Float64Array:
        """Scores of these relevant pairs, which may repeat, as they are defined."""
        counts = self.counts[direction]
        if self.estimates is None or not len(pairs):
            return counts.score[pairs]
        distinct, place = np.unique(pairs, return_inverse=True)
        sides = counts.query[distinct], counts.item[distinct]
        return self.relevant_scores(*(sides if direction == "t2v" else sides[::-1]))[place]


def refuse_overflow(scores: Float64Array, first: int = 0) -> None:
    """Raise NonFiniteError where a score (n_captions, n_videos) isn't finite."""
    if not np.isfinite(scores).all():
        row = first + int(np.flatnonzero(~np.isfinite(scores).all(axis=1))[0])
        raise NonFiniteError(f"text row {row}: its product with a video overflows. Use similarity='cosine'.")
