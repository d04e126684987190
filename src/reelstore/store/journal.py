"""Many files -> one version of a variant: all or nothing, whenever the process or the power goes.

The order is: every new file under its temporary name, down to the disk; the new manifest under its temporary name, and
from that moment the new version is the one that counts; then the old manifest goes, the files get their names, what
isn't of the version is swept, and the manifest gets its name. `recover` finishes what it finds after that moment and
undoes what it finds before it.
"""

import os
from collections.abc import Collection, Iterable, Mapping
from hashlib import file_digest
from pathlib import Path

from reelstore.errors import SchemaError
from reelstore.store.chunks import PARTIAL, partial_of, sync_folder, write_partial
from reelstore.store.manifest import MANIFEST, parse_manifest


def commit(folder: Path, pending: Collection[str], digests: Mapping[str, str], manifest: bytes) -> None:
    """Make the files of `digests` the variant, of which `pending` lie under temporary names."""
    path = folder / MANIFEST
    if not pending and path.is_file() and path.read_bytes() == manifest:
        sweep(folder, digests)
        return
    for parent in {(folder / key).parent for key in pending}:
        sync_folder(parent)
    write_partial(path, manifest)
    sync_folder(folder)
    _finish(folder, pending, digests)


def recover(folder: Path) -> None:
    """Finish or undo what a killed writer left."""
    manifest = partial_of(folder / MANIFEST)
    if manifest.is_file():
        pending = _pending(folder, manifest)
        if pending is not None:
            _finish(folder, *pending)
            return
    for path in folder.rglob(f"*{PARTIAL}"):
        path.unlink()


def interrupted(folder: Path) -> bool:
    """Whether an update of this folder stopped after it began to count."""
    return partial_of(folder / MANIFEST).is_file()


def sweep(folder: Path, keys: Collection[str]) -> None:
    """Remove every file but these and the manifest, and folders that are empty then."""
    kept = {MANIFEST, MANIFEST + PARTIAL, *keys}
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and not path.is_symlink():
            if not any(path.iterdir()):
                path.rmdir()
        elif path.relative_to(folder).as_posix() not in kept:
            path.unlink()


def digest_of(path: Path) -> str | None:
    """sha256 (hex) of a file; None where there is none."""
    try:
        with open(path, "rb") as file:
            return file_digest(file, "sha256").hexdigest()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None


def _finish(folder: Path, pending: Iterable[str], digests: Mapping[str, str]) -> None:
    path = folder / MANIFEST
    path.unlink(missing_ok=True)  # from here on a reader sees nothing rather than a mixture
    sync_folder(folder)
    for key in pending:
        target = folder / key
        if target.is_dir():
            sweep(target, ())
            target.rmdir()
        os.replace(partial_of(target), target)
    sweep(folder, digests)
    for parent in {(folder / key).parent for key in digests}:
        sync_folder(parent)
    os.replace(partial_of(path), path)
    sync_folder(folder)


def _pending(folder: Path, manifest: Path) -> tuple[list[str], Mapping[str, str]] | None:
    """Files still to be renamed and all of the version's; None if that version can't be completed."""
    try:
        digests: Mapping[str, str] = parse_manifest(manifest.read_bytes(), manifest)["digests"]
    except SchemaError:  # killed while writing it
        return None
    pending = []
    for key, digest in digests.items():
        if digest_of(partial_of(folder / key)) == digest:
            pending.append(key)
        elif digest_of(folder / key) != digest:
            return None
    return pending, digests
