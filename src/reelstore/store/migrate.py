"""An older schema -> the present one: the same rows, laid out anew; nothing is embedded again."""

from pathlib import Path

from reelstore.errors import StoreError, StoreNotFoundError
from reelstore.store.manifest import MANIFEST, read_manifest
from reelstore.store.reader import open_variant
from reelstore.store.schema import SCHEMA_VERSION, VariantSpec
from reelstore.store.update import UpdateReport, VariantUpdate, settle


def migrate(folder: Path) -> UpdateReport | None:
    """Bring one variant to the present schema; None where it is there already.

    Raises:
        StoreNotFoundError: nothing is published there.
        SchemaError: it is damaged, or of a newer schema.
        StoreError: files of it aren't what their digest says; nothing has changed.
    """
    settle(folder)
    attributes = read_manifest(folder)
    if attributes is None:
        raise StoreNotFoundError(f"No variant at {folder}: it has no {MANIFEST}.")
    if attributes["schema_version"] == SCHEMA_VERSION:
        return None
    update = VariantUpdate(folder, VariantSpec.of(attributes), open_variant(folder).table)
    if len(update.todo):
        raise StoreError(
            f"{folder}: {len(update.todo)} rows lie in files that aren't what their digest says. "
            "Fetch them with dvc checkout or dvc pull first."
        )
    return update.finish()
