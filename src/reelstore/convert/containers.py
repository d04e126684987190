"""Files of arrays under names: .npz, safetensors, and what torch has loaded."""

import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from reelstore.arrays import Array
from reelstore.convert.items import EXACT
from reelstore.convert.npy import ENDING, checked_header, values_in
from reelstore.errors import ForeignFileError, ReelstoreError
from reelstore.io import open_regular, refuse_irregular

About = tuple[tuple[int, ...], str]
"""Shape and dtype."""
_PACKED_BY_NUMPY = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_DTYPES = {"F16": "float16", "F32": "float32", "F64": "float64", "BF16": "bfloat16"}


class Container(Protocol):
    """Arrays under names."""

    @property
    def path(self) -> Path:
        """The file or folder."""
        ...

    @property
    def kind(self) -> str:
        """`npy`, `hdf5` and the like."""
        ...

    def names(self) -> Sequence[str]:
        """Of all arrays; there is one at least."""
        ...

    def label(self, name: str) -> str:
        """What messages call an array."""
        ...

    def about(self, names: Sequence[str]) -> Iterable[About]:
        """Shape and dtype of some arrays, in order.

        Raises:
            ForeignFileError: one can't be read, or isn't of numbers.
        """
        ...

    def read(self, names: Sequence[str]) -> Iterator[Array]:
        """Values of some arrays, in order, bfloat16 as float32."""
        ...

    def rows(self, name: str) -> Any:
        """One array to be cut by a row or a slice of rows, with its `shape`."""
        ...


@dataclass(frozen=True)
class NpzFile:
    """Arrays that `numpy.savez` or `savez_compressed` wrote. A container."""

    path: Path
    kind = "npz"

    def names(self) -> list[str]:
        """Of all arrays.

        Raises:
            ForeignFileError: it isn't an .npz file, is damaged, or holds something else.
        """
        return list(self._members)

    def label(self, name: str) -> str:
        """The array's name and the file's."""
        return f"{name} of {self.path}"

    def about(self, names: Sequence[str]) -> Iterator[About]:
        """Shape and dtype of some arrays: only headers are read."""
        with self._opened() as archive:
            for name in names:
                with archive.open(self._members[name]) as file:
                    header = checked_header(self.label(name), file, self._members[name].file_size)
                yield header.about

    def read(self, names: Sequence[str]) -> Iterator[Array]:
        """Values of some arrays."""
        with self._opened() as archive:
            for name in names:
                with archive.open(self._members[name]) as file:
                    yield values_in(self.label(name), file, self._members[name].file_size)

    def rows(self, name: str) -> Array:
        """One array, whole: what is compressed can't be cut."""
        return next(self.read([name]))

    @cached_property
    def _members(self) -> dict[str, zipfile.ZipInfo]:
        with self._opened() as archive:
            members = archive.infolist()
        found: dict[str, zipfile.ZipInfo] = {}
        for member in members:
            name = member.filename.removesuffix(ENDING)
            if name == member.filename or name in found or member.compress_type not in _PACKED_BY_NUMPY:
                raise ForeignFileError(f"{self.path} isn't as numpy.savez writes it: {member.filename!r} in it.")
            found[name] = member
        if not found:
            raise ForeignFileError(f"{self.path} holds no arrays.")
        return found

    @contextmanager
    def _opened(self) -> Iterator[zipfile.ZipFile]:
        try:
            with open_regular(self.path) as file, zipfile.ZipFile(file) as archive:
                yield archive
        except (ReelstoreError, FileNotFoundError):
            raise
        except Exception as error:  # what zipfile raises on damaged files is of many kinds
            said = (str(error).splitlines() or [type(error).__name__])[0][:200]
            raise ForeignFileError(f"{self.path} can't be read as npz: {said}.") from error


@dataclass(frozen=True)
class TensorsFile:
    """Tensors of a safetensors file. A container."""

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
        """Shape and dtype of some tensors."""
        return [(tuple(one.get_shape()), _dtype(one)) for one in map(self._file.get_slice, names)]

    def read(self, names: Sequence[str]) -> Iterator[Array]:
        """Values of some tensors."""
        by_torch = None  # NumPy has no bfloat16
        for name in names:
            file = self._file
            if _dtype(file.get_slice(name)) == "bfloat16":
                file = by_torch = by_torch or _opened(self.path, "bfloat16")
            yield _as_array(file.get_tensor(name))

    def rows(self, name: str) -> "_TensorRows":
        """One tensor, to be cut by rows."""
        return _TensorRows(_opened(self.path, _dtype(self._file.get_slice(name))).get_slice(name))

    @cached_property
    def _file(self) -> Any:
        return _opened(self.path)


class _TensorRows:
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


@dataclass(frozen=True)
class TensorDict:
    """Tensors that torch has loaded from a file. A container.

    Attributes:
        path: of the file.
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
        """Shape and dtype of some tensors."""
        tensors = [self.tensors[name] for name in names]
        return [(tuple(one.shape), str(one.dtype).removeprefix("torch.")) for one in tensors]

    def read(self, names: Sequence[str]) -> Iterator[Array]:
        """Values of some tensors."""
        return map(self.rows, names)

    def rows(self, name: str) -> Array:
        """One tensor's values."""
        tensor = self.tensors[name].detach()
        values: Array = (tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor).numpy()
        return values
