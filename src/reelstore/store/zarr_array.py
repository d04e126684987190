"""Rows of an array that can't be mapped, through zarr-python: compressed, with checksums inside, in another order.

What can be checked before a value is read is checked from the files' metadata. Compressors decode to the size that a
chunk must have, and refuse to decode to more.
"""

import io
import itertools
import math
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from gzip import GzipFile
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import numpy.typing as npt
import zarr
from zarr.codecs import BloscCodec, GzipCodec, ZstdCodec
from zarr.registry import register_codec

from reelstore.arrays import Array, IntArray, UInt8Array
from reelstore.errors import SchemaError
from reelstore.store.arrays import (
    INDEX_ENTRIES,
    ITEM_BYTES,
    Metadata,
    Named,
    chunk_shape,
    codecs_of,
    damaged,
    named,
    open_file,
    take_in_order,
)


class BoundedZstd(ZstdCodec):
    """zstd."""

    def _decode_sync(self, chunk_bytes: Any, chunk_spec: Any) -> Any:
        n_bytes, source = _n_bytes(chunk_spec), _source(chunk_bytes)
        if zstd_content_bytes(source) not in (n_bytes, None):
            raise _other_size(n_bytes)
        out = np.empty(n_bytes, dtype=np.uint8)
        self._zstd_codec.decode(source, out)  # one that doesn't say its size must fill it
        return chunk_spec.prototype.buffer.from_array_like(out)


class BoundedGzip(GzipCodec):
    """gzip."""

    def _decode_sync(self, chunk_bytes: Any, chunk_spec: Any) -> Any:
        n_bytes = _n_bytes(chunk_spec)
        with GzipFile(fileobj=io.BytesIO(_source(chunk_bytes).tobytes())) as file:
            content = file.read(n_bytes + 1)
        if len(content) != n_bytes:
            raise _other_size(n_bytes)
        return chunk_spec.prototype.buffer.from_bytes(content)


class BoundedBlosc(BloscCodec):
    """Blosc. Its header says how much is read and written, so it has to be right.

    Source: https://github.com/Blosc/c-blosc/blob/main/README_CHUNK_FORMAT.rst
    """

    def _decode_sync(self, chunk_bytes: Any, chunk_spec: Any) -> Any:
        n_bytes, source = _n_bytes(chunk_spec), _source(chunk_bytes)
        header = source[:16].view("<u4") if len(source) >= 16 else np.zeros(4, dtype="<u4")
        if (int(header[1]), int(header[3])) != (n_bytes, len(source)):
            raise _other_size(n_bytes)
        out = np.empty(n_bytes, dtype=np.uint8)
        self._blosc_codec.decode(source, out)
        return chunk_spec.prototype.buffer.from_array_like(out)


_CODECS = {"zstd": BoundedZstd, "gzip": BoundedGzip, "blosc": BoundedBlosc}
for _name, _codec in _CODECS.items():
    register_codec(_name, _codec)


def bounded_codecs() -> AbstractContextManager[Any]:
    """While an array is opened, zarr-python uses these codecs; the array keeps them."""
    chosen = {f"codecs.{name}": f"{codec.__module__}.{codec.__qualname__}" for name, codec in _CODECS.items()}
    return zarr.config.set(chosen)  # type: ignore[no-any-return]


def zstd_content_bytes(source: UInt8Array) -> int | None:
    """Size of the content that a frame's header says; None where it says none.

    Source: RFC 8878, 3.1.1.1.
    """
    head = source[:18].tobytes()
    if len(head) < 6:
        return 0
    descriptor = head[4]
    single_segment = descriptor >> 5 & 1
    n_size_bytes = (single_segment, 2, 4, 8)[descriptor >> 6]
    if not n_size_bytes:
        return None
    start = 5 + (1 - single_segment) + (0, 1, 2, 4)[descriptor & 3]
    size = int.from_bytes(head[start : start + n_size_bytes], "little")
    return size + 256 if n_size_bytes == 2 else size


def _source(chunk_bytes: Any) -> UInt8Array:
    source: UInt8Array = np.ascontiguousarray(chunk_bytes.as_numpy_array()).view(np.uint8)
    return source


def _n_bytes(chunk_spec: Any) -> int:
    n_bytes: int = math.prod(chunk_spec.shape) * chunk_spec.dtype.to_native_dtype().itemsize
    return n_bytes


def _other_size(n_bytes: int) -> ValueError:
    return ValueError(f"a chunk doesn't expand to the {n_bytes} bytes it must have")


COMPRESSORS = ("zstd", "gzip", "blosc")
CHUNK_BYTES = 2**30
"""Limit for a chunk, which is decoded whole."""
_ABSENT = np.uint64(2**64 - 1)
"""In an index: there is no such chunk."""


@dataclass(frozen=True)
class Encoding:
    """The chunk layout and codecs of an array.

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
        """Check that a file has all chunks of the array that it should have.

        zarr-python reads what is missing or empty as the fill value, and trusts every index.

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
        needed = tuple(  # of the last files, the part within the array
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
            raise damaged(path, f"its index lists chunks that aren't within its {size} bytes")
        order = np.argsort(starts)
        if ((starts + lengths)[order][:-1] > starts[order][1:]).any():
            raise damaged(path, "its index has chunks that overlap")


def read_encoding(path: Path, name: str, metadata: Metadata) -> Encoding:
    """Chunk layout and codecs of an array, checked.

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


HELD_BYTES = 2**30
"""An array up to this size is read once and kept in memory: random rows of a compressed file cost all of the file."""
BLOCK_BYTES = 2**28
"""Rows read in order are read by shards up to this size, by the chunks of larger ones."""


class ZarrArray:
    """Rows of one Zarr array, with the interface of `MappedArray`.

    Attributes:
        shape: (n, *row shape).
        dtype: of the values, in this machine's byte order.
        zero_row: a number beyond the rows; `take` gives zeros there.
    """

    def __init__(
        self, folder: Path, name: str, metadata: Metadata, dtype: str, refuse_changed: Callable[[], None]
    ) -> None:
        """Arguments and errors are those of `open_array`."""
        import zarr

        from reelstore.store.zarr_array import bounded_codecs

        self._folder = folder
        self._name = name
        self._refuse_changed = refuse_changed
        path = folder / name / "zarr.json"
        self._encoding = read_encoding(path, name, metadata)
        try:
            with bounded_codecs():
                self._array = zarr.open_array(folder / name, mode="r", zarr_format=3)
        except Exception as error:  # faults show as many kinds of errors
            raise damaged(path, f"zarr-python can't read it ({error})") from error
        self.shape: tuple[int, ...] = tuple(self._array.shape)
        self.dtype = np.dtype(self._array.dtype).newbyteorder("=")
        if self.shape != tuple(metadata["shape"]) or self.dtype != np.dtype(dtype):
            raise SchemaError(f"{folder / name} holds {self.shape} {self.dtype}, expected {dtype}.")
        for key, numbers in self._encoding.files():
            self._encoding.check_file(folder / key, numbers)
        self.zero_row = self.shape[0]
        self._block: tuple[int, Array] = (0, np.empty((0, *self.shape[1:]), dtype=self.dtype))

    @cached_property
    def whole(self) -> Array | None:
        """All rows as one read-only array, if that is small enough for memory."""
        if math.prod(self.shape) * self.dtype.itemsize > HELD_BYTES:
            return None
        return self._padded[: self.shape[0]]

    def take(self, rows: IntArray, out: Array, *, scattered: bool = False) -> None:
        """Copy rows into `out`, (*rows.shape, *row shape); their numbers are valid, or `zero_row`."""
        if self.whole is not None:
            np.take(self._padded, rows, axis=0, out=out, mode="clip")
            return
        # Each row once and in order, so that no file is read twice and nothing is asked of the client but that.
        take_in_order(rows, out, self.zero_row, self._fetch)

    def read(self, start: int, stop: int) -> Array:
        """Rows from `start` to, without, `stop`, read-only; the file they are in is cached for the next call."""
        if self.whole is not None:
            return self.whole[start:stop]
        first, block = self._block
        if first <= start <= stop <= first + len(block):
            return block[start - first : stop - first]
        step = self._block_rows
        first = start // step * step
        if stop > first + step:
            return self._through_zarr(slice(start, stop))
        block = self._through_zarr(slice(first, first + step))
        block.flags.writeable = False
        self._block = (first, block)
        return block[start - first : stop - first]

    def advise(self, pattern: str) -> None:
        """Does nothing: there is no mapping."""

    def walk(self, starts: IntArray, counts: IntArray) -> Iterator[Array]:
        """Rows of items, item after item, read-only."""
        for start, count in zip(starts.tolist(), counts.tolist(), strict=True):
            yield self.read(start, start + count)

    @cached_property
    def _padded(self) -> Array:
        """All rows, and one of zeros behind them."""
        padded = np.zeros((self.shape[0] + 1, *self.shape[1:]), dtype=self.dtype)
        padded[:-1] = self._through_zarr(slice(None))
        padded.flags.writeable = False
        return padded

    @cached_property
    def _block_rows(self) -> int:
        row_bytes = math.prod(self.shape[1:]) * self.dtype.itemsize
        rows, at_least = self._encoding.file_shape[0], self._encoding.chunk_shape[0]
        return rows if rows * row_bytes <= BLOCK_BYTES else at_least

    def _fetch(self, rows: Array, out: Array) -> None:
        out[...] = self._through_zarr(rows)

    def _through_zarr(self, rows: Array | slice) -> Array:
        try:
            found = self._array[rows] if isinstance(rows, slice) else self._array.oindex[rows]
        except MemoryError:
            raise
        except Exception as error:  # codecs fail in many ways
            self._refuse_changed()
            path, cause = self._broken_file() or (self._folder / self._name, error)
            raise damaged(path, f"zarr-python can't read it ({cause})") from error
        self._refuse_changed()
        return np.asarray(found, dtype=self.dtype)

    def _broken_file(self) -> tuple[Path, Exception] | None:
        """The first file that can't be read; the client's errors don't say."""
        for key, numbers in self._encoding.files():
            try:
                self._array[self._encoding.region(numbers)]
            except Exception as error:
                return self._folder / key, error
        return None
