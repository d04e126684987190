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
    """The right items of every query, gathered by score: one group for each score that a right item has.

    Groups are sorted by query, then from the highest score down. A group is a run of the ranking in which every order
    is equally true: `right` + `wrong` items on the ranks from `above` + 1 on.

    Attributes:
        query: (n_groups,) query of each group.
        above: (n_groups,) items of any kind that score higher.
        right_above: (n_groups,) right ones among them.
        right: (n_groups,) right items in the group, at least 1.
        wrong: (n_groups,) wrong items in the group.
        retrieved: (n_groups,) bool, false where the score is -inf: the items weren't retrieved, and earn nothing.
        first: (n_queries,) row of each query's best group; only queries that have a right item.
        n_right: (n_queries,) right items of the query.
        gains: of graded items; None where every right item gains the same.
    """

    query: IntArray
    above: IntArray
    right_above: IntArray
    right: IntArray
    wrong: IntArray
    retrieved: BoolArray
    first: IntArray
    n_right: IntArray
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
        right_above = starts - query_starts[number]
        return cls(
            query=query[starts],
            above=counts.greater[order][starts] + right_above,
            right_above=right_above,
            right=np.diff(np.r_[starts, len(query)]),
            wrong=counts.equal[order][starts],
            retrieved=score[starts] != -np.inf,
            first=np.flatnonzero(new_query[starts]),
            n_right=np.diff(np.r_[query_starts, len(query)]),
            gains=gains,
        )

    def __len__(self) -> int:
        return len(self.first)

    @property
    def tied(self) -> BoolArray:
        """(n_queries,) whether any metric of the query depends on how ties are broken."""
        tied: BoolArray = (np.bincount(self.query, self.wrong > 0) > 0)[self.query[self.first]]
        return tied if self.gains is None else tied | self.gains.tied

    def settled(self, ties: Ties) -> "TieGroups":
        """The same ranking with each tie broken in favour of the right items, or against them."""
        if ties == "expected":
            return self
        above = self.above + (self.wrong if ties == "pessimistic" else 0)
        gains = self.gains and self.gains.settled(in_favour=ties == "optimistic")
        return replace(self, above=above, wrong=np.zeros_like(self.wrong), gains=gains)

    def all_tied(self, counts: PairCounts) -> "TieGroups":
        """The groups of `counts`, in which every score is equal, with these gains."""
        return TieGroups.of(counts, self.gains and self.gains.all_tied(counts.n_items))


def expected_rank(groups: TieGroups) -> Float64Array:
    """(n_queries,) expected rank of the best-ranked right item.

    Items that weren't retrieved count as if they followed the others in random order.
    """
    above, right, wrong = _best(groups)
    return above + (right + wrong + 1) / (right + 1)


def reciprocal_rank(groups: TieGroups) -> Float64Array:
    """(n_queries,) expected 1 / rank of the best-ranked right item; not 1 / expected rank."""
    above, right, wrong = _best(groups)
    values: Float64Array = 1.0 / (above + 1)
    tied = np.flatnonzero(wrong)
    if len(tied):
        cases, where = np.unique(np.stack([above, right, wrong])[:, tied], axis=1, return_inverse=True)
        per_case = np.array([_mean_reciprocal(*case) for case in cases.T.tolist()])
        values[tied] = per_case[where.reshape(-1)]
    return np.where(groups.retrieved[groups.first], values, 0.0)


def hit(groups: TieGroups, k: int) -> Float64Array:
    """(n_queries,) probability that some right item is among the first k."""
    above, right, wrong = _best(groups)
    n = right + wrong
    # One right item: k / n as such, without the rounding of one minus its complement.
    values: Float64Array = np.clip(k - above, 0, n) / n
    if (right != 1).any():
        values = np.where(right == 1, values, 1.0 - later_than(np.maximum(k - above, 0), right, wrong))
    return np.where(groups.retrieved[groups.first], values, 0.0)


def recall(groups: TieGroups, k: int) -> Float64Array:
    """(n_queries,) expected share of the right items among the first k."""
    n = groups.right + groups.wrong
    share = groups.right * np.clip(k - groups.above, 0, n) / n
    return _per_query(groups, share) / groups.n_right


def discounted_gain(groups: TieGroups, k: int) -> Float64Array:
    """(n_queries,) expected nDCG@k: gain / log2(1 + rank) of the items among the first k, as a share of the largest
    possible; without grades every right item gains the same.
    """
    if groups.gains is not None:
        return groups.gains.ndcg(k)
    k = min(k, int((groups.above + groups.right + groups.wrong).max(initial=1)))
    gain = np.r_[0.0, np.cumsum(1.0 / np.log2(np.arange(2, k + 2)))]
    n = groups.right + groups.wrong
    inside = gain[np.minimum(groups.above + n, k)] - gain[np.minimum(groups.above, k)]
    # A group of right items alone gains all of it, without the rounding of a share.
    share = np.where(groups.wrong == 0, inside, groups.right * inside / n)
    gained: Float64Array = _per_query(groups, share) / gain[np.minimum(groups.n_right, k)]
    return gained


def average_precision(groups: TieGroups) -> Float64Array:
    """(n_queries,) expected average precision over the whole ranking, of items that were retrieved.

    A right item at position j of its group has precision (right_above + 1 + the right ones before it) / (above + j);
    given that j is right, (j - 1) (right - 1) / (n - 1) of those before it are expected to be. The sum over j is made
    of harmonic numbers.
    """
    n = groups.right + groups.wrong
    above = groups.above
    harmonic = np.r_[0.0, np.cumsum(1.0 / np.arange(1, int((above + n).max(initial=0)) + 1))]
    reciprocals = harmonic[above + n] - harmonic[above]
    reciprocals = np.where(n == 1, 1.0 / (above + 1), reciprocals)
    others = np.where(n > 1, (groups.right - 1) / np.maximum(n - 1, 1), 0.0)
    precision = (groups.right_above + 1) * reciprocals + others * (n - (above + 1) * reciprocals)
    return _per_query(groups, groups.right / n * precision) / groups.n_right


def later_than(position: npt.NDArray[np.integer], right: IntArray, wrong: IntArray) -> Float64Array:
    """Probability that the first right item of a random order of `right` + `wrong` comes after `position`."""
    n = right + wrong
    probability = np.ones(len(n))
    # C(n - position, right) / C(n, right), factor by factor, which is C(n - right, position) / C(n, position) as well:
    # whichever has fewer factors. A group that needs fewer stops early.
    by_right = int(right.max(initial=0)) <= int(np.max(position, initial=0))
    factors, other = (right, position) if by_right else (position, right)
    for i in range(int(np.max(factors, initial=0))):
        factor = np.maximum(n - other - i, 0) / np.maximum(n - i, 1)
        probability *= np.where(i < factors, factor, 1.0)
    return probability


def _mean_reciprocal(above: int, right: int, wrong: int) -> float:
    n = right + wrong
    position = np.arange(1, wrong + 2)
    if right == 1:
        return float((1.0 / (above + position)).sum() / n)
    before = np.arange(wrong + 1)
    # Each position comes first with what the ones before it left over.
    tail = np.r_[1.0, np.cumprod((wrong - before) / (n - before))]
    return float(((tail[:-1] - tail[1:]) / (above + position)).sum())


def _best(groups: TieGroups) -> tuple[IntArray, IntArray, IntArray]:
    return groups.above[groups.first], groups.right[groups.first], groups.wrong[groups.first]


def _per_query(groups: TieGroups, values: Float64Array) -> Float64Array:
    earned = np.where(groups.retrieved, values, 0.0)
    return np.add.reduceat(earned, groups.first) if len(groups.first) else np.zeros(0)
