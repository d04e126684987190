"""Rows asked for in any order -> each once and in order, which is how files are read."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Indices = npt.NDArray[np.int64]


def ascend(rows: Indices, n: int) -> bool:
    """Whether these are rows of an array of n, each behind the one before it."""
    return rows.ndim == 1 and bool(rows[-1] < n) and bool((rows[1:] > rows[:-1]).all())


def ranges(starts: Indices, counts: Indices) -> Indices:
    """Numbers of the rows of items, one item behind the other.

    Example:
        >>> ranges(np.array([5, 0]), np.array([2, 3]))
        array([5, 6, 0, 1, 2])
    """
    ends = np.cumsum(counts)
    index: Indices = np.repeat(starts - ends + counts, counts)
    index += np.arange(len(index))
    return index


def take_in_order(rows: Indices, out: Array, zero_row: int, fetch: Callable[[Indices, Array], None]) -> None:
    """Copy rows into `out`, however they are ordered.

    Args:
        rows: their numbers; some may occur twice.
        out: (*rows.shape, *row shape).
        zero_row: a number beyond all rows, for zeros.
        fetch: copies ascending rows, at least one, into an array of theirs.
    """
    wanted, places = np.unique(rows, return_inverse=True)
    found = np.zeros((len(wanted), *out.shape[rows.ndim :]), dtype=out.dtype)
    n_stored = int(np.searchsorted(wanted, zero_row))
    if n_stored:
        fetch(wanted[:n_stored], found[:n_stored])
    np.take(found, places.reshape(rows.shape), axis=0, out=out, mode="clip")
