"""Embeddings in any form that `write` takes -> checked rows: read once in order, and again at any positions."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from reelstore.arrays import Array, IntArray, UInt8Array
from reelstore.errors import StoreError
from reelstore.io import Progress
from reelstore.store.chunks import FINGERPRINT_BYTES
from reelstore.store.files import disk_errors
from reelstore.store.format import VariantSpec
from reelstore.store.keys import Key, Keys
from reelstore.store.spool import Spool
from reelstore.store.update import VariantUpdate
from reelstore.store.write import as_stored, row_fingerprints

BLOCK_BYTES = 16 * 2**20
BLOCK_ROWS = 4096
_NUMBERS = "fiu"
"""Kinds of dtypes that can be rounded to a stored one."""
_SPARSE = 4
"""Of a file, this many times the rows wanted are read at most, rather than each run of them by itself."""


@dataclass(frozen=True)
class GivenShape:
    """What the first batch shows: `n_tokens` is 0 for embeddings, None for lists of tokens."""

    dim: int
    n_tokens: int | None


class GivenRows:
    """The given values, in the stored dtype, read once in order and again at any positions."""

    def __init__(self, folder: Path, keys: Keys, values: Any, failures: Mapping[int, str], stack: ExitStack) -> None:
        self._folder, self._keys, self._values, self._failures = folder, keys, _plain(values), failures
        self._stack = stack
        self._spooled: Spool | None = None
        self._prints = np.zeros((len(keys), FINGERPRINT_BYTES), dtype=np.uint8)
        self._starts: IntArray | None = None  # where the rows are `range`, it isn't kept

    def read(
        self, spec_of: Callable[[GivenShape | None, str | None], VariantSpec], dtype: str | None, *, progress: Progress
    ) -> VariantSpec:
        """Check all values once; those that can't be read again are kept in an unnamed file beside the variant."""
        total, done = len(self._keys), 0
        spec: VariantSpec | None = None
        known: str | None = None
        progress(0, total)
        once = not _is_in_memory(self._values)
        for batch in _batches(self._folder, self._values):
            n = len(batch)
            if done + n > total:
                raise StoreError(f"{self._folder}: {total} keys, but more values than that. A key has one value.")
            here = [number for number in range(n) if done + number not in self._failures]
            if here:
                found = self._dtypes(done, batch, here)
                known = known or found[0]
                spec = spec or spec_of(_shape_of(self._folder, batch, here), known)
                if dtype is None and (other := next((one for one in found if one != known), None)) is not None:
                    key = self._keys[done + here[found.index(other)]]
                    raise StoreError(
                        f"{self._folder}: row {key!r} is {other}, those before it are {known}. To round them all, say "
                        f"dtype='{spec.dtype}'."
                    )
            self._read(spec, done, batch, here, spool=once)
            done += n
            progress(done, total)
        if done != total:
            raise StoreError(f"{self._folder}: {total} keys, but {done} values. Each key has one value.")
        if spec is None:
            spec = spec_of(None, None)
        self._spec: VariantSpec = spec
        return spec

    def fingerprints(self, spec: VariantSpec) -> UInt8Array:
        """(n, 16) of the rows given."""
        contents = [sha256(f"no value: {reason}".encode()).hexdigest() for reason in self._failures.values()]
        if contents:
            self._prints[list(self._failures)] = row_fingerprints(spec.fingerprint, contents)
        return self._prints

    def give(self, update: VariantUpdate, position: IntArray | None) -> None:
        """Give an update what it has to do.

        Args:
            update: of a table of these rows and maybe others.
            position: row of the table -> position given, -1 for a row that stays; None where they are the same.
        """
        todo = update.todo
        lost = todo[:0] if position is None else todo[position[todo] < 0]
        if len(lost):
            key = update.table.keys[int(lost[0])]
            raise StoreError(
                f"{self._folder}: {len(lost)} stored rows that should stay are damaged, {key!r} first. "
                "`reelstore verify` names the files; give these rows too, or write with mode='replace'."
            )
        most = max(1, min(BLOCK_ROWS, BLOCK_BYTES // max(1, self._spec.row_bytes)))
        for start in range(0, len(todo), most):
            rows = todo[start : start + most]
            places = rows if position is None else position[rows]
            failed = np.isin(places, list(self._failures)) if self._failures else np.zeros(len(rows), dtype=np.bool_)
            for run in np.split(np.arange(len(rows)), np.flatnonzero(np.diff(failed)) + 1):
                if failed[run[0]]:
                    for number in run.tolist():
                        update.fail(int(rows[number]), self._failures[int(places[number])])
                else:
                    values, counts = self._take(places[run])
                    update.put_rows(rows[run], values, counts)

    def _dtypes(self, first: int, batch: Any, here: Sequence[int]) -> list[str]:
        """Of an array, one; of a list, one for each row that has a value: all of them numbers."""
        dtypes = [batch.dtype] if isinstance(batch, np.ndarray) else [as_numpy(batch[row]).dtype for row in here]
        for row, dtype in zip(here, dtypes, strict=False):
            if dtype.kind not in _NUMBERS:
                key = self._keys[first + row]
                raise StoreError(f"{self._folder}: row {key!r} is {dtype.name}; a value is an array of numbers.")
        return [dtype.name for dtype in dtypes]

    def _read(self, spec: VariantSpec | None, first: int, batch: Any, here: Sequence[int], *, spool: bool) -> None:
        """Note where the rows of a batch begin and what determines each; `here`: those that have a value."""
        keys = self._keys[first : first + len(batch)]
        values: Array = np.empty(0)
        counts: IntArray | None = None
        if spec is not None and here:
            values, counts = self._stored(spec, batch, here, keys)
        sizes = np.ones(len(here), dtype=np.int64) if counts is None else counts
        ends = np.concatenate([[0], np.cumsum(sizes)])
        if counts is not None or self._failures:
            if self._starts is None:
                self._starts = np.zeros(len(self._keys) + 1, dtype=np.int64)
                self._starts[: first + 1] = np.arange(first + 1) * (len(here) == len(batch))
            lengths = np.zeros(len(batch), dtype=np.int64)
            lengths[here] = sizes
            self._starts[first + 1 : first + len(batch) + 1] = self._starts[first] + np.cumsum(lengths)
        if spec is not None and here:
            contents = _contents(values, ends.tolist(), ragged=counts is not None)
            self._prints[first + np.asarray(here)] = row_fingerprints(spec.fingerprint, contents)
        if spool and here and spec is not None:
            with disk_errors(self._folder):
                if self._spooled is None:
                    self._spooled = Spool(self._folder, spec.row_shape, spec.dtype)
                    self._stack.callback(self._spooled.close)
                self._spooled.append(values)

    def _take(self, positions: IntArray) -> tuple[Array, IntArray | None]:
        """Values at positions that have one, and tokens of each where they vary."""
        ragged = self._spec.layout == "ragged"
        if self._spooled is not None:
            if self._starts is None:
                return self._spooled.take(positions, None), None
            starts = self._starts[positions]
            counts = self._starts[positions + 1] - starts if ragged else None
            return self._spooled.take(starts, counts), counts
        keys = self._keys.at(positions)
        batch = _at(self._values, positions)
        return self._stored(self._spec, batch, range(len(batch)), keys)

    def _stored(self, spec: VariantSpec, batch: Any, here: Sequence[int], keys: Keys) -> tuple[Array, IntArray | None]:
        named = keys.at(np.asarray(here, dtype=np.int64))
        if isinstance(batch, np.ndarray):
            values = _floating(batch if len(here) == len(batch) else batch[list(here)])
            if spec.layout == "ragged" and values.ndim == 3:
                counts = np.full(len(values), values.shape[1], dtype=np.int64)
                return as_stored(spec, values.reshape(-1, values.shape[2]), counts, named, self._folder), counts
            return as_stored(spec, values, None, named, self._folder) if named else _none(spec), None
        rows = [_floating(as_numpy(batch[n])) for n in here]
        _refuse_shapes(self._folder, spec, rows, named)
        if spec.layout != "ragged":
            return (as_stored(spec, np.stack(rows), None, named, self._folder) if rows else _none(spec)), None
        counts = np.array([len(row) for row in rows], dtype=np.int64)
        joined = np.concatenate(rows) if rows else _none(spec)
        return (as_stored(spec, joined, counts, named, self._folder) if rows else joined), counts


def _is_in_memory(values: Any) -> bool:
    return isinstance(values, list | tuple) or _n_dims(values) is not None


def _n_dims(values: Any) -> int | None:
    shape = getattr(values, "shape", None)
    return len(shape) if shape is not None and hasattr(values, "__getitem__") else None


def _plain(values: Any) -> Any:
    """Tables as arrays, and columns of arrays as lists."""
    if hasattr(values, "to_numpy"):
        values = values.to_numpy()
    is_column = _n_dims(values) == 1 and str(values.dtype) == "object"
    return list(values) if is_column else values


def _batches(folder: Path, values: Any) -> Iterator[Any]:
    """Arrays (k, dim) or (k, n_tokens, dim), and lists of rows, of some rows each."""
    if (n_dims := _n_dims(values)) is not None:
        if n_dims not in (2, 3):
            shape = tuple(values.shape)
            raise StoreError(f"{folder}: values of shape {shape}; (n, dim) or (n, n_tokens, dim) is expected.")
        row_bytes = 8 * prod(length or 1 for length in values.shape[1:])
        step = max(1, min(BLOCK_ROWS, BLOCK_BYTES // row_bytes))
        for start in range(0, int(values.shape[0]), step):
            yield _between(values, start, start + step)
    elif isinstance(values, list | tuple):
        for start in range(0, len(values), BLOCK_ROWS):
            yield values[start : start + BLOCK_ROWS]
    elif isinstance(values, Iterable) and not isinstance(values, str | bytes | Mapping):
        for batch in map(_plain, values):
            if not _is_in_memory(batch):
                raise StoreError(f"{folder}: a batch is an array or a list of arrays, not {type(batch).__name__}.")
            yield from _batches(folder, batch)
    else:
        raise StoreError(
            f"{folder}: values are an array, a tensor, a list of arrays, or batches of these, not "
            f"{type(values).__name__}."
        )


def _between(values: Any, start: int, stop: int) -> Any:
    """Rows of what is indexed like an array; a list where it gives one, as ragged `Rows` do."""
    rows = values[start:stop]
    return rows if isinstance(rows, list) else as_numpy(rows)


def _at(values: Any, positions: IntArray) -> Any:
    """Some rows of values that are in memory or in a file; of a file, rows near each other are read at once."""
    if isinstance(values, list | tuple):
        return [values[n] for n in positions.tolist()]
    if isinstance(values, np.ndarray):
        return as_numpy(values[positions])
    first, last = int(positions.min()), int(positions.max()) + 1
    if last - first > _SPARSE * len(positions):
        runs = np.split(positions, np.flatnonzero(np.diff(positions) != 1) + 1)
        parts = [_between(values, int(run[0]), int(run[-1]) + 1) for run in runs]
        return [row for part in parts for row in part]
    rows = _between(values, first, last)
    return [rows[n - first] for n in positions.tolist()] if isinstance(rows, list) else rows[positions - first]


def as_numpy(value: Any) -> Array:
    """An array of what is an array elsewhere: a tensor on any device, bfloat16 as float32, which holds it exactly.

    Raises:
        StoreError: some of it is masked.
    """
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        if str(value.dtype) == "torch.bfloat16":
            value = value.float()
        return np.asarray(value.numpy())
    if np.ma.is_masked(value):
        raise StoreError("Some values are masked. Fill them (numpy.ma.filled), or leave out their rows.")
    array = np.asarray(value)
    return array.astype(np.float32) if array.dtype.name == "bfloat16" else array


def _floating(values: Array) -> Array:
    """Whole numbers as float64, which is rounded then; whether that is asked for has been checked."""
    return values.astype(np.float64) if values.dtype.kind in "iu" else values


def _shape_of(folder: Path, batch: Any, here: Sequence[int]) -> GivenShape:
    """Of the first batch that has a value; `here`: where it has one."""
    if isinstance(batch, np.ndarray):
        if batch.ndim not in (2, 3) or 0 in batch.shape[1:]:
            raise StoreError(
                f"{folder}: values of shape {batch.shape}; (n, dim) or (n, n_tokens, dim) is expected, none of them 0."
            )
        return GivenShape(batch.shape[-1], 0 if batch.ndim == 2 else batch.shape[1])
    first = as_numpy(batch[here[0]])
    if first.ndim not in (1, 2) or not first.shape[-1]:
        raise StoreError(f"{folder}: a row of shape {first.shape}; (dim,) or (n_tokens, dim) is expected.")
    return GivenShape(first.shape[-1], 0 if first.ndim == 1 else None)


def _refuse_shapes(folder: Path, spec: VariantSpec, rows: Sequence[Array], keys: Sequence[Key]) -> None:
    ragged = spec.layout == "ragged"
    for row, key in zip(rows, keys, strict=True):
        fits = row.ndim == 2 and row.shape[1] == spec.dim if ragged else row.shape == spec.row_shape
        if not fits:
            wanted = ("n_tokens", spec.dim) if ragged else spec.row_shape
            raise StoreError(f"{folder}: row {key!r} has shape {row.shape}; this variant's rows are {wanted}.")


def _contents(values: Array, ends: Sequence[int], *, ragged: bool) -> list[str]:
    """sha256 (hex) of each row's dtype, shape and bytes."""
    kind, width = values.dtype, values.shape[1:]
    prefix = sha256(f"{kind} {width} ".encode())
    found = []
    for start, stop in pairwise(ends):
        content = sha256(f"{kind} {(stop - start, *width)} ".encode()) if ragged else prefix.copy()
        content.update(np.ascontiguousarray(values[start:stop]).data if stop > start else b"")
        found.append(content.hexdigest())
    return found


def _none(spec: VariantSpec) -> Array:
    return np.zeros((0, *spec.row_shape), dtype=spec.dtype)
