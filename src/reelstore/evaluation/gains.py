"""Grades -> nDCG, averaged over all orders of equal scores in closed form.

The discounted gain is a sum over items. In a run of equal scores every item is as often at each place, so the expected
gain at a place of the run is the mean gain of its items, and nothing has to be enumerated.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from reelstore.arrays import BoolArray, Float64Array, IntArray
from reelstore.errors import EvaluationError
from reelstore.evaluation.relevance import Judged
from reelstore.ranking import PairCounts
from reelstore.ranking.counts import Direction

Gain = Literal["linear", "exponential"]


@dataclass(frozen=True)
class Gains:
    """Items with a gain, by query and from the highest score down; of equal scores those with the largest gain first.

    Only queries that have a relevant item.

    Attributes:
        first: (n_queries,) position of each query's first item.
        above: (n_pairs,) items of any kind that score higher.
        n: (n_pairs,) items of any kind with the same score, this one among them; 1 once ties are settled.
        gain: (n_pairs,) as a share of the query's largest, so that no sum overflows.
        place: (n_pairs,) from 0, among the gains of the same score.
        retrieved: (n_pairs,) bool, false where the score is -inf.
        tied: (n_queries,) bool, whether nDCG depends on how ties are broken.
    """

    first: IntArray
    above: IntArray
    n: IntArray
    gain: Float64Array
    place: IntArray
    retrieved: BoolArray
    tied: BoolArray

    @classmethod
    def of(cls, counts: PairCounts, gain: Float64Array) -> "Gains":
        """From counts whose pairs are all items with a gain; `gain` is that of each pair."""
        order = np.lexsort((-gain, -counts.score, counts.query))
        query, score, gain = counts.query[order], counts.score[order], gain[order]
        new_query = np.r_[True, query[1:] != query[:-1]]
        new_group = new_query | np.r_[True, score[1:] != score[:-1]]
        first, starts, group = np.flatnonzero(new_query), np.flatnonzero(new_group), np.cumsum(new_group) - 1
        start = starts[group]
        number = np.cumsum(new_query) - 1
        gain = gain / np.maximum.reduceat(gain, first)[number]
        n = np.bincount(group)[group] + counts.equal[order]
        mixed = (n > np.bincount(group)[group]) | (gain != gain[start])
        return cls(
            first=first,
            above=counts.greater[order] + start - first[number],
            n=n,
            gain=gain,
            place=np.arange(len(query)) - start,
            retrieved=score != -np.inf,
            tied=np.logical_or.reduceat(mixed, first),
        )

    def settled(self, *, in_favour: bool) -> "Gains":
        """The same ranking with the largest gains of each tie first, or last."""
        place = self.place if in_favour else self.n - 1 - self.place
        return replace(self, above=self.above + place, n=np.ones_like(self.n), place=np.zeros_like(self.place))

    def all_tied(self, n_items: int) -> "Gains":
        """The same gains when every score is equal."""
        order = np.lexsort((-self.gain, self._query))
        place = np.arange(len(self.gain)) - self.first[self._query]
        nothing = np.zeros_like(self.above)
        everything = np.ones_like(self.retrieved)
        return replace(
            self, above=nothing, n=nothing + n_items, gain=self.gain[order], place=place, retrieved=everything
        )

    def ndcg(self, k: int) -> Float64Array:
        """(n_queries,) expected nDCG@k."""
        k = min(k, int((self.above + self.n).max(initial=1)))
        total = np.r_[0.0, np.cumsum(1.0 / np.log2(np.arange(2, k + 2)))]  # discounts of the first 0 to k places
        inside = total[np.minimum(self.above + self.n, k)] - total[np.minimum(self.above, k)]
        gained = np.add.reduceat(np.where(self.retrieved, self.gain * inside / self.n, 0.0), self.first)
        best = self.gain[np.lexsort((-self.gain, self._query))]
        place = np.arange(len(best)) - self.first[self._query]
        discount = total[np.minimum(place + 1, k)] - total[np.minimum(place, k)]
        values: Float64Array = np.minimum(gained / np.add.reduceat(best * discount, self.first), 1.0)
        return values

    @property
    def _query(self) -> IntArray:
        """(n_pairs,) number of each pair's query."""
        return np.repeat(np.arange(len(self.first)), np.diff(np.r_[self.first, len(self.gain)]))


def relevant_counts(
    counts: PairCounts, judged: Judged, direction: Direction, *, gain: Gain, return_hard_negatives: bool
) -> tuple[PairCounts, Gains | None]:
    """Counts of the relevant pairs alone, from those of all pairs with a grade above 0; and the gains of these.

    Args:
        counts: of all pairs of `judged`, in this direction.
        judged: grades.
        direction: `t2v` where the queries of `judged` ask, `v2t` where its items do.
        gain: `linear`, the grade itself, or `exponential`, 2 to the grade, less 1.
        return_hard_negatives: whether hardest negatives were asked for; a grade below the threshold isn't relevant.
    """
    if judged.grade is None:
        return counts, None
    pairs = (counts.query, counts.item) if direction == "t2v" else (counts.item, counts.query)
    at = judged.at(*pairs)
    relevant, grade = judged.relevant[at], judged.grade[at]
    if not relevant.all():
        gains_counts = counts
        counts = _without(counts, relevant, return_hard_negatives)
        asked = np.isin(gains_counts.query, counts.query)
        grade = grade[asked]
        gains_counts = _kept(gains_counts, asked)
    else:
        gains_counts = counts
    return counts, Gains.of(gains_counts, _gain(grade, gain))


def _gain(grade: Float64Array, gain: Gain) -> Float64Array:
    if gain == "linear":
        return grade
    with np.errstate(over="ignore"):
        # Of a small fraction, 2**grade - 1 would lose every digit.
        found: Float64Array = np.where(grade < 1, np.expm1(grade * np.log(2)), np.exp2(grade) - 1)
    if not np.isfinite(found).all():
        raise EvaluationError(
            f"A grade is {grade.max():g}, for which gain='exponential' overflows. Use gain='linear', or smaller grades."
        )
    return found


def _without(counts: PairCounts, relevant: BoolArray, return_hard_negatives: bool) -> PairCounts:
    """Counts of some pairs, the others being non-relevant items."""
    order = np.lexsort((-counts.score, counts.query))
    query, score = counts.query[order], counts.score[order]
    new_query = np.r_[True, query[1:] != query[:-1]]
    new_group = new_query | np.r_[True, score[1:] != score[:-1]]
    others = (~relevant[order]).astype(np.int64)
    before = np.cumsum(others) - others
    group, number = np.cumsum(new_group) - 1, np.cumsum(new_query) - 1
    above, beside = np.empty_like(order), np.empty_like(order)
    above[order] = before[np.flatnonzero(new_group)][group] - before[np.flatnonzero(new_query)][number]
    beside[order] = np.bincount(group, others)[group]
    found = replace(counts, greater=counts.greater + above, equal=counts.equal + beside)
    if return_hard_negatives:
        others = np.flatnonzero(~relevant)
        found.improve(counts.query[others], counts.item[others], counts.score[others])
    return _kept(found, relevant)


def _kept(counts: PairCounts, kept: BoolArray) -> PairCounts:
    return replace(
        counts,
        query=counts.query[kept],
        item=counts.item[kept],
        score=counts.score[kept],
        greater=counts.greater[kept],
        equal=counts.equal[kept],
    )
