"""Many files -> one version of a variant: all or nothing, whenever the process or the power goes.

The order is: every new file under its temporary name, down to the disk; the new manifest under its temporary name, and
from that moment the new version is the one that counts; then the old manifest goes, the files get their names, what
isn't of the version is swept, and the manifest gets its name. `recover` finishes what it finds after that moment and
undoes what it finds before it.
"""

import os
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path

from reelstore.errors import SchemaError
from reelstore.store.files import (
    PARTIAL,
    content_of,
    digest_of,
    folders_to,
    is_folder,
    partial_of,
    remove,
    sync_folder,
    write_partial,
)
from reelstore.store.manifest import MANIFEST, parse_manifest, read_manifest


def commit(folder: Path, pending: Collection[str], digests: Mapping[str, str], manifest: bytes) -> None:
    """Make the files of `digests` the variant, of which `pending` lie under temporary names."""
    if not pending and content_of(folder / MANIFEST) == manifest:
        sweep(folder, digests)
        return
    _sync(folder, pending)
    write_partial(folder, MANIFEST, manifest)
    sync_folder(folder)
    _finish(folder, pending, digests)


def recover(folder: Path) -> None:
    """Finish or undo what a killed writer left."""
    manifest = partial_of(folder / MANIFEST)
    content = content_of(manifest)
    if content is not None:
        pending = _pending(folder, content)
        if pending is not None:
            _finish(folder, *pending)
            return
    for path in list(folder.rglob(f"*{PARTIAL}")):
        remove(path)


def interrupted(folder: Path) -> bool:
    """Whether an update of this folder stopped after it began to count."""
    return partial_of(folder / MANIFEST).is_file()


def take_in(folder: Path) -> None:
    """Make folders of the links to folders that the published files lie behind.

    A writer would rename its files in the folder that such a link leads to, and that one isn't ours.
    """
    try:
        attributes = read_manifest(folder)
    except SchemaError:
        return
    keys = {} if attributes is None else attributes["digests"]
    for link in _links_to_folders(folder, keys):
        copied = partial_of(link)
        remove(copied)
        for key in keys:
            if link in folders_to(folder, key) and (folder / key).is_file():
                copy = copied / (folder / key).relative_to(link)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(folder / key, copy)
        link.unlink()
        copied.mkdir(exist_ok=True)
        os.replace(copied, link)


def sweep(folder: Path, keys: Collection[str]) -> None:
    """Remove all but these files, the manifest, and the folders they lie in."""
    kept = {MANIFEST, MANIFEST + PARTIAL, *keys}
    for path in sorted(folder.rglob("*"), reverse=True):
        if is_folder(path):
            if not any(path.iterdir()):
                path.rmdir()
        elif path.relative_to(folder).as_posix() not in kept:
            path.unlink()


def _finish(folder: Path, pending: Iterable[str], digests: Mapping[str, str]) -> None:
    path = folder / MANIFEST
    remove(path)  # from here on a reader sees nothing rather than a mixture
    sync_folder(folder)
    for key in pending:
        target = folder / key
        if is_folder(target):
            remove(target)
        os.replace(partial_of(target), target)
    sweep(folder, digests)
    _sync(folder, digests)
    os.replace(partial_of(path), path)
    sync_folder(folder)


def _links_to_folders(folder: Path, keys: Collection[str]) -> Iterator[Path]:
    """Where a link stands for one of the folders that these files lie in; the outermost first."""
    for parent in sorted({parent for key in keys for parent in folders_to(folder, key)}):
        if parent.is_symlink() and parent.is_dir():
            yield parent


def _sync(folder: Path, keys: Iterable[str]) -> None:
    """Make the names of these files survive a power cut, and those of the folders they lie in."""
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
