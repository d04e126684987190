"""The array types of the package, each defined once, and `Tokens`: the tokens of some items."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
FloatArray = npt.NDArray[np.floating[Any]]
Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
UInt8Array = npt.NDArray[np.uint8]
UInt32Array = npt.NDArray[np.uint32]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Tokens:
    """Tokens of some items, one item after the other, whether their number varies or not.

    Attributes:
        values: (n_tokens_total, dim).
        offsets: (n_items + 1,) int64: item i has the tokens offsets[i] (inclusive) to offsets[i + 1] (exclusive).

    Example:
        >>> tokens = Tokens(np.arange(6.0).reshape(3, 2), np.array([0, 2, 3]))
        >>> tokens.padded()[1]
        array([[ True,  True],
               [ True, False]])
    """

    values: Array
    offsets: IntArray

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __repr__(self) -> str:
        return f"Tokens({len(self)} items, {self.values.shape} {self.values.dtype})"

    @property
    def counts(self) -> IntArray:
        """(n_items,) int64: tokens of each item."""
        counts: IntArray = np.diff(self.offsets)
        return counts

    def item(self, number: int) -> Array:
        """(n_tokens, dim) of one item."""
        return self.values[self.offsets[number] : self.offsets[number + 1]]

    def padded(self) -> tuple[Array, BoolArray]:
        """(n_items, longest, dim), zeros after shorter items, and (n_items, longest) bool: where there is a token."""
        counts = self.counts
        mask = np.arange(counts.max(initial=0)) < counts[:, None]
        out = np.zeros((*mask.shape, self.values.shape[-1]), dtype=self.values.dtype)
        out[mask] = self.values
        return out, mask


def unit_rows(values: Array, dtype: npt.DTypeLike = np.float32) -> Array:
    """Rows scaled to length 1; a zero row stays zero.

    Args:
        values: (n, dim).
        dtype: of the result and, unless `values` are wider, of the arithmetic: `np.float32` or `np.float64`.
    """
    wide = values.astype(np.promote_types(values.dtype, dtype), copy=False)  # float16 overflows and is slow
    lengths = np.linalg.norm(wide, axis=1, keepdims=True)
    return np.asarray(wide / np.where(lengths > 0, lengths, 1)).astype(dtype, copy=False)


def widened(values: Array, width: int) -> Array:
    """(n, dim) with zeros behind each row, up to a width; no length or product changes."""
    missing = width - values.shape[1]
    return np.pad(values, ((0, 0), (0, missing))) if missing else values
