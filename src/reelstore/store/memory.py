"""Arrays in memory as rows of a variant: what takes rows of a store takes arrays, tensors and lists of tokens too."""

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from reelstore.arrays import Array, IntArray, Tokens
from reelstore.errors import EmbeddingsError
from reelstore.records import Side
from reelstore.store.arrays import Pattern
from reelstore.store.chunks import FINGERPRINT_BYTES
from reelstore.store.format import OK, VariantSpec
from reelstore.store.given import as_numpy
from reelstore.store.keys import Keys
from reelstore.store.read import Rows
from reelstore.store.split_names import SplitNames
from reelstore.store.table import RowTable
from reelstore.store.variant import Variant

_STORED = ("float16", "float32")


def as_rows(values: Any, *, side: Side) -> Rows:
    """Rows of embeddings or tokens that are in memory; rows of a store as they are.

    Args:
        values: (n, dim), or tokens: (n, n_tokens, dim), a list of n arrays (n_tokens_i, dim), `Tokens`, or a pair
            (values (n_tokens_total, dim), offsets (n + 1,)). Arrays, tensors, or `Rows`. Floating-point numbers other
            than float16 become float32.
        side: `video` or `text`; keys are positions.

    Raises:
        EmbeddingsError: they are none of these, hold NaN or infinity, or are of the other side.

    Example:
        >>> as_rows(np.ones((3, 2)), side="video")
        Rows(video/memory/mean, 3 rows, pooled, dim 2)
    """
    if isinstance(values, Rows):
        if values.side != side:
            raise EmbeddingsError(f"{values.folder} holds {values.side} rows, given as {side}.")
        return values
    flat, offsets, n_tokens = _flat(values, side)
    if flat.dtype.kind != "f":
        raise EmbeddingsError(f"{side}: embeddings are floating point, these are {flat.dtype}.")
    if flat.dtype.name not in _STORED:
        with np.errstate(over="ignore"):
            flat = flat.astype(np.float32)
    bad = np.flatnonzero(~np.isfinite(flat).reshape(len(flat), -1).all(axis=1))
    if len(bad):
        row = int(bad[0]) if offsets is None else int(np.searchsorted(offsets, bad[0], side="right")) - 1
        raise EmbeddingsError(f"{side}: row {row} holds NaN, infinity, or a value beyond float32.")
    return Rows(_MemoryVariant(side, np.ascontiguousarray(flat), offsets, n_tokens), None)


def _flat(values: Any, side: Side) -> tuple[Array, IntArray | None, int | None]:
    """Rows of `values` as a variant has them, offsets of ragged ones, and n_tokens."""
    if isinstance(values, Tokens):
        values = values.values, values.offsets
    if (
        isinstance(values, tuple)
        and len(values) == 2
        and as_numpy(values[1]).ndim == 1
        and as_numpy(values[0]).ndim == 2
    ):
        flat, offsets = as_numpy(values[0]), as_numpy(values[1]).astype(np.int64)
        if offsets[0] != 0 or offsets[-1] != len(flat) or (np.diff(offsets) < 0).any():
            raise EmbeddingsError(f"{side}: offsets must ascend from 0 to the {len(flat)} tokens there are.")
        return flat, offsets, None
    if isinstance(values, list | tuple) and values and all(getattr(one, "ndim", 0) == 2 for one in values):
        parts = [as_numpy(one) for one in values]
        if len({part.shape[1] for part in parts}) > 1:
            raise EmbeddingsError(f"{side}: tokens of widths {sorted({part.shape[1] for part in parts})} are mixed.")
        return np.concatenate(parts), np.concatenate([[0], np.cumsum([len(part) for part in parts])]), None
    array = as_numpy(values)
    if array.ndim not in (2, 3) or 0 in array.shape:
        raise EmbeddingsError(
            f"{side} is {type(values).__name__} {array.shape}; (n, dim), (n, n_tokens, dim), or a list of (n_tokens, "
            "dim) is expected, none of them 0."
        )
    return array, None, 0 if array.ndim == 2 else array.shape[1]


class _MemoryVariant(Variant):
    """What `Rows` asks of a variant, answered from memory."""

    in_memory = True

    def __init__(self, side: Side, values: Array, offsets: IntArray | None, n_tokens: int | None) -> None:
        n_rows = len(values) if offsets is None else len(offsets) - 1
        name = "mean" if n_tokens == 0 else "tokens"
        digest = sha256(f"{values.dtype} {values.shape} ".encode() + values.tobytes()).hexdigest()
        self.folder = Path(f"{side} embeddings in memory")
        self.advice = None
        recipe = {"source": digest}
        table = _table(side, n_rows)
        spec = VariantSpec(side, "memory", name, values.shape[-1], n_tokens, values.dtype.name, recipe)
        self.__dict__ |= {
            "spec": spec,
            "values": _Values(values),
            "n_rows": n_rows,
            "status": np.full(n_rows, OK, dtype=np.uint8),
            "all_ok": True,
            "splits": np.zeros(n_rows, dtype=np.uint8),
            "offsets": offsets,
            "keys": table.keys,
            "table": table,
            "failures": {},
        }
        self.attributes = {
            **{
                name: getattr(spec, name)
                for name in ("side", "encoder", "variant", "layout", "dim", "n_tokens", "dtype")
            },
            "recipe": recipe,
            "fingerprint": spec.fingerprint,
            "digest": digest,
            "splits": ["all"],
            "digests": {},
        }
        self._given = side, values, offsets, n_tokens

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self._given

    def walk(self, starts: IntArray, counts: IntArray) -> Iterator[Array]:
        return self.values.walk(starts, counts)


class _Values:
    """A `RowArray` over an array."""

    def __init__(self, array: Array) -> None:
        self._array = array
        self.shape, self.dtype, self.zero_row = array.shape, array.dtype, len(array)

    @property
    def whole(self) -> Array:
        return self._array

    def take(self, rows: IntArray, out: Array, *, scattered: bool = False) -> None:
        there = rows != self.zero_row
        if there.all():
            out[...] = self._array[rows]
        else:
            out[~there] = 0
            out[there] = self._array[rows[there]]

    def read(self, start: int, stop: int) -> Array:
        values = self._array[start:stop]
        values.flags.writeable = False
        return values

    def advise(self, pattern: Pattern) -> None:
        pass

    def walk(self, starts: IntArray, counts: IntArray) -> Iterator[Array]:
        for start, count in zip(starts.tolist(), counts.tolist(), strict=True):
            yield self._array[start : start + count]


def _table(side: Side, n_rows: int) -> RowTable:
    names = map(str, range(n_rows))
    keys = Keys.of(names if side == "video" else ((name, 0) for name in names))
    splits = SplitNames(["all"], np.zeros(n_rows, dtype=np.uint8))
    return RowTable(keys, splits, np.zeros((n_rows, FINGERPRINT_BYTES), dtype=np.uint8), checked=True)
