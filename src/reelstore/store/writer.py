"""Embeddings -> a variant's folder: rows in order, changed files only, published by its zarr.json, written last."""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from reelstore.errors import StoreError, ValueRangeError
from reelstore.store.chunks import PARTIAL, ArrayWriter, write_atomically
from reelstore.store.reader import Rows, open_variant
from reelstore.store.schema import (
    ATTRIBUTE,
    FAILED,
    OK,
    SCHEMA_VERSION,
    ArrayLayout,
    VariantSpec,
    as_json_bytes,
    group_metadata,
    variant_digest,
)
from reelstore.store.table import Key, RowTable

GROUP = "zarr.json"


@dataclass(frozen=True)
class Published:
    """What publishing a variant did."""

    digest: str
    n_bytes_written: int


class VariantWriter:
    """Writes one variant, a row after the other, as `table` lists them.

    Nothing that is published is touched before `publish`: until then files have temporary names. `published` holds
    the variant as it is, for rows that can be taken over.
    """

    def __init__(self, folder: Path, spec: VariantSpec, table: RowTable) -> None:
        self.published = open_published(folder, spec)
        self._folder = folder
        self._spec = spec
        self._table = table
        self._known = dict(self.published.file_digests) if self.published else {}
        self._values = ArrayWriter(folder, spec.values_array(), self._known)
        self._status = np.zeros(len(table), dtype=np.uint8)
        self._offsets = np.zeros(len(table) + 1, dtype=np.int64)
        self._reasons: dict[Key, str] = {}
        self._next = 0

    def append(self, value: npt.NDArray[np.floating[Any]]) -> None:
        """The next row's value: (dim,), or (n_tokens, dim) for tokens.

        Raises:
            ValueRangeError: NaN, infinity, or beyond the stored dtype; the message names the row.
            StoreError: the shape isn't the variant's.
        """
        value = self._checked(value)
        rows = value if self._spec.layout == "ragged" else value[None]
        self._values.append(rows)
        self._end_row(OK, len(rows))

    def fail(self, reason: str) -> None:
        """The next row has no value, for this reason."""
        self._reasons[self._table.keys[self._next]] = reason
        if self._spec.layout != "ragged":
            self._values.append(np.zeros((1, *self._spec.row_shape), dtype=self._spec.dtype))
        self._end_row(FAILED, 0)

    def publish(self) -> Published:
        """Give the files their names and say so in zarr.json, the last file written.

        While files change names there is no zarr.json, so that a reader never meets half of a change.
        """
        if self._next != len(self._table):
            raise StoreError(f"{self._folder}: {self._next} of {len(self._table)} rows were written.")
        arrays = [self._values, *self._write_table()]
        digests: dict[str, str] = {}
        for array in arrays:
            array.close()
            digests |= array.digests
        group = as_json_bytes(group_metadata({ATTRIBUTE: self._attributes(digests)}))
        n_bytes_written = sum(array.n_bytes_written for array in arrays)
        path = self._folder / GROUP
        if n_bytes_written or self._known.keys() != digests.keys() or not path.is_file() or path.read_bytes() != group:
            path.unlink(missing_ok=True)
            for array in arrays:
                array.commit()
            self._sweep(digests)
            write_atomically(path, group)
        write_parents(self._folder)
        return Published(digest=variant_digest(digests), n_bytes_written=n_bytes_written)

    def _checked(self, value: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.floating[Any]]:
        key = self._table.keys[self._next]
        ragged = self._spec.layout == "ragged"
        right = value.ndim == 2 and value.shape[1] == self._spec.dim if ragged else value.shape == self._spec.row_shape
        if not right:
            raise StoreError(
                f"{self._folder}: row {key!r} has shape {value.shape}; "
                f"this variant's rows are {('n_tokens', self._spec.dim) if ragged else self._spec.row_shape}."
            )
        if not np.isfinite(value).all():
            raise ValueRangeError(f"{self._folder}: row {key!r} holds NaN or infinity.")
        limit = np.finfo(self._spec.dtype).max
        largest = np.abs(value).max(initial=0)
        if largest > limit:
            raise ValueRangeError(
                f"{self._folder}: row {key!r} holds {largest:g}, beyond {self._spec.dtype}'s {limit:g}. "
                "Set embed.dtype: float32 in params.yaml."
            )
        return value.astype(self._spec.dtype, copy=False)

    def _end_row(self, status: int, n_tokens: int) -> None:
        self._status[self._next] = status
        self._offsets[self._next + 1] = self._offsets[self._next] + n_tokens
        self._next += 1

    def _write_table(self) -> list[ArrayWriter]:
        video_ids = [key if isinstance(key, str) else key[0] for key in self._table.keys]
        encoded = [video_id.encode() for video_id in video_ids]
        split_numbers = {split: number for number, split in enumerate(self._split_names())}
        columns: dict[str, npt.NDArray[Any]] = {
            "video_id": np.frombuffer(b"".join(encoded), dtype=np.uint8),
            "video_id_offsets": np.cumsum([0, *map(len, encoded)], dtype=np.int64),
            "status": self._status,
            "split": np.array([split_numbers[split] for split in self._table.splits], dtype=np.uint8),
            "fingerprint": self._table.fingerprints,
            "offsets": self._offsets,
            "caption_index": np.array([k[1] for k in self._table.keys if not isinstance(k, str)], dtype=np.int32),
        }
        return [self._filled(layout, columns[layout.name]) for layout in self._spec.table_arrays()]

    def _filled(self, layout: ArrayLayout, rows: npt.NDArray[Any]) -> ArrayWriter:
        array = ArrayWriter(self._folder, layout, self._known)
        array.append(rows)
        return array

    def _split_names(self) -> list[str]:
        return sorted(set(self._table.splits))

    def _attributes(self, digests: dict[str, str]) -> dict[str, Any]:
        spec = self._spec
        return {
            "schema_version": SCHEMA_VERSION,
            "side": spec.side,
            "encoder": spec.encoder,
            "variant": spec.variant,
            "layout": spec.layout,
            "dim": spec.dim,
            "n_tokens": spec.n_tokens,
            "dtype": spec.dtype,
            "normalized": False,
            "recipe": dict(spec.recipe),
            "fingerprint": spec.fingerprint,
            "splits": self._split_names(),
            "failures": [[key, reason] for key, reason in self._reasons.items()],
            "digest": variant_digest(digests),
            "digests": digests,
        }

    def _sweep(self, digests: dict[str, str]) -> None:
        """Remove what isn't of this version: shards beyond the end, and what a killed writer left."""
        for path in sorted(self._folder.rglob("*"), reverse=True):
            if path.is_dir():
                if not any(path.iterdir()):
                    path.rmdir()
            elif path.relative_to(self._folder).as_posix() not in digests:
                path.unlink()


def open_published(folder: Path, spec: VariantSpec) -> Rows | None:
    """The variant in this folder if one is published that this spec would write; None otherwise."""
    if not (folder / GROUP).is_file():
        return None
    rows = open_variant(folder)
    return rows if rows.fingerprint == spec.fingerprint else None


def write_parents(folder: Path) -> None:
    """The zarr.json of dataset, side and encoder: constant, so that they can live in git."""
    content = as_json_bytes(group_metadata())
    for parent in [folder.parents[0], folder.parents[1], folder.parents[2]]:
        if not (parent / GROUP).is_file():
            write_atomically(parent / GROUP, content)


def remove_partials(folder: Path) -> None:
    """Sweep what a killed writer left."""
    for path in folder.rglob(f"*{PARTIAL}"):
        path.unlink()


def row_fingerprints(recipe_fingerprint: str, contents: Sequence[str]) -> npt.NDArray[np.uint8]:
    """What determines each row: the recipe and the item's content, (n, 16) uint8.

    Args:
        recipe_fingerprint: hex digest of what all rows share.
        contents: hex digest of each item's content.
    """
    from hashlib import sha256

    digests = [sha256(f"{recipe_fingerprint} {content}".encode()).digest()[:16] for content in contents]
    return np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(len(contents), 16)


def disk_free(folder: Path) -> int:
    """Bytes free where the folder lies or will lie."""
    existing = next(path for path in [folder.absolute(), *folder.absolute().parents] if path.exists())
    return shutil.disk_usage(existing).free


def fsync_folder(folder: Path) -> None:
    """Make renames in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
