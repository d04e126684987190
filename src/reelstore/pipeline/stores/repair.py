"""Damaged stores -> sound ones: what can be finished is finished, what is bad is made again, and nothing else."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reelstore.errors import NewerSchemaError, SchemaError, StoreError
from reelstore.params import Params
from reelstore.pipeline.align.apply import is_aligned, run_apply
from reelstore.pipeline.embed.plan import load
from reelstore.pipeline.embed.stage import run_embed
from reelstore.pipeline.pool import run_pool
from reelstore.pipeline.progress import Progress
from reelstore.pipeline.stores.verify import VerifyReport, verify
from reelstore.pipeline.variants import variants_of
from reelstore.store.groups import write_groups
from reelstore.store.integrity import check_groups, check_variant
from reelstore.store.manifest import MANIFEST, read_manifest
from reelstore.store.update import settle


@dataclass(frozen=True)
class RepairReport:
    """What was wrong, what was done, and what is still wrong."""

    before: VerifyReport
    done: tuple[str, ...]
    after: VerifyReport

    def summary(self) -> str:
        """Lines for people."""
        lines = [f"found: {finding}" for finding in self.before.findings]
        return "\n".join([*lines, *self.done, self.after.summary()])


def repair(params: Params, path: Path, *, progress: Progress) -> RepairReport:
    """Make sound whatever `verify` finds at or below a path: only the rows of bad files are embedded or pooled again.

    Raises:
        StoreError: the store isn't that of params.yaml, so its rows can't be made again here.
    """
    before = verify(path, progress=progress)
    done = []
    keys: dict[str, list[Path]] = {}
    for folder in before.folders:
        settle(folder)
        if any(check_groups(folder)):
            done.append(f"{folder.parent}: groups above written")
        write_groups(folder)
        if any(True for _ in check_variant(folder, quick=False)):
            keys.setdefault("/".join(folder.absolute().parts[-3:-1]), []).append(folder)
    aligned = [folder for folders in keys.values() for folder in folders if is_aligned(folder)]
    keys = {key: left for key, folders in keys.items() if (left := [f for f in folders if not is_aligned(f)])}
    for key, folders in keys.items():
        for folder in folders:
            _prepare(params, key, folder)
        names = {folder.name for folder in folders}
        embedded = {spec.variant for _, spec in variants_of(params, key, load(params, key).spec)}
        if names & embedded:
            report = run_embed(params, key, retry_failed=False, workers=params.embed.workers, progress=progress)
            done.append(report.summary())
        if names - embedded:
            done.append(run_pool(params.store_folder, key, progress=progress).summary())
    for folder in aligned:
        _refuse_foreign(params, folder)
        _clear_unreadable(folder)
    for model, aligner in dict.fromkeys((folder.parent.name, folder.name) for folder in aligned):
        video, _, text = model.partition("+")
        applied = run_apply(params, video=video, text=text, aligner=aligner.partition(".")[2], progress=progress)
        done.append(applied.summary())
    return RepairReport(before, tuple(done), verify(path, progress=progress))


def _prepare(params: Params, key: str, folder: Path) -> None:
    """Refuse what params.yaml doesn't describe; clear away a manifest that can't be read."""
    _refuse_foreign(params, folder)
    attributes = _clear_unreadable(folder)
    if attributes is None:
        return
    specs = {spec.variant: spec for _, spec in variants_of(params, key, load(params, key).spec)}
    spec = specs.get(folder.name)
    if spec is not None and attributes["fingerprint"] != spec.fingerprint:
        raise StoreError(
            f"{folder} was made by another encoder, or by other settings, than params.yaml names: its rows can't be "
            "made again here. Fetch them with dvc checkout, or make all of it anew with dvc repro."
        )


def _refuse_foreign(params: Params, folder: Path) -> None:
    if folder.absolute() != params.store_folder.absolute().joinpath(*folder.absolute().parts[-3:]):
        raise StoreError(
            f"{folder} isn't of the dataset {params.dataset.name!r} that params.yaml names. Fetch it with dvc checkout."
        )


def _clear_unreadable(folder: Path) -> Mapping[str, Any] | None:
    """What the manifest says; None where there is none, or where it couldn't be read and is gone now."""
    try:
        return read_manifest(folder)
    except NewerSchemaError:
        raise
    except SchemaError:
        (folder / MANIFEST).unlink()
        return None
