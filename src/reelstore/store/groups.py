"""The groups above a variant, dataset, side and encoder: constant, so that they can live in git."""

import os
from collections.abc import Iterator
from pathlib import Path

from reelstore.store.disk import refuse_read_only
from reelstore.store.files import PARTIAL, content_of, partial_of, remove, sync_folder, write_partial
from reelstore.store.lock import FolderLock
from reelstore.store.manifest import MANIFEST
from reelstore.store.schema import as_json_bytes, group_metadata

GROUP = as_json_bytes(group_metadata())
"""Their zarr.json."""


def groups_above(folder: Path) -> tuple[Path, Path, Path]:
    """Folders of a variant's dataset, side and encoder."""
    return folder.parents[2], folder.parents[1], folder.parents[0]


def write_groups(folder: Path) -> None:
    """Write the zarr.json of the groups above a variant where they aren't right; sweep what a killed writer left."""
    for group in reversed(groups_above(folder)):
        path = group / MANIFEST
        if content_of(path) == GROUP and not any(_half_written(group)):
            continue
        refuse_read_only(group)
        lock = FolderLock(group, wait=True)
        for half in list(_half_written(group)):
            remove(half)
        if content_of(path) != GROUP:
            write_partial(group, MANIFEST, GROUP)
            if path.is_dir():
                remove(path)
            os.replace(partial_of(path), path)
            sync_folder(group)
        lock.release()


def _half_written(group: Path) -> Iterator[Path]:
    return group.glob(f"{MANIFEST}*{PARTIAL}")
