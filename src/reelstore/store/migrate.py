"""A variant of an older schema -> the present one: its rows are copied, and nothing is computed."""

from pathlib import Path

from reelstore.errors import StoreError
from reelstore.store.files import read_manifest
from reelstore.store.format import SCHEMA_VERSION
from reelstore.store.open import open_variant
from reelstore.store.update import UpdateReport, VariantUpdate, recover_variant


def schema_of(folder: Path) -> int | None:
    """Version of the format of the variant in this folder; None where there is none.

    Raises:
        SchemaError: its manifest is damaged, or of a newer schema.
    """
    attributes = read_manifest(folder)
    return None if attributes is None else int(attributes["schema_version"])


def migrate_variant(folder: Path) -> UpdateReport | None:
    """Write a variant in the present format; None where it is.

    The new files are published at once, as of any update: killed at any instant, the variant is the old or the new
    one, and the same call finishes it.

    Raises:
        StoreError: rows are damaged, another process writes there, or the disk doesn't allow it; nothing has changed.
        SchemaError: the manifest is damaged, or of a newer schema.
    """
    recover_variant(folder)
    if schema_of(folder) in (None, SCHEMA_VERSION):
        return None
    rows = open_variant(folder)
    with VariantUpdate(folder, rows.spec, rows.table, rewrite=True) as update:
        if len(update.todo):
            raise StoreError(
                f"{folder}: {len(update.todo)} rows are damaged, {update.table.keys[int(update.todo[0])]!r} first. "
                "`reelstore verify` names the files; `reelstore repair` recomputes them. Nothing was changed."
            )
        return update.finish()
