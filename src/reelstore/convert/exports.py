"""Rows of a variant -> files for others, bit for bit: npy, one array, Parquet, safetensors, FAISS."""

import json
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Literal

import numpy as np

from reelstore.arrays import Array, BoolArray, IntArray, unit_rows
from reelstore.convert.atomic_export import atomic_export
from reelstore.convert.keys import TABLE, write_keys
from reelstore.convert.named import OFFSETS, VALUES
from reelstore.convert.names import file_name_of
from reelstore.convert.npy import write_npy
from reelstore.errors import ExportError, ForeignFileError
from reelstore.io import Progress, readable_bytes
from reelstore.store.format import OK
from reelstore.store.keys import Key
from reelstore.store.open import open_variant
from reelstore.store.read import Rows
from reelstore.tables.arrow import ArrowFile

Format = Literal["npy", "array", "parquet", "safetensors", "faiss"]
BLOCK_BYTES = 16 * 2**20
"""What is held in memory at a time."""
BLOCK_ROWS = 4096
"""At most, of small rows."""
_MADE_BY = {b"reelstore": b"export"}
"""Among the metadata of an exported Parquet file."""


def run_export(
    kind: Format,
    variant: Path,
    path: Path,
    *,
    split: str | None = None,
    normalize: bool = False,
    force: bool = False,
    progress: Progress,
) -> str:
    """Write a variant's rows, or one split's; a line for people. The path appears when all of it is written.

    Args:
        kind: `parquet`, one file; or a folder with a table keys.csv and, for `npy`, a file an item; for `array` and
            `safetensors` the values as they are stored, zeros where a row has none; for `faiss` one float32 array of
            the rows that have values.
        variant: its folder.
        path: file or folder to make.
        split: whose rows; all by default.
        normalize: of `faiss`: to length 1; zero vectors stay as they are.
        force: replace what an export wrote there before.
        progress: called with rows written and to write.

    Raises:
        ExportError: something is there already, the path is in the store, or the rows can't be written so.
    """
    rows = open_variant(variant)
    _refuse_store(path, variant)
    if split is not None:
        rows = rows.split(split)
    n_failed = int((rows.status != OK).sum())
    if kind == "faiss":
        if rows.layout != "pooled":
            raise ExportError(f"{variant} holds tokens; FAISS searches one vector an item. Export a pooling of them.")
        rows = rows.ok()
    with atomic_export(
        path, force=force, ending=".parquet" if kind == "parquet" else None, is_ours=_is_export
    ) as partial:
        if kind != "parquet":
            cells = zip(rows.table.keys, rows.table.splits, strict=True)
            write_keys(partial / TABLE, rows.side, ((key, name, rows.failures.get(key)) for key, name in cells))
        blocks = _blocks(rows, progress)
        if kind == "faiss":
            _write_faiss(partial, rows, blocks, normalize=normalize)
        else:
            _WRITERS[kind](partial, rows, blocks)
    n_bytes = sum(file.stat().st_size for file in ([path] if path.is_file() else path.iterdir()))
    without = f", {n_failed} without a value" if n_failed else ""
    return (
        f"{path}: {len(rows)} rows of {variant}{without}, {readable_bytes(n_bytes)}. Digest of the variant "
        f"{rows.digest[:12]}."
    )


def _refuse_store(path: Path, variant: Path) -> None:
    """Raise ExportError where a path is in the store of a variant, or the variant below it."""
    root = folder = variant.resolve()
    while (folder.parent / "zarr.json").is_file():
        root = folder = folder.parent
    wanted = path.resolve()
    if wanted.is_relative_to(root):
        raise ExportError(f"{path} is in the store ({root}), which holds nothing but its own files. Choose another.")
    if root.is_relative_to(wanted):
        raise ExportError(f"{path} is a folder that the store is in. Choose another.")


@dataclass(frozen=True)
class _Block:
    """Some rows.

    Attributes:
        first: position of the first of them.
        keys: of each.
        ok: (k,) whether a row has a value.
        values: of those that have one: (n_ok, dim), (n_ok, n_tokens, dim), or (n_tokens_total, dim).
        counts: (n_ok,) tokens of each, where they vary.
    """

    first: int
    keys: list[Key]
    ok: BoolArray
    values: Array
    counts: IntArray | None

    def items(self) -> Iterator[tuple[Key, Array]]:
        """Key and value of the rows that have one."""
        keys = [key for key, ok in zip(self.keys, self.ok, strict=True) if ok]
        values = self.values if self.counts is None else np.split(self.values, np.cumsum(self.counts)[:-1])
        return zip(keys, values if keys else (), strict=True)

    def rows(self) -> Array:
        """A row of the array for each, zeros where it has no value; only the tokens there are where they vary."""
        if self.counts is not None or self.ok.all():
            return self.values
        whole = np.zeros((len(self.keys), *self.values.shape[1:]), dtype=self.values.dtype)
        whole[self.ok] = self.values
        return whole


def _blocks(rows: Rows, progress: Progress) -> Iterator[_Block]:
    """All rows in order, some at a time."""
    progress(0, len(rows))
    sizes = np.maximum(rows.token_counts, 1) * rows.dim * rows.dtype.itemsize
    start = 0
    while start < len(rows):
        n_fitting = int(np.searchsorted(np.cumsum(sizes[start : start + BLOCK_ROWS]), BLOCK_BYTES, side="right"))
        stop = min(len(rows), start + max(1, n_fitting))
        ok = rows.status[start:stop] == OK
        counts = None
        if rows.layout == "ragged":
            values, ends = rows.take_ragged(start + np.flatnonzero(ok))
            counts = np.diff(ends)
        else:
            values = np.asarray(rows.take(start + np.flatnonzero(ok)))
        yield _Block(start, list(rows.table.keys[start:stop]), ok, values, counts)
        progress(stop, len(rows))
        start = stop


def _write_items(folder: Path, rows: Rows, blocks: Iterator[_Block]) -> None:
    for block in blocks:
        for key, value in block.items():
            write_npy(folder / file_name_of(key, ".npy"), value.dtype, value.shape, iter([value]))


def _write_array(folder: Path, rows: Rows, blocks: Iterator[_Block]) -> None:
    write_npy(folder / f"{VALUES}.npy", rows.dtype, _shape(rows), (block.rows() for block in blocks))
    if rows.layout == "ragged":
        offsets = _offsets(rows)
        write_npy(folder / f"{OFFSETS}.npy", offsets.dtype, offsets.shape, iter([offsets]))


def _write_faiss(folder: Path, rows: Rows, blocks: Iterator[_Block], *, normalize: bool) -> None:
    values = (block.values.astype(np.float32, copy=False) for block in blocks)
    scaled = (unit_rows(value, np.float64).astype(np.float32) for value in values) if normalize else values
    write_npy(folder / f"{VALUES}.npy", np.dtype(np.float32), (len(rows), rows.dim), iter(scaled))


def _write_tensors(folder: Path, rows: Rows, blocks: Iterator[_Block]) -> None:
    """`values` and, of ragged tokens, `offsets` in values.safetensors, block after block.

    Source of the layout: https://github.com/huggingface/safetensors, "Format".
    """
    n_bytes = prod(_shape(rows)) * rows.dtype.itemsize
    dtype = {"float16": "F16", "float32": "F32"}[str(rows.dtype)]
    header: dict[str, Any] = {VALUES: {"dtype": dtype, "shape": _shape(rows), "data_offsets": [0, n_bytes]}}
    offsets = _offsets(rows).astype("<i8") if rows.layout == "ragged" else None
    if offsets is not None:
        end = n_bytes + offsets.nbytes
        header[OFFSETS] = {"dtype": "I64", "shape": offsets.shape, "data_offsets": [n_bytes, end]}
    about = json.dumps(header).encode()
    about += b" " * (-len(about) % 8)  # so that values are aligned
    with open(folder / f"{VALUES}.safetensors", "xb") as file:
        file.write(struct.pack("<Q", len(about)) + about)
        for block in blocks:
            file.write(np.ascontiguousarray(block.rows()).data)
        if offsets is not None:
            file.write(offsets.data)


def _write_parquet(path: Path, rows: Rows, blocks: Iterator[_Block]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    vector = pa.list_(pa.float16() if rows.dtype == np.float16 else pa.float32(), rows.dim)
    indices = {"caption_index": pa.int32()} if rows.side == "text" else {}
    kind = vector if rows.layout == "pooled" else pa.list_(vector)
    types = {"video_id": pa.string(), **indices, "split": pa.string(), "failure": pa.string(), VALUES: kind}
    schema = pa.schema(list(types.items()), metadata=_MADE_BY)
    with pq.ParquetWriter(path, schema, use_dictionary=["split"]) as writer:
        for block in blocks:
            ids = [key if isinstance(key, str) else key[0] for key in block.keys]
            numbers = [pa.array([key[1] for key in block.keys], pa.int32())] if indices else []
            splits = rows.table.splits[block.first : block.first + len(ids)]
            failures = [rows.failures.get(key) for key in block.keys]
            vectors = pa.FixedSizeListArray.from_arrays(pa.array(block.values.reshape(-1)), rows.dim)
            if rows.layout != "pooled":
                counts = np.full(len(block.values), rows.n_tokens) if block.counts is None else block.counts
                vectors = pa.ListArray.from_arrays(
                    pa.array(np.concatenate([[0], np.cumsum(counts)]), pa.int32()), vectors
                )
            if not block.ok.all():
                places = np.where(block.ok, np.cumsum(block.ok) - 1, 0)
                vectors = vectors.take(pa.array(places, pa.int64(), mask=~block.ok))
            columns = [pa.array(ids), *numbers, pa.array(splits), pa.array(failures, pa.string()), vectors]
            writer.write_batch(pa.record_batch(columns, names=list(types)).cast(schema))


_WRITERS: dict[str, Callable[[Path, Rows, Iterator[_Block]], None]] = {
    "npy": _write_items,
    "array": _write_array,
    "safetensors": _write_tensors,
    "parquet": _write_parquet,
}


def _is_export(path: Path) -> bool:
    """Whether an export wrote this Parquet file: it says so, and has an export's columns and no others."""
    try:
        schema = ArrowFile(path).schema
    except (ForeignFileError, OSError):
        return False
    names = [name for name in schema.names if name != "caption_index"]
    return names == ["video_id", "split", "failure", VALUES] and (schema.metadata or {}).items() >= _MADE_BY.items()


def _shape(rows: Rows) -> tuple[int, ...]:
    if rows.layout == "ragged":
        return rows.n_tokens_total, rows.dim
    return (len(rows), rows.n_tokens, rows.dim) if rows.n_tokens else (len(rows), rows.dim)


def _offsets(rows: Rows) -> IntArray:
    return np.concatenate([[0], np.cumsum(rows.token_counts, dtype=np.int64)])
