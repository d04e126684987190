"""Counts -> each query's value of every metric, averaged over all orders of equal scores in closed form."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from reelstore.arrays import BoolArray, Float64Array, IntArray
from reelstore.evaluation.gains import Gains
from reelstore.ranking import PairCounts

Ties = Literal["expected", "optimistic", "pessimistic"]


@dataclass(frozen=True)
class TieGroups:
    """The relevant items of every query, gathered by score: one group for each score that a relevant item has.

    Groups are sorted by query, then from the highest score down. A group is a run of the ranking in which every order
    is equally true: `relevant` + `non_relevant` items on the ranks from `above` + 1 on.

    Attributes:
        query: (n_groups,) query of each group.
        above: (n_groups,) items of any kind that score higher.
        relevant_above: (n_groups,) relevant ones among them.
        relevant: (n_groups,) relevant items in the group, at least 1.
        non_relevant: (n_groups,) non-relevant items in the group.
        retrieved: (n_groups,) bool, false where the score is -inf: the items weren't retrieved, and earn nothing.
        first: (n_queries,) row of each query's best group; only queries that have a relevant item.
        n_relevant: (n_queries,) relevant items of the query.
        gains: of graded items; None where every relevant item gains the same.
    """

    query: IntArray
    above: IntArray
    relevant_above: IntArray
    relevant: IntArray
    non_relevant: IntArray
    retrieved: BoolArray
    first: IntArray
    n_relevant: IntArray
    gains: Gains | None = None

    @classmethod
    def of(cls, counts: PairCounts, gains: Gains | None = None) -> "TieGroups":
        """Groups of one direction's counts."""
        new_query = np.r_[True, counts.query[1:] != counts.query[:-1]][: len(counts.query)]
        order = slice(None) if new_query.all() else np.lexsort((-counts.score, counts.query))
        query, score = counts.query[order], counts.score[order]
        starts = np.flatnonzero(new_query | np.r_[True, score[1:] != score[:-1]][: len(query)])
        query_starts = np.flatnonzero(new_query)
        number = np.cumsum(new_query)[starts] - 1
        relevant_above = starts - query_starts[number]
        return cls(
            query=query[starts],
            above=counts.greater[order][starts] + relevant_above,
            relevant_above=relevant_above,
            relevant=np.diff(np.r_[starts, len(query)]),
            non_relevant=counts.equal[order][starts],
            retrieved=score[starts] != -np.inf,
            first=np.flatnonzero(new_query[starts]),
            n_relevant=np.diff(np.r_[query_starts, len(query)]),
            gains=gains,
        )

    def __len__(self) -> int:
        return len(self.first)

    @property
    def tied(self) -> BoolArray:
        """(n_queries,) whether any metric of the query depends on how ties are broken."""
        tied: BoolArray = (np.bincount(self.query, self.non_relevant > 0) > 0)[self.query[self.first]]
        return tied if self.gains is None else tied | self.gains.tied

    def settled(self, ties: Ties) -> "TieGroups":
        """The same ranking with each tie broken in favour of the relevant items, or against them."""
        if ties == "expected":
            return self
        above = self.above + (self.non_relevant if ties == "pessimistic" else 0)
        gains = self.gains and self.gains.settled(in_favour=ties == "optimistic")
        return replace(self, above=above, non_relevant=np.zeros_like(self.non_relevant), gains=gains)

    def all_tied(self, counts: PairCounts) -> "TieGroups":
        """The groups of `counts`, in which every score is equal, with these gains."""
        return TieGroups.of(counts, self.gains and self.gains.all_tied(counts.n_items))


def expected_rank(groups: TieGroups) -> Float64Array:
    """(n_queries,) expected rank of the best-ranked relevant item.

    Items that weren't retrieved count as if they followed the others in random order.
    """
    above, relevant, non_relevant = _best(groups)
    return above + (relevant + non_relevant + 1) / (relevant + 1)


def reciprocal_rank(groups: TieGroups) -> Float64Array:
    """(n_queries,) expected 1 / rank of the best-ranked relevant item; not 1 / expected rank."""
    above, relevant, non_relevant = _best(groups)
    values: Float64Array = 1.0 / (above + 1)
    tied = np.flatnonzero(non_relevant)
    if len(tied):
        cases, where = np.unique(np.stack([above, relevant, non_relevant])[:, tied], axis=1, return_inverse=True)
        per_case = np.array([_mean_reciprocal(*case) for case in cases.T.tolist()])
        values[tied] = per_case[where.reshape(-1)]
    return np.where(groups.retrieved[groups.first], values, 0.0)


def hit(groups: TieGroups, k: int) -> Float64Array:
    """(n_queries,) probability that some relevant item is among the first k."""
    above, relevant, non_relevant = _best(groups)
    n = relevant + non_relevant
    # One relevant item: k / n as such, without the rounding of one minus its complement.
    values: Float64Array = np.clip(k - above, 0, n) / n
    if (relevant != 1).any():
        values = np.where(relevant == 1, values, 1.0 - later_than(np.maximum(k - above, 0), relevant, non_relevant))
    return np.where(groups.retrieved[groups.first], values, 0.0)


def recall(groups: TieGroups, k: int) -> Float64Array:
    """(n_queries,) expected share of the relevant items among the first k."""
    n = groups.relevant + groups.non_relevant
    share = groups.relevant * np.clip(k - groups.above, 0, n) / n
    return _per_query(groups, share) / groups.n_relevant


def discounted_gain(groups: TieGroups, k: int) -> Float64Array:
    """(n_queries,) expected nDCG@k: gain / log2(1 + rank) of the items among the first k, as a share of the largest
    possible; without grades every relevant item gains the same.
    """
    if groups.gains is not None:
        return groups.gains.ndcg(k)
    k = min(k, int((groups.above + groups.relevant + groups.non_relevant).max(initial=1)))
    gain = np.r_[0.0, np.cumsum(1.0 / np.log2(np.arange(2, k + 2)))]
    n = groups.relevant + groups.non_relevant
    inside = gain[np.minimum(groups.above + n, k)] - gain[np.minimum(groups.above, k)]
    # A group of relevant items alone gains all of it, without the rounding of a share.
    share = np.where(groups.non_relevant == 0, inside, groups.relevant * inside / n)
    gained: Float64Array = _per_query(groups, share) / gain[np.minimum(groups.n_relevant, k)]
    return gained


def average_precision(groups: TieGroups) -> Float64Array:
    """(n_queries,) expected average precision over the whole ranking, of items that were retrieved.

    A relevant item at position j of its group has precision (relevant_above + 1 + the relevant ones before it) /
    (above + j); given that j is relevant, (j - 1) (relevant - 1) / (n - 1) of those before it are expected to be. The
    sum over j is made of harmonic numbers.
    """
    n = groups.relevant + groups.non_relevant
    above = groups.above
    harmonic = np.r_[0.0, np.cumsum(1.0 / np.arange(1, int((above + n).max(initial=0)) + 1))]
    reciprocals = harmonic[above + n] - harmonic[above]
    reciprocals = np.where(n == 1, 1.0 / (above + 1), reciprocals)
    others = np.where(n > 1, (groups.relevant - 1) / np.maximum(n - 1, 1), 0.0)
    precision = (groups.relevant_above + 1) * reciprocals + others * (n - (above + 1) * reciprocals)
    return _per_query(groups, groups.relevant / n * precision) / groups.n_relevant


def later_than(position: npt.NDArray[np.integer], relevant: IntArray, non_relevant: IntArray) -> Float64Array:
    """Probability that the first relevant item of a random order comes after `position`, 1-based, of n items."""
    n = relevant + non_relevant
    probability = np.ones(len(n))
    # C(n - position, relevant) / C(n, relevant), factor by factor, which is C(n - relevant, position) / C(n, position)
    # as well: whichever has fewer factors. A group that needs fewer stops early.
    by_right = int(relevant.max(initial=0)) <= int(np.max(position, initial=0))
    factors, other = (relevant, position) if by_right else (position, relevant)
    for i in range(int(np.max(factors, initial=0))):
        factor = np.maximum(n - other - i, 0) / np.maximum(n - i, 1)
        probability *= np.where(i < factors, factor, 1.0)
    return probability


def _mean_reciprocal(above: int, relevant: int, non_relevant: int) -> float:
    n = relevant + non_relevant
    position = np.arange(1, non_relevant + 2)
    if relevant == 1:
        return float((1.0 / (above + position)).sum() / n)
    before = np.arange(non_relevant + 1)
    # Each position comes first with what the ones before it left over.
    tail = np.r_[1.0, np.cumprod((non_relevant - before) / (n - before))]
    return float(((tail[:-1] - tail[1:]) / (above + position)).sum())


def _best(groups: TieGroups) -> tuple[IntArray, IntArray, IntArray]:
    return groups.above[groups.first], groups.relevant[groups.first], groups.non_relevant[groups.first]


def _per_query(groups: TieGroups, values: Float64Array) -> Float64Array:
    earned = np.where(groups.retrieved, values, 0.0)
    return np.add.reduceat(earned, groups.first) if len(groups.first) else np.zeros(0)
