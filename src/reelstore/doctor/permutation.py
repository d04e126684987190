"""How well queries find their own items, against random permutations of which item is whose."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.stats import rankdata

from reelstore.arrays import Array, Float64Array, IntArray
from reelstore.doctor.geometry import unit
from reelstore.ranking.reciprocal import reciprocal_ranks

N_PERMUTATIONS = 999
_QUERIES = 512


@dataclass(frozen=True)
class PermutationTest:
    """What every query would score if its item were any of them, summed over the queries of each item.

    Attributes:
        reciprocals: (n_items, n_items) float64; row u, column v: mean reciprocal rank of item v over the queries of u.
        places: the same of the share of other items that score lower, 0 to 1: AUC.
        n_queries: (n_items,) queries behind each row.
    """

    reciprocals: Float64Array
    places: Float64Array
    n_queries: IntArray

    @property
    def n_items(self) -> int:
        """Items there are."""
        return len(self.n_queries)

    @cached_property
    def mrr(self) -> float:
        """Mean reciprocal rank over queries; a tie counts as the mean over all orders."""
        return self.mrr_at(np.arange(self.n_items))

    @cached_property
    def auc(self) -> float:
        """Mean share of other items that score lower, every item counting once; 0.5 is chance."""
        asked = self.n_queries > 0
        return float(np.diag(self.places)[asked].mean()) if asked.any() else 0.5

    @property
    def chance(self) -> float:
        """MRR of a constant score."""
        return float((1 / np.arange(1, self.n_items + 1)).mean())

    def mrr_at(self, items: IntArray) -> float:
        """MRR if row u's item were items[u]."""
        weights = self.n_queries / max(int(self.n_queries.sum()), 1)
        return float(weights @ self.reciprocals[np.arange(self.n_items), items])

    @cached_property
    def _null(self) -> tuple[Float64Array, Float64Array]:
        rng = np.random.default_rng(0)
        rows = np.arange(self.n_items)
        weights = self.n_queries / max(int(self.n_queries.sum()), 1)
        asked = (self.n_queries > 0) / max(int((self.n_queries > 0).sum()), 1)
        mrr, auc = np.empty(N_PERMUTATIONS), np.empty(N_PERMUTATIONS)
        for number in range(N_PERMUTATIONS):
            items = rng.permutation(self.n_items)
            mrr[number] = weights @ self.reciprocals[rows, items]
            auc[number] = asked @ self.places[rows, items]
        return mrr, auc

    @property
    def limit(self) -> float:
        """MRR that one of 1,000 permutations exceeds."""
        return float(np.quantile(self._null[0], 0.999))

    @property
    def p(self) -> float:
        """Share of permutations, this one among them, that find as much, by MRR or by AUC; corrected for both."""
        mrr, auc = self._null
        least = min((mrr >= self.mrr - 1e-12).sum(), (auc >= self.auc - 1e-12).sum())
        return float(min(1.0, 2 * (1 + least) / (1 + N_PERMUTATIONS)))

    @property
    def auc_error(self) -> float:
        """Standard deviation of AUC over permutations."""
        return float(self._null[1].std())


def permutation_test(queries: Array, items: Array, owner: IntArray) -> PermutationTest:
    """Rank all items for every query by cosine.

    Args:
        queries: (n_queries, dim).
        items: (n_items, dim).
        owner: (n_queries,) row of each query's item.
    """
    n_items = len(items)
    reciprocals, places = np.zeros((n_items, n_items)), np.zeros((n_items, n_items))
    lengthened = unit(items)
    for start in range(0, len(queries), _QUERIES):
        part = slice(start, start + _QUERIES)
        scores = unit(queries[part]) @ lengthened.T
        np.add.at(reciprocals, owner[part], reciprocal_ranks(scores))
        np.add.at(places, owner[part], (rankdata(scores, axis=1) - 1) / max(n_items - 1, 1))
    n_queries = np.bincount(owner, minlength=n_items).astype(np.int64)
    each = np.maximum(n_queries, 1)[:, None]
    return PermutationTest(reciprocals / each, places / each, n_queries)
