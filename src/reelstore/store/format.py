"""The format of a variant: its arrays, their dtypes and files, and the manifest (zarr.json) that lists them.

Writer and reader take everything from here; docs/format.md describes it for other clients.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from hashlib import sha256
from typing import Any, Literal

import numpy as np

from reelstore.errors import DamagedFileError, NewerSchemaError, SchemaError
from reelstore.io import parsed_json
from reelstore.records import ARRAY_NAMES, SIDES, Side
from reelstore.store.chunks import ArrayLayout, layouts

SCHEMA_VERSION = 3
"""What is written. 3: files by the number of rows, an index of keys, checksums of blocks."""
OLDEST_VERSION = 2
"""What is read."""
ATTRIBUTE = "reelstore"
"""Key of our metadata among a variant's Zarr attributes."""

MISSING, OK, FAILED = 0, 1, 2
STATUS_NAMES = {MISSING: "missing", OK: "ok", FAILED: "failed"}

DTYPES = ("float16", "float32")
ROW_VALUES = 2**28
"""Numbers in one row at most: 1 GiB of float32."""
MOST_ROWS = 2**40
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,199}")
_FILE = re.compile(rf"({'|'.join(ARRAY_NAMES)})/(?:zarr\.json|c/(0|[1-9][0-9]{{0,11}})((?:/0){{0,2}}))")

Layout = Literal["pooled", "dense", "ragged"]


@dataclass(frozen=True)
class VariantSpec:
    """What one variant holds and what determined it.

    Attributes:
        side: `video` or `text`.
        encoder: registry name.
        variant: `tokens` or a pooling.
        dim: width of an embedding or token.
        n_tokens: tokens of every row; 0 for a pooled variant, None where their number varies.
        dtype: `float16` or `float32`.
        recipe: what determines the numbers beside the items: the encoder's spec, decoder, pooling.
    """

    side: Side
    encoder: str
    variant: str
    dim: int
    n_tokens: int | None
    dtype: str
    recipe: Mapping[str, Any]

    def __post_init__(self) -> None:
        """Raises SchemaError where a value isn't what the format allows."""
        for name in ("encoder", "variant"):
            check_name(getattr(self, name), name)
        counts = [self.dim, 1 if self.n_tokens is None else self.n_tokens]
        if self.side not in SIDES:
            raise SchemaError(f"side is {self.side!r}; it must be {' or '.join(SIDES)}.")
        if not all(type(count) is int for count in counts) or self.dim < 1 or counts[1] < 0:
            raise SchemaError(f"dim is {self.dim!r}, n_tokens is {self.n_tokens!r}; they must be whole numbers.")
        if self.dim * max(1, counts[1]) > ROW_VALUES:
            raise SchemaError(f"a row of {counts[1]} x {self.dim} numbers is larger than a store holds ({ROW_VALUES}).")
        if self.dtype not in DTYPES:
            raise SchemaError(f"dtype is {self.dtype!r}; it must be {' or '.join(DTYPES)}.")
        if not isinstance(self.recipe, Mapping):
            raise SchemaError(f"recipe is {self.recipe!r:.60}; it must be a mapping.")

    @classmethod
    def of(cls, attributes: Mapping[str, Any]) -> "VariantSpec":
        """The spec that a variant's metadata hold."""
        lacking = [field.name for field in fields(cls) if field.name not in attributes]
        if lacking:
            raise SchemaError(f"{', '.join(lacking)} is missing.")
        return cls(**{field.name: attributes[field.name] for field in fields(cls)})

    @property
    def layout(self) -> Layout:
        """`pooled` (n, dim), `dense` (n, n_tokens, dim), or `ragged` (n_tokens_total, dim) with offsets."""
        if self.n_tokens is None:
            return "ragged"
        return "dense" if self.n_tokens else "pooled"

    @property
    def row_shape(self) -> tuple[int, ...]:
        """Shape of one row of `values`; in the ragged layout a row of it is a token."""
        return (self.n_tokens, self.dim) if self.n_tokens else (self.dim,)

    @cached_property
    def fingerprint(self) -> str:
        """sha256 (hex) of all of the above."""
        return sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()

    @property
    def row_bytes(self) -> int:
        """Bytes of one row of `values`."""
        return int(np.prod(self.row_shape)) * np.dtype(self.dtype).itemsize


def layouts_of(attributes: Mapping[str, Any]) -> dict[str, ArrayLayout]:
    """Every array of the variant that a manifest describes, by name."""
    spec = VariantSpec.of(attributes)
    counts = attributes["n_rows"], attributes["n_value_rows"], attributes.get("n_id_bytes")
    return layouts(spec, *counts, attributes["schema_version"])


def check_name(name: object, what: str) -> None:
    """Raise SchemaError where a name can't be a folder of a store, wherever it is read from."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise SchemaError(f"{what} is {name!r:.60}; it must be letters, digits, - _ . and + (it names a folder).")


def is_file_name(key: str) -> bool:
    """Whether a variant may have a file of this name, `values/c/0/0`; no such name leaves its folder."""
    return _FILE.fullmatch(key) is not None


def group_metadata(attributes: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A group's zarr.json."""
    return {"zarr_format": 3, "node_type": "group", "attributes": dict(attributes or {})}


def as_json_bytes(value: Any) -> bytes:
    """Canonical JSON: the same value gives the same bytes."""
    return (json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def manifest_checksum(attributes: Mapping[str, Any]) -> str:
    """sha256 (hex) over a variant's metadata without its `checksum`, in canonical JSON."""
    return sha256(as_json_bytes({k: v for k, v in attributes.items() if k != "checksum"})).hexdigest()


def variant_digest(file_digests: Mapping[str, str]) -> str:
    """sha256 (hex) over the sorted lines `<file> <sha256>` of a variant's files: the names are in it, a swap shows."""
    return sha256("\n".join(f"{key} {digest}" for key, digest in sorted(file_digests.items())).encode()).hexdigest()


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
        if CONSOLIDATED in group:  # zarr-python has rewritten the file, with the same values
            fits = without_consolidated(group) == group_metadata(attributes)
        else:
            fits = content == as_json_bytes(group_metadata(attributes))
        fits = fits and ours.get("checksum") == manifest_checksum(ours)
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


def _check_version(version: object, path: object) -> None:
    if type(version) is not int or version < 1:
        raise SchemaError(f"{path} is damaged: schema_version is {version!r:.60}. {_HELP}")
    if version > SCHEMA_VERSION:
        raise NewerSchemaError(
            f"{path}: schema version {version}, this code reads {OLDEST_VERSION} to {SCHEMA_VERSION}. "
            "A newer reelstore wrote it. Update with: pip install -U reelstore"
        )
    if version < OLDEST_VERSION:
        raise SchemaError(
            f"{path}: schema version {version}, which no release wrote; this code reads {OLDEST_VERSION} to "
            f"{SCHEMA_VERSION}. Recompute the variant in an empty folder."
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
    n_rows, n_value_rows = (_count(ours, name) for name in ("n_rows", "n_value_rows"))
    if spec.layout != "ragged" and n_rows != n_value_rows:
        raise SchemaError(f"n_value_rows is {n_value_rows}, n_rows is {n_rows}; a {spec.layout} variant has as many")
    if n_failures > n_rows:
        raise SchemaError(f"it gives reasons for {n_failures} failed rows and has {n_rows} rows")
    if ours["schema_version"] > 2:
        _count(ours, "n_id_bytes")
    _check_files(ours["digests"], layouts_of(ours))


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


def _check_files(digests: Mapping[str, str], arrays: Mapping[str, ArrayLayout]) -> None:
    """Every array with all of its files, and no others: to Zarr a chunk that isn't there is the fill value.

    Args:
        digests: file -> sha256.
        arrays: name -> layout.
    """
    listed: dict[str, set[int]] = {name: set() for name in arrays}
    for key in digests:
        name, _, rest = key.partition("/c/")
        number = int(rest.partition("/")[0]) if rest else None
        name = name.removesuffix(f"/{MANIFEST}")
        if name not in arrays or (number is not None and key != arrays[name].file_key(number)):
            raise SchemaError(f"digests names {key!r}, which isn't a file of this variant")
        if number is not None:
            listed[name].add(number)
    for name, layout in arrays.items():
        n_files = len(listed[name]) if layout.n_rows is None else -(-layout.n_rows // layout.file_rows)
        if len(listed[name]) != n_files or (n_files and max(listed[name]) != n_files - 1):
            raise SchemaError(f"digests lists {len(listed[name])} files of {name}; it has {n_files}, numbered from 0")
        if f"{name}/{MANIFEST}" not in digests:
            raise SchemaError(f"digests lacks {name}/{MANIFEST}")


_HELP = "Fetch it again with dvc checkout or dvc pull, or recompute it with reelstore repair."
