"""Centring and length 1, fitted on training rows alone."""

import numpy as np

from reelstore.align.base import Floats
from reelstore.store.reader import Rows

ROWS_AT_ONCE = 4096


def unit(values: Floats) -> Floats:
    """Rows scaled to length 1; a zero row stays zero."""
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    scaled: Floats = (values / np.where(lengths > 0, lengths, 1)).astype(np.float32)
    return scaled


def mean_direction(values: Floats) -> Floats:
    """(dim,) mean of the rows after scaling to length 1, summed in float64."""
    mean: Floats = unit(values).mean(axis=0, dtype=np.float64).astype(np.float32)
    return mean


def mean_direction_of(rows: Rows) -> Floats:
    """The same of stored rows, a part of them in memory at a time."""
    total = np.zeros(rows.dim, dtype=np.float64)
    for start in range(0, len(rows), ROWS_AT_ONCE):
        part = rows.take(np.arange(start, min(start + ROWS_AT_ONCE, len(rows))))
        total += unit(part.astype(np.float32)).sum(axis=0, dtype=np.float64)
    mean: Floats = (total / len(rows)).astype(np.float32)
    return mean


def centred(values: Floats, mean: Floats) -> Floats:
    """Rows scaled to length 1, without their common mean, scaled again."""
    return unit(unit(values) - mean)
