"""What an aligner maps: embeddings, or the tokens of items; read from a store by batches of rows."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from reelstore.errors import AlignerError
from reelstore.store.reader import Rows

Array = npt.NDArray[np.floating[Any]]
Indices = npt.NDArray[np.int64]

BATCH_ROWS = 1024
BATCH_BYTES = 64 * 2**20
"""Of a batch as it is stored; one row at least."""


@dataclass(frozen=True)
class ItemTokens:
    """Tokens of some items, one item behind the other, whether their number varies or not.

    Attributes:
        values: (n_tokens_total, dim).
        offsets: (n_items + 1,) int64; item i is `values[offsets[i]:offsets[i + 1]]`.

    Example:
        >>> tokens = ItemTokens(np.arange(6.0).reshape(3, 2), np.array([0, 2, 3]))
        >>> tokens.padded()[1]
        array([[ True,  True],
               [ True, False]])
    """

    values: Array
    offsets: Indices

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __repr__(self) -> str:
        return f"ItemTokens({len(self)} items, {self.values.shape} {self.values.dtype})"

    @property
    def counts(self) -> Indices:
        """(n_items,) int64: tokens of each item."""
        counts: Indices = np.diff(self.offsets)
        return counts

    def padded(self) -> tuple[Array, npt.NDArray[np.bool_]]:
        """(n_items, longest, dim), zeros behind shorter items, and (n_items, longest) bool: where there is a token."""
        counts = self.counts
        mask = np.arange(counts.max(initial=0)) < counts[:, None]
        out = np.zeros((*mask.shape, self.values.shape[-1]), dtype=self.values.dtype)
        out[mask] = self.values
        return out, mask


Items = Array | ItemTokens
"""(n, dim) of a pooled variant; the tokens of n items of a dense or a ragged one."""


def width(items: Items) -> int:
    """Of an embedding or token."""
    return int((items.values if isinstance(items, ItemTokens) else items).shape[-1])


def read_items(rows: Rows, positions: Indices) -> Items:
    """The rows at these positions, as stored."""
    if rows.layout == "pooled":
        values: Array = rows.take(positions)
        return values
    return ItemTokens(*rows.take_ragged(positions))


def batches(rows: Rows, positions: Indices | None = None) -> Iterator[Indices]:
    """Positions of some rows (all of them by default), in order, in batches within BATCH_ROWS and BATCH_BYTES.

    Raises:
        AlignerError: a row has no tokens.
    """
    of: Indices = np.arange(len(rows)) if positions is None else positions
    counts = np.ones(len(of), dtype=np.int64) if rows.layout == "pooled" else rows.token_counts[of]
    if len(counts) and counts.min() < 1:
        key = rows.ids[int(of[counts.argmin()])]
        raise AlignerError(f"{rows.folder}: row {key!r} has no tokens, so there is nothing to map. Leave it out.")
    n_tokens = max(1, BATCH_BYTES // (rows.dim * rows.dtype.itemsize))
    ends = np.concatenate([[0], np.cumsum(counts)])
    start = 0
    while start < len(of):
        stop = int(np.searchsorted(ends, ends[start] + n_tokens, side="right")) - 1
        stop = min(max(stop, start + 1), start + BATCH_ROWS, len(of))
        yield of[start:stop]
        start = stop
