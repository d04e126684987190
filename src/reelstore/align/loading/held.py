"""Rows of a store read at once in the order they lie in, then handed out from memory in any order."""

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from reelstore.store.reader import Rows, aligned_empty

Array = npt.NDArray[Any]
Indices = npt.NDArray[np.int64]


class Source(Protocol):
    """What batches are gathered from: a store's rows, or some of them in memory. See `Rows` for shapes."""

    def take(self, indices: Indices, out: Array) -> Any:
        """Copy rows to `out`."""
        ...

    def take_ragged(self, indices: Indices) -> tuple[Array, Indices]:
        """Tokens one item behind the other, and offsets."""
        ...

    def take_padded(self, indices: Indices) -> tuple[Array, npt.NDArray[np.bool_]]:
        """Tokens side by side, and which of them there are."""
        ...


class HeldRows:
    """Some rows in memory; position i is the i-th of those asked for.

    Args:
        rows: to read from, once, in ascending order.
        positions: (k,) in `rows`, in any order; they may repeat.
    """

    def __init__(self, rows: Rows, positions: Indices) -> None:
        ascending, self._places = np.unique(positions, return_inverse=True)
        self._offsets: Indices | None = None
        if rows.layout == "ragged":
            self._values, self._offsets = rows.take_ragged(ascending)
        else:
            self._values = rows.take(ascending)

    def take(self, indices: Indices, out: Array) -> Array:
        """Copy rows to `out`, (k, dim) or (k, n_tokens, dim)."""
        # The default mode, "raise", would gather into a buffer and copy that to `out`.
        return np.take(self._values, self._places[indices], axis=0, out=out, mode="clip")

    def take_ragged(self, indices: Indices) -> tuple[Array, Indices]:
        """(n_tokens_total of them, dim) and (k + 1,)."""
        starts, counts = self._extents(indices)
        offsets = np.zeros(len(counts) + 1, dtype=np.int64)
        np.cumsum(counts, out=offsets[1:])
        token = np.repeat(starts - offsets[:-1], counts) + np.arange(offsets[-1])
        out = aligned_empty((len(token), self._values.shape[-1]), self._values.dtype)
        return np.take(self._tokens, token, axis=0, out=out, mode="clip"), offsets

    def take_padded(self, indices: Indices) -> tuple[Array, npt.NDArray[np.bool_]]:
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

    def _extents(self, indices: Indices) -> tuple[Indices, Indices]:
        """First token and number of tokens of each item."""
        places = self._places[indices]
        if self._offsets is None:  # dense
            n_tokens = self._values.shape[1]
            return places * n_tokens, np.full(len(places), n_tokens, dtype=np.int64)
        return self._offsets[places], self._offsets[places + 1] - self._offsets[places]
