"""The order of an epoch's items: a pure function of seed and epoch, the same in every process."""

import numpy as np

from reelstore.arrays import IntArray

ORDER = 1
"""Sets the stream of the order apart from that of the captions drawn."""


def row_order(n: int, *, seed: int, epoch: int) -> IntArray:
    """(n,) every order as likely as any other."""
    return _stream(seed, epoch).permutation(n)


def block_order(n: int, *, seed: int, epoch: int, block_rows: int, window_rows: int) -> IntArray:
    """(n,) blocks of neighbours in random order, cut into windows, each shuffled.

    A window is read at once, block after block, and held in memory while its rows are handed out.

    Example:
        >>> block_order(8, seed=0, epoch=0, block_rows=2, window_rows=4).tolist()  # blocks 3 and 1, then 2 and 0
        [3, 7, 2, 6, 0, 5, 1, 4]
    """
    stream = _stream(seed, epoch)
    blocks = stream.permutation(-(-n // block_rows))
    order: IntArray = (blocks[:, None] * block_rows + np.arange(block_rows)).ravel()
    order = order[order < n]  # the last block may be shorter
    for start in range(0, n, window_rows):
        stream.shuffle(order[start : start + window_rows])
    return order


def _stream(seed: int, epoch: int) -> np.random.Generator:
    return np.random.default_rng([seed, epoch, ORDER])
