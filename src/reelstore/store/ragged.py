"""Items of any number of tokens -> one batch: one behind the other with offsets, or padded with a mask."""

from typing import Any

import numpy as np
import numpy.typing as npt

from reelstore.store.arrays import RowArray
from reelstore.store.ordered import ranges

Array = npt.NDArray[Any]
Indices = npt.NDArray[np.int64]

RUN_BYTES = 64 * 2**10
"""Items this long on average are copied run by run, shorter ones in one gather of all their tokens.

Measured on warm pages against a gather from memory: 15 tokens of 768 bytes 1.09 (run by run .88), 2 tokens 1.14 (.45),
200 tokens 1.07 (1.84), 15 tokens of 8 KiB 1.04 (1.11).
"""


def gather(tokens: RowArray, starts: Indices, counts: Indices, out: Array) -> None:
    """Copy items one behind the other.

    Args:
        tokens: (n_tokens_total, dim).
        starts: (k,) first token of each item.
        counts: (k,) tokens of each item.
        out: (sum of counts, dim).
    """
    if _are_runs(tokens, counts):
        assert tokens.whole is not None, "runs are runs of an array"
        place = 0
        for start, count in zip(starts.tolist(), counts.tolist(), strict=True):
            out[place : place + count] = tokens.whole[start : start + count]
            place += count
    else:
        tokens.take(ranges(starts, counts), out)


def gather_padded(tokens: RowArray, starts: Indices, counts: Indices, out: Array) -> npt.NDArray[np.bool_]:
    """Copy items side by side, zeros behind those that are shorter than the longest.

    Args:
        tokens: (n_tokens_total, dim).
        starts: (k,) first token of each item.
        counts: (k,) tokens of each item, at most `length`.
        out: (k, length, dim).

    Returns:
        (k, length) bool: True where there is a token.
    """
    places = np.arange(out.shape[1])
    mask = places < counts[:, None]
    if _are_runs(tokens, counts):
        assert tokens.whole is not None, "runs are runs of an array"
        for row, start, count in zip(out, starts.tolist(), counts.tolist(), strict=True):
            row[:count] = tokens.whole[start : start + count]
            row[count:] = 0
    else:
        tokens.take(np.where(mask, starts[:, None] + places, tokens.zero_row), out)
    return mask


def _are_runs(tokens: RowArray, counts: Indices) -> bool:
    if not len(counts) or tokens.whole is None:
        return False
    row_bytes = tokens.whole.strides[0]
    return int(counts.sum()) * row_bytes >= RUN_BYTES * len(counts)
