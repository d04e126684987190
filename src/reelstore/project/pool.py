"""The pool stage: pool one encoder's tokens in all ways, in one pass over the tokens."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from reelstore.arrays import Array
from reelstore.encoders.base import TOKENS
from reelstore.encoders.variants import VariantRequest
from reelstore.io import Progress
from reelstore.pooling import POOLINGS, pool
from reelstore.project.failure_limit import check_failures
from reelstore.project.variants import pooled_spec
from reelstore.store.format import OK
from reelstore.store.open import open_store, open_variant
from reelstore.store.read import Rows
from reelstore.store.table import RowTable
from reelstore.store.update import UpdateReport, VariantUpdate
from reelstore.store.write import row_fingerprints


@dataclass(frozen=True)
class PoolReport:
    """What pooling one encoder's tokens did."""

    folder: Path
    updates: tuple[UpdateReport, ...]
    n_pooled: int

    def summary(self) -> str:
        """A line for people."""
        n_rows = self.updates[0].n_rows
        names = ", ".join(update.variant for update in self.updates)
        return f"{self.folder}: {names} of {n_rows} rows, {self.n_pooled} pooled, {n_rows - self.n_pooled} reused."


def run_pool(store: Path, encoder: str, *, max_failures: float | None = None, progress: Progress) -> PoolReport:
    """Bring all five poolings of `side/encoder` up to date with its tokens.

    Args:
        store: folder of the dataset's store.
        encoder: `side/encoder`.
        max_failures: rows that may fail, a share below 1 or a count; any number where it isn't given.
        progress: called with rows pooled and to pool.

    Raises:
        TooManyFailuresError: more rows failed. The others are stored all the same.
    """
    tokens = open_store(store)[f"{encoder}/tokens"]
    folder = tokens.folder.parent
    with ExitStack() as stack:
        updates = [stack.enter_context(_pooled(tokens, pooling, folder)) for pooling in POOLINGS]
        n_pooled = _pool(tokens, updates, progress)
        report = PoolReport(folder, tuple(update.finish() for update in updates), n_pooled)
    if max_failures is not None:
        pooled = open_variant(folder / updates[0].spec.variant)
        check_failures(folder, len(pooled), pooled.failures, max_failures)
    return report


def pooled_or_why(tokens: Array, pooling: str) -> Array | str:
    """(dim,) float32, or why there is none; of tokens as they are stored, so that it is the same now and later."""
    return pool(tokens, pooling) if len(tokens) else "it has no tokens to pool"


def _pool(tokens: Rows, updates: Sequence[VariantUpdate], progress: Progress) -> int:
    """Give each update the rows it has to do, and say how many of them have tokens."""
    rows = np.unique(np.concatenate([update.todo for update in updates]))
    ok = rows[tokens.status[rows] == OK]
    values = tokens.walk(ok)
    reasons = tokens.failures
    waiting = [set(update.todo.tolist()) for update in updates]
    for done, row in enumerate(rows.tolist(), start=1):
        key = tokens.table.keys[row]
        value = next(values) if tokens.status[row] == OK else None
        for update, todo in zip(updates, waiting, strict=True):
            if row not in todo:
                continue
            result = reasons[key] if value is None else pooled_or_why(value, update.spec.variant)
            if isinstance(result, str):
                update.fail(row, result)
            else:
                update.put(row, result)
        progress(done, len(rows))
    return int((tokens.token_counts[ok] > 0).sum())


def _pooled(tokens: Rows, pooling: str, folder: Path) -> VariantUpdate:
    spec = pooled_spec(tokens.spec, VariantRequest(TOKENS, pooling))
    contents = [fingerprint.tobytes().hex() for fingerprint in tokens.table.fingerprints]
    table = RowTable(tokens.table.keys, tokens.table.splits, row_fingerprints(spec.fingerprint, contents), checked=True)
    # A failed row costs nothing to check again, and its tokens may have come since.
    return VariantUpdate(folder / pooling, spec, table, retry_failed=True)
