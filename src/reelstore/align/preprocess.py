"""Centring and length 1, fitted on training rows alone."""

import numpy as np

from reelstore.align.base import Floats


def unit(values: Floats) -> Floats:
    """Rows scaled to length 1; a zero row stays zero."""
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    scaled: Floats = (values / np.where(lengths > 0, lengths, 1)).astype(np.float32)
    return scaled


def mean_direction(values: Floats) -> Floats:
    """(dim,) mean of the rows after scaling to length 1, summed in float64."""
    mean: Floats = unit(values).mean(axis=0, dtype=np.float64).astype(np.float32)
    return mean


def centred(values: Floats, mean: Floats) -> Floats:
    """Rows scaled to length 1, without their common mean, scaled again."""
    return unit(unit(values) - mean)
