"""Means and paired differences over random splits, with intervals that know that the splits overlap."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class SplitMean:
    """A number that was measured on several random splits of one dataset.

    Attributes:
        mean: over the splits.
        deviation: standard deviation over the splits (n - 1 in the denominator).
        low: lower end of the interval of the mean.
        high: its upper end.
        n_splits: how many there are.
        n_above: splits on which the number is above 0; of a difference, how often the first system is ahead.
    """

    mean: float
    deviation: float
    low: float
    high: float
    n_splits: int
    n_above: int


def over_splits(values: Sequence[float], *, test_share: float, level: float = 0.95) -> SplitMean:
    """Mean of a number over random splits, and the corrected resampled t interval of Nadeau and Bengio (2003).

    Training and test sets of random splits overlap, so their results are correlated, and the plain t interval is too
    narrow. Here the variance of the mean is (1 / n_splits + n_test / n_train) times the variance over the splits.
    The interval is about splits of this one dataset, with its embeddings held fixed.

    Args:
        values: the number on each split, at least two.
        test_share: n_test / n_train, in videos.
        level: of the interval.

    Raises:
        ValueError: fewer than two values, or one isn't finite.

    Example:
        >>> found = over_splits([0.01, 0.02, 0.03], test_share=0.25)
        >>> round(found.mean, 3), round(found.deviation, 3), round(found.low, 4), round(found.high, 4)
        (0.02, 0.01, -0.0129, 0.0529)
    """
    from scipy.stats import t

    numbers = np.asarray(values, dtype=np.float64)
    if len(numbers) < 2 or not np.isfinite(numbers).all():
        raise ValueError(f"at least two finite values are expected, not {list(values)}")
    mean, deviation = float(numbers.mean()), float(numbers.std(ddof=1))
    half = float(t.ppf((1 + level) / 2, len(numbers) - 1)) * deviation * (1 / len(numbers) + test_share) ** 0.5
    return SplitMean(mean, deviation, mean - half, mean + half, len(numbers), int((numbers > 0).sum()))
