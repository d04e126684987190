"""What is stored -> what should be: takes over rows whose fingerprint is the same, asks for the others."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from reelstore.errors import StoreError
from reelstore.store.reader import Rows
from reelstore.store.schema import FAILED, OK, VariantSpec
from reelstore.store.table import Key, RowTable
from reelstore.store.writer import VariantWriter, open_published, remove_partials


@dataclass(frozen=True)
class UpdateReport:
    """What an update did; `n_bytes_written` is 0 where nothing changed."""

    variant: str
    n_rows: int
    n_new: int
    n_failed: int
    n_bytes_written: int
    digest: str


class VariantUpdate:
    """One variant on its way to `table`.

    `todo` lists the rows that have no value yet, in order. Give each one its value with `put` or its reason with
    `fail`, in that order, then `finish`. Rows with the fingerprint of a stored row are copied, whatever their order;
    `sweep` removes what a killed writer left.
    """

    def __init__(
        self, folder: Path, spec: VariantSpec, table: RowTable, *, retry_failed: bool = False, sweep: bool = True
    ) -> None:
        self.spec = spec
        self.table = table
        self._folder = folder
        if sweep:
            remove_partials(folder)
        self._stored = open_published(folder, spec)
        if self._stored is not None:
            _refuse_missing_files(self._stored)
        self._source = _source_rows(self._stored, table, retry_failed=retry_failed)
        self.todo: npt.NDArray[np.int64] = np.flatnonzero(self._source < 0)
        self._writer: VariantWriter | None = None
        self._copied_until = 0
        self._n_done = 0

    @property
    def unchanged(self) -> bool:
        """Whether what is stored is already what should be."""
        return self._stored is not None and not len(self.todo) and self._stored.table.same_as(self.table)

    def put(self, row: int, value: npt.NDArray[np.floating[Any]]) -> None:
        """The value of the next row to do."""
        self._reach(row).append(value)

    def fail(self, row: int, reason: str) -> None:
        """Why the next row to do has no value."""
        self._reach(row).fail(reason)

    def finish(self) -> UpdateReport:
        """Copy what is left and publish."""
        if self._n_done != len(self.todo):
            raise StoreError(f"{self._folder}: {self._n_done} of {len(self.todo)} new rows were given.")
        if self.unchanged and self._stored is not None:
            digest, n_bytes = self._stored.digest, 0
        else:
            self._copy(len(self.table))
            published = self._open_writer().publish()
            digest, n_bytes = published.digest, published.n_bytes_written
        stored = open_published(self._folder, self.spec)
        n_failed = 0 if stored is None else int((stored.status == FAILED).sum())
        return UpdateReport(self.spec.variant, len(self.table), len(self.todo), n_failed, n_bytes, digest)

    def _open_writer(self) -> VariantWriter:
        self._writer = self._writer or VariantWriter(self._folder, self.spec, self.table)
        return self._writer

    def _reach(self, row: int) -> VariantWriter:
        expected = self.todo[self._n_done] if self._n_done < len(self.todo) else None
        if row != expected:
            raise StoreError(f"{self._folder}: row {row} was given where {expected} was next.")
        self._copy(row)
        self._copied_until = row + 1
        self._n_done += 1
        return self._open_writer()

    def _copy(self, stop: int) -> None:
        """Copy the stored rows up to, without, `stop`."""
        writer = self._open_writer()
        stored = self._stored
        if stored is None or self._copied_until >= stop:
            return
        sources = self._source[self._copied_until : stop]
        ok = sources[stored.status[sources] == OK]
        values = stored.walk(ok)
        reasons = stored.failures
        keys: Sequence[Key] = stored.table.keys
        for source in sources:
            if stored.status[source] == OK:
                writer.append(next(values))
            else:
                writer.fail(reasons[keys[source]])
        self._copied_until = stop


def _source_rows(stored: Rows | None, table: RowTable, *, retry_failed: bool) -> npt.NDArray[np.int64]:
    """Stored row with the same fingerprint, for each row of the table; -1 where there is none."""
    if stored is None:
        return np.full(len(table), -1, dtype=np.int64)
    usable = (OK,) if retry_failed else (OK, FAILED)
    row_of = {
        fingerprint.tobytes(): row
        for row, (fingerprint, status) in enumerate(zip(stored.table.fingerprints, stored.status, strict=True))
        if status in usable
    }
    return np.array([row_of.get(one.tobytes(), -1) for one in table.fingerprints], dtype=np.int64)


def _refuse_missing_files(stored: Rows) -> None:
    missing = [key for key in stored.file_digests if not (stored.folder / key).is_file()]
    if missing:
        raise StoreError(
            f"{stored.folder}: {len(missing)} of its files are missing, {missing[0]} first. "
            "Fetch them with dvc checkout or dvc pull, or delete the folder to make it again."
        )
