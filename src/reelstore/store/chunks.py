"""Rows -> the files of one Zarr array: raw C order, a shard index where the array is sharded, temporary names."""

import os
from hashlib import sha256
from pathlib import Path

import google_crc32c
import numpy as np
import numpy.typing as npt

from reelstore.store.schema import ArrayLayout, as_json_bytes

PARTIAL = ".partial"


class ArrayWriter:
    """Takes rows in order and writes each file once it is full.

    Files get temporary names, `0.partial`, until `commit` renames them; a file whose content is the published one's
    isn't written at all.

    Args:
        folder: the variant's folder.
        layout: how the array lies in files.
        published: file key -> sha256 (hex) of the files that are there.
    """

    def __init__(self, folder: Path, layout: ArrayLayout, published: dict[str, str]) -> None:
        self.layout = layout
        self.digests: dict[str, str] = {}
        self.n_rows = 0
        self.n_bytes_written = 0
        self._folder = folder
        self._published = published
        self._pending: list[str] = []
        self._buffer = np.zeros((layout.file_rows, *layout.row_shape), dtype=layout.dtype)
        self._filled = 0

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
        """Write the last file and the array's metadata."""
        if self._filled:
            self._flush()
        self._put(f"{self.layout.name}/zarr.json", as_json_bytes(self.layout.metadata(self.n_rows)))

    def commit(self) -> None:
        """Give the files their names."""
        for key in self._pending:
            path = self._folder / key
            os.replace(path.with_name(path.name + PARTIAL), path)
        self._pending.clear()

    def _flush(self) -> None:
        number = (self.n_rows - 1) // self.layout.file_rows
        self._buffer[self._filled :] = 0
        if self.layout.inner_rows is None:
            content = self._buffer.tobytes()
        else:
            content = _shard(self._buffer, self._filled, self.layout.inner_rows)
        self._put(self.layout.file_key(number), content)
        self._filled = 0

    def _put(self, key: str, content: bytes) -> None:
        digest = sha256(content).hexdigest()
        self.digests[key] = digest
        path = self._folder / key
        if self._published.get(key) == digest and path.is_file() and path.stat().st_size == len(content):
            return
        write_partial(path, content)
        self._pending.append(key)
        self.n_bytes_written += len(content)


def write_partial(path: Path, content: bytes) -> None:
    """Write a file under its temporary name. Never in place: the file may be a link into DVC's cache."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path.with_name(path.name + PARTIAL), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that its name always means the old content or the new."""
    write_partial(path, content)
    os.replace(path.with_name(path.name + PARTIAL), path)


def _shard(rows: npt.NDArray[np.generic], n_rows: int, inner_rows: int) -> bytes:
    """A shard file: the chunks that hold rows, then (offset, length) of every chunk and their crc32c.

    Source: the sharding-indexed codec, https://zarr-specs.readthedocs.io/en/latest/v3/codecs/sharding-indexed/
    """
    n_chunks = len(rows) // inner_rows
    n_present = -(-n_rows // inner_rows)
    chunk_bytes = rows[:inner_rows].nbytes
    index = np.full((n_chunks, 2), 2**64 - 1, dtype="<u8")  # this value says: no such chunk
    index[:n_present, 0] = np.arange(n_present, dtype="<u8") * np.uint64(chunk_bytes)
    index[:n_present, 1] = chunk_bytes
    encoded = index.tobytes()
    checksum = int(google_crc32c.value(encoded)).to_bytes(4, "little")
    return rows[: n_present * inner_rows].tobytes() + encoded + checksum
