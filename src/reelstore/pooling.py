"""Tokens -> one embedding: the report's five poolings, in float32."""

from collections.abc import Callable

import numpy as np

from reelstore.arrays import Float32Array, FloatArray
from reelstore.errors import UnknownNameError

VERSION = 1
"""Raise it when a pooling's output changes: it is part of every pooled row's fingerprint."""

POOLINGS: dict[str, Callable[[Float32Array], Float32Array]] = {
    "first": lambda tokens: tokens[0],
    "last": lambda tokens: tokens[-1],
    "max": lambda tokens: tokens.max(axis=0),
    "mean": lambda tokens: tokens.mean(axis=0, dtype=np.float32),
    "sum": lambda tokens: tokens.sum(axis=0, dtype=np.float32),
}


def pool(tokens: FloatArray, pooling: str) -> Float32Array:
    """The pooled embedding of one item.

    Args:
        tokens: (n_tokens, dim), at least one token; computed in float32.
        pooling: `first`, `last`, `max`, `mean` or `sum`.

    Returns:
        (dim,) float32.

    Raises:
        UnknownNameError: no pooling has this name.
        ValueError: there are no tokens to pool.

    Example:
        >>> pool(np.array([[1., 4.], [3., 2.]]), "max")
        array([3., 4.], dtype=float32)
    """
    if pooling not in POOLINGS:
        raise UnknownNameError("pooling", pooling, POOLINGS)
    if tokens.ndim != 2 or not len(tokens):
        raise ValueError(f"pooling needs (n_tokens, dim) with at least one token, not {tokens.shape}")
    return POOLINGS[pooling](tokens.astype(np.float32, copy=False))
