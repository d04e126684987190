"""Rows -> the files of a variant: checked, in the stored dtype, changed files only, published together."""

from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import numpy.typing as npt

from reelstore.arrays import Array, FloatArray, IntArray, UInt8Array
from reelstore.errors import StoreError, ValueRangeError
from reelstore.store.commit import commit
from reelstore.store.files import write_partial
from reelstore.store.format import (
    FAILED,
    OK,
    SCHEMA_VERSION,
    ArrayLayout,
    VariantSpec,
    as_json_bytes,
    manifest_bytes,
    variant_digest,
)
from reelstore.store.table import Key, RowTable, split_names, table_columns

FLOAT16_INFINITY = 0x7C00  # bits of an infinity; a NaN has more


def as_stored(
    spec: VariantSpec,
    values: FloatArray,
    counts: IntArray | None,
    keys: Sequence[Key],
    folder: Path,
) -> FloatArray:
    """Values of some rows in the variant's dtype, or an error: arguments and errors are those of `append`."""
    ragged = counts is not None
    shape = (int(counts.sum()), spec.dim) if counts is not None else (len(keys), *spec.row_shape)
    if values.shape != shape or ragged != (spec.layout == "ragged"):
        wanted = ("n_tokens", spec.dim) if spec.layout == "ragged" else spec.row_shape
        found = values.shape if ragged or len(keys) != len(values) else values.shape[1:]
        raise StoreError(f"{folder}: row {keys[0]!r} has shape {found}; this variant's rows are {wanted}.")
    if not np.issubdtype(values.dtype, np.floating):
        raise StoreError(f"{folder}: row {keys[0]!r} has dtype {values.dtype}; embeddings are floating point.")
    limit = float(np.finfo(spec.dtype).max)
    if not fits(values, limit):
        _refuse_values(spec, values, counts, keys, folder, limit)
    return values.astype(spec.dtype, copy=False)


def fits(values: FloatArray, limit: float) -> bool:
    """Whether all values are finite and within the limit."""
    if not values.size:
        return True
    if values.dtype == np.float16:  # by its bits: arithmetic on float16 is slow
        return bool((values.view(np.uint16) & 0x7FFF).max() < FLOAT16_INFINITY)
    return bool(values.max() <= limit and values.min() >= -limit)  # a NaN makes both false


def _refuse_values(
    spec: VariantSpec,
    values: FloatArray,
    counts: IntArray | None,
    keys: Sequence[Key],
    folder: Path,
    limit: float,
) -> None:
    with np.errstate(invalid="ignore"):
        bad = ~(np.abs(values.reshape(len(values), -1).astype(np.float64)) <= limit)
    first = int(np.flatnonzero(bad.any(axis=1))[0])
    key = keys[first if counts is None else int(np.searchsorted(np.cumsum(counts), first, side="right"))]
    worst = float(values.reshape(len(values), -1)[first][bad[first]][0])
    if not np.isfinite(worst):
        raise ValueRangeError(f"{folder}: row {key!r} holds NaN or infinity.")
    advice = "Scale the values."
    if spec.dtype != "float32" and abs(worst) <= float(np.finfo("float32").max):
        advice = "Store it as float32: dtype='float32', in params.yaml embed.dtype."
    raise ValueRangeError(f"{folder}: row {key!r} holds {worst:g}, beyond {spec.dtype}'s {limit:g}. {advice}")


IN_FLIGHT = 2
"""Files hashed and written while the next one fills: memory holds one more than this."""


class ArrayWriter:
    """Takes rows in order and writes each file once it is full.

    Files get temporary names, `0.partial`, and keep them; publishing renames `pending`. A file whose content is the
    published one's isn't written at all.

    Args:
        folder: the variant's folder.
        layout: the array's files.
        published: file key -> sha256 (hex) of the files that are there and are what their digest says.
        threads: where files are hashed and written meanwhile; none: at once.
    """

    def __init__(
        self, folder: Path, layout: ArrayLayout, published: Mapping[str, str], threads: ThreadPoolExecutor | None = None
    ) -> None:
        self.layout = layout
        self.digests: dict[str, str] = {}
        self.pending: list[str] = []
        self.n_rows = 0
        self.n_bytes_written = 0
        self._folder = folder
        self._published = published
        self._threads = threads
        self._jobs: deque[Future[None]] = deque()
        self._spare: list[npt.NDArray[np.generic]] = []
        self._buffer = self._new_buffer()
        self._filled = 0

    def keep(self, n_files: int) -> None:
        """Reuse the first files as they are; they must be published. Only before any row."""
        assert self.n_rows == 0, "files can be kept only in front of the first new row"
        for number in range(n_files):
            key = self.layout.file_key(number)
            self.digests[key] = self._published[key]
        self.n_rows = n_files * self.layout.file_rows

    def append(self, rows: npt.NDArray[np.generic]) -> None:
        """The next rows, (k, *row_shape), already in the array's dtype."""
        start = 0
        while start < len(rows):
            count = min(len(rows) - start, self.layout.file_rows - self._filled)
            self._buffer[self._filled : self._filled + count] = rows[start : start + count]
            self._filled += count
            self.n_rows += count
            start += count
            if self._filled == self.layout.file_rows:
                self._flush()

    def close(self) -> None:
        """Write the last file and the array's metadata, and wait for all files."""
        if self._filled:
            self._flush()
        while self._jobs:
            self._jobs.popleft().result()
        self._put(f"{self.layout.name}/zarr.json", [as_json_bytes(self.layout.metadata(self.n_rows))])

    def _flush(self) -> None:
        number = (self.n_rows - 1) // self.layout.file_rows
        buffer, filled = self._buffer, self._filled
        buffer[filled:] = 0
        if self._threads is None:
            self._write_file(number, buffer, filled)
        else:
            if len(self._jobs) >= IN_FLIGHT:
                self._jobs.popleft().result()
            self._jobs.append(self._threads.submit(self._write_file, number, buffer, filled))
        self._buffer = self._new_buffer()
        self._filled = 0

    def _new_buffer(self) -> npt.NDArray[np.generic]:
        if self._spare:
            return self._spare.pop()
        return np.zeros((self.layout.file_rows, *self.layout.row_shape), dtype=self.layout.dtype)

    def _write_file(self, number: int, rows: npt.NDArray[np.generic], filled: int) -> None:
        parts: list[bytes | memoryview]
        if self.layout.inner_rows is None:
            parts = [_bytes_of(rows)]
        else:
            n_present = -(-filled // self.layout.inner_rows)
            parts = [_bytes_of(rows[: n_present * self.layout.inner_rows]), shard_index(self.layout, n_present)]
        self._put(self.layout.file_key(number), parts)
        self._spare.append(rows)

    def _put(self, key: str, parts: list[bytes | memoryview] | list[bytes]) -> None:
        hashing = sha256()
        for part in parts:
            hashing.update(part)
        digest = hashing.hexdigest()
        self.digests[key] = digest
        if self._published.get(key) == digest:
            return
        write_partial(self._folder, key, *parts)
        self.pending.append(key)
        self.n_bytes_written += sum(len(part) for part in parts)


def shard_index(layout: ArrayLayout, n_present: int) -> bytes:
    """What ends a shard whose first `n_present` chunks are there: (offset, length) of every chunk, and their crc32c.

    Source: the sharding-indexed codec, https://zarr-specs.readthedocs.io/en/latest/v3/codecs/sharding-indexed/
    """
    assert layout.inner_rows is not None, f"{layout.name} has no shards"
    n_chunks = layout.file_rows // layout.inner_rows
    chunk_bytes = layout.inner_rows * int(np.prod(layout.row_shape)) * np.dtype(layout.dtype).itemsize
    index = np.full((n_chunks, 2), 2**64 - 1, dtype="<u8")  # this value says: no such chunk
    index[:n_present, 0] = np.arange(n_present, dtype="<u8") * np.uint64(chunk_bytes)
    index[:n_present, 1] = chunk_bytes
    encoded = index.tobytes()
    return encoded + int(google_crc32c.value(encoded)).to_bytes(4, "little")


def _bytes_of(rows: npt.NDArray[np.generic]) -> memoryview:
    return rows.reshape(-1).view(np.uint8).data


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

    def keep(self, status: UInt8Array, reasons: Mapping[Key, str], offsets: IntArray) -> int:
        """Begin with rows that are published at these positions; files that hold no other rows stay as they are.

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

    def fill(self, rows: Array) -> None:
        """Rows of `values` after the files kept, up to the end of the rows kept."""
        self._values.append(rows)

    def append(self, values: FloatArray, counts: IntArray | None = None) -> None:
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

    def _filled(self, layout: ArrayLayout, rows: Array) -> ArrayWriter:
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


def row_fingerprints(recipe_fingerprint: str, contents: Sequence[str]) -> UInt8Array:
    """What determines each row: the recipe and the item's content, (n, 16) uint8.

    Args:
        recipe_fingerprint: hex digest of what all rows share.
        contents: hex digest of each item's content.
    """
    digests = [sha256(f"{recipe_fingerprint} {content}".encode()).digest()[:16] for content in contents]
    return np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(len(contents), 16)
