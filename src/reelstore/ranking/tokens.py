"""Whatever holds the tokens of one side -> tokens of some items, one item behind the other."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from reelstore.arrays import IntArray, Tokens
from reelstore.errors import EvaluationError, NonFiniteError
from reelstore.ranking.arrays import as_array, refuse_masked
from reelstore.ranking.sources import Source


class TokenSource:
    """Tokens of n items, read some items at a time.

    Takes a pair (values (n_tokens_total, dim), offsets (n + 1,)), each side's tokens one item behind the other; one
    array, tensor or memory-mapped file (n, n_tokens, dim); a list of n arrays (n_tokens, dim); and a store's rows of
    tokens, which have `take_ragged` and `token_counts`.

    Attributes:
        counts: (n,) tokens of each item, at least 1.
        dim: width of a token.

    Raises:
        EvaluationError: it is none of these, or an item has no token.
    """

    def __init__(self, values: Any, name: str) -> None:
        self.name = name
        self._rows: Any = None
        if isinstance(values, TokenSource):
            self.__dict__ |= vars(values)
            return
        if hasattr(values, "take_ragged"):
            self._rows = values
            counts, self.dim = np.asarray(values.token_counts), int(values.dim)
        else:
            self._flat, offsets = self._flattened(values)
            counts, self.dim = np.diff(offsets), self._flat.shape[1]
        self.counts: IntArray = counts.astype(np.int64)
        empty = np.flatnonzero(self.counts < 1)
        if len(empty):
            raise EvaluationError(
                f"{name}: {len(empty)} of {len(self)} items have no tokens: {_listed(empty)}. Leave them out: "
                "a maximum over none isn't defined."
            )
        self._offsets = np.r_[0, np.cumsum(self.counts)]

    def __len__(self) -> int:
        return len(self.counts)

    def __repr__(self) -> str:
        return f"TokenSource({self.name}, {len(self)} items, {int(self.counts.sum())} tokens, dim {self.dim})"

    def items(self, start: int, stop: int) -> Tokens:
        """Items start (inclusive) to stop (exclusive)."""
        offsets = self._offsets[start : stop + 1]
        if self._rows is not None:
            return Tokens(*self._rows.take_ragged(np.arange(start, stop)))
        return Tokens(self._flat.rows(int(offsets[0]), int(offsets[-1])), offsets - offsets[0])

    def take(self, positions: IntArray) -> Tokens:
        """Items at these positions, in this order."""
        if self._rows is not None:
            return Tokens(*self._rows.take_ragged(positions))
        counts = self.counts[positions]
        offsets = np.r_[0, np.cumsum(counts)]
        token = np.arange(int(offsets[-1])) + np.repeat(self._offsets[positions] - offsets[:-1], counts)
        return Tokens(self._flat.take(token), offsets)

    def cuts(self, n_tokens: int) -> Iterator[tuple[int, int]]:
        """Where to cut (start, stop), so that no piece has more tokens than this, or more than one item."""
        start = 0
        while start < len(self):
            limit = int(self._offsets[start]) + n_tokens
            stop = max(start + 1, int(np.searchsorted(self._offsets, limit, side="right")) - 1)
            yield start, min(stop, len(self))
            start = stop

    def refuse_nonfinite(self, *, n_tokens: int = 4096) -> None:
        """Raise NonFiniteError with the items whose tokens hold NaN or infinity."""
        bad: list[int] = []
        for start, stop in self.cuts(n_tokens):
            tokens = self.items(start, stop)
            rows = np.flatnonzero(~np.isfinite(tokens.values).all(axis=1))
            bad += np.unique(np.searchsorted(tokens.offsets, rows, side="right") - 1 + start).tolist()
        if bad:
            raise NonFiniteError(
                f"{self.name}: {len(bad)} of {len(self)} items have tokens that hold NaN or infinity: {_listed(bad)}. "
                "NaN compares as false everywhere; mend or leave out these items."
            )

    def _flattened(self, values: Any) -> tuple[Source, IntArray]:
        if (
            isinstance(values, tuple)
            and len(values) == 2
            and (offsets := as_array(values[1], f"{self.name}: offsets")).ndim == 1
        ):
            flat = Source(values[0], self.name)
            if offsets.dtype.kind not in "iu" or not len(offsets) or offsets[0] != 0 or offsets[-1] != len(flat):
                raise EvaluationError(
                    f"{self.name}: offsets must be (n + 1,), from 0 to the {len(flat)} tokens there are."
                )
            return flat, offsets.astype(np.int64)
        if isinstance(values, list | tuple):
            parts = [as_array(part, f"{self.name}[{number}]") for number, part in enumerate(values)]
            widths = {part.shape[1:] for part in parts}
            if len(widths) != 1 or parts[0].ndim != 2:
                raise EvaluationError(f"{self.name} must be arrays (n_tokens, dim) of one width, not {sorted(widths)}.")
            return Source(np.concatenate(parts), self.name), np.r_[0, np.cumsum([len(part) for part in parts])]
        refuse_masked(values, self.name)
        shape = getattr(values, "shape", None)
        if not isinstance(shape, tuple) or len(shape) != 3:
            raise EvaluationError(
                f"{self.name} must be tokens: (values, offsets), (n, n_tokens, dim), a list of (n_tokens, dim), or a "
                f"store's rows of tokens; not {type(values).__name__} {shape or ''}."
            )
        flat = Source(values.reshape(-1, shape[2]), self.name)
        return flat, np.arange(shape[0] + 1, dtype=np.int64) * shape[1]


def _listed(rows: Any) -> str:
    return ", ".join(str(int(row)) for row in rows[:10]) + (", …" if len(rows) > 10 else "")
