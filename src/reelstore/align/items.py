"""What an aligner maps: embeddings, or the tokens of items; read from a store by batches of rows."""

from collections.abc import Iterator

import numpy as np

from reelstore.arrays import FloatArray, IntArray, Tokens
from reelstore.errors import AlignerError
from reelstore.store.read import Rows

BATCH_ROWS = 1024
BATCH_BYTES = 64 * 2**20
"""Of a batch as it is stored; one row at least."""


Items = FloatArray | Tokens
"""(n, dim) of a pooled variant; the tokens of n items of a dense or a ragged one."""


def width(items: Items) -> int:
    """Of an embedding or token."""
    return int((items.values if isinstance(items, Tokens) else items).shape[-1])


def read_items(rows: Rows, positions: IntArray) -> Items:
    """The rows at these positions, as stored."""
    if rows.layout == "pooled":
        values: FloatArray = np.asarray(rows.take(positions))
        return values
    return Tokens(*rows.take_ragged(positions))


def batches(rows: Rows, positions: IntArray | None = None) -> Iterator[IntArray]:
    """Positions of some rows (all of them by default), in order, in batches within BATCH_ROWS and BATCH_BYTES.

    Raises:
        AlignerError: a row has no tokens.
    """
    of: IntArray = np.arange(len(rows)) if positions is None else positions
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
