"""The groups above a variant, dataset, side and encoder: constant, so that they can live in git.

zarr-python can copy the metadata of everything below a group into the group's zarr.json (`consolidate_metadata`), and
then reads arrays by these copies. reelstore never does. Whatever it writes takes copies of the version before away.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from reelstore.errors import DamagedFileError, OccupiedError, SchemaError, StoreError
from reelstore.io import parsed_json, partial_of, sync_folder
from reelstore.records import reserved_fault
from reelstore.store.disk import refuse_read_only
from reelstore.store.files import content_of, kind_of, write_partial
from reelstore.store.lock import FolderLock
from reelstore.store.manifest import CONSOLIDATED, MANIFEST, holds_manifest, without_consolidated
from reelstore.store.schema import as_json_bytes, group_metadata

_EMPTY = group_metadata()
GROUP = as_json_bytes(_EMPTY)
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
            _write(group, GROUP)
        lock.release()


def drop_consolidated(folder: Path) -> None:
    """Take consolidated metadata out of every group that a variant is in: plain Zarr clients would read by the old.

    Raises:
        StoreError: one of the groups is read-only.
    """
    for group in _groups_around(folder):
        if CONSOLIDATED not in (_group_at(group) or {}):
            continue
        refuse_read_only(group)
        lock = FolderLock(group, wait=True)
        found = _group_at(group)
        if found is not None:
            _write(group, as_json_bytes(without_consolidated(found)))
        lock.release()


def group_fault(group: Path) -> str | None:
    """What is wrong with the zarr.json of a group above a variant; None where it is as it should be."""
    content = content_of(group / MANIFEST)
    if content is None:
        return "is missing"
    found = _group_at(group)
    if content == GROUP or (found is not None and CONSOLIDATED in found and without_consolidated(found) == _EMPTY):
        return None
    return "isn't the empty group it should be"


def outdated_consolidated(folder: Path, attributes: Any) -> Iterator[Path]:
    """The groups that a variant is in whose consolidated metadata isn't that of the variant as it is.

    Args:
        folder: the variant's.
        attributes: those of its zarr.json. With them come the digests of every array's own zarr.json.
    """
    for group in _groups_around(folder):
        consolidated = (_group_at(group) or {}).get(CONSOLIDATED)
        if consolidated is None:
            continue
        listed = consolidated.get("metadata") if isinstance(consolidated, dict) else None
        name = folder.absolute().relative_to(group.absolute()).as_posix()
        copy = listed.get(name) if isinstance(listed, dict) else None
        if not isinstance(copy, dict) or copy.get("attributes") != attributes:
            yield group


def _groups_around(folder: Path) -> Iterator[Path]:
    """Encoder, side, dataset, and above these every folder that is a Zarr group, up to the first that isn't."""
    dataset, side, encoder = groups_above(folder)
    yield from (encoder, side, dataset)
    for group in dataset.absolute().parents:
        if _group_at(group) is None:
            return
        yield group


def _group_at(folder: Path) -> dict[str, Any] | None:
    """The zarr.json of a group; None where there is none, or it isn't a group's."""
    path = folder / MANIFEST
    try:
        content = content_of(path)
        return parsed_json(content, path) if content is not None and is_group(content, path) else None
    except (OSError, StoreError):
        return None


def _write(group: Path, content: bytes) -> None:
    path = group / MANIFEST
    try:
        write_partial(group, MANIFEST, content)
        os.replace(partial_of(path), path)
    except BaseException:
        partial_of(path).unlink(missing_ok=True)
        raise
    sync_folder(group)


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


def refuse_reserved(folder: Path) -> None:
    """Refuse to write a variant whose dataset, encoder or variant has a reserved name; what is stored stays readable.

    Raises:
        SchemaError: the message has the name and the rule.
    """
    dataset, _, encoder = groups_above(folder)
    for kind, name in (("dataset", dataset.name), ("encoder", encoder.name), ("variant", folder.name)):
        if (fault := reserved_fault(name)) is not None:
            raise SchemaError(f"{folder}: the name {name!r} of the {kind} {fault}. Choose another name.")


def is_group(content: bytes, path: Path) -> bool:
    """Whether this is the zarr.json of a Zarr v3 group that isn't a variant."""
    try:
        group = parsed_json(content, path)
    except DamagedFileError:
        return False
    return (
        isinstance(group, dict)
        and (group.get("zarr_format"), group.get("node_type")) == (3, "group")
        and not holds_manifest(group)
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
