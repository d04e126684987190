"""A safetensors file -> a source: a tensor an item, or one matrix and a table of keys; and the latter written."""

import json
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from reelstore.errors import ForeignFileError
from reelstore.exchange.arrange import Naming, arrange
from reelstore.exchange.base import EXACT, NOTHING, Array, Listing, Source
from reelstore.exchange.rows_file import RowsOfFile
from reelstore.io import refuse_irregular

VALUES, OFFSETS = "values", "offsets"
"""Tensors that an export has; offsets where tokens are ragged."""
_DTYPES = {"F16": "float16", "F32": "float32", "F64": "float64", "BF16": "bfloat16"}
_NAMES = {"float16": "F16", "float32": "F32", "int64": "I64"}


@dataclass(frozen=True)
class TensorPerItem:
    """Tensors `video7890`, or captions `video7890-1` or `video7890/1`.

    Attributes:
        path: of the file.
        naming: side, table and the like.
    """

    path: Path
    naming: Naming
    kind = "safetensors"

    @cached_property
    def listing(self) -> Listing:
        """Every tensor's key, shape and dtype."""
        file = _opened(self.path)
        arranged = arrange(file.keys(), self.naming, where=str(self.path))
        slices = [None if name is None else file.get_slice(name) for name in arranged.names]
        stamp = _stamp(self.path)
        return Listing(
            keys=[row.key for row in arranged.rows],
            splits=[row.split for row in arranged.rows],
            names=[f"{name} of {self.path}" for name in arranged.names],
            shapes=[() if one is None else tuple(one.get_shape()) for one in slices],
            dtypes=["" if one is None else _dtype(one) for one in slices],
            stamps=[(*stamp, name) for name in arranged.names],
            failures={n: row.failure for n, row in enumerate(arranged.rows) if row.failure is not None},
            notes=arranged.notes,
        )

    def read(self, start: int, stop: int) -> list[Array]:
        """Values of the tensors from `start` to `stop`."""
        listing = self.listing
        files = {dtype: _opened(self.path, dtype) for dtype in {*listing.dtypes[start:stop]} - {""}}
        return [
            NOTHING if n in listing.failures else _as_array(files[listing.dtypes[n]].get_tensor(listing.stamps[n][-1]))
            for n in range(start, stop)
        ]


def tensors_file(path: Path, naming: Naming, *, tensor: str | None = None) -> Source:
    """A source of a safetensors file.

    `values` alone, as an export has it, or with a table of keys `tensor` or the only one, is a matrix whose row i is
    the table's row i; with a tensor `offsets` beside `values`, item i is `values[offsets[i]:offsets[i + 1]]`.
    Otherwise a tensor is an item.

    Raises:
        ForeignFileError: it isn't safetensors, or has no such tensor.
    """
    file = _opened(path)
    names = list(file.keys())
    if tensor is not None and tensor not in names:
        raise ForeignFileError(f"{path} has no tensor {tensor!r}. It has: {', '.join(sorted(names)[:10])}.")
    if tensor is None and VALUES in names and {*names} <= {VALUES, OFFSETS}:
        tensor = VALUES
    elif tensor is None and naming.keys is not None and len(names) == 1:
        tensor = names[0]
    if tensor is None:
        return TensorPerItem(path, naming)
    if naming.keys is None:
        raise ForeignFileError(f"{path}: the rows of {tensor!r} need a table of keys. Give it with --keys.")
    dtype = _dtype(file.get_slice(tensor))
    rows = naming.keys.rows(naming.side)
    offsets = None
    if tensor == VALUES and OFFSETS in names:
        ends = file.get_slice(OFFSETS)
        if len(ends.get_shape()) != 1 or str(ends.get_dtype()) not in ("I64", "I32", "U64", "U32"):
            raise ForeignFileError(
                f"{path}: {OFFSETS} must hold whole numbers (n + 1,), not {ends.get_dtype()} {ends.get_shape()}."
            )
        offsets = file.get_tensor(OFFSETS).tolist()
    values = _Sliced(_opened(path, dtype).get_slice(tensor))
    if not values.shape:
        raise ForeignFileError(f"{path}: {tensor!r} is one number, not a matrix.")
    places = naming.keys.video_rows(values.shape[0]) if naming.side == "video" and offsets is None else None
    return RowsOfFile("safetensors", path, values, dtype, rows, places, offsets)


def write_tensors(
    path: Path, dtype: np.dtype, shape: tuple[int, ...], blocks: Iterator[Array], offsets: Array | None
) -> None:
    """Write `values`, block after block, and `offsets` if there are some.

    Source of the layout: https://github.com/huggingface/safetensors, "Format".
    """
    n_bytes = prod(shape) * dtype.itemsize
    header: dict[str, Any] = {VALUES: {"dtype": _NAMES[dtype.name], "shape": shape, "data_offsets": [0, n_bytes]}}
    if offsets is not None:
        end = n_bytes + offsets.nbytes
        header[OFFSETS] = {"dtype": "I64", "shape": offsets.shape, "data_offsets": [n_bytes, end]}
    about = json.dumps(header).encode()
    about += b" " * (-len(about) % 8)  # so that values are aligned
    with open(path, "xb") as file:
        file.write(struct.pack("<Q", len(about)) + about)
        for block in blocks:
            file.write(np.ascontiguousarray(block).data)
        if offsets is not None:
            file.write(offsets.astype("<i8").tobytes())


class _Sliced:
    """A tensor's slice with the shape that an array has."""

    def __init__(self, part: Any) -> None:
        self._part = part
        self._dtype = np.dtype(EXACT.get(_dtype(part), "float64"))
        self.shape = tuple(part.get_shape())

    def __getitem__(self, index: Any) -> Array:
        if isinstance(index, int):
            row: Array = _as_array(self._part[index : index + 1])[0]
            return row
        if index.start == index.stop:  # which a slice of safetensors doesn't take everywhere
            return np.empty((0, *self.shape[1:]), self._dtype)
        return _as_array(self._part[index])


def _opened(path: Path, dtype: str = "float32") -> Any:
    from safetensors import SafetensorError, safe_open

    refuse_irregular(path)
    try:
        return safe_open(path, framework="pt" if dtype == "bfloat16" else "np")
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise ForeignFileError(f"{path} can't be read as safetensors: {error}") from error


def _dtype(part: Any) -> str:
    name = str(part.get_dtype())
    return _DTYPES.get(name, name.lower())


def _as_array(value: Any) -> Array:
    array: Array = value if isinstance(value, np.ndarray) else value.float().numpy()  # bfloat16, by torch
    return array


def _stamp(path: Path) -> tuple[int, ...]:
    state = os.stat(path)
    return state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino
