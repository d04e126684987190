"""Whether a folder may be written as a variant: it is empty, or what is in it is a variant of ours."""

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from reelstore.errors import OccupiedError, SchemaError
from reelstore.io import is_folder, partial_of
from reelstore.store.files import content_of, foreign_in, kind_of, own_files
from reelstore.store.manifest import MANIFEST, parse_manifest, read_manifest

REPLACED = f"{MANIFEST}.replaced"
"""Name of the manifest of the version before, while files get their names; temporary too, with `.partial` behind it."""


def claim(folder: Path) -> bool:
    """Whether a variant of ours is in this folder, be it half-written; False where nothing is. Touches nothing.

    A first write that was killed before it had a manifest is recognised by the names of its files, all of them
    temporary.

    Raises:
        OccupiedError: something else is there; a link is followed to a variant only.
        SchemaError: the manifest is damaged, of a newer schema, or another tool's.
    """
    if not os.path.lexists(folder):
        return False
    if not folder.is_dir():
        raise OccupiedError(f"{folder} is {kind_of(folder)} where a variant's folder should be. Move it away.")
    if manifest_of(folder) is not None:
        return True
    if os.path.lexists(folder / MANIFEST):
        raise OccupiedError(f"{folder / MANIFEST} is {kind_of(folder / MANIFEST)}, not a manifest. {_HELP}")
    if folder.is_symlink():
        raise OccupiedError(f"{folder} is {kind_of(folder)}, and no variant of reelstore is there. {_HELP}")
    other = foreign_in(folder) or next((path for path in own_files(folder) if path.suffix != ".partial"), None)
    if other is not None:
        raise OccupiedError(f"{folder} isn't empty and isn't a variant of reelstore: it holds {other.name!r}. {_HELP}")
    return any(folder.iterdir())


def is_variant(folder: Path) -> bool:
    """Whether a folder holds a variant whose manifest can be read, and which belongs into this very folder."""
    try:
        attributes = manifest_of(folder)
    except SchemaError:
        return False
    if attributes is None:
        return False
    return folder.absolute().parts[-3:] == tuple(attributes[name] for name in ("side", "encoder", "variant"))


def manifest_of(folder: Path) -> Mapping[str, Any] | None:
    """The manifest that says whose folder this is: the published one, else that of an interrupted update.

    Raises:
        SchemaError: the published one is damaged, of a newer schema, or another tool's.
    """
    published = read_manifest(folder)
    if published is not None:
        return published
    return next((one for name in (MANIFEST, REPLACED) if (one := _temporary(folder, name)) is not None), None)


def listed_before(folder: Path) -> set[str]:
    """Names of the files that versions before the coming one list: what may be removed."""
    found = [_temporary(folder, REPLACED)]
    with suppress(SchemaError):
        found.append(read_manifest(folder))
    return {key for attributes in found if attributes is not None for key in attributes["digests"]}


def refuse_blocked(folder: Path, keys: Mapping[str, Any]) -> None:
    """Raise OccupiedError where a folder has the name of one of these files."""
    for key in [MANIFEST, *keys]:
        if is_folder(folder / key):
            raise OccupiedError(f"{folder / key} is a folder where a file should be. {_HELP}")


def _temporary(folder: Path, name: str) -> Mapping[str, Any] | None:
    """A manifest under a temporary name; None where there is none, or it was killed while it was written."""
    path = partial_of(folder / name)
    content = content_of(path)
    try:
        return None if content is None else parse_manifest(content, path)
    except SchemaError:
        return None


_HELP = "Nothing was changed; move it away, or write elsewhere."
