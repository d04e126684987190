"""What all tiles of one count share: the right pairs, what has been counted, and what was found out on the way."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from reelstore.errors import NonFiniteError
from reelstore.ranking.counts import Direction, PairCounts
from reelstore.ranking.filters import Centres
from reelstore.ranking.products import Products
from reelstore.ranking.reference import Array, Floats, Ints, Similarity, lengths
from reelstore.ranking.threads import do_nothing


class Lengths:
    """Lengths of the rows of one side that were needed so far, (n,); NaN of the others."""

    def __init__(self, n: int) -> None:
        self._known = np.full(n, np.nan)

    def of(self, block: Array, rows: Ints, first: int) -> Floats:
        """Lengths of these rows of a block that begins at row `first`."""
        found = self._known[rows + first]
        if np.isnan(found).any():
            missing = np.unique(rows[np.isnan(found)])
            self._known[missing + first] = lengths(block[missing])
            found = self._known[rows + first]
        return found

    def put(self, rows: Ints, values: Array) -> Floats:
        """Lengths of these distinct rows, of which `values` are given."""
        missing = np.isnan(self._known[rows])
        if missing.any():
            self._known[rows[missing]] = lengths(values[missing])
        return self._known[rows]


@dataclass
class Problem:
    """What all tiles of one count share.

    Attributes:
        similarity: what is compared.
        counts: added to, under `lock`.
        caption, video_of: (n_pairs,) the right pairs, sorted by caption.
        centres: taken off before products; None where nothing is.
        products: what multiplies.
        known: lengths of captions and of videos.
        answers: whether the best wrong items are looked for.
        group: (n_captions,) group of each caption, ascending, where videos search groups instead of captions: a
            group's score is that of its best caption. Captions of no group have the largest number.
        n_groups: groups.
        wait: until the scores of the right pairs are in `counts`.
    """

    similarity: Similarity
    counts: dict[Direction, PairCounts]
    caption: Ints
    video_of: Ints
    centres: Centres | None
    products: Products
    known: tuple[Lengths, Lengths]
    answers: bool
    group: Ints | None = None
    n_groups: int = 0
    wait: Callable[[], None] = do_nothing
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def exact_scale(self) -> float:
        """A product is half of a squared distance."""
        return 0.5 if self.similarity == "euclidean" else 1.0


def refuse_overflow(scores: Floats, first: int = 0) -> None:
    """Raise NonFiniteError where a score (n_captions, n_videos) isn't finite."""
    if not np.isfinite(scores).all():
        row = first + int(np.flatnonzero(~np.isfinite(scores).all(axis=1))[0])
        raise NonFiniteError(f"text row {row}: its product with a video overflows. Use similarity='cosine'.")
