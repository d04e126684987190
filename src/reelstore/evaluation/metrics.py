"""Tie groups -> the metrics of one direction, by the names they have in JSON."""

import math
from collections.abc import Sequence

import numpy as np

from reelstore.evaluation.median import median_rank
from reelstore.evaluation.ties import (
    TieGroups,
    Ties,
    average_precision,
    expected_rank,
    hit,
    recall,
    reciprocal_rank,
)
from reelstore.ranking import Floats, PairCounts


def query_values(groups: TieGroups, direction: str, *, ks: Sequence[int]) -> dict[str, Floats]:
    """Metric -> (n_queries,) values whose mean it is; all but MedR is such a mean.

    Text-to-video prints R@k: a caption has one right video, so that hit and recall coincide. Video-to-text prints
    hit@k (any own caption among the first k) and recall@k (share of the own captions) apart.
    """
    values: dict[str, Floats] = {}
    for k in ks:
        if direction == "t2v":
            values[f"R@{k:02d}"] = hit(groups, k)
        else:
            values[f"hit@{k:02d}"] = hit(groups, k)
            values[f"recall@{k:02d}"] = recall(groups, k)
    values["MRR"] = reciprocal_rank(groups)
    if direction == "t2v":
        values["MeanR"] = expected_rank(groups)
    else:
        values["MAP"] = average_precision(groups)
    return values


def direction_metrics(groups: TieGroups, direction: str, *, ks: Sequence[int], ties: Ties) -> dict[str, float]:
    """Metric -> value, under one tie rule."""
    settled = groups.settled(ties)
    metrics = {name: mean(values) for name, values in query_values(settled, direction, ks=ks).items()}
    if direction == "t2v":
        metrics["MedR"] = median_rank(settled)
    return metrics


def mean(values: Floats) -> float:
    """The mean by a correctly rounded sum: the order of the queries doesn't move a digit."""
    return math.fsum(values.tolist()) / len(values)


def constant_counts(counts: PairCounts) -> PairCounts:
    """The same right pairs when every score is equal: what chance is measured on, exactly."""
    n_right = np.bincount(counts.query, minlength=counts.n_queries)
    return PairCounts(
        counts.n_queries,
        counts.n_items,
        counts.query,
        counts.item,
        np.zeros(len(counts.query)),
        np.zeros_like(counts.greater),
        (counts.n_items - n_right)[counts.query],
        counts.best_wrong,
        counts.best_wrong_score,
    )
