"""How far a score would move with other videos: percentile intervals by bootstrap."""

from collections.abc import Iterator

import numpy as np

from reelstore.evaluation.result import Evaluation, Ranks
from reelstore.ranking import Floats, Ints

Intervals = dict[str, dict[str, dict[str, float]]]
_BLOCK_VALUES = 2**22
"""Weights of resamples held at once, so that memory doesn't grow with their number."""


def bootstrap(evaluation: Evaluation, *, n_resamples: int = 1000, seed: int = 0, level: float = 0.95) -> Intervals:
    """Interval of every metric that is a mean over queries (all but MedR).

    Videos are drawn with replacement, each with all its captions: captions of one video aren't independent. (For a
    matrix of scores, whose videos aren't known, queries are drawn.) The items to search among stay as they are. The
    draws depend on the seed and the number of videos only, so that two systems measured on the same rows are resampled
    alike (paired).

    Returns:
        direction -> metric -> {"low", "high"}.
    """
    sides = dict(evaluation.ranks)
    health = evaluation.metrics["health"]
    n_videos = int(health["videos"] if "videos" in health else max(of.video.max() + 1 for of in sides.values()))
    means: dict[str, list[Floats]] = {direction: [] for direction in sides}
    for weights in resamples(n_videos, n_resamples, seed):  # (some, n_videos)
        for direction, ranks in sides.items():
            means[direction].append(_resampled_means(ranks, weights))
    tail = (1 - level) / 2
    return {
        direction: {
            name: {
                "low": float(np.nanquantile(column, tail)),
                "high": float(np.nanquantile(column, 1 - tail)),
            }
            for name, column in zip(ranks.values, np.concatenate(means[direction]).T, strict=True)
        }
        for direction, ranks in sides.items()
    }


def resamples(n_videos: int, n_resamples: int, seed: int) -> Iterator[Ints]:
    """How often each video is drawn, (some, n_videos) at a time; the same for the same seed and number of videos."""
    generator = np.random.default_rng(seed)
    block = max(1, _BLOCK_VALUES // n_videos)
    for start in range(0, n_resamples, block):
        drawn = generator.integers(n_videos, size=(min(block, n_resamples - start), n_videos))
        yield np.stack([np.bincount(row, minlength=n_videos) for row in drawn])


def _resampled_means(ranks: Ranks, weights: Ints) -> Floats:
    """(n_resamples, n_metrics) mean of every metric under these weights of the videos."""
    n_videos = weights.shape[1]
    totals = [np.bincount(ranks.video, values, minlength=n_videos) for values in ranks.values.values()]
    queries = weights @ np.bincount(ranks.video, minlength=n_videos)
    # A resample may draw only videos without queries; it has no mean, and NaN leaves it out.
    with np.errstate(invalid="ignore", divide="ignore"):
        means: Floats = (weights @ np.stack(totals, axis=1)) / queries[:, None]
    return means
