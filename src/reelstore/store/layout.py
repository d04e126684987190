"""An array's zarr.json -> where its rows lie in files, if they lie there raw and in order; and a check of each file."""

import itertools
import json
import math
import os
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np

from reelstore.errors import StoreError
from reelstore.store.schema import ArrayLayout

ITEM_BYTES = {f"{kind}{bits}": bits // 8 for kind in ("int", "uint") for bits in (8, 16, 32, 64)} | {
    "float16": 2,
    "float32": 4,
    "float64": 8,
}
"""The dtypes that are mapped."""

Metadata = Mapping[str, Any]


def read_metadata(folder: Path, name: str) -> Metadata:
    """The zarr.json of an array in this folder.

    Raises:
        StoreError: there is none, or it isn't one.
    """
    path = folder / name / "zarr.json"
    try:
        metadata = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise StoreError(f"{folder}: the array {name!r} is missing. Fetch it again with dvc pull.") from None
    except ValueError as error:
        raise StoreError(f"{path} isn't JSON: {error}. Fetch it again with dvc checkout.") from None
    if not isinstance(metadata, Mapping) or metadata.get("node_type") != "array" or "shape" not in metadata:
        raise StoreError(f"{path} isn't a Zarr array's. Fetch it again with dvc checkout.")
    return metadata


def raw_layout(name: str, metadata: Metadata) -> ArrayLayout | None:
    """How the array lies in files if their bytes are its rows: one behind the other, little endian, unencoded.

    None for anything else: compressed, with checksums among the rows, transposed, cut along other axes than the rows,
    with other names of files. Such an array is as valid, but only a Zarr client can read it.
    """
    try:
        shape, row_shape = metadata["shape"], tuple(metadata["shape"][1:])
        grid, keys = _named(metadata["chunk_grid"]), _named(metadata["chunk_key_encoding"])
        file_rows, *file_row_shape = grid[1]["chunk_shape"]
        dtype, codecs = metadata["data_type"], [_named(codec) for codec in metadata["codecs"]]
    except (KeyError, ValueError, TypeError):
        return None
    if (
        metadata.get("zarr_format") != 3
        or metadata.get("storage_transformers")
        or not (shape and all(row_shape))
        or not (isinstance(dtype, str) and dtype in ITEM_BYTES)
        or (grid[0], tuple(file_row_shape)) != ("regular", row_shape)
        or (keys[0], keys[1].get("separator", "/")) != ("default", "/")
        or file_rows < 1
    ):
        return None
    one_byte = ITEM_BYTES[dtype] == 1
    if _are_raw(codecs, one_byte=one_byte):
        return ArrayLayout(name, row_shape, dtype, file_rows)
    if len(codecs) != 1 or codecs[0][0] != "sharding_indexed":
        return None
    sharding = codecs[0][1]
    try:
        inner_rows, *inner_row_shape = sharding["chunk_shape"]
        inner = [_named(codec) for codec in sharding["codecs"]]
        index = [_named(codec) for codec in sharding["index_codecs"]]
    except (KeyError, ValueError, TypeError):
        return None
    if (
        tuple(inner_row_shape) != row_shape
        or inner_rows < 1
        or file_rows % inner_rows
        or not _are_raw(inner, one_byte=one_byte)
        or len(index) != 2
        or not _are_raw(index[:1], one_byte=False)
        or index[1][0] != "crc32c"
        or sharding.get("index_location", "end") != "end"
    ):
        return None
    return ArrayLayout(name, row_shape, dtype, file_rows, inner_rows)


def holds_raw_rows(path: str, descriptor: int, layout: ArrayLayout, n_rows: int) -> bool:
    """Whether the first `n_rows` rows of a file lie at its beginning, in order and without holes.

    Args:
        path: the file, for messages.
        descriptor: the file, open for reading.
        layout: as `raw_layout` gives it.
        n_rows: how many of its rows are the array's: all but in the last file.

    Raises:
        StoreError: the file is too short or too long, or its index isn't what its checksum says.
    """
    size = os.fstat(descriptor).st_size
    row_bytes = math.prod(layout.row_shape) * ITEM_BYTES[layout.dtype]
    if layout.inner_rows is None:
        if size != layout.file_rows * row_bytes:
            raise damaged(path, f"it has {size} bytes, a chunk of this array has {layout.file_rows * row_bytes}")
        return True
    chunk_bytes = layout.inner_rows * row_bytes
    index_bytes = layout.file_rows // layout.inner_rows * 16 + 4
    if size < index_bytes:
        raise damaged(path, f"it has {size} bytes, a shard's index alone has {index_bytes}")
    n_in_order = _chunks_in_order(os.pread(descriptor, index_bytes, size - index_bytes), chunk_bytes)
    if n_in_order is None:
        raise damaged(path, f"the index at its end ({size} bytes) doesn't match its checksum")
    n_needed = -(-n_rows // layout.inner_rows)
    if n_in_order < n_needed:
        return False
    if size < n_needed * chunk_bytes + index_bytes:
        raise damaged(path, f"it has {size} bytes, its index speaks of {n_needed * chunk_bytes} and itself")
    return True


def files_of(name: str, metadata: Metadata) -> Iterator[tuple[str, tuple[slice, ...]]]:
    """Key of every file of an array with the region it holds; of none where the names follow an extension's rule."""
    grid, keys = _named(metadata["chunk_grid"]), _named(metadata["chunk_key_encoding"])
    if grid[0] != "regular" or keys[0] not in ("default", "v2"):
        return
    prefix, separator = ("c", "/") if keys[0] == "default" else ("", ".")
    separator = keys[1].get("separator", separator)
    shape, steps = metadata["shape"], grid[1]["chunk_shape"]
    for numbers in itertools.product(*(range(-(-n // step)) for n, step in zip(shape, steps, strict=True))):
        key = separator.join([prefix, *map(str, numbers)] if prefix else map(str, numbers))
        yield f"{name}/{key}", tuple(slice(i * s, (i + 1) * s) for i, s in zip(numbers, steps, strict=True))


def damaged(path: Path | str, what: str) -> StoreError:
    """The error that names a file which can't be what was written."""
    return StoreError(f"{path} is damaged: {what}. Fetch it again with dvc checkout or dvc pull.")


def missing(path: Path | str) -> StoreError:
    """The error that names a file which the variant's digests list."""
    return StoreError(f"{path} is missing. Fetch it again with dvc checkout or dvc pull.")


@lru_cache(maxsize=16)  # all full shards of an array end in the same bytes
def _chunks_in_order(index: bytes, chunk_bytes: int) -> int | None:
    """How many chunks lie one behind the other from a shard's beginning; None if the checksum doesn't match."""
    encoded, checksum = index[:-4], int.from_bytes(index[-4:], "little")
    if google_crc32c.value(encoded) != checksum:
        return None
    found = np.frombuffer(encoded, dtype="<u8").reshape(-1, 2)
    expected = np.arange(len(found), dtype=np.uint64) * np.uint64(chunk_bytes)
    wrong = (found[:, 0] != expected) | (found[:, 1] != chunk_bytes)
    return int(wrong.argmax()) if wrong.any() else len(found)


def _named(extension: Any) -> tuple[str, Mapping[str, Any]]:
    """Name and configuration; the short form, a bare name, is as valid."""
    if isinstance(extension, str):
        return extension, {}
    return extension["name"], extension.get("configuration") or {}


def _are_raw(codecs: list[tuple[str, Mapping[str, Any]]], *, one_byte: bool) -> bool:
    if len(codecs) != 1 or codecs[0][0] != "bytes":
        return False
    return one_byte or codecs[0][1].get("endian") == "little"
