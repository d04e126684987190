"""Tensors of a safetensors file, or that torch has loaded, as a container of arrays; and a safetensors file written."""

import json
import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from reelstore.arrays import Array
from reelstore.convert.base import EXACT, stamp_of
from reelstore.convert.named import OFFSETS, VALUES, About
from reelstore.errors import ForeignFileError
from reelstore.io import refuse_irregular

_DTYPES = {"F16": "float16", "F32": "float32", "F64": "float64", "BF16": "bfloat16"}
_NAMES = {"float16": "F16", "float32": "F32", "int64": "I64"}


@dataclass(frozen=True)
class TensorsFile:
    """Tensors of a safetensors file. A container.

    Attributes:
        path: of the file.
    """

    path: Path
    kind = "safetensors"

    def names(self) -> list[str]:
        """Of all tensors.

        Raises:
            ForeignFileError: it isn't safetensors, or holds none.
        """
        names = list(self._file.keys())
        if not names:
            raise ForeignFileError(f"{self.path} holds no tensors.")
        return names

    def label(self, name: str) -> str:
        """The tensor's name and the file's."""
        return f"{name} of {self.path}"

    def about(self, names: Sequence[str]) -> list[About]:
        """Of some tensors."""
        stamp = stamp_of(os.stat(self.path))
        slices = map(self._file.get_slice, names)
        return [About(tuple(one.get_shape()), _dtype(one), stamp) for one in slices]

    def read(self, names: Sequence[str], about: Sequence[About]) -> Iterator[Array]:
        """Values of some tensors."""
        files = {dtype: _opened(self.path, dtype) for dtype in {one.dtype for one in about}}
        for name, one in zip(names, about, strict=True):
            yield _as_array(files[one.dtype].get_tensor(name))

    def rows(self, name: str) -> "_Sliced":
        """One tensor, to be cut by rows."""
        return _Sliced(_opened(self.path, _dtype(self._file.get_slice(name))).get_slice(name))

    @cached_property
    def _file(self) -> Any:
        return _opened(self.path)


@dataclass(frozen=True)
class TensorDict:
    """Tensors that torch has loaded. A container.

    Attributes:
        path: of the file that they come from.
        tensors: name -> a torch tensor.
    """

    path: Path
    tensors: Mapping[str, Any]
    kind = "torch"

    def names(self) -> list[str]:
        """Of all tensors.

        Raises:
            ForeignFileError: there is none.
        """
        if not self.tensors:
            raise ForeignFileError(f"{self.path} holds no tensors.")
        return list(self.tensors)

    def label(self, name: str) -> str:
        """The tensor's name and the file's."""
        return f"{name} of {self.path}"

    def about(self, names: Sequence[str]) -> list[About]:
        """Of some tensors."""
        stamp = stamp_of(os.stat(self.path))
        tensors = [self.tensors[name] for name in names]
        return [About(tuple(one.shape), str(one.dtype).removeprefix("torch."), stamp) for one in tensors]

    def read(self, names: Sequence[str], about: Sequence[About]) -> Iterator[Array]:
        """Values of some tensors."""
        return map(self.rows, names)

    def rows(self, name: str) -> Array:
        """One tensor's values."""
        tensor = self.tensors[name].detach()
        values: Array = (tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor).numpy()
        return values


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
