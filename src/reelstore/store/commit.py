"""Publish many files as one version of a variant, or none, whenever the process or the power stops.

Before anything is written, `claim` says whether the folder is a variant's, or empty. The order of a publication is:
every new file under its temporary name, synced to the disk; the new manifest under its temporary name, and from that
moment the new version counts; then the old manifest gets a temporary name, the files get their names, files that only
the old manifest lists are removed, the new manifest gets its name, and the old one is removed. A deletion renames the
manifest first, and from that moment the variant is gone. `recover` finishes what it finds after that moment, and
undoes what it finds before it. Files that no manifest lists stay.
"""

import os
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from reelstore.errors import OccupiedError, SchemaError
from reelstore.io import PARTIAL, is_folder, partial_of, sync_folder
from reelstore.store.files import (
    content_of,
    digest_of,
    folders_to,
    kind_of,
    own_files,
    read_manifest,
    remove_empty,
    unrecognised_in,
    write_partial,
)
from reelstore.store.format import MANIFEST, parse_manifest
from reelstore.store.groups import drop_consolidated

REPLACED = f"{MANIFEST}.replaced"
"""Name of the manifest of the version before, while files get their names; temporary too, with `.partial` behind it."""
DELETED = f"{MANIFEST}.deleted"
"""Name of the manifest while its variant is deleted; temporary too."""


def claim(folder: Path) -> bool:
    """Whether this folder holds a variant, complete or half-written; False if it is empty. Changes nothing.

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
    other = unrecognised_in(folder) or next((path for path in own_files(folder) if path.suffix != ".partial"), None)
    if other is not None:
        raise OccupiedError(f"{folder} isn't empty and isn't a variant of reelstore: it holds {other.name!r}. {_HELP}")
    return any(folder.iterdir())


def is_variant(folder: Path) -> bool:
    """Whether a folder holds a variant whose manifest can be read, and whose name is that of this folder."""
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
    return next((one for name in (MANIFEST, REPLACED, DELETED) if (one := _temporary(folder, name)) is not None), None)


def listed_before(folder: Path) -> set[str]:
    """Names of the files that earlier versions list: these may be removed."""
    found = [_temporary(folder, REPLACED), _temporary(folder, DELETED)]
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


def commit(folder: Path, pending: Collection[str], digests: Mapping[str, str], manifest: bytes) -> None:
    """Make the files of `digests` the variant, of which `pending` have temporary names.

    Raises:
        OccupiedError: a folder, or a file that no manifest lists, has the name of one of them; nothing has changed.
    """
    refuse_blocked(folder, digests)
    for key in set(pending) - listed_before(folder):
        if os.path.lexists(folder / key):
            raise OccupiedError(f"{folder / key} isn't listed by the variant's manifest. Move it away.")
    if not pending and content_of(folder / MANIFEST) == manifest:
        return
    _sync(folder, pending)
    try:
        write_partial(folder, MANIFEST, manifest)
        sync_folder(folder)
    except BaseException:  # the manifest may be complete, but the error says that nothing has changed
        if not is_folder(partial_of(folder / MANIFEST)):
            partial_of(folder / MANIFEST).unlink(missing_ok=True)
        raise
    _finish(folder, pending, digests)


def recover(folder: Path) -> None:
    """Finish or undo an interrupted write.

    Raises:
        OccupiedError, SchemaError: as of `claim`; nothing has changed.
    """
    if claim(folder):
        finish_interrupted(folder)


def finish_interrupted(folder: Path) -> None:
    """The same for a folder that is known to be a variant's."""
    if deletion_interrupted(folder):
        _sweep(folder, listed_before(folder), ())
        partial_of(folder / DELETED).unlink()
        return
    content = content_of(partial_of(folder / MANIFEST))
    if content is not None:
        pending = _pending(folder, content)
        if pending is not None:
            _finish(folder, *pending)
            return
    old = partial_of(folder / REPLACED)
    if old.exists() and not (folder / MANIFEST).exists():
        os.replace(old, folder / MANIFEST)  # its files that were replaced differ from their digests now
    for path in list(own_files(folder)):
        if path.name.endswith(PARTIAL):
            path.unlink()
    old.unlink(missing_ok=True)


def interrupted(folder: Path) -> bool:
    """Whether an update of this folder stopped after it began to count."""
    return partial_of(folder / MANIFEST).is_file()


def deletion_interrupted(folder: Path) -> bool:
    """Whether a deletion of the variant in this folder stopped after it began to count."""
    return partial_of(folder / DELETED).is_file()


def take_in(folder: Path) -> None:
    """Replace links to folders among the published files' folders by folders with copies of the files.

    Through such a link a writer would rename files in a folder that doesn't belong to the variant.
    """
    try:
        attributes = read_manifest(folder)
    except SchemaError:
        return
    keys = {} if attributes is None else attributes["digests"]
    for link in _links_to_folders(folder, keys):
        copied = partial_of(link)
        behind = [key for key in keys if link in folders_to(folder, key)]
        _remove_copies(folder, link, copied, behind)
        copied.mkdir()
        for key in behind:
            if (folder / key).is_file():
                copy = copied / (folder / key).relative_to(link)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(folder / key, copy)
        link.unlink()
        os.replace(copied, link)


def remove_variant(folder: Path) -> None:
    """Remove a variant: the files that its manifest lists, and its folders where nothing else is in them.

    Raises:
        OccupiedError, SchemaError: as of `claim`; nothing has changed.
    """
    recover(folder)
    drop_consolidated(folder)
    if os.path.lexists(folder / MANIFEST):
        os.replace(folder / MANIFEST, partial_of(folder / DELETED))  # from here on the variant is deleted
        sync_folder(folder)
        finish_interrupted(folder)
    if not folder.is_symlink() and not any(folder.iterdir()):
        folder.rmdir()


def _finish(folder: Path, pending: Iterable[str], digests: Mapping[str, str]) -> None:
    path, old = folder / MANIFEST, partial_of(folder / REPLACED)
    if path.exists() or path.is_symlink():
        os.replace(path, old)  # from here on a reader sees no variant rather than a mixture of two
        sync_folder(folder)
    for key in pending:
        os.replace(partial_of(folder / key), folder / key)
    _sweep(folder, listed_before(folder), digests)
    _sync(folder, digests)
    os.replace(partial_of(path), path)
    sync_folder(folder)
    old.unlink(missing_ok=True)


def _sweep(folder: Path, listed: Collection[str], kept: Collection[str]) -> None:
    """Remove the files that an older version lists and this one doesn't, and what is half-written."""
    temporary = {partial_of(folder / name) for name in (MANIFEST, REPLACED, DELETED)}
    for key in set(listed) - set(kept):
        if os.path.lexists(folder / key) and not is_folder(folder / key):
            (folder / key).unlink()
    for path in list(own_files(folder)):
        if path.name.endswith(PARTIAL) and path not in temporary:
            path.unlink()
    remove_empty(folder)


def _remove_copies(folder: Path, link: Path, copied: Path, keys: Iterable[str]) -> None:
    """Remove what a killed `take_in` copied, and nothing else."""
    if not os.path.lexists(copied):
        return
    for key in keys:
        (copied / (folder / key).relative_to(link)).unlink(missing_ok=True)
    try:
        for path in sorted((path for path in copied.rglob("*")), reverse=True):
            path.rmdir()
        copied.rmdir()
    except OSError:
        raise OccupiedError(f"{copied} holds what reelstore didn't write. Move it away.") from None


def _links_to_folders(folder: Path, keys: Collection[str]) -> Iterator[Path]:
    """The folders of these files that are links, the outermost first."""
    for parent in sorted({parent for key in keys for parent in folders_to(folder, key)}):
        if parent.is_symlink() and parent.is_dir():
            yield parent


def _sync(folder: Path, keys: Iterable[str]) -> None:
    """Sync the folders of these files, so that their names survive a power failure."""
    for parent in {parent for key in keys for parent in folders_to(folder, key)}:
        sync_folder(parent)
    sync_folder(folder)


def _pending(folder: Path, manifest: bytes) -> tuple[list[str], Mapping[str, str]] | None:
    """Files still to be renamed and all of the version's; None if that version can't be completed."""
    try:
        digests: Mapping[str, str] = parse_manifest(manifest, folder / MANIFEST)["digests"]
    except SchemaError:  # killed while writing it
        return None
    if any(True for _ in _links_to_folders(folder, digests)):
        return None
    pending = []
    for key, digest in digests.items():
        if digest_of(partial_of(folder / key)) == digest:
            pending.append(key)
        elif digest_of(folder / key) != digest:
            return None
    return pending, digests
