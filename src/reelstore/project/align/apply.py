"""The apply stage: a fitted aligner and a whole store -> `aligned` variants, read like any other."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from reelstore.align.items import read_items
from reelstore.align.mapping import Transform, mapped_batches
from reelstore.align.registry import FittedAligner, load_aligner
from reelstore.arrays import BoolArray, UInt8Array
from reelstore.errors import AlignerError, ParamsError
from reelstore.io import Progress
from reelstore.layout import aligned_variant
from reelstore.project.settings import ApplyParams, Params
from reelstore.records import SIDES, Side, model_name
from reelstore.store.format import OK, VariantSpec
from reelstore.store.open import open_store
from reelstore.store.read import Rows
from reelstore.store.table import RowTable
from reelstore.store.update import UpdateReport, VariantUpdate
from reelstore.store.write import row_fingerprints


@dataclass(frozen=True)
class ApplyReport:
    """What mapping both sides did."""

    folders: tuple[Path, ...]
    updates: tuple[UpdateReport, ...]
    n_mapped: tuple[int, ...]

    def summary(self) -> str:
        """A line a side."""
        return "\n".join(
            f"{folder}: {update.n_rows} rows, {mapped} mapped, {update.n_failed} failed, "
            f"{update.n_rows - update.n_failed - mapped} reused."
            for folder, update, mapped in zip(self.folders, self.updates, self.n_mapped, strict=True)
        )


def is_aligned(folder: Path) -> bool:
    """Whether a variant's folder is named as one of these."""
    return folder.name.startswith(aligned_variant(""))


def run_apply(params: Params, *, video: str, text: str, aligner: str, progress: Progress) -> ApplyReport:
    """Bring `<side>/<video>+<text>/aligned.<aligner>` up to date with the embeddings it is mapped from and the aligner.

    All splits are mapped; a row that failed stays so, with its reason. A row whose embedding and aligner are the same
    as before is reused. Memory is bounded by a batch and, where many rows are equal, by a temporary file.

    Raises:
        AlignerError: the aligner isn't there, or was fitted on other embeddings.
    """
    if aligner not in params.aligners:
        raise ParamsError(f"aligners has no {aligner!r}. Known: {', '.join(params.aligners)}.")
    model = model_name(video, text)
    fitted = load_aligner(params.layout.aligner(model, aligner))
    store = open_store(params.layout.store)
    dtype = params.apply.get(aligner, ApplyParams()).dtype
    folders, updates, counts = [], [], []
    for side, encoder in zip(SIDES, (video, text), strict=True):
        rows = store[f"{side}/{encoder}/{fitted.pooling[side]}"]
        fitted.check_rows(side, rows)
        folder = params.layout.aligned(side, model, aligner)
        spec = aligned_spec(rows, side, fitted, encoder=model, variant=aligned_variant(aligner), dtype=dtype)
        update, n_mapped = _mapped(rows, spec, folder, _transform(fitted, side), progress)
        folders.append(folder)
        updates.append(update)
        counts.append(n_mapped)
    return ApplyReport(tuple(folders), tuple(updates), tuple(counts))


def aligned_spec(
    rows: Rows, side: Side, fitted: FittedAligner, *, encoder: str, variant: str, dtype: str
) -> VariantSpec:
    """What an aligned variant is: the embeddings it is mapped from, and by what."""
    ok = np.flatnonzero(mappable(rows))
    if not len(ok):
        raise AlignerError(f"{rows.folder} has no row with a value: there is nothing to map.")
    dim = _transform(fitted, side)(read_items(rows, ok[:1])).shape[1]
    recipe = {
        "source": {"variant": f"{side}/{rows.encoder}/{rows.variant}", "fingerprint": rows.fingerprint},
        "aligner": {"name": variant.partition(".")[2], "kind": fitted.kind, "digest": fitted.digest},
    }
    return VariantSpec(side, encoder, variant, dim, 0, dtype, recipe)


def aligned_fingerprints(spec: VariantSpec, rows: Rows) -> UInt8Array:
    """(n, 16) what determines each row: the aligner and the embedding's own fingerprint."""
    return row_fingerprints(spec.fingerprint, [one.tobytes().hex() for one in rows.table.fingerprints])


def mappable(rows: Rows) -> BoolArray:
    """(n,) which rows have a value, and a token where they hold tokens."""
    ok: BoolArray = rows.status == OK
    return ok if rows.layout == "pooled" else ok & (rows.token_counts > 0)


def _transform(fitted: FittedAligner, side: Side) -> Transform:
    return fitted.transform_video if side == "video" else fitted.transform_text


def _mapped(
    rows: Rows, spec: VariantSpec, folder: Path, transform: Transform, progress: Progress
) -> tuple[UpdateReport, int]:
    """Bring one side up to date, and say how many rows were mapped."""
    table = RowTable(rows.table.keys, rows.table.splits, aligned_fingerprints(spec, rows), checked=True)
    # Trying a failed row again costs nothing, and its embedding may exist by now.
    with VariantUpdate(folder, spec, table, retry_failed=True) as update:
        n_mapped = _map_todo(rows, update, transform, progress)
        return update.finish(), n_mapped


def _map_todo(rows: Rows, update: VariantUpdate, transform: Transform, progress: Progress) -> int:
    """Give an update the rows it has to do, and say how many of them have a value."""
    todo = update.todo
    has_value = mappable(rows)[todo]
    new = todo[has_value]
    reasons = rows.failures
    given = 0  # of todo

    def fail_until(stop: int) -> None:
        nonlocal given
        for row in todo[given:stop].tolist():
            update.fail(row, reasons.get(update.table.keys[row], "it has no tokens to map"))
        given = stop

    places = np.flatnonzero(has_value)  # of the new rows in todo
    done = 0
    for positions, values in mapped_batches(transform, rows.select(update.table.keys.at(new))):
        at = places[positions]
        for run in np.split(np.arange(len(at)), np.flatnonzero(np.diff(at) != 1) + 1):
            fail_until(int(at[run[0]]))
            update.put_rows(todo[at[run]], values[run])
            given = int(at[run[-1]]) + 1
        done += len(positions)
        progress(done, len(new))
    fail_until(len(todo))
    return len(new)
