"""Read files of tensors: check headers before memory is allocated, map the content, check every key."""

import re
import zipfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from reelstore.encoders.folder import read_index, refusing
from reelstore.errors import IrregularFileError, WeightsError
from reelstore.io import refuse_irregular

_FLOATS = {"F64", "F32", "F16", "BF16", "torch.float64", "torch.float32", "torch.float16", "torch.bfloat16"}
_SHARED = 8
"""How many times over the keys of a file may hold its bytes: tied weights are written once."""


@dataclass(frozen=True)
class StoredTensor:
    """A tensor in a file, known by the file's header.

    Attributes:
        path: the file.
        shape: of the tensor.
        dtype: as the file has it, `F32` or `torch.float32`.
        content: gives the tensor when indexed by `...`.
    """

    path: Path
    shape: tuple[int, ...]
    dtype: str
    content: Any

    @property
    def n_values(self) -> int:
        """How many numbers."""
        return torch.Size(self.shape).numel()

    def read(self) -> Tensor:
        """The tensor."""
        tensor: Tensor = self.content[...]
        return tensor

    def check(self, key: str, shape: Sequence[int]) -> "StoredTensor":
        """Itself, if it holds floats of this shape."""
        check_tensor(self.path, key, self.shape, self.dtype, shape)
        return self


def check_tensor(path: Path, key: str, found: Sequence[int], dtype: str, shape: Sequence[int]) -> None:
    """Raise WeightsError unless a tensor holds floats of this shape; what would broadcast is another shape."""
    if tuple(found) != tuple(shape):
        raise WeightsError(f"{path}: {key} is {tuple(found)}, expected {tuple(shape)}.")
    if dtype not in _FLOATS:
        raise WeightsError(f"{path}: {key} is {dtype}; weights are float64, float32, float16 or bfloat16.")


def read_tensors(paths: Iterable[Path], *, index: Path | None = None) -> dict[str, StoredTensor]:
    """Every tensor of a checkpoint's files, by its key; their content is still on the disk.

    Args:
        paths: the files.
        index: of split weights; it must say what the files say.

    Raises:
        WeightsError: a file isn't one of tensors, two have the same key, or the index names another file for one.
    """
    tensors: dict[str, StoredTensor] = {}
    for path in paths:
        own = _safetensors(path) if path.suffix == ".safetensors" else _pickled(path)
        if twice := sorted(own.keys() & tensors.keys()):
            raise WeightsError(f"{path} and {tensors[twice[0]].path.name} both hold {twice[0]}.")
        tensors |= own
    for key, name in read_index(index).items() if index else ():
        if key not in tensors or tensors[key].path.name != name:
            raise WeightsError(f"{index} says that {name} holds {key}, which it doesn't. Download both again.")
    return tensors


def _safetensors(path: Path) -> dict[str, StoredTensor]:
    from safetensors import safe_open

    _refuse_irregular(path)
    with refusing(f"{path} can't be read as tensors"):
        file: Any = safe_open(path, framework="pt")
        parts = {key: file.get_slice(key) for key in file.keys()}  # noqa: SIM118  # it isn't a dict
        return {key: StoredTensor(path, tuple(part.get_shape()), part.get_dtype(), part) for key, part in parts.items()}


def _pickled(path: Path) -> dict[str, StoredTensor]:
    return {
        key: StoredTensor(path, tuple(tensor.shape), str(tensor.dtype), tensor)
        for key, tensor in read_pth(path).items()
    }


def read_pth(path: Path) -> dict[str, Tensor]:
    """Tensors of a `.pth` file, mapped rather than read; those under `model` where it has such a key.

    Raises:
        WeightsError: the file isn't one of tensors, holds pickled code, or would unfold to more than it has.
    """
    _refuse_irregular(path)
    size = path.stat().st_size
    with refusing(f"{path} can't be read as tensors"):
        # Files of before torch 1.6 aren't archives and can't be mapped.
        is_archive = zipfile.is_zipfile(path)
        sizes = _sizes_of_parts(path, size) if is_archive else Counter()
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=is_archive)
    state = content.get("model", content) if isinstance(content, dict) else content
    if not isinstance(state, dict) or not all(isinstance(key, str) for key in state):
        raise WeightsError(f"{path} holds no state dict: a mapping from names to tensors was expected.")
    for key, tensor in state.items():
        if type(tensor) not in (Tensor, torch.nn.Parameter):
            raise WeightsError(f"{path} holds no state dict: {key} is of type {type(tensor).__name__}, not a tensor.")
        if tensor.layout != torch.strided or tensor.device.type != "cpu" or tensor.is_quantized:
            raise WeightsError(
                f"{path}: {key} is a {tensor.layout} tensor on {tensor.device}; a dense one is expected."
            )
        if tensor.nbytes > tensor.untyped_storage().nbytes():
            raise WeightsError(f"{path}: {key} is {tuple(tensor.shape)}, which is more than the file holds of it.")
    if is_archive and (short := _storages(state) - sizes):
        raise WeightsError(f"{path} is damaged: none of its parts has {max(short)} bytes, which a tensor needs.")
    if sum(tensor.nbytes for tensor in state.values()) > _SHARED * size:
        raise WeightsError(f"{path} has {size} bytes, and its tensors would take more than {_SHARED} times as many.")
    return state


def _sizes_of_parts(path: Path, size: int) -> Counter[int]:
    """How many parts of an archive have each size.

    torch writes them without compression; what is compressed could unfold to anything. Mapped, a part that is too short
    would go on in the next one.
    """
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    packed = next((member for member in members if member.compress_type != zipfile.ZIP_STORED), None)
    if packed is not None:
        raise WeightsError(
            f"{path} can't be read as tensors: {packed.filename!r} in it is compressed, as torch never does."
        )
    if sum(member.file_size for member in members) > size:
        raise WeightsError(f"{path} can't be read as tensors: its parts claim more bytes than its {size}.")
    return Counter(member.file_size for member in members)


def _storages(state: Mapping[str, Tensor]) -> Counter[int]:
    """How many storages of tensors have each size; tied tensors have one."""
    storages = {storage.data_ptr(): storage.nbytes() for storage in map(Tensor.untyped_storage, state.values())}
    return Counter(n_bytes for n_bytes in storages.values() if n_bytes)


def _refuse_irregular(path: Path) -> None:
    try:
        refuse_irregular(path)
    except IrregularFileError as error:
        raise WeightsError(str(error)) from error


def refuse_meaningless(tensors: Iterable[tuple[str, Tensor]], *, source: str) -> None:
    """Raise WeightsError where a tensor holds NaN or infinity, or where no matrix holds two different numbers.

    Args:
        tensors: a network's, by name.
        source: what messages call the checkpoint.
    """
    is_constant, n_matrices = True, 0
    for key, tensor in tensors:
        if not tensor.is_floating_point() or not tensor.numel():
            continue
        low, high = torch.aminmax(tensor.detach())
        if not (torch.isfinite(low) and torch.isfinite(high)):
            raise WeightsError(
                f"{source}: {key} holds NaN or infinity. The file is damaged, or its numbers are beyond {tensor.dtype}."
            )
        if tensor.ndim > 1:
            n_matrices += 1
            is_constant = is_constant and bool(low == high)
    if n_matrices and is_constant:
        raise WeightsError(f"{source}: each matrix holds one number over and over. These are no trained weights.")


def refuse_nonfinite(values: Tensor, *, source: str) -> None:
    """Raise WeightsError where a network gives NaN or infinity for an empty item, before any is embedded."""
    if not torch.isfinite(values).all():
        raise WeightsError(
            f"{source} gives NaN or infinity for an empty item. Compare config.json with the published one."
        )


class WeightsFile:
    """A weights file's tensors by published key, with errors that name the file and the key.

    Args:
        path: the file, for messages.
        tensors: what it holds.
    """

    def __init__(self, path: Path, tensors: Mapping[str, Tensor]) -> None:
        self.path = path
        self._tensors = tensors

    def __getitem__(self, key: str) -> Tensor:
        if key not in self._tensors:
            raise WeightsError(f"{self.path} has no key {key!r}; it holds {len(self._tensors)}, {self._examples()}.")
        return self._tensors[key]

    def of_shape(self, key: str, shape: Sequence[int]) -> Tensor:
        """The tensor of a key, which must have this shape and hold floats."""
        tensor = self[key]
        check_tensor(self.path, key, tensor.shape, str(tensor.dtype), shape)
        return tensor

    def sizes(self, key: str, n_dims: int) -> tuple[int, ...]:
        """The shape of a key's tensor, which must have so many dimensions, none of them empty."""
        shape = tuple(self[key].shape)
        if len(shape) != n_dims or 0 in shape:
            raise WeightsError(f"{self.path}: {key} is {shape}, expected {n_dims} dimensions, none of them empty.")
        return shape

    def under(self, prefix: str) -> set[str]:
        """Keys that begin so."""
        return {key for key in self._tensors if key.startswith(prefix)}

    def count(self, pattern: str) -> int:
        """One more than the largest number that the pattern's group finds; 0 if nothing matches.

        Raises:
            WeightsError: that are more than the file has keys: some between are missing.
        """
        numbers = {found[1] for key in self._tensors if (found := re.match(pattern, key))}
        most = len(self._tensors)
        if beyond := [number for number in numbers if len(number) > 9 or int(number) >= most]:
            raise WeightsError(
                f"{self.path} numbers its keys up to {beyond[0][:20]}, and has {most} of them: some are missing."
            )
        return max(map(int, numbers), default=-1) + 1

    def refuse(self, keys: Iterable[str], *, why: str) -> None:
        """An error if there are any such keys."""
        if unknown := sorted(keys):
            more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
            raise WeightsError(f"{self.path} holds {unknown[0]!r}{more}: {why}.")

    def _examples(self) -> str:
        return ", ".join(sorted(self._tensors)[:3]) or "none at all"
