"""Two evaluations of the same queries -> what differs, and whether other videos would say the same."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from reelstore.arrays import Float64Array, IntArray
from reelstore.errors import EvaluationError
from reelstore.evaluation.clustered import difference_interval
from reelstore.evaluation.intervals import clusters
from reelstore.evaluation.metrics import mean
from reelstore.ranking.arguments import share, whole_number
from reelstore.ranking.arrays import as_array

MAX_RESAMPLES = 10_000_000
_BLOCK_VALUES = 2**22


@dataclass(frozen=True)
class Difference:
    """One metric of both evaluations.

    Attributes:
        first, second: its values.
        low, high: 95 % confidence interval of second less first, paired, over videos.
        p: two-sided p-value of the paired permutation test over videos; never 0.
        n_videos: independent videos behind both.
        p_adjusted: p corrected for the number of metrics that are compared; of the primary metric p itself. None
            before `adjust`.
    """

    first: float
    second: float
    low: float
    high: float
    p: float
    n_videos: int
    p_adjusted: float | None = None

    @property
    def difference(self) -> float:
        """Second less first."""
        return self.second - self.first


def compare(
    first: Mapping[str, Float64Array],
    second: Mapping[str, Float64Array],
    video: IntArray,
    *,
    n_resamples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, Difference]:
    """Differences of all metrics that both have.

    The interval is `clustered.difference_interval`. It says how far the difference would move with other videos, and
    holds fixed the split, the fit of each system and the items searched. Evaluations without any difference have an
    interval around 0 which is as wide as the number of videos leaves it.

    The test swaps the two systems, video by video, at random (Fisher's randomization test; for retrieval: Smucker,
    Allan and Carterette 2007). p is (1 + b) / (1 + n_resamples), where b swaps give a difference as large as the one
    observed (Phipson and Smyth 2010). With n videos p can't be below 2 ** (1 - n) but by chance: five or fewer videos
    don't reach 0.05.

    Args:
        first, second: metric -> (n_queries,) values whose mean it is; row n is the same query in both.
        video: (n_queries,) int, the video each query belongs to. Captions of one video aren't independent, so videos
            are swapped, not queries.
        n_resamples: swaps of the test.
        seed: of the swaps.
        level: of the interval.

    Raises:
        EvaluationError: there is no metric or no query to compare.
    """
    n_resamples = whole_number("n_resamples", n_resamples, 1, MAX_RESAMPLES)
    seed, level = whole_number("seed", seed, 0), share("level", level)
    names = [name for name in _mapping("first", first) if name in _mapping("second", second)]
    video = as_array(video, "video")
    if not names or not video.size:
        raise EvaluationError("The two evaluations share no metric or no query: nothing to compare.")
    if video.ndim != 1 or video.dtype.kind not in "iu":
        raise EvaluationError(f"video must be whole numbers (n_queries,), not {video.dtype} {video.shape}.")
    first, second = ({name: _values(of[name], name, len(video)) for name in names} for of in (first, second))
    cluster, sizes = clusters(video)
    n_videos = len(sizes)
    changes = {name: second[name] - first[name] for name in names}
    scales = np.array([_scale(name, first[name], second[name], n_videos) for name in names])
    gains, losses = (
        np.array([np.bincount(cluster, np.maximum(sign * changes[name], 0.0)) for name in names], dtype=np.float64)
        for sign in (1, -1)
    )  # (n_metrics, n_videos)
    low, high = difference_interval(gains / scales[:, None], losses / scales[:, None], sizes, level=level)
    p = _p_values((gains - losses).T, n_resamples, seed)
    return {
        name: Difference(
            first=mean(first[name]),
            second=mean(second[name]),
            low=float(low[i] * scales[i]),
            high=float(high[i] * scales[i]),
            p=float(p[i]),
            n_videos=n_videos,
        )
        for i, name in enumerate(names)
    }


def _mapping(name: str, values: Any) -> Mapping[str, Any]:
    if not isinstance(values, Mapping):
        raise EvaluationError(
            f"{name} is {type(values).__name__}; metric -> values is expected, as found.t2v.values is."
        )
    return values


def _values(values: Any, name: str, n_queries: int) -> Float64Array:
    found = as_array(values, str(name))
    if found.dtype.kind not in "biuf" or found.shape != (n_queries,):
        raise EvaluationError(
            f"{name} must be {n_queries} numbers, one for each query; not {found.dtype} {found.shape}."
        )
    if not np.isfinite(found).all():
        raise EvaluationError(f"{name} of query {int(np.flatnonzero(~np.isfinite(found))[0])} isn't finite.")
    return found.astype(np.float64)


def adjust(
    differences: Mapping[str, Mapping[str, Difference]], primary: tuple[str, str]
) -> dict[str, dict[str, Difference]]:
    """The same with `p_adjusted`: one primary metric is tested as it is, all others are corrected for their number.

    The correction is Holm's (1979, A simple sequentially rejective multiple test procedure): it keeps the probability
    of any false rejection among the other metrics at the level, however they depend on each other.

    Args:
        differences: direction -> metric -> difference.
        primary: direction and metric. It must be chosen before the results are seen.

    Raises:
        EvaluationError: the primary metric isn't among them.
    """
    known = [(direction, metric) for direction, of in differences.items() for metric in of]
    if primary not in known:
        raise EvaluationError(
            f"No metric {'.'.join(primary)} to compare. There are: {', '.join('.'.join(one) for one in known)}."
        )
    others = sorted((one for one in known if one != primary), key=lambda one: differences[one[0]][one[1]].p)
    adjusted = {primary: differences[primary[0]][primary[1]].p}
    largest = 0.0
    for place, (direction, metric) in enumerate(others):
        largest = max(largest, min(1.0, (len(others) - place) * differences[direction][metric].p))
        adjusted[direction, metric] = largest
    return {
        direction: {metric: replace(one, p_adjusted=adjusted[direction, metric]) for metric, one in of.items()}
        for direction, of in differences.items()
    }


def _scale(name: str, first: Float64Array, second: Float64Array, n_videos: int) -> float:
    """Largest possible difference of one query; where the metric isn't bounded by 1, the largest one that was seen."""
    if name != "MeanR" and min(first.min(), second.min()) >= 0 and max(first.max(), second.max()) <= 1:
        return 1.0
    # Without any difference: a query searches at least as many items as there are videos.
    return float(np.abs(second - first).max()) or max(float(np.ptp(first)), n_videos - 1.0, 1.0)


def _p_values(change: Float64Array, n_resamples: int, seed: int) -> Float64Array:
    """(n_metrics,) of (n_videos, n_metrics) differences: how often random signs give as large a sum."""
    # A hair of slack: sums of the same numbers with other signs may differ in the last bit.
    observed = np.abs(change.sum(axis=0)) * (1 - 1e-12)
    generator = np.random.default_rng(seed + 1)
    as_large = np.zeros(change.shape[1])
    block = max(1, _BLOCK_VALUES // len(change))
    for start in range(0, n_resamples, block):
        signs = generator.choice([-1.0, 1.0], size=(min(block, n_resamples - start), len(change)))
        as_large += (np.abs(signs @ change) >= observed).sum(axis=0)
    return (1 + as_large) / (1 + n_resamples)
