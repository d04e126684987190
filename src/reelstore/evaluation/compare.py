"""Two evaluations of the same queries -> what differs, and whether other videos would say the same."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from reelstore.errors import EvaluationError
from reelstore.evaluation.intervals import resamples
from reelstore.evaluation.metrics import mean
from reelstore.ranking import Floats, Ints

_BLOCK_VALUES = 2**22


@dataclass(frozen=True)
class Difference:
    """One metric of both evaluations.

    Attributes:
        first, second: its values.
        low, high: 95 % interval of second less first: bootstrap over videos, the same ones drawn for both.
        p: how often a difference as large comes about when, video by video, it is left to chance which of the two is
            which; two-sided, never 0.
    """

    first: float
    second: float
    low: float
    high: float
    p: float

    @property
    def difference(self) -> float:
        """Second less first."""
        return self.second - self.first


def compare(
    first: Mapping[str, Floats],
    second: Mapping[str, Floats],
    video: Ints,
    *,
    n_resamples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, Difference]:
    """Differences of all metrics that both have.

    Args:
        first, second: metric -> (n_queries,) values whose mean it is; row n is the same query in both.
        video: (n_queries,) int from 0, the video each query belongs to. Captions of one video aren't independent, so
            videos are drawn and swapped, not queries.
        n_resamples: draws of the interval and swaps of the test.
        seed: of both.
        level: of the interval.
    """
    names = [name for name in first if name in second]
    if not names or not len(video):
        raise EvaluationError("The two evaluations share no metric or no query: nothing to compare.")
    n_videos = int(video.max()) + 1
    change = np.stack([np.bincount(video, second[name] - first[name], minlength=n_videos) for name in names], axis=1)
    queries = np.bincount(video, minlength=n_videos)
    drawn = [(weights @ change) / (weights @ queries)[:, None] for weights in resamples(n_videos, n_resamples, seed)]
    tail = (1 - level) / 2
    low, high = np.quantile(np.concatenate(drawn), [tail, 1 - tail], axis=0)
    # A hair of slack: sums of the same numbers with other signs may differ in the last bit.
    observed = np.abs(change.sum(axis=0)) * (1 - 1e-12)
    generator = np.random.default_rng(seed + 1)
    as_large = np.zeros(len(names))
    block = max(1, _BLOCK_VALUES // n_videos)
    for start in range(0, n_resamples, block):
        signs = generator.choice([-1.0, 1.0], size=(min(block, n_resamples - start), n_videos))
        as_large += (np.abs(signs @ change) >= observed).sum(axis=0)
    return {
        name: Difference(
            mean(first[name]), mean(second[name]), float(low[i]), float(high[i]), (1 + as_large[i]) / (1 + n_resamples)
        )
        for i, name in enumerate(names)
    }
