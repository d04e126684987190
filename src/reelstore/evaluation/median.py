"""Counts -> the median rank, averaged over all orders of equal scores.

The median isn't a mean of per-query values: it takes the distribution of how many queries have reached a rank. Their
ties are broken independently, so that is a sum of independent yes-or-no draws.
"""

import math
from bisect import bisect_left, bisect_right

import numpy as np

from reelstore.arrays import Float64Array
from reelstore.evaluation.ties import TieGroups, later_than


def median_rank(groups: TieGroups) -> float:
    """Expected median over the queries of the rank of the best-ranked relevant item.

    For an even number of queries the median is the mean of the two in the middle.
    """
    n = len(groups)
    above, relevant, non_relevant = (of[groups.first] for of in (groups.above, groups.relevant, groups.non_relevant))
    if relevant[0] == 1 and all((of == of[0]).all() for of in (above, relevant, non_relevant)):
        # Draws that are alike and evenly spread are the same turned round: the median's mean is the middle.
        return float(above[0] + (non_relevant[0] + 2) / 2)
    middle = {(n - 1) // 2 + 1, n // 2 + 1}
    return float(np.mean([_order_statistic(groups, place) for place in middle]))


def _order_statistic(groups: TieGroups, place: int) -> float:
    """Expected value of the rank that is `place`-th from the best, 1-based."""
    above, relevant, non_relevant = (
        values[groups.first] for values in (groups.above, groups.relevant, groups.non_relevant)
    )
    best, worst = above + 1, above + non_relevant + 1
    low = int(np.partition(best, place - 1)[place - 1])
    high = int(np.partition(worst, place - 1)[place - 1])

    def reached(rank: int) -> float:
        return _at_least(1.0 - later_than(np.maximum(rank - above, 0), relevant, non_relevant), place)

    # The mean of a whole number from low to high: low, and each further rank as often as it isn't reached before. It is
    # surely not reached at first and surely reached in the end; only what is between is summed.
    first = bisect_right(range(low, high), 0.0, key=reached)
    last = bisect_left(range(low, high), 1.0, key=reached)
    return float(low + first) + sum(1.0 - reached(rank) for rank in range(low + first, low + last))


def _at_least(probability: Float64Array, place: int) -> float:
    """Probability that at least `place` of these independent draws say yes."""
    sure = int((probability >= 1).sum())
    open_ones = probability[(probability > 0) & (probability < 1)]
    needed = place - sure
    if needed <= 0:
        return 1.0
    if needed > len(open_ones):
        return 0.0
    # Hoeffding: this far from the mean the rest is below 1e-16, and the sum would be for nothing.
    distance = open_ones.sum() - needed
    if abs(distance) > math.sqrt(len(open_ones) * 18.5) + 1:
        return float(distance > 0)
    values, counts = np.unique(open_ones, return_counts=True)
    total = _convolved([_binomial(int(count), float(value)) for value, count in zip(values, counts, strict=True)])
    return float(np.clip(total[needed:].sum(), 0.0, 1.0))


def _binomial(n: int, p: float) -> Float64Array:
    successes = np.arange(n + 1)
    logs = np.r_[0.0, np.cumsum(np.log(np.arange(1, n + 1)))]
    log_odds = successes * math.log(p) + (n - successes) * math.log1p(-p)
    probability = np.exp(logs[n] - logs - logs[::-1] + log_odds)
    return np.asarray(probability / probability.sum(), dtype=np.float64)  # the logs of large factorials lose digits


def _convolved(parts: list[Float64Array]) -> Float64Array:
    """Distribution of the sum, halves first so that long ones meet once."""
    if len(parts) == 1:
        return parts[0]
    left, relevant = _convolved(parts[: len(parts) // 2]), _convolved(parts[len(parts) // 2 :])
    return np.convolve(left, relevant)
