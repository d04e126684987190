"""Rows staged for a store: one file per task, outside the store, either complete or missing."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from reelstore.arrays import Array, BoolArray, FloatArray, IntArray, UInt8Array
from reelstore.errors import DamagedFileError, StoreError
from reelstore.io import PARTIAL, parsed_json, refuse_irregular, remove_files, write_atomically
from reelstore.plain import typed
from reelstore.store.chunks import FINGERPRINT_BYTES
from reelstore.store.files import disk_errors
from reelstore.store.format import FAILED, OK, VariantSpec
from reelstore.store.update import VariantUpdate
from reelstore.store.write import as_stored

ENDING = ".safetensors"
_NAME = "[0-9a-f]" * 24
"""Pattern of a task's name; see `task_name`."""
ABOUT = "reelstore"
"""Key of our metadata in a staged file."""


@dataclass(frozen=True)
class StagedRows:
    """Some rows of one variant.

    Attributes:
        fingerprints: (k, 16) uint8; by these the rows are found again.
        values: (n_ok, dim), (n_ok, n_tokens, dim), or (n_tokens_total, dim), in the stored dtype.
        counts: (k,) tokens of each row where they vary; 0 where it failed.
        reasons: (k,) why a row has no value; None where it has one.
    """

    fingerprints: UInt8Array
    values: FloatArray
    counts: IntArray | None
    reasons: Sequence[str | None]

    @property
    def status(self) -> UInt8Array:
        """(k,) 1 ok, 2 failed."""
        return np.array([OK if reason is None else FAILED for reason in self.reasons], dtype=np.uint8)

    @property
    def starts(self) -> IntArray:
        """(k + 1,) where each row's part of `values` begins; a failed row has none."""
        sizes = self.status == OK if self.counts is None else self.counts
        return np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])


def staged_rows(
    spec: VariantSpec, keys: Sequence[Any], fingerprints: UInt8Array, values: Sequence[Array | str]
) -> StagedRows:
    """Rows of a variant from the value of each, or the reason there is none.

    Raises:
        ValueRangeError: NaN, infinity, or beyond the stored dtype; the message names the row.
        StoreError: a shape isn't the variant's.
    """
    ragged = spec.layout == "ragged"
    stored = []
    for key, value in zip(keys, values, strict=True):
        if not isinstance(value, str):
            counts = np.array([len(value)]) if ragged else None
            stored.append(as_stored(spec, value if ragged else value[None], counts, [key], Path(spec.variant)))
    lengths = np.array([0 if isinstance(value, str) else len(value) for value in values], dtype=np.int64)
    return StagedRows(
        fingerprints=fingerprints,
        values=np.concatenate(stored) if stored else np.zeros((0, *spec.row_shape), dtype=spec.dtype),
        counts=lengths if ragged else None,
        reasons=[value if isinstance(value, str) else None for value in values],
    )


class Staging:
    """The staged rows of one encoder's variants, in a separate folder.

    Tasks may run anywhere that sees the folder, twice at once if it happens: the same task gives the same file.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def has(self, name: str) -> bool:
        """Whether this file exists; files are complete or missing."""
        return (self.folder / (name + ENDING)).is_file()

    def write(self, name: str, variants: Mapping[str, StagedRows]) -> None:
        """Stage the rows of one task, of each variant."""
        from safetensors.numpy import save

        tensors: dict[str, Array] = {}
        for variant, rows in variants.items():
            tensors[f"{variant}/values"] = rows.values
            tensors[f"{variant}/fingerprints"] = rows.fingerprints
            if rows.counts is not None:
                tensors[f"{variant}/counts"] = rows.counts
        about = {
            "reasons": {variant: list(rows.reasons) for variant, rows in variants.items()},
            "sha256": _digest(tensors),
        }
        # One key: safetensors writes several in any order, and the same rows must give the same bytes.
        content = save(tensors, {ABOUT: json.dumps(about, sort_keys=True)})
        with disk_errors(self.folder):
            write_atomically(self.folder / (name + ENDING), content)

    def read(self, name: str) -> dict[str, StagedRows]:
        """The rows of one file, variant by variant.

        Raises:
            StoreError: the file was damaged; it has been removed.
        """
        from safetensors import SafetensorError, safe_open

        path = self.folder / (name + ENDING)
        refuse_irregular(path)
        try:
            with safe_open(path, framework="np") as file:
                about = _about(file, path)
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  # it isn't a mapping
            rows = {
                variant: StagedRows(
                    tensors[f"{variant}/fingerprints"],
                    tensors[f"{variant}/values"],
                    tensors.get(f"{variant}/counts"),
                    reasons,
                )
                for variant, reasons in about.reasons.items()
            }
            whole = about.sha256 == _digest(tensors) and all(map(_is_consistent, rows.values()))
        except (SafetensorError, KeyError, TypeError, ValueError, AttributeError):
            whole = False
        if not whole:
            path.unlink(missing_ok=True)
            raise StoreError(f"{path} was damaged and has been removed. Run it again: its rows are embedded again.")
        return rows

    def fingerprints(self) -> Iterator[tuple[str, str, Array, list[str | None]]]:
        """File, variant, fingerprints and reasons of all that is staged, without its values."""
        from safetensors import SafetensorError, safe_open

        for path in sorted(self.folder.glob(f"*{ENDING}")):
            if not path.is_file():  # a pipe, a folder, a link to a device: nothing that was staged
                continue
            try:
                with safe_open(path, framework="np") as file:
                    found = [
                        (variant, file.get_tensor(f"{variant}/fingerprints"), reasons)
                        for variant, reasons in _about(file, path).reasons.items()
                    ]
                if not all(_are_fingerprints(fingerprints, len(reasons)) for _, fingerprints, reasons in found):
                    raise DamagedFileError(f"{path} has fingerprints of another shape.")
                yield from ((path.name.removesuffix(ENDING), *one) for one in found)
            except (SafetensorError, KeyError, TypeError, ValueError, AttributeError):
                if path.match(f"{_NAME}{ENDING}"):
                    path.unlink()  # damaged: its rows are embedded again

    def drop(self, name: str) -> None:
        """Remove this file, if it is there."""
        (self.folder / (name + ENDING)).unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove the staged files and what else is written beside them; other files in the folder stay."""
        for name in (f"{_NAME}{ENDING}", "plan.json"):
            remove_files(self.folder, name, f"{name}.*{PARTIAL}")


class StagedIndex:
    """Places of the rows in a staging folder, by variant and fingerprint."""

    def __init__(self, staging: Staging) -> None:
        self._staging = staging
        self._places: dict[tuple[str, bytes], tuple[str, int]] = {}
        self._others: dict[tuple[str, bytes], list[tuple[str, int]]] = {}  # of rows that are staged more than once
        self._failed: set[tuple[str, bytes]] = set()
        self._last: tuple[str, dict[str, StagedRows]] | None = None
        for name, variant, fingerprints, reasons in staging.fingerprints():
            for row, (fingerprint, reason) in enumerate(zip(fingerprints, reasons, strict=True)):
                place = (variant, fingerprint.tobytes())
                if reason is not None:
                    if place not in self._places:
                        self._places[place] = (name, row)
                        self._failed.add(place)
                elif place not in self._places or place in self._failed:  # a value counts more: it was tried again
                    self._places[place] = (name, row)
                    self._failed.discard(place)
                else:
                    self._others.setdefault(place, []).append((name, row))

    def has(self, variant: str, fingerprints: UInt8Array, *, failed: bool = True) -> BoolArray:
        """(k,) bool: which rows are staged.

        Args:
            variant: name.
            fingerprints: (k, 16) uint8.
            failed: whether a row staged without a value counts.
        """
        places = [(variant, one.tobytes()) for one in fingerprints]
        return np.array([place in self._places and (failed or place not in self._failed) for place in places], bool)

    def give(self, update: VariantUpdate) -> None:
        """Give an update all rows it has to do.

        Raises:
            StoreError: one of them isn't staged.
        """
        variant = update.spec.variant
        places: list[tuple[str, int]] = []
        for row in update.todo.tolist():
            key = (variant, update.table.fingerprints[row].tobytes())
            if key not in self._places:
                raise StoreError(f"{self._staging.folder}: row {update.table.keys[row]!r} of {variant} isn't staged.")
            places.append(self._place(key, places[-1] if places else None))
        start = 0
        while start < len(places):
            name, first = places[start]
            rows = self._read(name)[variant]
            if rows.values.dtype != update.spec.dtype:
                raise StoreError(
                    f"{self._staging.folder}/{name}{ENDING} holds {rows.values.dtype} of {variant}, not "
                    f"{update.spec.dtype}. Remove it and run it again: its rows are embedded again."
                )
            stop = start + 1
            if rows.reasons[first] is not None:
                update.fail(int(update.todo[start]), str(rows.reasons[first]))
            else:
                while (
                    stop < len(places)
                    and places[stop] == (name, first + stop - start)
                    and rows.reasons[first + stop - start] is None
                ):
                    stop += 1
                last = first + stop - start
                values = rows.values[rows.starts[first] : rows.starts[last]]
                update.put_rows(
                    update.todo[start:stop], values, None if rows.counts is None else rows.counts[first:last]
                )
            start = stop

    def _place(self, key: tuple[str, bytes], before: tuple[str, int] | None) -> tuple[str, int]:
        """Place of a row; of equal rows, such as repeated captions, the one after `before`, or in the same file."""
        first, others = self._places[key], self._others.get(key)
        if others is None or before is None:
            return first
        name, row = before
        in_file = [place for place in [first, *others] if place[0] == name]
        return min(in_file, key=lambda place: abs(place[1] - row - 1), default=first)

    def _read(self, name: str) -> dict[str, StagedRows]:
        if self._last is None or self._last[0] != name:
            self._last = (name, self._staging.read(name))
        return self._last[1]


@dataclass(frozen=True)
class _About:
    """Our metadata in a staged file."""

    reasons: dict[str, list[str | None]]
    sha256: str


def _about(file: Any, path: Path) -> _About:
    about: _About = typed(parsed_json(file.metadata()[ABOUT].encode(), path), _About, path)
    return about


def _are_fingerprints(fingerprints: Array, n_rows: int) -> bool:
    return bool(fingerprints.dtype == np.uint8) and fingerprints.shape == (n_rows, FINGERPRINT_BYTES)


def _is_consistent(rows: StagedRows) -> bool:
    """Whether the arrays of a variant in a file are consistent; an update compares shapes with the spec."""
    n_rows = len(rows.reasons)
    if not _are_fingerprints(rows.fingerprints, n_rows) or rows.values.ndim < 2:
        return False
    if rows.counts is not None:
        counts: Array = rows.counts
        if counts.dtype != np.int64 or counts.shape != (n_rows,) or counts.min(initial=0) < 0:
            return False
        if counts[rows.status == FAILED].any() or counts.max(initial=0) > len(rows.values):
            return False
    return len(rows.values) == int(rows.starts[-1])


def is_task_name(name: str) -> bool:
    """Whether a task's file may have this name."""
    return re.fullmatch(r"[0-9a-f]{24}", name) is not None


def task_name(fingerprints: Iterable[UInt8Array]) -> str:
    """Name of a task's file: what its rows are, of every variant."""
    hashing = sha256()
    for rows in fingerprints:
        hashing.update(np.ascontiguousarray(rows).tobytes())
    return hashing.hexdigest()[:24]


def _digest(tensors: Mapping[str, Array]) -> str:
    hashing = sha256()
    for name, tensor in sorted(tensors.items()):
        hashing.update(f"{name} {tensor.dtype} {tensor.shape}\n".encode())
        hashing.update(np.ascontiguousarray(tensor).tobytes())
    return hashing.hexdigest()
