"""How an array lies in files that only a Zarr client can read, as far as files can be checked without their values."""

import itertools
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import google_crc32c
import numpy as np
import numpy.typing as npt

from reelstore.store.layout import (
    INDEX_ENTRIES,
    ITEM_BYTES,
    Metadata,
    Named,
    chunk_shape,
    codecs_of,
    damaged,
    named,
    open_file,
)

COMPRESSORS = ("zstd", "gzip", "blosc")
CHUNK_BYTES = 2**30
"""Limit for a chunk, which is decoded whole."""
_ABSENT = np.uint64(2**64 - 1)
"""In an index: there is no such chunk."""


@dataclass(frozen=True)
class Encoding:
    """Where the chunks of an array lie.

    Attributes:
        name: of the array.
        shape: of the array.
        file_shape: what a file holds.
        chunk_shape: what is decoded at once; the same where files aren't shards.
        prefix: of the files' names.
        separator: of the numbers in the files' names.
        index_bytes: of a shard's index with its checksum; 0 where files aren't shards.
        index_dtype: of a shard's index.
        index_at_start: where it is in the shard; else at its end.
        has_checksum: whether a crc32c ends it.
    """

    name: str
    shape: tuple[int, ...]
    file_shape: tuple[int, ...]
    chunk_shape: tuple[int, ...]
    prefix: str
    separator: str
    index_bytes: int = 0
    index_dtype: str = "<u8"
    index_at_start: bool = False
    has_checksum: bool = False

    def files(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Key of every file and its numbers."""
        counts = (-(-n // step) for n, step in zip(self.shape, self.file_shape, strict=True))
        for numbers in itertools.product(*map(range, counts)):
            yield f"{self.name}/{self.prefix}{self.separator.join(map(str, numbers))}", numbers

    def region(self, numbers: tuple[int, ...]) -> tuple[slice, ...]:
        """What of the array is in a file."""
        return tuple(slice(i * s, (i + 1) * s) for i, s in zip(numbers, self.file_shape, strict=True))

    def check_file(self, path: Path, numbers: tuple[int, ...]) -> None:
        """See that every chunk of the array that should be in a file is.

        zarr-python takes what is missing or empty for the fill value, and an index for true whatever it says.

        Raises:
            StoreError: the file is missing, empty or not a file; a chunk isn't in it; its index can't be.
        """
        descriptor = open_file(path)
        try:
            size = os.fstat(descriptor).st_size
            if not size:
                raise damaged(path, "it is empty")
            if not self.index_bytes:
                return
            if size < self.index_bytes:
                raise damaged(path, f"it has {size} bytes, a shard's index alone has {self.index_bytes}")
            index = os.pread(descriptor, self.index_bytes, 0 if self.index_at_start else size - self.index_bytes)
        finally:
            os.close(descriptor)
        if self.has_checksum:
            if google_crc32c.value(index[:-4]) != int.from_bytes(index[-4:], "little"):
                raise damaged(path, f"the index of its {size} bytes doesn't match its checksum")
            index = index[:-4]
        self._check_index(path, np.frombuffer(index, self.index_dtype).astype(np.uint64), numbers, size)

    def _check_index(self, path: Path, index: npt.NDArray[np.uint64], numbers: tuple[int, ...], size: int) -> None:
        per_file = [n // step for n, step in zip(self.file_shape, self.chunk_shape, strict=True)]
        needed = tuple(  # of the last files, what lies within the array
            slice(-(-min(whole - number * n, n) // step))
            for whole, number, n, step in zip(self.shape, numbers, self.file_shape, self.chunk_shape, strict=True)
        )
        starts, lengths = index.reshape(*per_file, 2)[needed].reshape(-1, 2).T
        absent = (starts == _ABSENT) & (lengths == _ABSENT)
        if absent.any():
            raise damaged(path, f"{int(absent.sum())} of its {len(absent)} chunks are missing")
        low = self.index_bytes if self.index_at_start else 0
        high = np.uint64(size if self.index_at_start else size - self.index_bytes)
        if (lengths == 0).any() or (starts < low).any() or (starts > high).any() or (lengths > high - starts).any():
            raise damaged(path, f"its index speaks of chunks that aren't within its {size} bytes")
        order = np.argsort(starts)
        if ((starts + lengths)[order][:-1] > starts[order][1:]).any():
            raise damaged(path, "its index has chunks that overlap")


def read_encoding(path: Path, name: str, metadata: Metadata) -> Encoding:
    """How an array lies in files.

    Args:
        path: its zarr.json, for messages.
        name: of the array.
        metadata: as of `read_metadata`.

    Raises:
        StoreError: it is encoded in a way that can't be checked, or isn't read.
    """
    try:
        return _parsed(name, metadata)
    except KeyError as error:
        raise damaged(path, f"zarr-python can't read it (it has no {error})") from None
    except ValueError as error:
        raise damaged(path, f"zarr-python can't read it within bounds ({error})") from None


def _parsed(name: str, metadata: Metadata) -> Encoding:
    if metadata.get("storage_transformers"):
        raise ValueError("it has storage transformers")
    (grid, configuration), (keys, key_options) = named(metadata["chunk_grid"]), named(metadata["chunk_key_encoding"])
    shape, file_shape = tuple(metadata["shape"]), chunk_shape(configuration)
    prefix, separator = {"default": ("c", "/"), "v2": ("", ".")}.get(keys, ("", ""))
    separator = key_options.get("separator", separator)
    if grid != "regular" or separator not in ("/", "."):
        raise ValueError(f"its chunks are {grid} with names {keys} {str(separator)[:10]!r}")
    if len(file_shape) != len(shape):
        raise ValueError(f"chunks of shape {file_shape} in an array of shape {shape}")
    encoding = Encoding(name, shape, file_shape, file_shape, prefix + separator if prefix else "", separator)
    codecs = codecs_of(metadata)
    if codecs and codecs[0][0] == "sharding_indexed":
        if len(codecs) > 1:
            raise ValueError(f"the codec {codecs[1][0]!r} around shards")
        encoding, codecs = _sharded(encoding, codecs[0])
    _check_codecs(codecs)
    n_bytes = math.prod(encoding.chunk_shape) * ITEM_BYTES[metadata["data_type"]]
    if n_bytes > CHUNK_BYTES:
        raise ValueError(f"a chunk has {n_bytes} bytes, the limit is {CHUNK_BYTES}")
    return encoding


def _sharded(encoding: Encoding, codec: Named) -> tuple[Encoding, list[Named]]:
    options = codec[1]
    inner, location = chunk_shape(options), options.get("index_location", "end")
    if len(inner) != len(encoding.shape) or any(n % step for n, step in zip(encoding.file_shape, inner, strict=True)):
        raise ValueError(f"chunks of shape {inner} in shards of shape {encoding.file_shape}")
    n_entries = math.prod(n // step for n, step in zip(encoding.file_shape, inner, strict=True))
    if n_entries > INDEX_ENTRIES:
        raise ValueError(f"a shard has {n_entries} chunks, the limit is {INDEX_ENTRIES}")
    index = codecs_of(options, "index_codecs")
    names = [name for name, _ in index]
    if names not in (["bytes"], ["bytes", "crc32c"]) or location not in ("start", "end"):
        raise ValueError(f"an index at {location} with the codecs {', '.join(names)}")
    has_checksum = len(names) == 2
    sharded = Encoding(
        encoding.name,
        encoding.shape,
        encoding.file_shape,
        inner,
        encoding.prefix,
        encoding.separator,
        index_bytes=n_entries * 16 + 4 * has_checksum,
        index_dtype=">u8" if index[0][1].get("endian") == "big" else "<u8",
        index_at_start=location == "start",
        has_checksum=has_checksum,
    )
    return sharded, codecs_of(options)


def _check_codecs(codecs: list[Named]) -> None:
    """`transpose` (any number), `bytes`, at most one compressor, at most one checksum: so a chunk's size is known."""
    names = [name for name, _ in codecs]
    while names[:1] == ["transpose"]:
        del names[0]
    if names[:1] == ["bytes"]:
        del names[0]
        if names[:1] and names[0] in COMPRESSORS:
            del names[0]
        if names[:1] == ["crc32c"]:
            del names[0]
        if not names:
            return
    known = f"transpose, bytes, one of {', '.join(COMPRESSORS)}, crc32c"
    raise ValueError(f"the codecs {', '.join(name for name, _ in codecs)}, where {known} are read, in this order")
