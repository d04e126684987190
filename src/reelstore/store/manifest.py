"""The group's zarr.json of a variant: what is in it, and the digest of every file; written last, so it publishes."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reelstore.errors import SchemaError
from reelstore.store.files import content_of
from reelstore.store.schema import (
    ATTRIBUTE,
    as_json_bytes,
    check_schema_version,
    group_metadata,
    manifest_checksum,
    variant_digest,
)

MANIFEST = "zarr.json"


def manifest_bytes(attributes: Mapping[str, Any]) -> bytes:
    """The file of these attributes, its checksum among them."""
    return as_json_bytes(group_metadata({ATTRIBUTE: {**attributes, "checksum": manifest_checksum(attributes)}}))


def parse_manifest(content: bytes, path: object) -> Mapping[str, Any]:
    """Attributes of a variant.

    Raises:
        SchemaError: the file isn't a variant's, is of a newer schema, or isn't byte for byte as it was written.
    """
    try:
        group = json.loads(content)
        attributes = group["attributes"]
    except (ValueError, KeyError, TypeError) as error:
        raise SchemaError(f"{path} is damaged or isn't a Zarr group: {error!r}. {_HELP}") from None
    if not isinstance(attributes, Mapping):
        raise SchemaError(f"{path} is damaged: its attributes aren't a mapping. {_HELP}")
    ours = check_schema_version(attributes, path)
    if (
        content != as_json_bytes(group_metadata(attributes))
        or ours.get("digest") != variant_digest(ours.get("digests", {}))
        or (ours["schema_version"] > 1 and ours.get("checksum") != manifest_checksum(ours))
    ):
        raise SchemaError(f"{path} is damaged: its content doesn't match its checksum. {_HELP}")
    return ours


def read_manifest(folder: Path) -> Mapping[str, Any] | None:
    """Attributes of the variant published in this folder; None where there is none."""
    content = content_of(folder / MANIFEST)
    return None if content is None else parse_manifest(content, folder / MANIFEST)


_HELP = "Fetch it again with dvc checkout or dvc pull, or make it again with reelstore repair."
