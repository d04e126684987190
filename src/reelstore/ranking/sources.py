"""Whatever holds the rows of one side -> blocks of rows as plain arrays; nothing is read that isn't asked for."""

from typing import Any

import numpy as np

from reelstore.arrays import Array, IntArray
from reelstore.errors import EvaluationError, NonFiniteError
from reelstore.ranking.arrays import as_array, is_sparse_tensor, refuse_masked

_GAP_ROWS = 256
"""Rows are looked up by blocks of this many where only slices can be read."""


class Source:
    """(n, dim) real numbers, read block by block.

    Takes arrays, memory-mapped files, tensors on any device, and objects with `len`, a width (`.shape` or `.dim`) and
    either `take(positions)`, as a store's rows have, or slices, as Zarr and HDF5 arrays have.
    """

    def __init__(self, values: Any, name: str) -> None:
        self.name = name
        if isinstance(values, Source):
            values = values.values
        if hasattr(values, "detach"):
            values = values.detach()
        elif isinstance(values, list | tuple):
            values = as_array(values, name)
        elif isinstance(values, np.ma.MaskedArray):
            refuse_masked(values, name)
            values = values.data
        if hasattr(values, "tocoo") or is_sparse_tensor(values):
            raise EvaluationError(f"{name} is sparse; a dense matrix (n, dim) is expected, such as {name}.toarray().")
        self.values: Any = values
        self._is_tensor = hasattr(values, "detach")
        shape = getattr(values, "shape", None)
        if shape is None and hasattr(values, "dim") and hasattr(values, "take"):
            shape = (len(values), int(values.dim))
        if not isinstance(shape, tuple) or len(shape) != 2:
            of = f" of shape {tuple(shape)}" if isinstance(shape, tuple) else ""
            tokens = ": tokens. Pool them, or measure them by similarity='maxsim'" if of.count(",") == 2 else ""
            raise EvaluationError(f"{name} must be a matrix (n, dim), not {type(values).__name__}{of}{tokens}.")
        self.shape = (int(shape[0]), int(shape[1]))
        if self.shape[0]:
            self.dtype = self.rows(0, 1).dtype
        else:
            self.dtype = np.dtype(np.float32)

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return f"Source({self.name}, {self.shape})"

    @property
    def device(self) -> str | None:
        """Device of a tensor that isn't in the machine's own memory."""
        device = getattr(self.values, "device", None) if self._is_tensor else None
        return str(device) if device is not None and device.type != "cpu" else None

    def rows(self, start: int, stop: int) -> Array:
        """Rows start (inclusive) to stop (exclusive)."""
        if _sliced(self.values):
            return self._plain(self.values[start:stop])
        return self._plain(self.values.take(np.arange(start, min(stop, len(self)))))

    def take(self, positions: IntArray) -> Array:
        """Rows at these positions, in this order."""
        if isinstance(self.values, np.ndarray):
            return self._plain(self.values[positions])
        if self._is_tensor:
            import torch

            return self._plain(self.values[torch.from_numpy(positions).to(self.values.device)])
        if not _sliced(self.values):
            return self._plain(self.values.take(positions))
        found = np.empty((len(positions), self.shape[1]), dtype=self.dtype)
        block = positions // _GAP_ROWS
        for number in np.unique(block):
            first = int(number) * _GAP_ROWS
            inside = block == number
            found[inside] = self.rows(first, first + _GAP_ROWS)[positions[inside] - first]
        return found

    def refuse_nonfinite(self, *, block: int = 4096) -> None:
        """Raise NonFiniteError with the rows that hold NaN or infinity."""
        bad = [
            start + int(row)
            for start in range(0, len(self), block)
            for row in np.flatnonzero(~np.isfinite(self.rows(start, start + block)).all(axis=1))
        ]
        if bad:
            shown = ", ".join(map(str, bad[:10])) + (", …" if len(bad) > 10 else "")
            raise NonFiniteError(
                f"{self.name}: {len(bad)} of {len(self)} rows hold NaN or infinity: {shown}. "
                "NaN compares as false everywhere and would look like a perfect hit; mend or leave out these rows."
            )

    def _plain(self, rows: Any) -> Array:
        plain = as_array(rows, self.name)
        if plain.dtype.kind not in "fiu":
            raise EvaluationError(f"{self.name} must hold real numbers, not {plain.dtype}.")
        return plain


class Reordered:
    """The rows of a source in another order: `take` and a width, as a source reads them."""

    def __init__(self, source: Source, order: IntArray) -> None:
        self._source, self._order = source, order
        self.dim = source.shape[1]

    def __len__(self) -> int:
        return len(self._order)

    def take(self, positions: IntArray) -> Array:
        """Rows at these positions of the new order."""
        return self._source.take(self._order[positions])


def _sliced(values: Any) -> bool:
    """Whether `values[start:stop]` gives rows; a store's rows are indexed by key instead."""
    return isinstance(values, np.ndarray) or hasattr(values, "detach") or not hasattr(values, "take")
