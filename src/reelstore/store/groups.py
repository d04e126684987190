"""The groups above a variant, dataset, side and encoder: constant, so that they can live in git."""

import os
from collections.abc import Iterator
from pathlib import Path

from reelstore.errors import DamagedFileError, OccupiedError
from reelstore.io import parsed_json, partial_of, sync_folder
from reelstore.store.disk import refuse_read_only
from reelstore.store.files import content_of, kind_of, write_partial
from reelstore.store.lock import FolderLock
from reelstore.store.manifest import MANIFEST
from reelstore.store.schema import as_json_bytes, group_metadata

GROUP = as_json_bytes(group_metadata())
"""Their zarr.json."""


def groups_above(folder: Path) -> tuple[Path, Path, Path]:
    """Folders of a variant's dataset, side and encoder."""
    parents = folder.parents if len(folder.parents) > 2 else folder.absolute().parents
    return parents[2], parents[1], parents[0]


def write_groups(folder: Path) -> None:
    """Write the zarr.json of the groups above a variant where there is none.

    Raises:
        OccupiedError: as of `refuse_foreign_groups`.
    """
    refuse_foreign_groups(folder)
    for group in reversed(groups_above(folder)):
        path = group / MANIFEST
        if content_of(path) is not None and not any(_half_written(group)):
            continue
        refuse_read_only(group)
        lock = FolderLock(group, wait=True)
        for half in list(_half_written(group)):
            half.unlink()
        if content_of(path) is None:
            try:
                write_partial(group, MANIFEST, GROUP)
                os.replace(partial_of(path), path)
            except BaseException:
                partial_of(path).unlink(missing_ok=True)
                raise
            sync_folder(group)
        lock.release()


def refuse_foreign_groups(folder: Path) -> None:
    """Refuse what isn't of a store above a variant; a group with attributes of its own is somebody's, and stays.

    Raises:
        OccupiedError: a file isn't a Zarr group's, or a link leads to a folder that is neither empty nor of a store.
    """
    for above in folder.parents[: 3 if folder.is_absolute() else 4]:  # above that, it is where the store was put
        if above.is_symlink() and above.is_dir() and any(above.iterdir()) and not _is_of_store(above):
            raise OccupiedError(
                f"{above} is {kind_of(above)}, which isn't empty and isn't of a store. Nothing was changed; remove the "
                "link, or let it lead to an empty folder."
            )
    for group in groups_above(folder):
        path = group / MANIFEST
        content = content_of(path)
        if content is None and os.path.lexists(path):
            raise OccupiedError(f"{path} is {kind_of(path)}, not a Zarr group's. Move it away.")
        if content is not None and not is_group(content, path):
            raise OccupiedError(f"{path} isn't a Zarr group's. Nothing was changed; move it away.")


def is_group(content: bytes, path: Path) -> bool:
    """Whether this is the zarr.json of a Zarr v3 group that isn't a variant."""
    try:
        group = parsed_json(content, path)
    except DamagedFileError:
        return False
    return (
        isinstance(group, dict)
        and (group.get("zarr_format"), group.get("node_type")) == (3, "group")
        and "reelstore" not in (group.get("attributes") or {})
    )


def _is_of_store(folder: Path) -> bool:
    """Whether a folder is a Zarr group, or has one in it."""
    for path in [folder / MANIFEST, *(below / MANIFEST for below in folder.iterdir() if below.is_dir())]:
        content = content_of(path)
        if content is not None and is_group(content, path):
            return True
    return False


def _half_written(group: Path) -> Iterator[Path]:
    """What a killed writer left of the group's own file."""
    half = partial_of(group / MANIFEST)
    content = content_of(half)
    if content is not None and GROUP.startswith(content):
        yield half
