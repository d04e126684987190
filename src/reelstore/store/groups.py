"""The Zarr groups above variants, whose content is constant, so that git can track them; and the variants below a path.

zarr-python can copy the metadata of everything below a group into the group's zarr.json (`consolidate_metadata`), and
then reads arrays by these copies. reelstore never does, and every write removes copies of the version before.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from reelstore.errors import DamagedFileError, OccupiedError, SchemaError, StoreError
from reelstore.io import is_folder, parsed_json, partial_of, sync_folder
from reelstore.records import ARRAY_NAMES, reserved_fault
from reelstore.store.files import FolderLock, content_of, kind_of, refuse_read_only, unrecognised_in, write_partial
from reelstore.store.format import (
    ATTRIBUTE,
    CONSOLIDATED,
    MANIFEST,
    as_json_bytes,
    group_metadata,
    holds_manifest,
    without_consolidated,
)

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
        OccupiedError: as of `refuse_other_groups`.
    """
    refuse_other_groups(folder)
    for group in reversed(groups_above(folder)):
        path = group / MANIFEST
        if content_of(path) is not None and not any(_half_written(group)):
            continue
        refuse_read_only(group)
        with FolderLock(group, wait=True):
            for half in list(_half_written(group)):
                half.unlink()
            if content_of(path) is None:
                _write(group, GROUP)


def drop_consolidated(folder: Path) -> None:
    """Remove consolidated metadata from every group around a variant: plain Zarr clients would read the old arrays.

    Raises:
        StoreError: one of the groups is read-only.
    """
    for group in _groups_around(folder):
        if CONSOLIDATED not in (_group_at(group) or {}):
            continue
        refuse_read_only(group)
        with FolderLock(group, wait=True):
            found = _group_at(group)
            if found is not None:
                _write(group, as_json_bytes(without_consolidated(found)))


def remove_empty_groups(folder: Path) -> None:
    """Remove the groups of a deleted variant's encoder and side where nothing but their own zarr.json is in them."""
    for group in folder.parents[:2] if not folder.exists() else ():
        if not _is_empty_group(group):
            return
        with FolderLock(group, wait=True):
            (group / MANIFEST).unlink(missing_ok=True)
            try:
                group.rmdir()
            except OSError:  # another process has begun a variant there
                _write(group, GROUP)
                return


def _is_empty_group(group: Path) -> bool:
    """Whether a group is empty but for the zarr.json that reelstore wrote, and may be removed."""
    try:
        refuse_read_only(group)
        refuse_read_only(group.parent)
    except StoreError:
        return False
    return is_folder(group) and os.listdir(group) == [MANIFEST] and content_of(group / MANIFEST) == GROUP


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


def refuse_other_groups(folder: Path) -> None:
    """Refuse what isn't part of a store above a variant. A group with other attributes is accepted and kept as it is.

    Raises:
        OccupiedError: a file isn't a Zarr group's, or a link leads to a folder neither empty nor part of a store.
    """
    for above in folder.parents[: 3 if folder.is_absolute() else 4]:  # above that, it is where the store was put
        if above.is_symlink() and above.is_dir() and any(above.iterdir()) and not _is_of_store(above):
            raise OccupiedError(
                f"{above} is {kind_of(above)}, which isn't empty and isn't part of a store. Nothing was changed; "
                "remove the link, or point it to an empty folder."
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
    """Temporary files of the group's own zarr.json, left by a killed writer."""
    half = partial_of(group / MANIFEST)
    content = content_of(half)
    if content is not None and GROUP.startswith(content):
        yield half


N_LEVELS = 5
"""Folders between a project and its variants: store, dataset, side, encoder, variant."""
_BEGINNING = re.compile(rb'\s*\{\s*"attributes":\s*\{\s*"' + ATTRIBUTE.encode() + rb'":\s*\{')
"""Of a manifest, as reelstore and as zarr-python write it; this much of one that was cut still says what it was."""


def variant_folders(path: Path) -> list[Path]:
    """Every variant at or below a path, damaged ones among them.

    A folder is a variant by its manifest: a zarr.json of a group that has reelstore's attributes, whole or cut. Neither
    names of folders count nor words elsewhere in the file, such as copies of metadata below the group (consolidated
    metadata). A folder that has no zarr.json, or one that isn't JSON, is a variant if it is in a group and holds
    arrays of a variant and nothing else. Hidden folders aren't entered; links are, where they lead to a variant or a
    group. Variants are at most five levels below a project.
    """
    return sorted(_variants_in(path, N_LEVELS, set()))


def is_variant_folder(folder: Path) -> bool:
    """Whether a folder is a variant, sound or damaged: as of `variant_folders`."""
    contents = [_content(path) for path in (folder / MANIFEST, partial_of(folder / MANIFEST))]
    if any(_is_manifest(content) for content in contents):
        return True
    if os.path.lexists(partial_of(folder / f"{MANIFEST}.deleted")):
        return False  # a deletion was killed; the next write or deletion finishes it
    return (
        _parsed(contents[0]) is None
        and (contents[0] is not None or not os.path.lexists(folder / MANIFEST))
        and any(_is_array(folder / name) for name in ARRAY_NAMES)
        and is_group(_content(folder.parent / MANIFEST) or b"", folder.parent / MANIFEST)
        and unrecognised_in(folder) is None
    )


def _variants_in(folder: Path, levels: int, seen: set[Path]) -> Iterator[Path]:
    if folder.resolve() in seen:  # circular links
        return
    seen.add(folder.resolve())
    if is_variant_folder(folder):
        yield folder
        return
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name) if levels else []
    except OSError:  # not readable, or removed meanwhile
        return
    for entry in entries:
        below = folder / entry.name
        if entry.name.startswith("."):
            continue
        if entry.is_dir(follow_symlinks=False) or (entry.is_symlink() and _is_node(below)):
            yield from _variants_in(below, levels - 1, seen)


def _is_manifest(content: bytes | None) -> bool:
    if content is None:
        return False
    group = _parsed(content)
    return holds_manifest(group) if group is not None else _BEGINNING.match(content) is not None


def _is_node(folder: Path) -> bool:
    """Whether a folder is a Zarr group or a variant."""
    return is_group(_content(folder / MANIFEST) or b"", folder / MANIFEST) or is_variant_folder(folder)


def _is_array(folder: Path) -> bool:
    return (folder / MANIFEST).is_file() or (folder / "c").is_dir()


def _parsed(content: bytes | None) -> object:
    """The JSON value; None where there is none."""
    try:
        return None if content is None else parsed_json(content, MANIFEST)
    except DamagedFileError:
        return None


def _content(path: Path) -> bytes | None:
    try:
        return content_of(path)
    except (OSError, StoreError):
        return None
