"""Compressors of zarr-python that decode to what a chunk must have, and to nothing larger: a bomb is refused."""

import io
import math
from contextlib import AbstractContextManager
from gzip import GzipFile
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr
from zarr.codecs import BloscCodec, GzipCodec, ZstdCodec
from zarr.registry import register_codec

Bytes = npt.NDArray[np.uint8]


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
    """While an array is opened, zarr-python takes these for its own; the array keeps them."""
    chosen = {f"codecs.{name}": f"{codec.__module__}.{codec.__qualname__}" for name, codec in _CODECS.items()}
    return zarr.config.set(chosen)  # type: ignore[no-any-return]


def zstd_content_bytes(source: Bytes) -> int | None:
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


def _source(chunk_bytes: Any) -> Bytes:
    source: Bytes = np.ascontiguousarray(chunk_bytes.as_numpy_array()).view(np.uint8)
    return source


def _n_bytes(chunk_spec: Any) -> int:
    n_bytes: int = math.prod(chunk_spec.shape) * chunk_spec.dtype.to_native_dtype().itemsize
    return n_bytes


def _other_size(n_bytes: int) -> ValueError:
    return ValueError(f"a chunk doesn't expand to the {n_bytes} bytes it must have")
