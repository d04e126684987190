"""Repair a store: finish killed updates, recompute the rows of damaged files, and change nothing else."""

import os
import shutil
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from reelstore.errors import NewerSchemaError, SchemaError, StoreError
from reelstore.io import Progress, make_output_folder
from reelstore.layout import RUNS
from reelstore.project.align.apply import is_aligned, run_apply
from reelstore.project.embed.plan import make
from reelstore.project.embed.stage import run_embed
from reelstore.project.pool import run_pool
from reelstore.project.settings import Params
from reelstore.project.stores.verify import VerifyReport, verify
from reelstore.project.variants import variants_of
from reelstore.store.commit import manifest_of
from reelstore.store.files import content_of
from reelstore.store.format import MANIFEST, VariantSpec
from reelstore.store.groups import drop_consolidated, groups_above, is_group, write_groups
from reelstore.store.update import recover_variant
from reelstore.store.verify import check_groups, check_variant, has_groups


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
    """Repair what `verify` finds at or below a path: only the rows of bad files are embedded or pooled again.

    Raises:
        StoreError: the store isn't that of params.yaml, so its rows can't be recomputed here.
    """
    before = verify(path, progress=progress)
    done = []
    keys: dict[str, list[Path]] = {}
    for folder in before.folders:
        done += _groups_aside(params, folder) if has_groups(folder) else []
        if not _is_readable(folder):
            keys.setdefault("/".join(folder.absolute().parts[-3:-1]), []).append(folder)
            continue
        recover_variant(folder)
        if any(check_groups(folder)):
            done.append(f"{folder.parent}: groups above written")
            drop_consolidated(folder)
        if has_groups(folder):
            write_groups(folder)
        if any(True for _ in check_variant(folder, quick=False)):
            keys.setdefault("/".join(folder.absolute().parts[-3:-1]), []).append(folder)
    aligned = [folder for folders in keys.values() for folder in folders if is_aligned(folder)]
    keys = {key: left for key, folders in keys.items() if (left := [f for f in folders if not is_aligned(f)])}
    for key, folders in keys.items():
        specs = {spec.variant: spec for _, spec in variants_of(params, key, make(params, key).spec)}
        for folder in folders:
            if _is_readable(folder):
                _prepare(params, folder, specs.get(folder.name))
            else:
                done.append(_variant_aside(params, folder))
        names = {folder.name for folder in folders}
        if names & specs.keys():
            report = run_embed(params, key, retry_failed=False, workers=params.embed.workers, progress=progress)
            done.append(report.summary())
        if names - specs.keys():
            done.append(run_pool(params.layout.store, key, progress=progress).summary())
    for folder in aligned:
        _refuse_other_variant(params, folder)
        if not _is_readable(folder):
            done.append(_variant_aside(params, folder))
    for model, aligner in dict.fromkeys((folder.parent.name, folder.name) for folder in aligned):
        video, _, text = model.partition("+")
        applied = run_apply(params, video=video, text=text, aligner=aligner.partition(".")[2], progress=progress)
        done.append(applied.summary())
    return RepairReport(before, tuple(done), verify(path, progress=progress))


def _is_readable(folder: Path) -> bool:
    """Whether the folder has a manifest that says what it holds.

    Raises:
        NewerSchemaError: a newer reelstore wrote it.
    """
    try:
        return manifest_of(folder) is not None
    except NewerSchemaError:
        raise
    except SchemaError:
        return False


def _prepare(params: Params, folder: Path, spec: VariantSpec | None) -> None:
    """Refuse what params.yaml doesn't describe; `spec` is what it describes of this name."""
    _refuse_other_variant(params, folder)
    attributes = manifest_of(folder)
    if attributes is None:
        return
    if spec is not None and attributes["fingerprint"] != spec.fingerprint:
        raise StoreError(
            f"{folder} was made by another encoder, or by other settings, than params.yaml names: its rows can't be "
            "recomputed here. Fetch them with dvc checkout, or recompute all of it with dvc repro."
        )


def _groups_aside(params: Params, folder: Path) -> list[str]:
    """Move files away that are where the zarr.json of the groups above a variant should be, and aren't a group's."""
    moved = []
    for path in (group / MANIFEST for group in groups_above(folder)):
        if os.path.lexists(path) and not is_group(content_of(path) or b"", path):
            _refuse_other_variant(params, folder)
            moved.append(f"{path}: isn't a Zarr group's; moved to {_moved(path)}")
    return moved


def _variant_aside(params: Params, folder: Path) -> str:
    """Move a folder away whose manifest is missing or damaged: nobody can say any more which of its files are ours."""
    _refuse_other_variant(params, folder)
    return f"{folder}: its manifest can't be read; moved to {_moved(folder)}, all of it is recomputed"


def _moved(path: Path) -> Path:
    """Where a path is after it was moved out of the store; what it is called there is new."""
    parent = RUNS / "damaged" / path.absolute().parent.relative_to(Path.cwd())
    make_output_folder(parent)
    place = next(place for n in count(1) if not os.path.lexists(place := parent / f"{path.name}-{n}"))
    shutil.move(path, place)
    return place


def _refuse_other_variant(params: Params, folder: Path) -> None:
    if folder.absolute() != params.layout.store.absolute().joinpath(*folder.absolute().parts[-3:]):
        raise StoreError(
            f"{folder} isn't of the dataset {params.dataset.name!r} that params.yaml names. Fetch it with dvc checkout."
        )
