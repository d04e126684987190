"""The variants of a store: the one walk by which they are listed, opened, verified, repaired and migrated."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from reelstore.errors import DamagedFileError, StoreError
from reelstore.io import parsed_json, partial_of
from reelstore.records import ARRAY_NAMES
from reelstore.store.files import content_of, foreign_in
from reelstore.store.groups import is_group
from reelstore.store.manifest import MANIFEST, holds_manifest
from reelstore.store.schema import ATTRIBUTE

N_LEVELS = 5
"""Folders between a project and its variants: store, dataset, side, encoder, variant."""
_BEGINNING = re.compile(rb'\s*\{\s*"attributes":\s*\{\s*"' + ATTRIBUTE.encode() + rb'":\s*\{')
"""Of a manifest, as reelstore and as zarr-python write it; this much of one that was cut still says what it was."""


def variant_folders(path: Path) -> list[Path]:
    """Every variant at or below a path, damaged ones among them.

    A folder is a variant by its manifest: a zarr.json of a group that has reelstore's attributes, whole or cut. Neither
    names of folders count nor words elsewhere in the file, such as copies of metadata below the group (consolidated
    metadata). A folder that has no zarr.json, or one that isn't JSON, is a variant if it lies in a group and holds
    arrays of a variant and nothing else. Hidden folders aren't entered; links are, where they lead to a variant or a
    group. Stores lie at most five levels deep.
    """
    return sorted(_variants_in(path, N_LEVELS, set()))


def is_variant_folder(folder: Path) -> bool:
    """Whether a folder is a variant, sound or damaged: as of `variant_folders`."""
    contents = [_content(path) for path in (folder / MANIFEST, partial_of(folder / MANIFEST))]
    if any(_is_manifest(content) for content in contents):
        return True
    return (
        _parsed(contents[0]) is None
        and (contents[0] is not None or not os.path.lexists(folder / MANIFEST))
        and any(_is_array(folder / name) for name in ARRAY_NAMES)
        and is_group(_content(folder.parent / MANIFEST) or b"", folder.parent / MANIFEST)
        and foreign_in(folder) is None
    )


def _variants_in(folder: Path, levels: int, seen: set[Path]) -> Iterator[Path]:
    if folder.resolve() in seen:  # links in a circle
        return
    seen.add(folder.resolve())
    if is_variant_folder(folder):
        yield folder
        return
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name) if levels else []
    except OSError:  # not ours to read, or gone meanwhile
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
