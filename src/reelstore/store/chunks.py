"""How the arrays of a variant are cut into files and blocks: a function of the numbers of rows and their bytes alone.

docs/format.md says it for other clients; docs/decisions/0009-schema-3.md says why.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import google_crc32c
import numpy as np

from reelstore.arrays import Array, UInt32Array
from reelstore.records import Side

if TYPE_CHECKING:
    from reelstore.store.format import VariantSpec

FINGERPRINT_BYTES = 16
BLOCK_BYTES = 64 * 2**10
"""Of a block at most, if that is a row or more: what is read, and checked, at once."""
FILES = {
    "values": 128,
    "fingerprint": 64,
    "key_index": 64,
    "video_id": 32,
    "video_id_offsets": 32,
    "offsets": 32,
    "caption_index": 32,
    "status": 16,
    "split": 16,
    "checksum": 16,
}
"""Files of a large array at least, up to twice as many: what is appended rewrites one of them at most."""
LEAST_BYTES = 64 * 2**10
LEAST_VALUES_BYTES = 256 * 2**10
"""Of a file at least, where the array has as many."""
MOST_BYTES = 64 * 2**20
MOST_SMALL_BYTES = 512 * 2**20
"""Of a file of `values` at most, where it has more than one row; the latter for rows of up to SMALL_ROW_BYTES, so that
ten million of them are in few files."""
SMALL_ROW_BYTES = 8 * 2**10
RUN_FILES = 8
"""Files of `key_index` that are sorted together, at most."""


@dataclass(frozen=True)
class ArrayLayout:
    """How one Zarr array lies in files: `file_rows` rows a file, uncompressed C order.

    With `inner_rows` the file is a shard of chunks (blocks) of that many rows; its last chunks are left out where the
    array ends before them. `n_rows`: length of the array; None where the manifest of a schema 2 doesn't say.
    """

    name: str
    row_shape: tuple[int, ...]
    dtype: str
    file_rows: int
    inner_rows: int | None = None
    n_rows: int | None = 0

    @property
    def row_bytes(self) -> int:
        """Bytes of a row."""
        return prod(self.row_shape) * np.dtype(self.dtype).itemsize

    @property
    def n_blocks(self) -> int:
        """Blocks of the array."""
        assert self.n_rows is not None and self.inner_rows is not None, f"{self.name} has no blocks"
        return -(-self.n_rows // self.inner_rows)

    def file_key(self, number: int) -> str:
        """Path of a file in the variant's folder, `values/c/0/0`."""
        return "/".join([self.name, "c", str(number), *("0" for _ in self.row_shape)])

    def file_bytes(self, number: int) -> int:
        """Length of a file."""
        if self.inner_rows is None or self.n_rows is None:
            return self.file_rows * self.row_bytes
        n_present = -(-min(self.file_rows, self.n_rows - number * self.file_rows) // self.inner_rows)
        return n_present * self.inner_rows * self.row_bytes + 16 * (self.file_rows // self.inner_rows) + 4

    def metadata(self, n_rows: int) -> dict[str, Any]:
        """The array's zarr.json, if it has so many rows."""
        bytes_codec: dict[str, Any] = {"name": "bytes", "configuration": {"endian": "little"}}
        if np.dtype(self.dtype).itemsize == 1:
            bytes_codec = {"name": "bytes"}
        codecs = [bytes_codec]
        if self.inner_rows is not None:
            codecs = [
                {
                    "name": "sharding_indexed",
                    "configuration": {
                        "chunk_shape": [self.inner_rows, *self.row_shape],
                        "codecs": [bytes_codec],
                        "index_codecs": [
                            {"name": "bytes", "configuration": {"endian": "little"}},
                            {"name": "crc32c"},
                        ],
                        "index_location": "end",
                    },
                }
            ]
        return {
            "zarr_format": 3,
            "node_type": "array",
            "shape": [n_rows, *self.row_shape],
            "data_type": self.dtype,
            "chunk_grid": {
                "name": "regular",
                "configuration": {"chunk_shape": [self.file_rows, *self.row_shape]},
            },
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
            "fill_value": 0.0 if self.dtype.startswith("float") else 0,
            "codecs": codecs,
            "attributes": {},
        }


def layouts(
    spec: "VariantSpec", n_rows: int, n_value_rows: int, n_id_bytes: int | None, schema: int
) -> dict[str, ArrayLayout]:
    """Every array of a variant, by name, in the order in which `checksum` has their blocks.

    Args:
        spec: what it holds.
        n_rows: rows.
        n_value_rows: rows of `values`; the tokens of all rows, where their number varies.
        n_id_bytes: UTF-8 bytes of all ids; None where the manifest doesn't say (schema 2).
        schema: version of the format.
    """
    columns: dict[str, tuple[tuple[int, ...], str, int | None]] = {
        "video_id": ((), "uint8", n_id_bytes),
        "video_id_offsets": ((), "int64", n_rows + 1),
        "status": ((), "uint8", n_rows),
        "split": ((), "uint8", n_rows),
        "fingerprint": ((FINGERPRINT_BYTES,), "uint8", n_rows),
    }
    if schema > 2:
        columns["key_index"] = ((), "uint64", n_rows)
    if spec.side == "text":
        columns["caption_index"] = ((), "int32", n_rows)
    if spec.layout == "ragged":
        columns["offsets"] = ((), "int64", n_rows + 1)
    columns["values"] = (spec.row_shape, spec.dtype, n_value_rows)
    if schema == 2:
        return {name: _layout_2(spec.side, spec.layout, name, *of) for name, of in columns.items()}
    found = {name: _layout(name, *of) for name, of in columns.items()}
    found["checksum"] = _layout("checksum", (), "uint32", sum(one.n_blocks for one in found.values()))
    return found


def _layout(name: str, row_shape: tuple[int, ...], dtype: str, n_rows: int | None) -> ArrayLayout:
    assert n_rows is not None, f"how many rows {name} has is known"
    row_bytes = prod(row_shape) * np.dtype(dtype).itemsize
    block = min(at_most(BLOCK_BYTES // row_bytes), 1 << max(0, n_rows - 1).bit_length())
    least = LEAST_VALUES_BYTES if name == "values" else LEAST_BYTES
    rows = max(at_most(n_rows // FILES[name]), at_most(least // row_bytes))
    if name == "values":
        rows = min(rows, at_most((MOST_SMALL_BYTES if row_bytes <= SMALL_ROW_BYTES else MOST_BYTES) // row_bytes))
    rows = max(block, min(rows, 1 << max(0, n_rows - 1).bit_length()))
    return ArrayLayout(name, row_shape, dtype, rows, block, n_rows)


def at_most(number: int) -> int:
    """The largest power of two up to a number; 1 where there is none."""
    return 1 << max(0, number.bit_length() - 1)


def file_parts(layout: ArrayLayout, rows: Array) -> list[bytes]:
    """The bytes of a file of these rows: its chunk, or its blocks and their index."""
    block_rows = layout.inner_rows or layout.file_rows
    n_blocks = -(-len(rows) // block_rows)
    padded = np.zeros((n_blocks * block_rows, *layout.row_shape), dtype=layout.dtype)
    padded[: len(rows)] = rows
    return [padded.tobytes()] + ([] if layout.inner_rows is None else [shard_index(layout, n_blocks)])


def block_checksums(rows: Array, block_rows: int) -> UInt32Array:
    """(n_blocks,) crc32c of each block of some rows; the last one is padded with zeros."""
    n_blocks = -(-len(rows) // block_rows)
    if len(rows) % block_rows:
        padded = np.zeros((n_blocks * block_rows, *rows.shape[1:]), dtype=rows.dtype)
        padded[: len(rows)] = rows
        rows = padded
    content = np.ascontiguousarray(rows).reshape(-1).view(np.uint8).data
    size = len(content) // max(1, n_blocks)
    blocks = (bytes(content[start : start + size]) for start in range(0, len(content), max(1, size)))
    return np.fromiter(map(google_crc32c.value, blocks), np.uint32, n_blocks)


def shard_index(layout: ArrayLayout, n_present: int) -> bytes:
    """What ends a shard whose first `n_present` chunks are there: (offset, length) of every chunk, and their crc32c.

    Source: the sharding-indexed codec, https://zarr-specs.readthedocs.io/en/latest/v3/codecs/sharding-indexed/
    """
    assert layout.inner_rows is not None, f"{layout.name} has no shards"
    chunk_bytes = layout.inner_rows * layout.row_bytes
    index = np.full((layout.file_rows // layout.inner_rows, 2), 2**64 - 1, dtype="<u8")  # this says: no such chunk
    index[:n_present, 0] = np.arange(n_present, dtype="<u8") * np.uint64(chunk_bytes)
    index[:n_present, 1] = chunk_bytes
    encoded = index.tobytes()
    return encoded + int(google_crc32c.value(encoded)).to_bytes(4, "little")


def key_runs(layout: ArrayLayout) -> Iterator[int]:
    """Rows of each run of `key_index` that is sorted by itself; what is appended changes the last ones.

    A run has 8 files as long as there are as many, then 4, 2 and 1; the rows behind the last whole file are one.
    """
    assert layout.n_rows is not None, "key_index has a length"
    n_files, left = divmod(layout.n_rows, layout.file_rows)
    size = RUN_FILES
    while size:
        while n_files >= size:
            yield size * layout.file_rows
            n_files -= size
        size //= 2
    if left:
        yield left


_SHARD_ROWS_2: Mapping[Side, int] = {"video": 64, "text": 1024}
_SHARD_TOKENS_2: Mapping[Side, int] = {"video": 2048, "text": 16384}
_SHARD_BYTES_2: Mapping[Side, int] = {"video": 16 * 2**20, "text": 32 * 2**20}
_TABLE_ROWS_2: Mapping[Side, int] = {"video": 512, "text": 8192}
_TABLE_FACTOR_2 = {"video_id": 16, "status": 8, "split": 8, "caption_index": 2}
_INNER_ROWS_2 = 64


def _layout_2(
    side: Side, layout: str, name: str, row_shape: tuple[int, ...], dtype: str, n_rows: int | None
) -> ArrayLayout:
    """As schema 2 has it: files of a number of rows that depends on the side alone."""
    if name != "values":
        return ArrayLayout(name, row_shape, dtype, _TABLE_ROWS_2[side] * _TABLE_FACTOR_2.get(name, 1), None, n_rows)
    row_bytes = prod(row_shape) * np.dtype(dtype).itemsize
    most = (_SHARD_TOKENS_2 if layout == "ragged" else _SHARD_ROWS_2)[side]
    rows = min(most, at_most(_SHARD_BYTES_2[side] // row_bytes))
    inner = 1 if layout == "dense" else min(rows, _INNER_ROWS_2)
    return ArrayLayout(name, row_shape, dtype, rows, inner, n_rows)
