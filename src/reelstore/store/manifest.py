"""The group's zarr.json of a variant: what is in it, and the digest of every file; written last, so it publishes."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reelstore.errors import DamagedFileError, NewerSchemaError, SchemaError
from reelstore.io import parsed_json
from reelstore.store.files import content_of
from reelstore.store.schema import (
    ATTRIBUTE,
    MOST_ROWS,
    READABLE_VERSIONS,
    ArrayLayout,
    VariantSpec,
    as_json_bytes,
    group_metadata,
    is_file_name,
    manifest_checksum,
    variant_digest,
)

MANIFEST = "zarr.json"
CONSOLIDATED = "consolidated_metadata"
"""Key of a group's zarr.json under which zarr-python copies the zarr.json of all that is below the group."""
MOST_SPLITS = 256
"""The array `split` holds their numbers as uint8."""
_SHA256 = re.compile(r"[0-9a-f]{64}")


def manifest_bytes(attributes: Mapping[str, Any]) -> bytes:
    """The file of these attributes, its checksum among them."""
    return as_json_bytes(group_metadata({ATTRIBUTE: {**attributes, "checksum": manifest_checksum(attributes)}}))


def parse_manifest(content: bytes, path: object) -> Mapping[str, Any]:
    """Attributes of a variant, each of the type and in the range that the format gives it.

    Anybody can compute a checksum: that it fits says that the file is whole, not that what it says is sound. Names of
    files are those that the variant's spec can have, so that none leaves its folder.

    Raises:
        SchemaError: the file isn't a variant's, is of a newer schema, or isn't what the format says.
    """
    try:
        group = parsed_json(content, str(path))
    except DamagedFileError as error:
        raise SchemaError(f"{error} {_HELP}") from None
    attributes = group.get("attributes") if isinstance(group, dict) and group.get("node_type") == "group" else None
    if not isinstance(attributes, dict):
        raise SchemaError(f"{path} is damaged or isn't a Zarr group. {_HELP}")
    if not holds_manifest(group):
        raise SchemaError(f"{path} is a Zarr group, but not a reelstore variant (no manifest under {ATTRIBUTE!r}).")
    ours: Mapping[str, Any] = attributes[ATTRIBUTE]
    _check_version(ours.get("schema_version"), path)
    try:
        if CONSOLIDATED in group:  # zarr-python has written the file anew, with the same values
            fits = without_consolidated(group) == group_metadata(attributes)
        else:
            fits = content == as_json_bytes(group_metadata(attributes))
        fits = fits and (ours["schema_version"] == 1 or ours.get("checksum") == manifest_checksum(ours))
        if not fits:
            raise SchemaError("its content doesn't match its checksum")
        _check(ours)
    except SchemaError as error:
        raise SchemaError(f"{path} is damaged: {str(error).rstrip('.')}. {_HELP}") from None
    return ours


def holds_manifest(group: object) -> bool:
    """Whether the JSON of a zarr.json is a group's with the attributes of a variant, sound or not."""
    attributes = group.get("attributes") if isinstance(group, dict) and group.get("node_type") == "group" else None
    ours = attributes.get(ATTRIBUTE) if isinstance(attributes, dict) else None
    return isinstance(ours, dict) and not ours.keys().isdisjoint(("schema_version", "digests"))


def without_consolidated(group: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON of a group's zarr.json without the copies of what is below the group."""
    return {key: value for key, value in group.items() if key != CONSOLIDATED}


def read_manifest(folder: Path) -> Mapping[str, Any] | None:
    """Attributes of the variant published in this folder; None where there is none."""
    content = content_of(folder / MANIFEST)
    return None if content is None else parse_manifest(content, folder / MANIFEST)


def _check_version(version: object, path: object) -> None:
    if type(version) is not int or version < 1:
        raise SchemaError(f"{path} is damaged: schema_version is {version!r:.60}. {_HELP}")
    if version not in READABLE_VERSIONS:
        raise NewerSchemaError(
            f"{path}: schema version {version}, this code reads {READABLE_VERSIONS[0]}-{READABLE_VERSIONS[-1]}. "
            "A newer reelstore wrote it: update, or make the variant again with dvc repro."
        )


def _check(ours: Mapping[str, Any]) -> None:
    """Raise SchemaError for the first attribute that isn't what the format says."""
    spec = VariantSpec.of(ours)
    _expect(ours, "layout", spec.layout)
    _expect(ours, "normalized", False)
    _expect(ours, "fingerprint", spec.fingerprint)
    _check_splits(ours.get("splits"))
    _check_digests(ours.get("digests"))
    _expect(ours, "digest", variant_digest(ours["digests"]))
    n_failures = _check_failures(ours.get("failures"), text=spec.side == "text")
    if ours["schema_version"] == 1:
        _check_files(ours["digests"], {name: (layout, None) for name, (layout, _) in spec.arrays(0, 0).items()})
        return
    n_rows, n_value_rows = (_count(ours, name) for name in ("n_rows", "n_value_rows"))
    if spec.layout != "ragged" and n_rows != n_value_rows:
        raise SchemaError(f"n_value_rows is {n_value_rows}, n_rows is {n_rows}; a {spec.layout} variant has as many")
    if n_failures > n_rows:
        raise SchemaError(f"it gives reasons for {n_failures} failed rows and has {n_rows} rows")
    _check_files(ours["digests"], spec.arrays(n_rows, n_value_rows))


def _expect(ours: Mapping[str, Any], name: str, expected: object) -> None:
    found = ours.get(name)
    if type(found) is not type(expected) or found != expected:
        raise SchemaError(f"{name} is {found!r:.80}, not {expected!r}")


def _count(ours: Mapping[str, Any], name: str) -> int:
    count = ours.get(name)
    if type(count) is not int or not 0 <= count <= MOST_ROWS:
        raise SchemaError(f"{name} is {count!r:.80}; it must be a whole number from 0 to {MOST_ROWS}")
    return count


def _check_splits(splits: object) -> None:
    if not isinstance(splits, list) or not all(isinstance(name, str) for name in splits):
        raise SchemaError("splits must be a list of names")
    if len(set(splits)) < len(splits) or len(splits) > MOST_SPLITS:
        raise SchemaError(f"splits has a name twice, or more than {MOST_SPLITS} of them")


def _check_failures(failures: object, *, text: bool) -> int:
    if not isinstance(failures, list):
        raise SchemaError("failures must be a list")
    keys = set()
    for failure in failures:
        if not isinstance(failure, list) or len(failure) != 2 or not isinstance(failure[1], str):
            raise SchemaError(f"failures has {failure!r:.80}; each must be a key and its reason")
        key = failure[0]
        if text and isinstance(key, list) and [type(part) for part in key] == [str, int]:
            key = (key[0], key[1])
        elif text or not isinstance(key, str):
            raise SchemaError(f"failures has the key {key!r:.80}, which isn't one of this side")
        keys.add(key)
    if len(keys) < len(failures):
        raise SchemaError("failures has a key twice")
    return len(failures)


def _check_digests(digests: object) -> None:
    if not isinstance(digests, dict):
        raise SchemaError("digests must be a mapping")
    for key, digest in digests.items():
        if not is_file_name(key):
            raise SchemaError(f"digests names {key!r:.120}, which isn't the name of one of a variant's files")
        if not isinstance(digest, str) or not _SHA256.fullmatch(digest):
            raise SchemaError(f"the digest of {key} is {digest!r:.80}, not a sha256 in hex")


def _check_files(digests: Mapping[str, str], arrays: Mapping[str, tuple[ArrayLayout, int | None]]) -> None:
    """Every array with all of its files, and no others: to Zarr a chunk that isn't there is the fill value.

    Args:
        digests: file -> sha256.
        arrays: name -> layout and length; None where only the array itself says how long it is.
    """
    listed: dict[str, set[int]] = {name: set() for name in arrays}
    for key in digests:
        name, _, rest = key.partition("/c/")
        number = int(rest.partition("/")[0]) if rest else None
        name = name.removesuffix(f"/{MANIFEST}")
        if name not in arrays or (number is not None and key != arrays[name][0].file_key(number)):
            raise SchemaError(f"digests names {key!r}, which isn't a file of this variant")
        if number is not None:
            listed[name].add(number)
    for name, (layout, length) in arrays.items():
        n_files = len(listed[name]) if length is None else -(-length // layout.file_rows)
        if len(listed[name]) != n_files or (n_files and max(listed[name]) != n_files - 1):
            raise SchemaError(f"digests lists {len(listed[name])} files of {name}; it has {n_files}, numbered from 0")
        if f"{name}/{MANIFEST}" not in digests:
            raise SchemaError(f"digests lacks {name}/{MANIFEST}")


_HELP = "Fetch it again with dvc checkout or dvc pull, or make it again with reelstore repair."
