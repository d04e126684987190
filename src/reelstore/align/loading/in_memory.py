"""Rows of a store read at once in stored order, then handed out from memory in any order."""

from typing import Any, Protocol

import numpy as np

from reelstore.arrays import Array, BoolArray, IntArray
from reelstore.store.arrays import aligned_empty
from reelstore.store.read import Rows


class Source(Protocol):
    """What batches are gathered from: a store's rows, or some of them in memory. See `Rows` for shapes."""

    def take(self, indices: IntArray, out: Array) -> Any:
        """Copy rows to `out`."""
        ...

    def take_ragged(self, indices: IntArray) -> tuple[Array, IntArray]:
        """Tokens one item behind the other, and offsets."""
        ...

    def take_padded(self, indices: IntArray) -> tuple[Array, BoolArray]:
        """Tokens side by side, and which of them there are."""
        ...


class InMemoryRows:
    """Some rows in memory; position i is the i-th of those asked for.

    Args:
        rows: to read from, once, in ascending order.
        positions: (k,) in `rows`, in any order; they may repeat.
    """

    def __init__(self, rows: Rows, positions: IntArray) -> None:
        ascending, self._places = np.unique(positions, return_inverse=True)
        self._offsets: IntArray | None = None
        if rows.layout == "ragged":
            self._values, self._offsets = rows.take_ragged(ascending)
        else:
            self._values = np.asarray(rows.take(ascending))

    def take(self, indices: IntArray, out: Array) -> Array:
        """Copy rows to `out`, (k, dim) or (k, n_tokens, dim)."""
        # The default mode, "raise", would gather into a buffer and copy that to `out`.
        return np.take(self._values, self._places[indices], axis=0, out=out, mode="clip")

    def take_ragged(self, indices: IntArray) -> tuple[Array, IntArray]:
        """(n_tokens_total of them, dim) and (k + 1,)."""
        starts, counts = self._extents(indices)
        offsets = np.zeros(len(counts) + 1, dtype=np.int64)
        np.cumsum(counts, out=offsets[1:])
        token = np.repeat(starts - offsets[:-1], counts) + np.arange(offsets[-1])
        out = aligned_empty((len(token), self._values.shape[-1]), self._values.dtype)
        return np.take(self._tokens, token, axis=0, out=out, mode="clip"), offsets

    def take_padded(self, indices: IntArray) -> tuple[Array, BoolArray]:
        """(k, longest, dim), zeros behind shorter ones, and (k, longest) bool."""
        starts, counts = self._extents(indices)
        places = np.arange(counts.max(initial=0))
        mask = places < counts[:, None]
        out = aligned_empty((*mask.shape, self._values.shape[-1]), self._values.dtype)
        if len(self._tokens):
            np.take(self._tokens, np.where(mask, starts[:, None] + places, 0), axis=0, out=out, mode="clip")
        out[~mask] = 0
        return out, mask

    @property
    def _tokens(self) -> Array:
        """(n_tokens_total, dim)"""
        return self._values.reshape(-1, self._values.shape[-1])

    def _extents(self, indices: IntArray) -> tuple[IntArray, IntArray]:
        """First token and number of tokens of each item."""
        places = self._places[indices]
        if self._offsets is None:  # dense
            n_tokens = self._values.shape[1]
            return places * n_tokens, np.full(len(places), n_tokens, dtype=np.int64)
        return self._offsets[places], self._offsets[places + 1] - self._offsets[places]
