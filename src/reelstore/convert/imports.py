"""Embeddings that others made -> a variant of a store, row for row as they are; resumed where it was killed."""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np

from reelstore.arrays import Array, IntArray, UInt8Array
from reelstore.convert import Held, Layout, Listing, Source, held_by
from reelstore.errors import ForeignFileError, OccupiedError, StoreError, ValueRangeError
from reelstore.io import Progress, readable_bytes
from reelstore.layout import RUNS, is_store_root
from reelstore.records import SIDES, Side, name_fault, reserved_fault, shortened
from reelstore.store.format import FINGERPRINT_BYTES, VariantSpec
from reelstore.store.staging import StagedRows, Staging
from reelstore.store.stored import open_published
from reelstore.store.table import RowTable
from reelstore.store.update import UpdateReport, VariantUpdate, recover_variant
from reelstore.store.write import fits, row_fingerprints

BLOCK_BYTES = 16 * 2**20
"""What is held in memory and staged as one file; a kill loses one."""
BLOCK_ROWS = 4096
"""At most, of small rows."""
_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_DEFAULT_VARIANT = {"pooled": "embedding", "dense": "tokens", "ragged": "tokens"}


@dataclass(frozen=True)
class Target:
    """Where rows go: `<store>/<dataset>/<side>/<encoder>/<variant>`; without a variant, `embedding` or `tokens`."""

    dataset: Path
    side: Side
    encoder: str
    variant: str | None = None

    @classmethod
    def parse(cls, path: Path) -> "Target":
        """From a path as typed.

        Raises:
            ForeignFileError: it has no side, or a name isn't letters, digits, `-`, `_` and `.`, or is reserved.
        """
        for n_below in (2, 1):  # encoder and variant below the side, or the encoder alone
            parts = path.absolute().parts
            side = next((one for one in SIDES if len(parts) > n_below + 2 and parts[-n_below - 1] == one), None)
            if side is None:
                continue
            for part in parts[-n_below - 2 :]:
                if not _PART.fullmatch(part):
                    raise ForeignFileError(f"{path}: {part!r} must be letters, digits, - _ and . only.")
                if (fault := reserved_fault(part)) is not None:
                    raise ForeignFileError(f"{path}: the name {part!r} {fault}. Choose another name.")
            dataset = path.parents[n_below] if len(path.parts) > n_below + 2 else path.absolute().parents[n_below]
            return cls(dataset, side, parts[-n_below], parts[-1] if n_below == 2 else None)
        raise ForeignFileError(
            f"{path} names no place in a store: it must be <store>/<dataset>/video/<encoder>/<variant>, or text "
            "instead of video, such as store/msrvtt/video/video-llama-7b/mean."
        )

    def folder(self, held: Held) -> Path:
        """The variant's."""
        return self.dataset / self.side / self.encoder / (self.variant or _DEFAULT_VARIANT[held.layout])


@dataclass(frozen=True)
class ImportPlan:
    """How a source was understood, before a value is read."""

    target: Target
    folder: Path
    held: Held
    listing: Listing
    kind: str

    def summary(self) -> str:
        """Lines for people: how many items of which kind, and the first and last of them."""
        held, n_items = self.held, len(self.listing)
        tokens = f", {held.n_tokens} tokens each" if held.n_tokens else ""
        head = f"{self.folder}: {n_items} rows to import from {self.kind}; {held.layout}{tokens}, dim {held.dim}, "
        return "\n".join([f"{head}{held.dtype}. Nothing was written.", *self.lines()])

    def lines(self) -> list[str]:
        """What a report says of any import, an indented line each."""
        keys = self.listing.keys
        n_videos = len({key if isinstance(key, str) else key[0] for key in keys})
        videos = f"{n_videos} video{'s' * (n_videos != 1)}"
        what = f"{len(keys)} caption{'s' * (len(keys) != 1)} of {videos}" if self.target.side == "text" else videos
        places = {"first": 0, "last": len(keys) - 1} if len(keys) > 1 else {"the only one": 0}
        found = [what, *(f"{name} {self.listing.example(place)}" for name, place in places.items())]
        return [f"  {line}" for line in (*found, *self.listing.notes)]


@dataclass(frozen=True)
class ImportReport:
    """What an import did."""

    plan: ImportPlan
    update: UpdateReport
    n_bytes_read: int

    def summary(self) -> str:
        """Lines for people."""
        done, held = self.update, self.plan.held
        new = f"{done.n_new} of them new" if done.n_new else "none of them new"
        written = f"{readable_bytes(done.n_bytes_written)} written" if done.n_bytes_written else "nothing written"
        failed = f", {done.n_failed} without a value" if done.n_failed else ""
        head = (
            f"{self.plan.folder}: {done.n_rows} rows, {new}{failed}; {held.layout}, dim {held.dim}, {held.dtype}; "
            f"{written}. Digest {done.digest[:12]}."
        )
        return "\n".join([head, *self.plan.lines(), *(f"  mended: {file}" for file in done.repaired)])


def plan_import(
    source: Source,
    target: Target,
    *,
    layout: Layout | None = None,
    dtype: str | None = None,
    inputs: Sequence[Path] = (),
) -> ImportPlan:
    """What an import would bring where; see `run_import`. Nothing is written."""
    held = held_by(source.listing, layout=layout, dtype=dtype)
    folder = target.folder(held)
    for path in inputs:
        refuse_overlap(path, folder)
    return ImportPlan(target, folder, held, source.listing, source.kind)


def run_import(
    source: Source,
    target: Target,
    *,
    layout: Layout | None = None,
    dtype: str | None = None,
    revision: str = "",
    inputs: Sequence[Path] = (),
    progress: Progress,
) -> ImportReport:
    """Bring a variant up to date with what a source holds: its rows, in its order, bit for bit.

    Blocks of rows are staged beside the store (`runs/import`) and published at once in the end; a run that was killed
    takes up what was staged, if file and rows haven't changed since. Rows that are stored already aren't written again.

    Args:
        source: where they lie.
        target: where they go.
        layout: what the items are, where their shapes leave it open.
        dtype: to round to; by default numbers stay as they are.
        revision: what else determined the numbers: a checkpoint's name, a commit; kept in the recipe.
        inputs: files and folders that the source is read from, which the target may not overlap.
        progress: called with rows read and to read.

    Raises:
        ForeignFileError: files are damaged, or of different kinds; the message names them.
        ValueRangeError: a value is NaN, infinite, or beyond the stored dtype; the message names the file.
        OccupiedError: source and target overlap.
    """
    if name_fault(revision or "-") is not None:
        raise ForeignFileError(f"--revision {name_fault(revision)}: {shortened(revision)}.")
    plan = plan_import(source, target, layout=layout, dtype=dtype, inputs=inputs)
    folder, held, listing = plan.folder, plan.held, plan.listing
    recipe = {"imported": {"encoder": target.encoder, "from": source.kind, "revision": revision}}
    spec = VariantSpec(target.side, target.encoder, folder.name, held.dim, held.n_tokens, held.dtype, recipe)
    recover_variant(folder)
    base, below = _staging_place(target, folder.name)
    _refuse_links(base, below)
    staging = Staging(base / below)
    blocks = _Blocks(source, listing, held, spec, staging)
    fingerprints = blocks.stage(_stored(folder, spec), progress=progress)
    table = RowTable(list(listing.keys), list(listing.splits), fingerprints)
    with VariantUpdate(folder, spec, table) as update:
        blocks.give(update)
        report = update.finish()
    staging.clear()
    _remove_empty(base, below.parent)
    return ImportReport(plan, report, blocks.n_bytes_read)


class _Blocks:
    """Rows of a source, read and staged in blocks."""

    def __init__(self, source: Source, listing: Listing, held: Held, spec: VariantSpec, staging: Staging) -> None:
        self._source = source
        self._listing = listing
        self._held = held
        self._spec = spec
        self._staging = staging
        self.n_bytes_read = 0

    def stage(self, stored: set[bytes], *, progress: Progress) -> UInt8Array:
        """Stage every block that has rows which aren't stored; fingerprints of all rows, (n, 16)."""
        found = np.zeros((len(self._listing), 16), dtype=np.uint8)
        progress(0, len(found))
        for start, stop in self._cuts():
            name = self._name(start, stop)
            rows = self._staged(name, stop - start)
            if rows is None:
                rows = self._read(start, stop)
                if not stored.issuperset(one.tobytes() for one in rows.fingerprints):
                    self._staging.write(name, {self._spec.variant: rows})
            found[start:stop] = rows.fingerprints
            progress(stop, len(found))
        return found

    def give(self, update: VariantUpdate) -> None:
        """Give an update all rows it has to do, from what is staged; from the source, where rows that seemed to be
        stored turned out to be damaged.

        Raises:
            ForeignFileError: the source changed meanwhile.
        """
        for start, stop in self._cuts():
            todo = update.todo[(update.todo >= start) & (update.todo < stop)]
            if not len(todo):
                continue
            name = self._name(start, stop)
            rows = self._staged(name, stop - start) or self._read(start, stop)
            if not np.array_equal(rows.fingerprints, update.table.fingerprints[start:stop]):
                raise ForeignFileError(f"{self._listing.names[start]} changed while it was imported. Run it again.")
            for first, last in _runs(todo, rows.status[todo - start]):
                if rows.reasons[first - start] is not None:
                    for row in range(first, last):
                        update.fail(row, str(rows.reasons[row - start]))
                    continue
                ends = rows.starts[[first - start, last - start]]
                counts = None if rows.counts is None else rows.counts[first - start : last - start]
                update.put_rows(np.arange(first, last), rows.values[ends[0] : ends[1]], counts)

    def _cuts(self) -> Iterator[tuple[int, int]]:
        """First and, without, last row of each block."""
        item = np.dtype(self._held.dtype).itemsize
        start, n_bytes = 0, 0
        for number, shape in enumerate(self._listing.shapes):
            n_here = item * int(np.prod(shape)) if number not in self._listing.failures else 0
            if number > start and (n_bytes + n_here > BLOCK_BYTES or number - start == BLOCK_ROWS):
                yield start, number
                start, n_bytes = number, 0
            n_bytes += n_here
        yield start, len(self._listing)

    def _name(self, start: int, stop: int) -> str:
        """Of a block's file: what its rows are, as far as is known without reading them."""
        about = (
            self._spec.fingerprint,
            list(self._listing.keys[start:stop]),
            list(self._listing.names[start:stop]),
            list(self._listing.stamps[start:stop]),
            [self._listing.failures.get(number) for number in range(start, stop)],
        )
        return sha256(repr(about).encode("utf-8", "surrogateescape")).hexdigest()[:24]

    def _staged(self, name: str, n_rows: int) -> StagedRows | None:
        """A block that is staged, if it is one of this import."""
        if not self._staging.has(name):
            return None
        rows = self._staging.read(name).get(self._spec.variant)
        if (
            rows is None
            or rows.fingerprints.shape != (n_rows, FINGERPRINT_BYTES)
            or (rows.values.dtype.name, rows.values.shape[1:]) != (self._spec.dtype, self._spec.row_shape)
            or (rows.counts is not None) != (self._held.layout == "ragged")
        ):
            raise StoreError(f"{self._staging.folder}/{name} isn't what an import staged. Remove it and run it again.")
        return rows

    def _read(self, start: int, stop: int) -> StagedRows:
        listing, held = self._listing, self._held
        values = self._source.read(start, stop)
        here = [number for number in range(start, stop) if number not in listing.failures]
        for number in here:
            if values[number - start].shape != listing.shapes[number]:
                raise ForeignFileError(f"{listing.names[number]} changed while it was imported. Run it again.")
        rows = [held.row(values[number - start]) for number in here]
        self.n_bytes_read += sum(row.nbytes for row in rows)
        stored = self._as_stored(rows, here)
        lengths = np.array([len(row) if held.layout == "ragged" else 1 for row in rows], dtype=np.int64)
        ends = np.concatenate([[0], np.cumsum(lengths)])
        contents, counts = [], np.zeros(stop - start, dtype=np.int64)
        position = 0
        for number in range(start, stop):
            if number in listing.failures:
                contents.append(sha256(f"no value: {listing.failures[number]}".encode()).hexdigest())
                continue
            value = stored[ends[position] : ends[position + 1]]
            contents.append(sha256(value.data).hexdigest())
            counts[number - start] = lengths[position]
            position += 1
        return StagedRows(
            fingerprints=row_fingerprints(self._spec.fingerprint, contents),
            values=stored,
            counts=counts if held.layout == "ragged" else None,
            reasons=[listing.failures.get(number) for number in range(start, stop)],
        )

    def _as_stored(self, rows: Sequence[Array], numbers: Sequence[int]) -> Array:
        """Values of a block in the stored dtype, one behind the other."""
        spec, ragged = self._spec, self._held.layout == "ragged"
        shape = (0, *spec.row_shape)
        if not rows:
            return np.zeros(shape, dtype=spec.dtype)
        values = np.concatenate(rows) if ragged else np.stack(rows)
        limit = float(np.finfo(spec.dtype).max)
        if not fits(values, limit):
            self._refuse(rows, numbers, limit)
        return np.ascontiguousarray(values, dtype=spec.dtype)

    def _refuse(self, rows: Sequence[Array], numbers: Sequence[int], limit: float) -> None:
        for row, number in zip(rows, numbers, strict=True):
            wide = row.astype(np.float64)
            if not np.isfinite(wide).all():
                raise ValueRangeError(f"{self._listing.names[number]} holds NaN or infinity. It isn't imported.")
            worst = float(np.abs(wide).max(initial=0))
            if worst > limit:
                raise ValueRangeError(
                    f"{self._listing.names[number]} holds {worst:g}, beyond {self._spec.dtype}'s {limit:g}. "
                    "Say --dtype float32."
                )


def _stored(folder: Path, spec: VariantSpec) -> set[bytes]:
    """Fingerprints of the rows that seem to be stored: nothing is verified yet."""
    published = open_published(folder, verify=False)
    if published is None or published.attributes["fingerprint"] != spec.fingerprint:
        return set()
    return {one.tobytes() for one in published.fingerprints[published.usable]}


def refuse_overlap(path: Path, folder: Path) -> None:
    """Raise OccupiedError where an input is the target, or one is in the other, links followed."""
    source, target = path.resolve(), folder.resolve()
    if source == target:
        raise OccupiedError(f"{path} is the source and the target. Choose another target.")
    if source.is_relative_to(target):
        raise OccupiedError(f"{path} is in the target, {folder}, which an import replaces. Move it, or choose another.")
    if target.is_relative_to(source):
        raise OccupiedError(f"The target {folder} is in the source, {path}. Choose another target.")


def _staging_place(target: Target, variant: str) -> tuple[Path, Path]:
    """A folder, and the path of the staging below it: outside the store, so that no version holds half of something.

    It is the project that the store is in: the working folder or one below it where the store is there, else the
    folder above `store`; without one, the folder beside the dataset's.
    """
    here, dataset = Path.cwd(), Path(os.path.abspath(target.dataset))
    base = dataset.parent.parent
    if dataset != here and dataset.is_relative_to(here):
        base = base if base.is_relative_to(here) else here
    elif not is_store_root(dataset.parent) and not any((base / name).is_file() for name in ("params.yaml", "dvc.yaml")):
        base = dataset.parent
    return base, RUNS / "import" / Path(dataset.relative_to(base), target.side, target.encoder, variant)


def _refuse_links(base: Path, below: Path) -> None:
    for part in [below, *below.parents]:
        if (base / part).is_symlink() and part.parts:
            raise OccupiedError(
                f"{base / part} is a link; what is staged isn't written through links. Remove the link."
            )


def _remove_empty(base: Path, below: Path) -> None:
    """Remove a folder and those above it, up to the base, as long as they are empty."""
    for part in [below, *below.parents]:
        folder = base / part
        if not part.parts or not folder.is_dir() or any(folder.iterdir()):
            return
        folder.rmdir()


def _runs(rows: IntArray, kinds: UInt8Array) -> list[tuple[int, int]]:
    """First and, without, last row of each run of consecutive rows of one kind."""
    breaks = np.flatnonzero((np.diff(rows) != 1) | (kinds[1:] != kinds[:-1])) + 1
    return [(int(run[0]), int(run[-1]) + 1) for run in np.split(rows, breaks)]
