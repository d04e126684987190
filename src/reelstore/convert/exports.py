"""Rows of a variant -> files for others, bit for bit: npy, one array, Parquet, safetensors, FAISS."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from reelstore.arrays import Array, IntArray, unit_rows
from reelstore.convert import Held, Key
from reelstore.convert.atomic_output import appearing
from reelstore.convert.keys import TABLE, write_keys
from reelstore.convert.names import file_name_of
from reelstore.convert.npy import write_rows, write_value
from reelstore.convert.parquet import is_export, write_parquet
from reelstore.convert.tensors import write_tensors
from reelstore.errors import ExportError
from reelstore.io import Progress, readable_bytes
from reelstore.store.format import OK
from reelstore.store.open import open_variant
from reelstore.store.read import Rows

Format = Literal["npy", "array", "parquet", "safetensors", "faiss"]
BLOCK_BYTES = 16 * 2**20
"""What is held in memory at a time."""
BLOCK_ROWS = 4096
"""At most, of small rows."""


@dataclass(frozen=True)
class ExportReport:
    """What was written where."""

    path: Path
    variant: Path
    digest: str
    n_rows: int
    n_without_value: int
    n_bytes: int

    def summary(self) -> str:
        """A line for people."""
        without = f", {self.n_without_value} without a value" if self.n_without_value else ""
        return (
            f"{self.path}: {self.n_rows} rows of {self.variant}{without}, {readable_bytes(self.n_bytes)}. "
            f"Digest of the variant {self.digest[:12]}."
        )


def run_export(
    kind: Format,
    variant: Path,
    path: Path,
    *,
    split: str | None = None,
    normalize: bool = False,
    force: bool = False,
    progress: Progress,
) -> ExportReport:
    """Write a variant's rows, or one split's. The path appears when all of it is written.

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
    refuse_store(path, variant)
    if split is not None:
        rows = rows.split(split)
    n_without = int((rows.status != OK).sum())
    if kind == "faiss":
        if rows.layout != "pooled":
            raise ExportError(f"{variant} holds tokens; FAISS searches one vector an item. Export a pooling of them.")
        rows = rows.ok()
    ending = ".parquet" if kind == "parquet" else None
    with appearing(path, force=force, ending=ending, is_ours=is_export) as partial:
        blocks = _blocks(rows, progress)
        if kind == "parquet":
            held = Held(rows.layout, rows.dim, rows.n_tokens, str(rows.dtype))
            write_parquet(partial, held, rows.side, (block.as_columns() for block in blocks))
        else:
            table = rows.table
            reasons = rows.failures
            write_keys(
                partial / TABLE,
                rows.side,
                ((key, split, reasons.get(key)) for key, split in zip(table.keys, table.splits, strict=True)),
            )
            _WRITERS[kind](partial, rows, blocks, normalize)
    n_bytes = sum(file.stat().st_size for file in ([path] if path.is_file() else path.iterdir()))
    return ExportReport(path, variant, rows.digest, len(rows), n_without, n_bytes)


def refuse_store(path: Path, variant: Path) -> None:
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
        keys, splits: k each.
        reasons: k; None where a row has a value.
        values: of those that have one: (n_ok, dim), (n_ok, n_tokens, dim), or (n_tokens_total, dim).
        counts: (n_ok,) tokens of each, where they aren't pooled.
    """

    keys: list[Key]
    splits: list[str]
    reasons: list[str | None]
    values: Array
    counts: IntArray | None

    @property
    def ragged(self) -> bool:
        """Whether values are tokens of varying number."""
        return self.counts is not None and self.values.ndim == 2

    @property
    def items(self) -> Iterator[tuple[Key, Array]]:
        """Key and value of the rows that have one."""
        keys = [key for key, reason in zip(self.keys, self.reasons, strict=True) if reason is None]
        if self.counts is not None and self.ragged and keys:
            return zip(keys, np.split(self.values, np.cumsum(self.counts)[:-1]), strict=True)
        return zip(keys, self.values, strict=True)

    @property
    def rows(self) -> Array:
        """A row of the array for each, zeros where it has no value; as they are where tokens are ragged."""
        if self.ragged or len(self.values) == len(self.keys):
            return self.values
        whole = np.zeros((len(self.keys), *self.values.shape[1:]), dtype=self.values.dtype)
        whole[[reason is None for reason in self.reasons]] = self.values
        return whole

    def as_columns(self) -> tuple[list[Key], list[str], list[str | None], Array, IntArray | None]:
        """What `write_parquet` takes."""
        return self.keys, self.splits, self.reasons, self.values.reshape(-1, self.values.shape[-1]), self.counts


def _blocks(rows: Rows, progress: Progress) -> Iterator[_Block]:
    """All rows in order, some at a time."""
    progress(0, len(rows))
    table, status = rows.table, rows.status
    reasons = rows.failures
    item_bytes = rows.dim * rows.dtype.itemsize
    sizes = np.maximum(rows.token_counts, 1) * item_bytes
    start = 0
    while start < len(rows):
        n_fitting = int(np.searchsorted(np.cumsum(sizes[start : start + BLOCK_ROWS]), BLOCK_BYTES, side="right"))
        stop = min(len(rows), start + max(1, n_fitting))
        here = np.arange(start, stop)
        ok = here[status[here] == OK]
        counts = None
        if rows.layout == "ragged":
            values, ends = rows.take_ragged(ok)
            counts = np.diff(ends)
        else:
            values = np.asarray(rows.take(ok))
            counts = None if rows.layout == "pooled" else np.full(len(ok), rows.n_tokens, dtype=np.int64)
        keys = list(table.keys[start:stop])
        yield _Block(keys, list(table.splits[start:stop]), [reasons.get(key) for key in keys], values, counts)
        progress(stop, len(rows))
        start = stop


def _write_npy(folder: Path, rows: Rows, blocks: Iterator[_Block], normalize: bool) -> None:
    for block in blocks:
        for key, value in block.items:
            write_value(folder / file_name_of(key, ".npy"), value)


def _write_array(folder: Path, rows: Rows, blocks: Iterator[_Block], normalize: bool) -> None:
    write_rows(folder / "values.npy", rows.dtype, _shape(rows), (block.rows for block in blocks))
    if rows.layout == "ragged":
        write_value(folder / "offsets.npy", _offsets(rows))


def _write_tensors(folder: Path, rows: Rows, blocks: Iterator[_Block], normalize: bool) -> None:
    offsets = _offsets(rows) if rows.layout == "ragged" else None
    write_tensors(folder / "values.safetensors", rows.dtype, _shape(rows), (block.rows for block in blocks), offsets)


def _write_faiss(folder: Path, rows: Rows, blocks: Iterator[_Block], normalize: bool) -> None:
    values = (block.values.astype(np.float32, copy=False) for block in blocks)
    scaled = (unit_rows(value, np.float64).astype(np.float32) for value in values) if normalize else values
    write_rows(folder / "values.npy", np.dtype(np.float32), (len(rows), rows.dim), iter(scaled))


_WRITERS: dict[str, Callable[[Path, Rows, Iterator[_Block], bool], None]] = {
    "npy": _write_npy,
    "array": _write_array,
    "safetensors": _write_tensors,
    "faiss": _write_faiss,
}


def _shape(rows: Rows) -> tuple[int, ...]:
    if rows.layout == "ragged":
        return rows.n_tokens_total, rows.dim
    return (len(rows), rows.n_tokens, rows.dim) if rows.n_tokens else (len(rows), rows.dim)


def _offsets(rows: Rows) -> IntArray:
    return np.concatenate([[0], np.cumsum(rows.token_counts, dtype=np.int64)])
