"""Scores -> the reciprocal rank every video would have as the relevant one."""

import numpy as np

from reelstore.arrays import Float64Array


def reciprocal_ranks(scores: Float64Array) -> Float64Array:
    """Expected 1 / rank each video would have if it were the relevant one, (n_captions, n_videos).

    Example:
        >>> reciprocal_ranks(np.array([[.9, .1, .1]]))       # the mean of 1/2 and 1/3, twice
        array([[1.        , 0.41666667, 0.41666667]])
    """
    n_captions, n_videos = scores.shape
    order = np.argsort(-scores, axis=1, kind="stable")
    ranked = np.take_along_axis(scores, order, axis=1)
    changes = ranked[:, 1:] != ranked[:, :-1]
    edge = np.ones((n_captions, 1), dtype=bool)
    place = np.arange(n_videos)
    start = np.maximum.accumulate(np.where(np.hstack([edge, changes]), place, 0), axis=1)
    last = np.where(np.hstack([changes, edge]), place, n_videos)
    stop = np.minimum.accumulate(last[:, ::-1], axis=1)[:, ::-1] + 1
    harmonic = np.r_[0.0, np.cumsum(1.0 / np.arange(1, n_videos + 1))]
    alone = stop - start == 1
    values = np.where(alone, 1.0 / (start + 1), (harmonic[stop] - harmonic[start]) / (stop - start))
    reciprocals = np.empty_like(scores)
    np.put_along_axis(reciprocals, order, values, axis=1)
    return reciprocals
