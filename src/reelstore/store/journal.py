"""Many files -> one version of a variant: all or nothing, whenever the process or the power goes.

The order is: every new file under its temporary name, down to the disk; the new manifest under its temporary name, and
from that moment the new version is the one that counts; then the old manifest gets a temporary name, the files get
their names, what only the old manifest lists is removed, the manifest gets its name, and the old one goes. `recover`
finishes what it finds after that moment and undoes what it finds before it. What no manifest lists stays.
"""

import os
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path

from reelstore.errors import OccupiedError, SchemaError
from reelstore.io import PARTIAL, is_folder, partial_of, sync_folder
from reelstore.store.claim import REPLACED, claim, listed_before, refuse_blocked
from reelstore.store.files import content_of, digest_of, folders_to, own_files, remove_empty, write_partial
from reelstore.store.groups import drop_consolidated
from reelstore.store.manifest import MANIFEST, parse_manifest, read_manifest


def commit(folder: Path, pending: Collection[str], digests: Mapping[str, str], manifest: bytes) -> None:
    """Make the files of `digests` the variant, of which `pending` lie under temporary names.

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
    write_partial(folder, MANIFEST, manifest)
    sync_folder(folder)
    _finish(folder, pending, digests)


def recover(folder: Path) -> None:
    """Finish or undo what a killed writer left.

    Raises:
        OccupiedError, SchemaError: as of `claim`; nothing has changed.
    """
    if claim(folder):
        settle(folder)


def settle(folder: Path) -> None:
    """The same for a folder that is known to be a variant's."""
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
    listed = listed_before(folder)
    drop_consolidated(folder)
    (folder / MANIFEST).unlink(missing_ok=True)
    _sweep(folder, listed, ())
    if not folder.is_symlink() and not any(folder.iterdir()):
        folder.rmdir()


def _finish(folder: Path, pending: Iterable[str], digests: Mapping[str, str]) -> None:
    path, old = folder / MANIFEST, partial_of(folder / REPLACED)
    if path.exists() or path.is_symlink():
        os.replace(path, old)  # from here on a reader sees nothing rather than a mixture
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
    temporary = {partial_of(folder / name) for name in (MANIFEST, REPLACED)}
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
