"""Confidence intervals of an evaluation's metrics: how far they would move with other videos."""

from typing import TypedDict

import numpy as np

from reelstore.arrays import Float64Array, IntArray
from reelstore.errors import EvaluationError
from reelstore.evaluation.clustered import mean_interval, median_interval
from reelstore.evaluation.result import DirectionResult, Evaluation
from reelstore.ranking.arguments import share

LEVEL = 0.95
METHOD = "Korn-Graubard with shrunk cluster variance; MedR: Woodruff"
HOLDS_FIXED = "one split, one fit and the items searched; only the videos vary"
"""What an interval is conditional on."""


class Interval(TypedDict):
    """Ends of a confidence interval, and how many independent videos are behind it."""

    low: float
    high: float
    n_videos: int


Intervals = dict[str, dict[str, Interval]]


def confidence_intervals(evaluation: Evaluation, *, level: float = LEVEL) -> Intervals:
    """Confidence interval of every metric.

    Queries of one video aren't independent: the videos are what is sampled, each with all its captions
    (`DirectionResult.video`). An interval says how far a metric would move with other videos of the same kind. It holds
    fixed: the split, the fit of the aligner, and the items that are searched. Another split or fit moves a metric
    further.

    Metrics from 0 to 1 and MeanR (from 1 to the number of items) have `clustered.mean_interval`, MedR
    `clustered.median_interval`. Both are closed forms: no resampling, no seed. Coverage is measured by
    `benchmarks/coverage.py`.

    Args:
        evaluation: what `evaluate` found.
        level: of the intervals.

    Returns:
        direction -> metric -> {"low", "high", "n_videos"}; `n_videos` counts the videos that the queries belong to. In
        the direction `retrieval` they are the first relevant items of the queries: videos, where queries are captions.

    Raises:
        EvaluationError: the level isn't between 0 and 1.

    Example:
        >>> found = evaluate(text=np.eye(40), video=np.eye(40), video_of_caption=np.arange(40))       # 40 of 40
        >>> ends = confidence_intervals(found)["t2v"]["R@01"]
        >>> round(ends["low"], 3), ends["high"], ends["n_videos"]
        (0.912, 1.0, 40)
    """
    if not isinstance(evaluation, Evaluation):
        raise EvaluationError(f"An Evaluation is expected, as evaluate returns it; not {type(evaluation).__name__}.")
    level = share("level", level)
    return {direction: _of_direction(of, level) for direction, of in evaluation.directions.items()}


def cluster_descriptions(evaluation: Evaluation) -> dict[str, str]:
    """By direction, what is sampled, and where that is a choice.

    Where a query has several relevant items that other queries share, which queries depend on one another isn't known:
    it belongs to the first of its items.
    """
    words = {}
    for direction, ranks in evaluation.directions.items():
        query, item = ("query", "item") if direction == "retrieval" else ("caption", "video")
        if direction == "v2t":
            words[direction] = "videos, each a query"
        elif (ranks.n_relevant == 1).all():
            words[direction] = f"{item}s, each with all its {'captions' if query == 'caption' else 'queries'}"
        else:
            words[direction] = f"{item}s; a {query} of several belongs to the first of them"
    return words


def bootstrap(evaluation: Evaluation, *, n_resamples: int = 1000, seed: int = 0, level: float = LEVEL) -> Intervals:
    """Former name of `confidence_intervals`, which resampled: `n_resamples` and `seed` have no effect any more."""
    return confidence_intervals(evaluation, level=level)


def clusters(video: IntArray) -> tuple[IntArray, Float64Array]:
    """Number the videos from 0 without holes.

    Args:
        video: (n_queries,) int, the video of each query.

    Returns:
        (n_queries,) int, and (n_videos,) number of queries of each.
    """
    _, cluster = np.unique(video, return_inverse=True)
    return cluster, np.bincount(cluster).astype(np.float64)


def _of_direction(ranks: DirectionResult, level: float) -> dict[str, Interval]:
    metrics, n_items = ranks.metrics, ranks.n_items
    cluster, sizes = clusters(ranks.video)
    widest = n_items - 1.0  # MeanR is from 1 to n_items, other means are from 0 to 1
    values = ranks.values | {"MeanR": (ranks.values["MeanR"] - 1) / max(widest, 1.0)}
    totals = np.array([np.bincount(cluster, of) for of in values.values()], dtype=np.float64)  # (n_metrics, n_videos)
    lows, highs = mean_interval(totals, sizes, level=level)
    ends = dict(zip(values, zip(lows.tolist(), highs.tolist(), strict=True), strict=True))
    low, high = ends["MeanR"]
    ends["MeanR"] = 1 + widest * low, 1 + widest * high
    ends["MedR"] = median_interval(ranks.rank, cluster, lowest=1.0, highest=float(n_items), level=level)
    return {
        name: Interval(low=min(low, metrics[name]), high=max(high, metrics[name]), n_videos=len(sizes))
        for name, (low, high) in ends.items()
    }
