"""Embeddings from others' files -> a variant of a store, row for row as they are."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from reelstore.arrays import Array
from reelstore.convert.items import Items, StorageSpec, storage_of
from reelstore.errors import ForeignFileError, OccupiedError, StoreError, ValueRangeError
from reelstore.io import Progress, no_progress, readable_bytes
from reelstore.records import SIDES, Side, name_fault, reserved_fault, shortened
from reelstore.store.content import write_rows
from reelstore.store.format import Layout
from reelstore.store.keys import Keys
from reelstore.store.open import open_variant
from reelstore.store.stored import open_published
from reelstore.store.update import UpdateReport, recover_variant
from reelstore.store.write import fits

BLOCK_BYTES = 16 * 2**20
"""Held in memory at a time."""
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

    def folder(self, storage: StorageSpec) -> Path:
        """The variant's."""
        return self.dataset / self.side / self.encoder / (self.variant or _DEFAULT_VARIANT[storage.layout])


@dataclass(frozen=True)
class ImportReport:
    """What an import did: `n_removed` stored rows are no items; None where the stored keys couldn't be read."""

    update: UpdateReport
    n_removed: int | None


@dataclass(frozen=True)
class Import:
    """How a source was understood, before a value is read.

    Attributes:
        items: what it holds.
        target: where it goes.
        storage: how it is kept there.
        folder: the variant's.
    """

    items: Items
    target: Target
    storage: StorageSpec
    folder: Path

    @classmethod
    def of(
        cls,
        items: Items,
        target: Target,
        *,
        layout: Layout | None = None,
        dtype: str | None = None,
        inputs: Sequence[Path] = (),
    ) -> "Import":
        """What an import would bring where. Nothing is written.

        Args:
            items: what a source holds.
            target: where it goes.
            layout: what the items are, where their shapes leave it open.
            dtype: to round to; by default numbers stay as they are.
            inputs: files and folders that the items are read from, which the target may not overlap.

        Raises:
            ForeignFileError: items are of different kinds; the message names them.
            OccupiedError: source and target overlap.
        """
        storage = storage_of(items, layout=layout, dtype=dtype)
        folder = target.folder(storage)
        for path in inputs:
            _refuse_overlap(path, folder)
        return cls(items, target, storage, folder)

    def run(self, *, revision: str = "", progress: Progress = no_progress) -> "ImportReport":
        """Bring the variant up to date with the items: their rows, in their order, bit for bit.

        All of it is published at once in the end. Rows whose content is stored already aren't written again.

        Args:
            revision: what else determined the numbers: a checkpoint's name, a commit; kept in the recipe.
            progress: called with rows read and to read.

        Raises:
            ForeignFileError: files are damaged, or changed meanwhile.
            ValueRangeError: a value is NaN, infinite, or beyond the stored dtype; the message names the item.
            OccupiedError: the folder holds something else, such as what an encoder made.
        """
        if (fault := name_fault(revision or "-")) is not None:
            raise ForeignFileError(f"--revision {fault}: {shortened(revision)}.")
        self.check_target()
        rows = self.items.rows
        keys = rows.keys
        n_removed = self._n_removed(keys)
        update = write_rows(
            self.folder,
            side=self.target.side,
            encoder=self.target.encoder,
            variant=self.folder.name,
            keys=keys,
            values=self._batches(),
            splits=rows.splits,
            dtype=self.storage.dtype,
            source={"imported": self.items.kind, **({"revision": revision} if revision else {})},
            mode="replace",
            failures=rows.failures,
            layout=self.storage.layout,
            progress=progress,
        )
        return ImportReport(update, n_removed)

    def _n_removed(self, keys: Keys) -> int | None:
        """Stored rows that aren't among these; None where the stored keys are damaged, and will be rewritten."""
        if open_published(self.folder, verify=False) is None:
            return 0
        try:
            return int((keys.find(open_variant(self.folder).ids) < 0).sum())
        except StoreError:
            return None

    def check_target(self) -> None:
        """See that the folder isn't there, or holds what was imported or written.

        Raises:
            OccupiedError: it holds something else.
        """
        recover_variant(self.folder)
        published = open_published(self.folder, verify=False)
        recipe = {} if published is None else published.attributes["recipe"]
        if not {*recipe} <= {"source", "imported"}:
            raise OccupiedError(
                f"{self.folder} wasn't imported (its recipe has {', '.join(map(repr, recipe))}): an import doesn't "
                "replace it. Choose another variant."
            )

    def plan(self) -> str:
        """Lines for people before it is run: how many items of which kind, and the first and last of them."""
        storage = self.storage
        tokens = f", {storage.n_tokens} tokens each" if storage.n_tokens else ""
        head = f"{self.folder}: {len(self.items)} rows to import from {self.items.kind}; {storage.layout}{tokens}, "
        return "\n".join([f"{head}dim {storage.dim}, {storage.dtype}. Nothing was written.", *self._lines()])

    def report(self, found: "ImportReport") -> str:
        """Lines for people after it."""
        storage, done, n_removed = self.storage, found.update, found.n_removed
        new = f"{done.n_new} of them new" if done.n_new else "none of them new"
        new += f", {n_removed} stored ones removed" if n_removed else ""
        written = f"{readable_bytes(done.n_bytes_written)} written" if done.n_bytes_written else "nothing written"
        failed = f", {done.n_failed} without a value" if done.n_failed else ""
        head = (
            f"{self.folder}: {done.n_rows} rows, {new}{failed}; {storage.layout}, dim {storage.dim}, {storage.dtype}; "
            f"{written}. Digest {done.digest[:12]}."
        )
        return "\n".join([head, *self._lines(), *(f"  repaired: {file}" for file in done.repaired)])

    def _lines(self) -> list[str]:
        keys = self.items.rows.keys
        n_videos = _n_videos(keys)
        videos = f"{n_videos} video{'s' * (n_videos != 1)}"
        what = f"{len(keys)} caption{'s' * (len(keys) != 1)} of {videos}" if self.target.side == "text" else videos
        places = {"first": 0, "last": len(keys) - 1} if len(keys) > 1 else {"the only one": 0}
        found = [what, *(f"{name} {self.items.example(place)}" for name, place in places.items())]
        return [f"  {line}" for line in (*found, *self.items.notes)]

    def _batches(self) -> Iterator[Any]:
        """Rows in order, some at a time; zeros, or no tokens, where an item has no value."""
        storage, items = self.storage, self.items
        n_tokens = {"pooled": (), "dense": (storage.n_tokens or 0,), "ragged": (0,)}[storage.layout]
        nothing = np.zeros((*n_tokens, storage.dim), storage.dtype)
        failures, shapes = items.rows.failures, items.shapes
        batch: list[Array] = []
        start, n_bytes, number = 0, 0, 0
        for block in items.values():
            if isinstance(block, np.ndarray) and not failures and not batch and storage.layout != "ragged":
                if number + len(block) > len(items) or (len(block) and block.shape[1:] != shapes[number]):
                    raise self._changed(number)
                yield self._checked(block.reshape(len(block), *n_tokens, storage.dim), number)
                number += len(block)
                start = number
                continue
            for value in block:
                while number in failures:
                    batch.append(nothing)
                    number += 1
                if number >= len(items) or value.shape != shapes[number]:
                    raise self._changed(number)
                batch.append(storage.row(value))
                n_bytes += value.nbytes
                number += 1
                if n_bytes >= BLOCK_BYTES or len(batch) >= BLOCK_ROWS:
                    yield self._checked(batch, start)
                    batch, start, n_bytes = [], number, 0
        while number in failures:
            batch.append(nothing)
            number += 1
        if number < len(items):
            raise self._changed(number)
        if batch:
            yield self._checked(batch, start)

    def _changed(self, number: int) -> ForeignFileError:
        label = self.items.label(min(number, len(self.items) - 1))
        return ForeignFileError(f"{label} changed while it was imported. Run it again.")

    def _checked(self, batch: Array | list[Array], start: int) -> Any:
        """Some rows, all of whose numbers the stored dtype holds; `start`: position of the first."""
        ragged = self.storage.layout == "ragged"
        joined = batch if isinstance(batch, np.ndarray) else np.concatenate(batch) if ragged else np.stack(batch)
        limit = float(np.finfo(self.storage.dtype).max)
        if not fits(joined, limit):
            for number, row in enumerate(batch, start):
                worst = float(np.abs(row.astype(np.float64)).max(initial=0))
                if not np.isfinite(worst):
                    raise ValueRangeError(f"{self.items.label(number)} holds NaN or infinity. It isn't imported.")
                if worst > limit:
                    raise ValueRangeError(
                        f"{self.items.label(number)} holds {worst:g}, beyond {self.storage.dtype}'s {limit:g}. Say "
                        "--dtype float32."
                    )
        return batch if ragged else joined


def _n_videos(keys: Keys) -> int:
    """How many videos these are of; captions of one are usually side by side."""
    if keys.indices is None:
        return len(keys)
    return len(set(keys.video_ids))


def _refuse_overlap(path: Path, folder: Path) -> None:
    """Raise OccupiedError where an input is the target, or one is in the other, links followed."""
    source, target = path.resolve(), folder.resolve()
    if source == target:
        raise OccupiedError(f"{path} is the source and the target. Choose another target.")
    if source.is_relative_to(target):
        raise OccupiedError(f"{path} is in the target, {folder}, which an import replaces. Move it, or choose another.")
    if target.is_relative_to(source):
        raise OccupiedError(f"The target {folder} is in the source, {path}. Choose another target.")
