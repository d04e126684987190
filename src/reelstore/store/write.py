"""Rows -> the files of a variant: checked, in the stored dtype, changed files only, published together."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from reelstore.arrays import Array, FloatArray, IntArray, UInt8Array, UInt32Array
from reelstore.errors import StoreError, ValueRangeError
from reelstore.store.chunks import ArrayLayout, at_most, block_checksums, key_runs, layouts, shard_index
from reelstore.store.commit import commit
from reelstore.store.files import PartialFile, write_partial
from reelstore.store.format import (
    FAILED,
    MANIFEST,
    OK,
    SCHEMA_VERSION,
    VariantSpec,
    as_json_bytes,
    manifest_bytes,
    variant_digest,
)
from reelstore.store.key_index import sorted_run
from reelstore.store.keys import Key
from reelstore.store.spool import Spool
from reelstore.store.stored import StoredVariant
from reelstore.store.table import RowTable, table_columns

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


PART_BYTES = 4 * 2**20
"""Of a file, written at once."""
IN_FLIGHT = 2
"""Parts hashed and written while the next one fills: memory holds one more than this."""


class ArrayWriter:
    """Takes rows in order and writes each file part after part.

    Files get temporary names, `0.partial`, and keep them; publishing renames `pending`. A file whose content is the
    published one's is removed again.

    Args:
        folder: the variant's folder.
        layout: the array's files.
        published: file key -> sha256 (hex) of the files that are there and are what their digest says.
        thread: where parts are hashed and written meanwhile; none: at once. It has one worker: order counts.
    """

    def __init__(
        self, folder: Path, layout: ArrayLayout, published: Mapping[str, str], thread: ThreadPoolExecutor | None = None
    ) -> None:
        assert layout.inner_rows is not None, "what is written has blocks"
        self.layout = layout
        self.digests: dict[str, str] = {}
        self.pending: list[str] = []
        self.checks: list[UInt32Array] = []
        self.n_rows = 0
        self.n_bytes_written = 0
        self._folder = folder
        self._published = published
        self._thread = thread
        self._jobs: deque[Future[None]] = deque()
        self._spare: list[npt.NDArray[np.generic]] = []
        self._block_rows = layout.inner_rows
        # All are powers of two: a part is whole blocks, and a file whole parts.
        self._part_rows = min(layout.file_rows, max(self._block_rows, at_most(PART_BYTES // layout.row_bytes)))
        self._buffer = self._new_buffer()
        self._filled = 0
        self._file: PartialFile | None = None

    def keep(self, n_files: int, checks: UInt32Array) -> None:
        """Reuse the first files as they are, with the checksums of their blocks. Only before any row."""
        assert self.n_rows == 0, "files can be kept only in front of the first new row"
        for number in range(n_files):
            key = self.layout.file_key(number)
            self.digests[key] = self._published[key]
        self.checks.append(checks)
        self.n_rows = n_files * self.layout.file_rows

    def append(self, rows: npt.NDArray[np.generic]) -> None:
        """The next rows, (k, *row_shape), already in the array's dtype."""
        start = 0
        while start < len(rows):
            count = min(len(rows) - start, self._part_rows - self._filled)
            self._buffer[self._filled : self._filled + count] = rows[start : start + count]
            self._filled += count
            self.n_rows += count
            start += count
            if self._filled == self._part_rows:
                self._flush()

    def close(self) -> None:
        """Write the last part and the array's metadata, and wait for all."""
        if self._filled:
            self._flush(last=True)
        elif self.n_rows % self.layout.file_rows:
            self._submit(self._finish, (self.n_rows - 1) // self.layout.file_rows)
        while self._jobs:
            self._jobs.popleft().result()
        self._put(f"{self.layout.name}/{MANIFEST}", as_json_bytes(self.layout.metadata(self.n_rows)))

    def _flush(self, *, last: bool = False) -> None:
        number, filled, buffer = (self.n_rows - 1) // self.layout.file_rows, self._filled, self._buffer
        n_blocks = -(-filled // self._block_rows)
        buffer[filled : n_blocks * self._block_rows] = 0
        self._submit(self._write_part, number, buffer, n_blocks)
        if last or not self.n_rows % self.layout.file_rows:
            self._submit(self._finish, number)
        self._buffer = self._new_buffer()
        self._filled = 0

    def _submit(self, work: Callable[..., None], *arguments: Any) -> None:
        if self._thread is None:
            work(*arguments)
            return
        while len(self._jobs) >= IN_FLIGHT:
            self._jobs.popleft().result()
        self._jobs.append(self._thread.submit(work, *arguments))

    def _new_buffer(self) -> npt.NDArray[np.generic]:
        if self._spare:
            return self._spare.pop()
        return np.zeros((self._part_rows, *self.layout.row_shape), dtype=self.layout.dtype)

    def _write_part(self, number: int, rows: npt.NDArray[np.generic], n_blocks: int) -> None:
        if self._file is None:
            self._file = PartialFile(self._folder, self.layout.file_key(number))
        part = rows[: n_blocks * self._block_rows].reshape(-1).view(np.uint8).data
        self._file.write(part)
        self.checks.append(block_checksums(rows[: n_blocks * self._block_rows], self._block_rows))
        self._spare.append(rows)

    def _finish(self, number: int) -> None:
        key, file = self.layout.file_key(number), self._file
        assert file is not None, f"{key} has parts"
        in_file = min(self.layout.file_rows, self.n_rows - number * self.layout.file_rows)
        file.write(shard_index(self.layout, -(-in_file // self._block_rows)))
        self._file = None
        self.digests[key] = file.digest
        if self._published.get(key) == file.digest:
            file.discard()
            return
        file.finish()
        self.pending.append(key)
        self.n_bytes_written += file.n_bytes

    def _put(self, key: str, content: bytes) -> None:
        digest = sha256(content).hexdigest()
        self.digests[key] = digest
        if self._published.get(key) != digest:
            write_partial(self._folder, key, content)
            self.pending.append(key)
            self.n_bytes_written += len(content)


@dataclass(frozen=True)
class Written:
    """What publishing a variant did."""

    digest: str
    n_bytes_written: int


class VariantWriter:
    """Writes one variant, row after row, as `table` lists them.

    Nothing that is published is touched before `publish`: until then files have temporary names. Tokens of varying
    number are kept aside until all are there, because how they are cut into files depends on how many there are.

    Args:
        folder: the variant's.
        spec: what it holds.
        table: its rows.
        published: what is there; files of it that are right and would be the same aren't written again.
    """

    def __init__(self, folder: Path, spec: VariantSpec, table: RowTable, published: StoredVariant | None) -> None:
        self._folder = folder
        self._spec = spec
        self._table = table
        self._published = published
        self._verified = {} if published is None else published.verified
        self._thread = ThreadPoolExecutor(1)
        self._status = np.zeros(len(table), dtype=np.uint8)
        self._offsets = np.zeros(len(table) + 1 if spec.layout == "ragged" else 0, dtype=np.int64)
        self._reasons: dict[Key, str] = {}
        self._next = 0
        self._n_kept = 0  # rows of `values`
        self._n_id_bytes = int(table.keys.lengths.sum())
        self._spool = Spool(folder, spec.row_shape, spec.dtype) if spec.layout == "ragged" else None
        self._values: ArrayWriter | None = None

    @property
    def next_row(self) -> int:
        """The row that is to be given next."""
        return self._next

    def keep(self, status: UInt8Array, reasons: Mapping[Key, str], offsets: IntArray) -> None:
        """Begin with rows that are published at these positions.

        Args:
            status: (k,) of those rows.
            reasons: of the failed ones among them, in order.
            offsets: (k + 1,) where the variant is ragged, from 0.
        """
        count = len(status)
        self._status[:count] = status
        if self._spool is not None:
            self._offsets[: count + 1] = offsets
        self._n_kept = int(offsets[-1])
        self._reasons.update(reasons)
        self._next = count

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
        self._give(as_stored(self._spec, values, counts, keys, self._folder))
        rows = slice(self._next, self._next + count)
        self._status[rows] = OK
        if counts is not None:
            self._offsets[self._next + 1 : self._next + count + 1] = self._offsets[self._next] + np.cumsum(counts)
        self._next += count

    def fail(self, reason: str) -> None:
        """The next row has no value, for this reason."""
        self._reasons[self._table.keys[self._next]] = reason
        if self._spool is None:
            self._give(np.zeros((1, *self._spec.row_shape), dtype=self._spec.dtype))
        else:
            self._offsets[self._next + 1] = self._offsets[self._next]
        self._status[self._next] = FAILED
        self._next += 1

    def publish(self) -> Written:
        """Make all of it the variant, at once."""
        if self._next != len(self._table):
            raise StoreError(f"{self._folder}: {self._next} of {len(self._table)} rows were written.")
        values = self._values or self._begin_values()
        if self._spool is not None:
            for block in self._spool.blocks():
                values.append(block)
            self._spool.close()
        found = self._layouts(values.n_rows)
        columns = table_columns(self._spec, self._table, self._status, self._offsets)
        arrays: dict[str, ArrayWriter] = {}
        for name, layout in found.items():
            if name == "checksum":
                rows: Iterable[Array] = (check for array in list(arrays.values()) for check in array.checks)
            elif name == "key_index":
                rows = self._sorted_runs(layout)
            else:
                rows = [columns[name]] if name in columns else []
            arrays[name] = values if name == "values" else ArrayWriter(self._folder, layout, self._verified)
            for some in rows:
                arrays[name].append(some)
            arrays[name].close()
        self.stop()
        digests = {key: digest for array in arrays.values() for key, digest in array.digests.items()}
        pending = [key for array in arrays.values() for key in array.pending]
        commit(self._folder, pending, digests, manifest_bytes(self._attributes(digests, values.n_rows)))
        return Written(variant_digest(digests), sum(array.n_bytes_written for array in arrays.values()))

    def stop(self) -> None:
        """Wait for what is being written, and write no more."""
        self._thread.shutdown(cancel_futures=True)
        if self._spool is not None:
            self._spool.close()

    def _give(self, rows: Array) -> None:
        if self._spool is not None:
            self._spool.append(rows)
            return
        if self._values is None:
            self._values = self._begin_values()
        self._values.append(rows)

    def _begin_values(self) -> ArrayWriter:
        """A writer of `values` that has taken over the rows at the beginning that stay; their whole files as they are,
        if files still are of as many rows."""
        n_value_rows = len(self._table) if self._spool is None else int(self._offsets[-1])
        layout = self._layouts(n_value_rows)["values"]
        values = ArrayWriter(self._folder, layout, self._verified, self._thread)
        if self._published is None:
            return values
        old, n_files = self._published.layouts["values"], 0
        assert layout.inner_rows is not None, "what is written has blocks"
        n_blocks = layout.file_rows // layout.inner_rows
        checks = self._published.checks.get("values", np.zeros(0, dtype=np.uint32))
        if (old.file_rows, old.inner_rows) == (layout.file_rows, layout.inner_rows):
            whole = min(self._n_kept // layout.file_rows, len(checks) // n_blocks)
            while n_files < whole and layout.file_key(n_files) in self._verified:
                n_files += 1
        values.keep(n_files, checks[: n_files * n_blocks])
        step = max(1, PART_BYTES // layout.row_bytes)
        for first in range(n_files * layout.file_rows, self._n_kept, step):
            values.append(self._published.read("values", first, min(first + step, self._n_kept)))
        return values

    def _layouts(self, n_value_rows: int) -> dict[str, ArrayLayout]:
        return layouts(self._spec, len(self._table), n_value_rows, self._n_id_bytes, SCHEMA_VERSION)

    def _sorted_runs(self, layout: ArrayLayout) -> Iterator[Array]:
        start = 0
        for count in key_runs(layout):
            yield sorted_run(self._table.keys, start, start + count)
            start += count

    def _attributes(self, digests: dict[str, str], n_value_rows: int) -> dict[str, Any]:
        spec = self._spec
        return {
            "schema_version": SCHEMA_VERSION,
            "side": spec.side,
            "encoder": spec.encoder,
            "variant": spec.variant,
            "layout": spec.layout,
            "n_rows": len(self._table),
            "n_value_rows": n_value_rows,
            "n_id_bytes": self._n_id_bytes,
            "dim": spec.dim,
            "n_tokens": spec.n_tokens,
            "dtype": spec.dtype,
            "normalized": False,
            "recipe": dict(spec.recipe),
            "fingerprint": spec.fingerprint,
            "splits": self._table.splits.names,
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
