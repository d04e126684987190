"""Bring a stored variant up to date: reuse the rows whose fingerprint is the same, ask for the others."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Self

import numpy as np

from reelstore.arrays import Array, BoolArray, FloatArray, IntArray, UInt8Array
from reelstore.errors import SchemaError, StoreError
from reelstore.store.commit import claim, finish_interrupted, recover, refuse_blocked, remove_variant, take_in
from reelstore.store.files import (
    FolderLock,
    disk_errors,
    make_folder,
    read_manifest,
    refuse_read_only,
    remove_empty,
    remove_made,
)
from reelstore.store.format import FAILED, MANIFEST, OK, VariantSpec
from reelstore.store.groups import (
    drop_consolidated,
    refuse_other_groups,
    refuse_reserved,
    remove_empty_groups,
    write_groups,
)
from reelstore.store.stored import StoredVariant, open_published
from reelstore.store.table import RowTable, table_columns
from reelstore.store.write import VariantWriter


@dataclass(frozen=True)
class VariantDiff:
    """Diff between a published variant and the requested rows.

    Attributes:
        published: the variant that is there, if it is of the same recipe.
        source: (n,) for each requested row, the stored row with the same fingerprint; -1 if there is none.
        unchanged: whether every file is already as requested.
        stamps: size, time of change and inode of each file that was hashed for this; None where none was.
    """

    published: StoredVariant | None
    source: IntArray
    unchanged: bool
    stamps: Mapping[str, tuple[int, ...]] | None = None

    @property
    def todo(self) -> IntArray:
        """Rows that have to be computed, in order."""
        return np.flatnonzero(self.source < 0)

    def still_holds(self, folder: Path) -> bool:
        """Whether the files that were hashed are still the same, so that they needn't be hashed again."""
        return self.stamps is not None and self.stamps == _stamps(folder, self.stamps)


def compare(
    folder: Path, spec: VariantSpec, table: RowTable, *, retry_failed: bool = False, verify: bool = True
) -> VariantDiff:
    """Diff between the stored variant and the requested rows. Changes nothing.

    Args:
        folder: the variant's.
        spec: what it should hold.
        table: the rows it should have.
        retry_failed: count failed rows as missing.
        verify: read every file and compare its digest.

    Raises:
        OccupiedError: the folder holds something other than a variant.
        SchemaError: it is damaged, of a newer schema, or another variant.
    """
    claim(folder)
    attributes = read_manifest(folder)
    stamps = _stamps(folder, [MANIFEST, *(attributes or {}).get("digests", ())]) if verify else None
    published = open_published(folder, verify=verify)
    nothing = np.broadcast_to(np.int64(-1), len(table))
    if published is None:
        return VariantDiff(None, nothing, False, stamps)
    _refuse_other_variant(folder, published, spec)
    if published.attributes["fingerprint"] != spec.fingerprint:
        return VariantDiff(None, nothing, False, stamps)
    published.recognise(table)
    usable = published.usable
    if retry_failed:
        usable = usable & (published.status == OK)
    source = _source_rows(published.fingerprints, usable, table)
    unchanged = (
        bool((source == np.arange(len(table))).all())
        and published.n_rows == len(table)
        and not published.faults
        and _same_keys(published, table)
    )
    return VariantDiff(published, source, unchanged, stamps)


def _stamps(folder: Path, keys: Iterable[str]) -> dict[str, tuple[int, ...]]:
    """Size, time of change and inode of each file; missing files are skipped."""
    stamps: dict[str, tuple[int, ...]] = {}
    for key in keys:
        try:
            state = (folder / key).stat()
        except OSError:
            stamps[key] = ()
        else:
            stamps[key] = (state.st_size, state.st_mtime_ns, state.st_ino)
    return stamps


def _source_rows(fingerprints: UInt8Array, usable: BoolArray, table: RowTable) -> IntArray:
    """Stored row with the same fingerprint, for each row of the table; -1 where there is none.

    The row at the same position is preferred, so that equal items don't make rows move.
    """
    n_both = min(len(fingerprints), len(table))
    here = (fingerprints[:n_both] == table.fingerprints[:n_both]).all(axis=1) & usable[:n_both]
    source = np.full(len(table), -1, dtype=np.int64)
    source[:n_both] = np.where(here, np.arange(n_both), -1)
    left = np.flatnonzero(source < 0)
    if len(left):
        stored = np.flatnonzero(usable)
        place = _find(_as_items(fingerprints[stored]), _as_items(table.fingerprints[left]))
        source[left] = np.where(place < 0, -1, stored[place]) if len(stored) else -1
    return source


def _as_items(fingerprints: UInt8Array) -> Array:
    """(n,) of 16 bytes each, which NumPy sorts and finds."""
    return np.ascontiguousarray(fingerprints).view(f"V{fingerprints.shape[1]}").reshape(-1)


def _find(items: Array, wanted: Array) -> IntArray:
    """(k,) place of each wanted item, the last where there are several; -1 where there is none."""
    order = np.argsort(items, kind="stable")
    at = np.searchsorted(items, wanted, side="right", sorter=order) - 1
    if not len(items):
        return at
    found: IntArray = np.where((at >= 0) & (items[order[at]] == wanted), order[at], -1)
    return found


def _same_keys(published: StoredVariant, table: RowTable) -> bool:
    """Whether keys and splits are those of the table: fingerprints don't say."""
    if list(published.attributes["splits"]) != table.splits.names:
        return False
    columns = table_columns(published.spec, table, published.status, np.zeros(0, dtype=np.int64))
    names = [name for name in ("video_id_offsets", "video_id", "split", "caption_index") if name in columns]
    return all(np.array_equal(published.read(name, 0, len(columns[name])), columns[name]) for name in names)


def _refuse_other_variant(folder: Path, published: StoredVariant, spec: VariantSpec) -> None:
    there, wanted = (f"{s.side}/{s.encoder}/{s.variant}" for s in (published.spec, spec))
    if there != wanted:
        raise SchemaError(f"{folder} holds {there}, not {wanted}. Move it to the folder of its name.")


COPY_BYTES = 16 * 2**20


@dataclass(frozen=True)
class UpdateReport:
    """What an update did; `n_bytes_written` is 0 where nothing changed."""

    variant: str
    n_rows: int
    n_new: int
    n_failed: int
    n_bytes_written: int
    digest: str
    repaired: tuple[str, ...] = ()
    """Files that weren't what their digest says, whose rows were recomputed."""


def recover_variant(folder: Path) -> None:
    """Finish or undo an interrupted update of a variant's folder.

    Raises:
        OccupiedError: the folder holds something other than a variant; nothing has changed.
        StoreError: another process writes there, or the manifest is damaged.
    """
    if claim(folder):
        with disk_errors(folder), FolderLock(folder):
            recover(folder)
    refuse_other_groups(folder)


def delete_variant(folder: Path) -> None:
    """Remove what a variant's manifest lists, with its lock held, and the folder and the groups that are empty then.

    Raises:
        OccupiedError: the folder isn't a variant's; nothing has changed.
        StoreError: another process writes there, or it is read-only.
    """
    refuse_read_only(folder)
    refuse_read_only(folder.parent)
    with disk_errors(folder), FolderLock(folder):
        remove_variant(folder)
    remove_empty_groups(folder)


class VariantUpdate:
    """An update of one variant to the rows of `table`; other writers are locked out meanwhile.

    `todo` lists the rows that have no value yet, in order. Give each one its value with `put` or its reason with
    `fail`, in that order, then `finish`. Rows with the fingerprint of a stored row are copied, in any order.
    An interrupted update is finished or undone first. If giving or finishing fails, or a `with` around it, nothing
    has changed. With an earlier `diff` unchanged files aren't hashed again; it must be of the
    same spec, table and `retry_failed`.

    Raises:
        OccupiedError: something is there that reelstore didn't write. It is untouched.
        StoreError: another process writes this variant, or the disk doesn't allow it.
        SchemaError: the stored variant is damaged, of a newer schema, or another variant; or a name is reserved.
    """

    def __init__(
        self,
        folder: Path,
        spec: VariantSpec,
        table: RowTable,
        *,
        retry_failed: bool = False,
        diff: VariantDiff | None = None,
        rewrite: bool = False,
    ) -> None:
        self.spec = spec
        self.table = table
        self._folder = folder
        self._rewrite = rewrite
        refuse_reserved(folder)
        claim(folder)
        refuse_other_groups(folder)
        with disk_errors(folder):
            self._made = make_folder(folder)
            self._lock = FolderLock(folder)
            try:
                recover(folder)
                take_in(folder)
                known = diff if diff is not None and diff.still_holds(folder) else None
                self._diff = known or compare(folder, spec, table, retry_failed=retry_failed)
                published = self._diff.published
                refuse_blocked(folder, {} if published is None else published.attributes["digests"])
            except BaseException:
                self._lock.release()
                remove_made(self._made)
                raise
        self.todo: IntArray = self._diff.todo
        self._writer: VariantWriter | None = None
        self._n_done = 0

    def put(self, row: int, value: FloatArray) -> None:
        """The value of the next row to do: (dim,), or (n_tokens, dim) for tokens."""
        if self.spec.layout == "ragged":
            self.put_rows(np.array([row]), value, np.array([len(value)]))
        else:
            self.put_rows(np.array([row]), value[None])

    def put_rows(self, rows: IntArray, values: FloatArray, counts: IntArray | None = None) -> None:
        """The values of the next rows to do; `values` and `counts` as of `VariantWriter.append`."""
        if not np.array_equal(rows, self.todo[self._n_done : self._n_done + len(rows)]):
            raise StoreError(f"{self._folder}: rows {rows[:3]}… were given where {self.todo[self._n_done :][:3]}… are.")
        ends = np.arange(len(rows) + 1) if counts is None else np.concatenate([[0], np.cumsum(counts)])
        with self._writing():
            for start, stop in _runs(rows):
                writer = self._reach(int(rows[start]))
                run_counts = None if counts is None else counts[start:stop]
                writer.append(values[ends[start] : ends[stop]], run_counts)
        self._n_done += len(rows)

    def fail(self, row: int, reason: str) -> None:
        """Why the next row to do has no value."""
        if self._n_done >= len(self.todo) or row != self.todo[self._n_done]:
            raise StoreError(f"{self._folder}: row {row} was given where {self.todo[self._n_done :][:1]} is next.")
        with self._writing():
            self._reach(row).fail(reason)
        self._n_done += 1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        if error is not None:
            self.abandon()

    def abandon(self) -> None:
        """Discard the rows given so far; the stored variant stays as it was."""
        if not self._lock.release.alive:
            return
        if self._writer is not None:
            self._writer.stop()
        finish_interrupted(self._folder)
        remove_empty(self._folder)
        remove_made(self._made)
        self._lock.release()

    def finish(self) -> UpdateReport:
        """Copy what is left and publish."""
        if self._n_done != len(self.todo):
            raise StoreError(f"{self._folder}: {self._n_done} of {len(self.todo)} new rows were given.")
        published = self._diff.published
        repaired = () if published is None else tuple(published.faults)
        with self._writing():
            if self._diff.unchanged and published is not None and not self._rewrite:
                digest, n_bytes = str(published.attributes["digest"]), 0
            else:
                writer = self._reach(len(self.table))
                drop_consolidated(self._folder)
                written = writer.publish()
                digest, n_bytes = written.digest, written.n_bytes_written
            write_groups(self._folder)
        stored = open_published(self._folder, verify=False)
        assert stored is not None, f"{self._folder} was published"
        self._lock.release()
        return UpdateReport(
            self.spec.variant, len(self.table), len(self.todo), len(stored.failures), n_bytes, digest, repaired
        )

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """On any error, remove what is half-written; nothing published has changed."""
        try:
            with disk_errors(self._folder):
                yield
        except BaseException:
            self.abandon()
            raise

    def _reach(self, row: int) -> VariantWriter:
        """The writer, with every row before this one in it."""
        if self._writer is None:
            self._writer = self._begin()
        if self._writer.next_row < row:
            self._copy(self._writer, row)
        return self._writer

    def _begin(self) -> VariantWriter:
        """A writer that keeps the first rows, those that stay at their positions."""
        refuse_read_only(self._folder)
        published = self._diff.published
        writer = VariantWriter(self._folder, self.spec, self.table, published)
        if published is None:
            return writer
        moved = np.flatnonzero(self._diff.source != np.arange(len(self.table)))
        count = int(moved[0]) if len(moved) else len(self.table)
        offsets = published.offsets[: count + 1] if self.spec.layout == "ragged" else np.arange(count + 1)
        reasons = {self.table.keys[row]: reason for row, reason in published.reason_of.items() if row < count}
        writer.keep(published.status[:count], reasons, offsets)
        return writer

    def _copy(self, writer: VariantWriter, stop: int) -> None:
        """Copy the stored rows from the writer's next up to, without, `stop`."""
        published = self._diff.published
        assert published is not None, "only rows of a published variant needn't be given"
        sources = self._diff.source[writer.next_row : stop]
        kinds = published.status[sources]
        for start, end in _runs(sources, kinds):
            first, last = int(sources[start]), int(sources[end - 1]) + 1
            if kinds[start] == FAILED:
                for source in range(first, last):
                    writer.fail(published.reason_of[source])
            elif self.spec.layout == "ragged":
                ends = published.offsets[first : last + 1]
                for block in _blocks(ends, self._copy_rows):
                    values = published.read("values", int(ends[block.start]), int(ends[block.stop]))
                    writer.append(values, np.diff(ends[block.start : block.stop + 1]))
            else:
                for begin in range(first, last, self._copy_rows):
                    writer.append(published.read("values", begin, min(begin + self._copy_rows, last)))

    @property
    def _copy_rows(self) -> int:
        return max(1, COPY_BYTES // self.spec.row_bytes)


def _runs(rows: IntArray, kinds: Array | None = None) -> Sequence[tuple[int, int]]:
    """Where consecutive numbers (of one kind) begin and end in `rows`."""
    if not len(rows):
        return []
    breaks = np.diff(rows) != 1
    if kinds is not None:
        breaks |= kinds[1:] != kinds[:-1]
    return list(pairwise([0, *(np.flatnonzero(breaks) + 1).tolist(), len(rows)]))


def _blocks(ends: IntArray, n_tokens: int) -> list[slice]:
    """Blocks of ragged rows of about this many tokens each, at least one row."""
    blocks, start = [], 0
    while start < len(ends) - 1:
        stop = int(np.searchsorted(ends, ends[start] + n_tokens, side="right")) - 1
        stop = min(max(stop, start + 1), len(ends) - 1)
        blocks.append(slice(start, stop))
        start = stop
    return blocks
