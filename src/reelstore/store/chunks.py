"""Rows -> the files of one Zarr array: raw C order, a shard index where the array is sharded, temporary names."""

from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import google_crc32c
import numpy as np
import numpy.typing as npt

from reelstore.store.files import write_partial
from reelstore.store.schema import ArrayLayout, as_json_bytes

IN_FLIGHT = 2
"""Files hashed and written while the next one fills: memory holds one more than this."""


class ArrayWriter:
    """Takes rows in order and writes each file once it is full.

    Files get temporary names, `0.partial`, and keep them: who publishes renames `pending`. A file whose content is the
    published one's isn't written at all.

    Args:
        folder: the variant's folder.
        layout: how the array lies in files.
        published: file key -> sha256 (hex) of the files that are there and are what their digest says.
        threads: where files are hashed and written meanwhile; none: at once.
    """

    def __init__(
        self, folder: Path, layout: ArrayLayout, published: Mapping[str, str], threads: ThreadPoolExecutor | None = None
    ) -> None:
        self.layout = layout
        self.digests: dict[str, str] = {}
        self.pending: list[str] = []
        self.n_rows = 0
        self.n_bytes_written = 0
        self._folder = folder
        self._published = published
        self._threads = threads
        self._jobs: deque[Future[None]] = deque()
        self._spare: list[npt.NDArray[np.generic]] = []
        self._buffer = self._new_buffer()
        self._filled = 0

    def keep(self, n_files: int) -> None:
        """Take over the first files as they are; they must be published. Only before any row."""
        assert self.n_rows == 0, "files can be kept only in front of the first new row"
        for number in range(n_files):
            key = self.layout.file_key(number)
            self.digests[key] = self._published[key]
        self.n_rows = n_files * self.layout.file_rows

    def append(self, rows: npt.NDArray[np.generic]) -> None:
        """The next rows, (k, *row_shape), already in the array's dtype."""
        start = 0
        while start < len(rows):
            count = min(len(rows) - start, self.layout.file_rows - self._filled)
            self._buffer[self._filled : self._filled + count] = rows[start : start + count]
            self._filled += count
            self.n_rows += count
            start += count
            if self._filled == self.layout.file_rows:
                self._flush()

    def close(self) -> None:
        """Write the last file and the array's metadata, and wait for all files."""
        if self._filled:
            self._flush()
        while self._jobs:
            self._jobs.popleft().result()
        self._put(f"{self.layout.name}/zarr.json", [as_json_bytes(self.layout.metadata(self.n_rows))])

    def _flush(self) -> None:
        number = (self.n_rows - 1) // self.layout.file_rows
        buffer, filled = self._buffer, self._filled
        buffer[filled:] = 0
        if self._threads is None:
            self._write_file(number, buffer, filled)
        else:
            if len(self._jobs) >= IN_FLIGHT:
                self._jobs.popleft().result()
            self._jobs.append(self._threads.submit(self._write_file, number, buffer, filled))
        self._buffer = self._new_buffer()
        self._filled = 0

    def _new_buffer(self) -> npt.NDArray[np.generic]:
        if self._spare:
            return self._spare.pop()
        return np.zeros((self.layout.file_rows, *self.layout.row_shape), dtype=self.layout.dtype)

    def _write_file(self, number: int, rows: npt.NDArray[np.generic], filled: int) -> None:
        parts: list[bytes | memoryview]
        if self.layout.inner_rows is None:
            parts = [_bytes_of(rows)]
        else:
            n_present = -(-filled // self.layout.inner_rows)
            parts = [_bytes_of(rows[: n_present * self.layout.inner_rows]), shard_index(self.layout, n_present)]
        self._put(self.layout.file_key(number), parts)
        self._spare.append(rows)

    def _put(self, key: str, parts: list[bytes | memoryview] | list[bytes]) -> None:
        hashing = sha256()
        for part in parts:
            hashing.update(part)
        digest = hashing.hexdigest()
        self.digests[key] = digest
        if self._published.get(key) == digest:
            return
        write_partial(self._folder, key, *parts)
        self.pending.append(key)
        self.n_bytes_written += sum(len(part) for part in parts)


def shard_index(layout: ArrayLayout, n_present: int) -> bytes:
    """What ends a shard whose first `n_present` chunks are there: (offset, length) of every chunk, and their crc32c.

    Source: the sharding-indexed codec, https://zarr-specs.readthedocs.io/en/latest/v3/codecs/sharding-indexed/
    """
    assert layout.inner_rows is not None, f"{layout.name} has no shards"
    n_chunks = layout.file_rows // layout.inner_rows
    chunk_bytes = layout.inner_rows * int(np.prod(layout.row_shape)) * np.dtype(layout.dtype).itemsize
    index = np.full((n_chunks, 2), 2**64 - 1, dtype="<u8")  # this value says: no such chunk
    index[:n_present, 0] = np.arange(n_present, dtype="<u8") * np.uint64(chunk_bytes)
    index[:n_present, 1] = chunk_bytes
    encoded = index.tobytes()
    return encoded + int(google_crc32c.value(encoded)).to_bytes(4, "little")


def _bytes_of(rows: npt.NDArray[np.generic]) -> memoryview:
    return rows.reshape(-1).view(np.uint8).data
