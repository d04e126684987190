"""A published file of tensors: read without a second copy, and checked key by key."""

import re
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from pickle import UnpicklingError

import torch
from torch import Tensor

from reelstore.errors import WeightsError


def read_pth(path: Path) -> dict[str, Tensor]:
    """Tensors of a `.pth` file, mapped rather than read; those under `model` where it has such a key.

    Raises:
        WeightsError: the file isn't one of tensors, or holds pickled code.
    """
    try:
        # Files of before torch 1.6 aren't archives and can't be mapped.
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except (UnpicklingError, RuntimeError, EOFError, OSError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise WeightsError(f"{path} can't be read as tensors: {reason}") from error
    state = content.get("model", content) if isinstance(content, dict) else content
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise WeightsError(f"{path} holds no state dict: a mapping from names to tensors was expected.")
    return state


class Checkpoint:
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

    def of_shape(self, key: str, shape: tuple[int, ...]) -> Tensor:
        """The tensor of a key, which must have this shape."""
        tensor = self[key]
        if tensor.shape != shape:
            raise WeightsError(f"{self.path}: {key} is {tuple(tensor.shape)}, expected {tuple(shape)}.")
        return tensor

    def under(self, prefix: str) -> set[str]:
        """Keys that begin so."""
        return {key for key in self._tensors if key.startswith(prefix)}

    def count(self, pattern: str) -> int:
        """One more than the largest number that the pattern's group finds; 0 if nothing matches."""
        numbers = [int(found[1]) for key in self._tensors if (found := re.match(pattern, key))]
        return max(numbers, default=-1) + 1

    def refuse(self, keys: Iterable[str], *, why: str) -> None:
        """An error if there are any such keys."""
        if unknown := sorted(keys):
            more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
            raise WeightsError(f"{self.path} holds {unknown[0]!r}{more}: {why}.")

    def _examples(self) -> str:
        return ", ".join(sorted(self._tensors)[:3]) or "none at all"
