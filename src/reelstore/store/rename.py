"""Give a variant another name: its files are linked and published under the new one, then the old one is deleted."""

import errno
import os
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from reelstore.errors import StoreError
from reelstore.io import open_regular, partial_of
from reelstore.store.commit import claim, commit, finish_interrupted, recover, remove_variant
from reelstore.store.files import (
    FolderLock,
    disk_errors,
    folders_to,
    make_folder,
    refuse_read_only,
    remove_empty,
    remove_made,
)
from reelstore.store.format import manifest_bytes, manifest_checksum
from reelstore.store.groups import (
    drop_consolidated,
    refuse_other_groups,
    refuse_reserved,
    remove_empty_groups,
    write_groups,
)
from reelstore.store.stored import StoredVariant, open_published

_NO_LINKS = (errno.EPERM, errno.EXDEV, errno.EMLINK, errno.ENOTSUP, errno.ENOSYS)


def rename_variant(folder: Path, new: Path) -> None:
    """Give a variant another encoder, another name, or both; its arrays stay byte for byte.

    A reader finds the variant under one of the names at any instant. Killed in between, both may be there, the same
    rows in each: renaming again finishes it.

    Args:
        folder: the variant's.
        new: the folder it gets; of the same side.

    Raises:
        StoreError: another variant is there, files of this one are missing, or another process writes one of them.
        OccupiedError: something else is in the new folder. In either case nothing has changed.
    """
    refuse_reserved(new)
    refuse_read_only(folder)
    refuse_read_only(folder.parent)
    if new.exists() and new.samefile(folder):
        raise StoreError(f"{new} is {folder}: a variant can't get the name it has.")
    with disk_errors(folder), FolderLock(folder):
        recover(folder)
        stored = open_published(folder, verify=False)
        if stored is not None:
            _publish(stored, new)
            remove_variant(folder)
    remove_empty_groups(folder)


def _publish(stored: StoredVariant, new: Path) -> None:
    """Make the files of a variant another one, unless a rename that was killed has done so."""
    for key, what in stored.faults.items():
        raise StoreError(f"{stored.folder / key} {what}. Fetch or repair the variant before it is renamed.")
    attributes = _attributes(stored, new)
    there = open_published(new, verify=False) if claim(new) else None
    if there is not None:
        if there.faults or there.attributes != attributes:
            raise StoreError(f"{new} is there already. Delete it first, or choose another name.")
        return
    refuse_other_groups(new)
    with disk_errors(new):
        made = make_folder(new)
        with FolderLock(new):
            try:
                recover(new)
                for key in attributes["digests"]:
                    _link(stored.folder / key, new, key)
                drop_consolidated(new)
                commit(new, list(attributes["digests"]), attributes["digests"], manifest_bytes(attributes))
                write_groups(new)
            except BaseException:
                finish_interrupted(new)
                remove_empty(new)
                remove_made(made)
                raise


def _attributes(stored: StoredVariant, new: Path) -> Mapping[str, Any]:
    """The manifest under the new name. Rows keep their fingerprints: these say what determined them."""
    spec = replace(stored.spec, encoder=new.parent.name, variant=new.name)
    names = {"encoder": spec.encoder, "variant": spec.variant, "fingerprint": spec.fingerprint}
    attributes = {**stored.attributes, **names}
    return {**attributes, "checksum": manifest_checksum(attributes)}


def _link(source: Path, root: Path, key: str) -> None:
    """A file under a temporary name below `root`: the same file, or a copy if others share it, as DVC's cache may."""
    for folder in reversed(list(folders_to(root, key))):
        folder.mkdir(exist_ok=True)
    target = partial_of(root / key)
    if not source.is_symlink() and source.stat().st_nlink == 1:
        try:
            os.link(source, target)
            return
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
    with open_regular(source) as original, open(target, "xb") as copy:
        shutil.copyfileobj(original, copy)
        copy.flush()
        os.fsync(copy.fileno())
