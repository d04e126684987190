"""Tie groups -> the metrics of one direction, by the names they have in JSON."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from reelstore.arrays import Float64Array
from reelstore.evaluation.median import median_rank
from reelstore.evaluation.ties import (
    TieGroups,
    Ties,
    average_precision,
    discounted_gain,
    expected_rank,
    hit,
    recall,
    reciprocal_rank,
)
from reelstore.ranking import PairCounts


def query_values(groups: TieGroups, *, one_relevant: bool, ks: Sequence[int]) -> dict[str, Float64Array]:
    """Metric -> (n_queries,) values whose mean it is; all but MedR is such a mean.

    Where every query has one relevant item by its nature (`one_relevant`), as a caption has one video, hit and recall
    are the same and print as R@k, and MAP is MRR. Elsewhere hit@k (any relevant item among the first k) and recall@k
    (share of the relevant items) are kept apart. nDCG is cut at the largest k.
    """
    values: dict[str, Float64Array] = {}
    for k in ks:
        if one_relevant:
            values[f"R@{k:02d}"] = hit(groups, k)
        else:
            values[f"hit@{k:02d}"] = hit(groups, k)
            values[f"recall@{k:02d}"] = recall(groups, k)
    values[f"nDCG@{max(ks):02d}"] = discounted_gain(groups, max(ks))
    values["MRR"] = reciprocal_rank(groups)
    if not one_relevant:
        values["MAP"] = average_precision(groups)
    values["MeanR"] = expected_rank(groups)
    return values


def direction_metrics(groups: TieGroups, *, one_relevant: bool, ks: Sequence[int], ties: Ties) -> dict[str, float]:
    """Metric -> value, under one tie rule."""
    settled = groups.settled(ties)
    values = query_values(settled, one_relevant=one_relevant, ks=ks)
    return {**{name: mean(of) for name, of in values.items()}, "MedR": median_rank(settled)}


def mean(values: Float64Array) -> float:
    """The mean by a correctly rounded sum: the order of the queries doesn't move a digit."""
    if (values == np.rint(values)).all():  # as hits and ranks are without ties: nothing is rounded
        return float(values.sum()) / len(values)
    return math.fsum(values.tolist()) / len(values)


def constant_counts(counts: PairCounts) -> PairCounts:
    """The same relevant pairs when every score is equal: what chance is measured on, exactly."""
    n_relevant = np.bincount(counts.query, minlength=counts.n_queries)
    return replace(
        counts,
        score=np.zeros(len(counts.query)),
        greater=np.zeros_like(counts.greater),
        equal=(counts.n_items - n_relevant)[counts.query],
    )
