"""Rows of one array: how they are laid out in files, and how rows in any order are gathered into one buffer.

Files are read in ascending order and each row once, in any order of the rows asked for. A batch of ragged items is
concatenated with offsets, or padded with a mask.
"""

import errno
import math
import os
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, Protocol

import google_crc32c
import numpy as np
import numpy.typing as npt

from reelstore.arrays import Array, BoolArray, IntArray
from reelstore.errors import DamagedFileError, IrregularFileError, SchemaError, StoreError
from reelstore.io import open_descriptor, read_json
from reelstore.store.chunks import ArrayLayout

Pattern = Literal["normal", "random", "sequential"]
"""How rows will be read, for `advise`."""


class RowArray(Protocol):
    """Rows of one Zarr array, however they are read; see `MappedArray`."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    zero_row: int

    @property
    def whole(self) -> Array | None:
        """All rows as one read-only array, if that costs no more than reading them."""
        ...

    def take(self, rows: IntArray, out: Array, *, scattered: bool = False) -> None:
        """Copy rows into `out`; zeros for `zero_row`. `scattered`: few rows follow the one before them."""
        ...

    def read(self, start: int, stop: int) -> Array:
        """Rows from `start` to, without, `stop`; maybe read-only."""
        ...

    def advise(self, pattern: Pattern) -> None:
        """How they will be read."""
        ...

    def walk(self, starts: IntArray, counts: IntArray) -> Iterator[Array]:
        """Rows of items, item after item, read-only, from their files: of each, where it starts and how many."""
        ...


PAGE_BYTES = 4096
CACHE_LINE_BYTES = 64


def aligned_empty(shape: int | tuple[int, ...], dtype: npt.DTypeLike) -> Array:
    """An uninitialised C-order array, for `out=`, that begins at a page; one smaller than a page, at a cache line.

    `np.empty` places large arrays 16 bytes after the start of a page. Rows of a store begin at pages too, and a copy
    between addresses that close (modulo a page) makes loads wait for stores: it took 1.4 times as long when measured.

    Example:
        >>> batch = aligned_empty((256, 4096), "float16")
        >>> batch.ctypes.data % 4096
        0
    """
    dtype = np.dtype(dtype)
    count = int(np.prod(shape, dtype=np.int64))
    n_bytes = count * dtype.itemsize
    alignment = PAGE_BYTES if n_bytes >= PAGE_BYTES else CACHE_LINE_BYTES
    raw = np.empty(n_bytes + alignment, dtype=np.uint8)
    start = -int(raw.__array_interface__["data"][0]) % alignment
    return raw[start : start + n_bytes].view(dtype).reshape(shape)


def ascend(rows: IntArray, n: int) -> bool:
    """Whether these are strictly ascending row numbers of an array of n rows."""
    return rows.ndim == 1 and bool(rows[-1] < n) and bool((rows[1:] > rows[:-1]).all())


def ranges(starts: IntArray, counts: IntArray) -> IntArray:
    """Row numbers of items, concatenated.

    Example:
        >>> ranges(np.array([5, 0]), np.array([2, 3]))
        array([5, 6, 0, 1, 2])
    """
    ends = np.cumsum(counts)
    index: IntArray = np.repeat(starts - ends + counts, counts)
    index += np.arange(len(index))
    return index


def take_in_order(rows: IntArray, out: Array, zero_row: int, fetch: Callable[[IntArray, Array], None]) -> None:
    """Copy rows into `out`, in any order.

    Args:
        rows: their numbers; some may occur twice.
        out: (*rows.shape, *row shape).
        zero_row: a number beyond all rows, for zeros.
        fetch: copies ascending rows, at least one, into an array of theirs.
    """
    wanted, places = np.unique(rows, return_inverse=True)
    found = np.zeros((len(wanted), *out.shape[rows.ndim :]), dtype=out.dtype)
    n_stored = int(np.searchsorted(wanted, zero_row))
    if n_stored:
        fetch(wanted[:n_stored], found[:n_stored])
    np.take(found, places.reshape(rows.shape), axis=0, out=out, mode="clip")


RUN_BYTES = 64 * 2**10
"""Items this long on average are copied run by run, shorter ones in one gather of all their tokens.

Measured on warm pages against a gather from memory: 15 tokens of 768 bytes 1.09 (run by run 0.88), 2 tokens 1.14
(0.45), 200 tokens 1.07 (1.84), 15 tokens of 8 KiB 1.04 (1.11).
"""


def gather(tokens: RowArray, starts: IntArray, counts: IntArray, out: Array) -> None:
    """Copy items, concatenated.

    Args:
        tokens: (n_tokens_total, dim).
        starts: (k,) first token of each item.
        counts: (k,) tokens of each item.
        out: (sum of counts, dim).
    """
    if _are_runs(tokens, counts):
        assert tokens.whole is not None, "runs are runs of an array"
        place = 0
        for start, count in zip(starts.tolist(), counts.tolist(), strict=True):
            out[place : place + count] = tokens.whole[start : start + count]
            place += count
    else:
        tokens.take(ranges(starts, counts), out)


def gather_padded(tokens: RowArray, starts: IntArray, counts: IntArray, out: Array) -> BoolArray:
    """Copy items, each padded with zeros to `length`.

    Args:
        tokens: (n_tokens_total, dim).
        starts: (k,) first token of each item.
        counts: (k,) tokens of each item, at most `length`.
        out: (k, length, dim).

    Returns:
        (k, length) bool: True where there is a token.
    """
    places = np.arange(out.shape[1])
    mask = places < counts[:, None]
    if _are_runs(tokens, counts):
        assert tokens.whole is not None, "runs are runs of an array"
        for row, start, count in zip(out, starts.tolist(), counts.tolist(), strict=True):
            row[:count] = tokens.whole[start : start + count]
            row[count:] = 0
    else:
        tokens.take(np.where(mask, starts[:, None] + places, tokens.zero_row), out)
    return mask


def _are_runs(tokens: RowArray, counts: IntArray) -> bool:
    if not len(counts) or tokens.whole is None:
        return False
    row_bytes = tokens.whole.strides[0]
    return int(counts.sum()) * row_bytes >= RUN_BYTES * len(counts)


ITEM_BYTES = {f"{kind}{bits}": bits // 8 for kind in ("int", "uint") for bits in (8, 16, 32, 64)} | {
    "float16": 2,
    "float32": 4,
    "float64": 8,
}
"""The dtypes that are mapped."""
METADATA_BYTES = 16 * 2**20
"""Limit for an array's zarr.json, which has about a thousand."""
INDEX_ENTRIES = 2**20
"""Limit for the chunks of one shard: their index is read whole."""
MOST_BYTES = 2**62
"""Limit for sizes of files, so that sums of them are numbers the system knows."""

_KEYS = {
    "zarr_format", "node_type", "shape", "data_type", "chunk_grid", "chunk_key_encoding", "fill_value", "codecs",
    "attributes", "dimension_names", "storage_transformers",
}  # fmt: skip

Metadata = Mapping[str, Any]
Named = tuple[str, Mapping[str, Any]]


def read_metadata(folder: Path, name: str) -> Metadata:
    """The zarr.json of an array in this folder; its `shape` is a list of whole numbers.

    Raises:
        StoreError: there is none, or it isn't one.
    """
    path = folder / name / "zarr.json"
    try:
        metadata = read_json(path, at_most=METADATA_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        raise StoreError(f"{folder}: the array {name!r} is missing. Fetch it again with dvc pull.") from None
    except (DamagedFileError, IrregularFileError) as error:
        what = str(error).removeprefix(str(path)).lstrip(", ")
        raise StoreError(f"{path} isn't JSON of an array: {what} Fetch it again with dvc checkout.") from None
    except OSError as error:
        raise _readable(error, path) from None
    shape = metadata.get("shape") if isinstance(metadata, Mapping) else None
    if shape is None or metadata.get("node_type") != "array" or not _are_whole(shape, at_least=0):
        raise StoreError(f"{path} isn't a Zarr array's. Fetch it again with dvc checkout.")
    return metadata  # type: ignore[no-any-return]


def check_metadata(folder: Path, name: str, metadata: Metadata, shape: tuple[int, ...], dtype: str) -> None:
    """Compare an array's own metadata with what the variant's manifest says of it.

    Args:
        folder: the variant's.
        name: of the array.
        metadata: as of `read_metadata`.
        shape: expected.
        dtype: expected; in which byte order values are stored is up to the codecs.

    Raises:
        SchemaError: it holds something else.
    """
    data_type = metadata.get("data_type", dtype)  # Zarr's clients refuse an array without
    if tuple(metadata["shape"]) != shape or data_type != dtype:
        raise SchemaError(
            f"{folder}/{name} holds {tuple(metadata['shape'])} {str(data_type)[:80]} where the variant's zarr.json "
            f"says {shape} {dtype}. Fetch it again with dvc checkout."
        )


def raw_layout(name: str, metadata: Metadata) -> ArrayLayout | None:
    """Layout of an array whose files hold plain rows: contiguous, little endian, uncompressed.

    None for anything else: compressed, with checksums among the rows, transposed, chunked along other axes than the
    rows, with other file names. Such an array is as valid, but only a Zarr client can read it.
    """
    try:
        grid, keys = named(metadata["chunk_grid"]), named(metadata["chunk_key_encoding"])
        file_shape, dtype = chunk_shape(grid[1]), metadata["data_type"]
        codecs = codecs_of(metadata)
    except (KeyError, ValueError):
        return None
    row_shape = tuple(metadata["shape"][1:])
    if (
        metadata.get("zarr_format") != 3
        or metadata.get("storage_transformers")
        or not metadata.keys() <= _KEYS
        or not (metadata["shape"] and all(row_shape))
        or not (isinstance(dtype, str) and dtype in ITEM_BYTES)
        or (grid[0], file_shape[1:]) != ("regular", row_shape)
        or (keys[0], keys[1].get("separator", "/")) != ("default", "/")
    ):
        return None
    file_rows, row_bytes = file_shape[0], math.prod(row_shape) * ITEM_BYTES[dtype]
    one_byte = ITEM_BYTES[dtype] == 1
    if file_rows * row_bytes > MOST_BYTES:
        return None
    if _are_raw(codecs, one_byte=one_byte):
        return ArrayLayout(name, row_shape, dtype, file_rows)
    if len(codecs) != 1 or codecs[0][0] != "sharding_indexed":
        return None
    sharding = codecs[0][1]
    try:
        inner_shape = chunk_shape(sharding)
        inner, index = codecs_of(sharding), codecs_of(sharding, "index_codecs")
    except (KeyError, ValueError):
        return None
    if (
        inner_shape[1:] != row_shape
        or file_rows % inner_shape[0]
        or file_rows // inner_shape[0] > INDEX_ENTRIES
        or not _are_raw(inner, one_byte=one_byte)
        or len(index) != 2
        or not _are_raw(index[:1], one_byte=False)
        or index[1][0] != "crc32c"
        or sharding.get("index_location", "end") != "end"
    ):
        return None
    return ArrayLayout(name, row_shape, dtype, file_rows, inner_shape[0])


def holds_raw_rows(path: str, descriptor: int, size: int, layout: ArrayLayout, n_rows: int) -> bool:
    """Whether the first `n_rows` rows of a file are at its beginning, in order and without gaps.

    Args:
        path: the file, for messages.
        descriptor: the file, open for reading.
        size: of the file, in bytes.
        layout: as `raw_layout` gives it.
        n_rows: how many of its rows are the array's: all but in the last file.

    Raises:
        StoreError: the file is too short or too long, or its index isn't what its checksum says.
    """
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
        raise damaged(path, f"it has {size} bytes, its index lists {n_needed * chunk_bytes} and its own")
    return True


def open_file(path: Path | str) -> int:
    """Descriptor of a file of an array, open for reading.

    Raises:
        StoreError: it is missing, or isn't a regular file. To Zarr a missing file is a block of the fill value;
            a store omits no rows, so here it is an error.
        OSError: it can't be read.
    """
    try:
        return open_descriptor(path)
    except (FileNotFoundError, NotADirectoryError):
        raise missing(path) from None
    except IrregularFileError as error:
        raise damaged(path, str(error).removeprefix(f"{path} ").removesuffix(".")) from None
    except OSError as error:
        raise _readable(error, path) from None


def damaged(path: Path | str, what: str) -> StoreError:
    """The error that names a file which can't be what was written."""
    return StoreError(f"{path} is damaged: {what}. Fetch it again with dvc checkout or dvc pull.")


def missing(path: Path | str) -> StoreError:
    """The error that names a file which an array should have."""
    return StoreError(f"{path} is missing. Fetch it again with dvc checkout or dvc pull.")


def named(extension: Any) -> Named:
    """Name and configuration of a codec and the like; the short form, a bare name, is as valid.

    Raises:
        ValueError: it has neither form.
    """
    if isinstance(extension, str):
        return extension, {}
    if isinstance(extension, Mapping) and isinstance(extension.get("name"), str):
        configuration = extension.get("configuration") or {}
        if isinstance(configuration, Mapping):
            return extension["name"], configuration
    raise ValueError(f"{str(extension)[:80]} has no name")


def chunk_shape(configuration: Mapping[str, Any]) -> tuple[int, ...]:
    """The `chunk_shape` of a grid or of shards: whole numbers from 1.

    Raises:
        KeyError, ValueError: there is none, or it isn't that.
    """
    shape = configuration["chunk_shape"]
    if not _are_whole(shape, at_least=1) or not shape:
        raise ValueError(f"chunk_shape is {str(shape)[:80]}")
    return tuple(shape)


def codecs_of(configuration: Mapping[str, Any], key: str = "codecs") -> list[Named]:
    """Names and configurations of the codecs.

    Raises:
        KeyError, ValueError: there are none, or they aren't codecs.
    """
    codecs = configuration[key]
    if not isinstance(codecs, list):
        raise ValueError(f"{key} is {str(codecs)[:80]}")
    return [named(codec) for codec in codecs]


@lru_cache(maxsize=16)  # all full shards of an array end in the same bytes
def _chunks_in_order(index: bytes, chunk_bytes: int) -> int | None:
    """Number of contiguous chunks from the start of a shard; None if the checksum doesn't match."""
    encoded, checksum = index[:-4], int.from_bytes(index[-4:], "little")
    if google_crc32c.value(encoded) != checksum:
        return None
    found = np.frombuffer(encoded, dtype="<u8").reshape(-1, 2)
    expected = np.arange(len(found), dtype=np.uint64) * np.uint64(chunk_bytes)
    wrong = (found[:, 0] != expected) | (found[:, 1] != chunk_bytes)
    return int(wrong.argmax()) if wrong.any() else len(found)


def _are_whole(numbers: Any, *, at_least: int) -> bool:
    return isinstance(numbers, list) and all(type(number) is int and number >= at_least for number in numbers)


def _are_raw(codecs: list[Named], *, one_byte: bool) -> bool:
    if len(codecs) != 1 or codecs[0][0] != "bytes":
        return False
    return one_byte or codecs[0][1].get("endian") == "little"


def _readable(error: OSError, path: Path | str) -> Exception:
    """A circular link, a socket or a name that is too long is a fault of the store; other errors are the system's."""
    if error.errno in (errno.ELOOP, errno.ENXIO, errno.ENAMETOOLONG):
        return damaged(path, f"it can't be opened ({error.strerror})")
    return error
