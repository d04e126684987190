"""Rows that are kept on disk until it is known where they go."""

from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np

from reelstore.arrays import Array, IntArray

BLOCK_BYTES = 16 * 2**20


class Spool:
    """Rows in an unnamed file on a folder's disk: gone when the process is, however it ends.

    Args:
        folder: that they will go to, be it there or not.
        row_shape, dtype: of a row.
    """

    def __init__(self, folder: Path, row_shape: tuple[int, ...], dtype: str) -> None:
        beside = next(parent for parent in folder.absolute().parents if parent.is_dir())
        self._file = TemporaryFile(dir=beside, buffering=0)  # noqa: SIM115 - closed by `close` or the collector
        self._shape, self._dtype = row_shape, np.dtype(dtype)
        self.n_rows = 0

    def append(self, rows: Array) -> None:
        """The next rows."""
        view = memoryview(np.ascontiguousarray(rows).reshape(-1).view(np.uint8).data)
        while len(view):  # a raw write may stop early
            view = view[self._file.write(view) :]
        self.n_rows += len(rows)

    def take(self, starts: IntArray, counts: IntArray | None) -> Array:
        """Rows from each start, as many as `counts` says, or one; concatenated."""
        rows = self._rows()
        if counts is None:
            return rows[starts]
        ends = np.concatenate([[0], np.cumsum(counts)])
        out = np.empty((int(ends[-1]), *self._shape), dtype=self._dtype)
        for (first, last), start in zip(pairwise(ends.tolist()), starts.tolist(), strict=True):
            out[first:last] = rows[start : start + last - first]
        return out

    def blocks(self) -> Iterator[Array]:
        """All rows, some at a time."""
        rows = self._rows()
        step = max(1, BLOCK_BYTES // max(1, rows[:1].nbytes))
        for start in range(0, len(rows), step):
            yield rows[start : start + step]

    def close(self) -> None:
        """Give the room back."""
        with suppress(OSError):
            self._file.close()

    def _rows(self) -> Array:
        if not self.n_rows:
            return np.zeros((0, *self._shape), dtype=self._dtype)
        return np.memmap(self._file, self._dtype, "r", shape=(self.n_rows, *self._shape))
