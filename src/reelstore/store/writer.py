"""Embeddings -> a variant's folder: rows in order, changed files only, published at once."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from reelstore.errors import StoreError
from reelstore.store.chunks import ArrayWriter
from reelstore.store.journal import commit
from reelstore.store.manifest import manifest_bytes
from reelstore.store.schema import (
    FAILED,
    OK,
    SCHEMA_VERSION,
    ArrayLayout,
    VariantSpec,
    variant_digest,
)
from reelstore.store.table import Key, RowTable, split_names, table_columns
from reelstore.store.values import as_stored

WRITING_THREADS = 2


@dataclass(frozen=True)
class Written:
    """What publishing a variant did."""

    digest: str
    n_bytes_written: int


class VariantWriter:
    """Writes one variant, row after row, as `table` lists them.

    Nothing that is published is touched before `publish`: until then files have temporary names.

    Args:
        folder: the variant's.
        spec: what it holds.
        table: its rows.
        published: file key -> sha256 (hex) of files that are there and right; such a file isn't written again.
    """

    def __init__(self, folder: Path, spec: VariantSpec, table: RowTable, published: Mapping[str, str]) -> None:
        self._folder = folder
        self._spec = spec
        self._table = table
        self._published = published
        self._threads = ThreadPoolExecutor(WRITING_THREADS)
        self._values = ArrayWriter(folder, spec.values_array(), published, self._threads)
        self._status = np.zeros(len(table), dtype=np.uint8)
        self._offsets = np.zeros(len(table) + 1, dtype=np.int64)
        self._reasons: dict[Key, str] = {}
        self._next = 0

    @property
    def next_row(self) -> int:
        """The row that is to be given next."""
        return self._next

    def keep(self, status: npt.NDArray[np.uint8], reasons: Mapping[Key, str], offsets: npt.NDArray[np.int64]) -> int:
        """Begin with rows that are published in these very places; their whole files stay as they are.

        Args:
            status: (k,) of those rows.
            reasons: of the failed ones among them, in order.
            offsets: (k + 1,) where the variant is ragged, from 0.

        Returns:
            the first row of `values` that must be given again, through `fill`.
        """
        count = len(status)
        ragged = self._spec.layout == "ragged"
        n_files = int(offsets[-1] if ragged else count) // self._values.layout.file_rows
        self._values.keep(n_files)
        self._status[:count] = status
        if ragged:
            self._offsets[: count + 1] = offsets
        self._reasons.update(reasons)
        self._next = count
        return n_files * self._values.layout.file_rows

    def fill(self, rows: npt.NDArray[Any]) -> None:
        """Rows of `values` behind the files kept, up to the end of the rows kept."""
        self._values.append(rows)

    def append(self, values: npt.NDArray[np.floating[Any]], counts: npt.NDArray[np.int64] | None = None) -> None:
        """The next rows' values.

        Args:
            values: (k, dim) or (k, n_tokens, dim); (n_tokens_total, dim) of k ragged rows.
            counts: (k,) tokens of each ragged row.

        Raises:
            ValueRangeError: NaN, infinity, or beyond the stored dtype; the message names the row.
            StoreError: the shape isn't the variant's.
        """
        count = len(values) if counts is None else len(counts)
        keys = self._table.keys[self._next : self._next + count]
        stored = as_stored(self._spec, values, counts, keys, self._folder)
        self._values.append(stored)
        rows = slice(self._next, self._next + count)
        self._status[rows] = OK
        ends = np.zeros(count, dtype=np.int64) if counts is None else np.cumsum(counts)
        self._offsets[self._next + 1 : self._next + count + 1] = self._offsets[self._next] + ends
        self._next += count

    def fail(self, reason: str) -> None:
        """The next row has no value, for this reason."""
        self._reasons[self._table.keys[self._next]] = reason
        if self._spec.layout != "ragged":
            self._values.append(np.zeros((1, *self._spec.row_shape), dtype=self._spec.dtype))
        self._status[self._next] = FAILED
        self._offsets[self._next + 1] = self._offsets[self._next]
        self._next += 1

    def publish(self) -> Written:
        """Make all of it the variant, at once."""
        if self._next != len(self._table):
            raise StoreError(f"{self._folder}: {self._next} of {len(self._table)} rows were written.")
        arrays = [self._values, *self._write_table()]
        digests: dict[str, str] = {}
        for array in arrays:
            array.close()
            digests |= array.digests
        self.stop()
        pending = [key for array in arrays for key in array.pending]
        commit(self._folder, pending, digests, manifest_bytes(self._attributes(digests)))
        return Written(variant_digest(digests), sum(array.n_bytes_written for array in arrays))

    def stop(self) -> None:
        """Wait for what is being written, and write no more."""
        self._threads.shutdown(cancel_futures=True)

    def _write_table(self) -> list[ArrayWriter]:
        columns = table_columns(self._spec, self._table, self._status, self._offsets)
        return [self._filled(layout, columns[layout.name]) for layout in self._spec.table_arrays()]

    def _filled(self, layout: ArrayLayout, rows: npt.NDArray[Any]) -> ArrayWriter:
        array = ArrayWriter(self._folder, layout, self._published)
        array.append(rows)
        return array

    def _attributes(self, digests: dict[str, str]) -> dict[str, Any]:
        spec = self._spec
        return {
            "schema_version": SCHEMA_VERSION,
            "side": spec.side,
            "encoder": spec.encoder,
            "variant": spec.variant,
            "layout": spec.layout,
            "n_rows": len(self._table),
            "n_value_rows": self._values.n_rows,
            "dim": spec.dim,
            "n_tokens": spec.n_tokens,
            "dtype": spec.dtype,
            "normalized": False,
            "recipe": dict(spec.recipe),
            "fingerprint": spec.fingerprint,
            "splits": split_names(self._table),
            "failures": [[key, reason] for key, reason in self._reasons.items()],
            "digest": variant_digest(digests),
            "digests": digests,
        }


def row_fingerprints(recipe_fingerprint: str, contents: Sequence[str]) -> npt.NDArray[np.uint8]:
    """What determines each row: the recipe and the item's content, (n, 16) uint8.

    Args:
        recipe_fingerprint: hex digest of what all rows share.
        contents: hex digest of each item's content.
    """
    digests = [sha256(f"{recipe_fingerprint} {content}".encode()).digest()[:16] for content in contents]
    return np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(len(contents), 16)
