"""What a saved aligner's tensors must be, checked before anything is computed with them."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeVar

import numpy as np

from reelstore.arrays import Array
from reelstore.errors import AlignerError, MissingTensorError

T = TypeVar("T")
MAX_WIDTH = 2**20
"""Of an embedding, a layer or a joint space: beyond it a batch doesn't fit into memory."""

Shape = Sequence[int | str]
"""Widths; a name is a width that is the same in every shape with that name."""


def check_tensors(tensors: Mapping[str, Array], shapes: Mapping[str, Shape]) -> dict[str, int]:
    """The widths behind the names in `shapes`, if the tensors are float32, finite and of these shapes.

    Tensors of other shapes may broadcast: what they give would be numbers without a meaning.

    Raises:
        AlignerError: one is missing, is too many, or isn't what is expected.

    Example:
        >>> check_tensors({"weight": np.ones((3, 2), np.float32)}, {"weight": (3, "joint")})
        {'joint': 2}
    """
    for name in shapes:
        if name not in tensors:
            raise MissingTensorError(f"{name} is missing")
    for name in tensors:
        if name not in shapes:
            raise AlignerError(f"{name} is none of theirs")
    widths: dict[str, int] = {}
    for name, shape in shapes.items():
        tensor = tensors[name]
        if len(tensor.shape) == len(shape):
            for one, width in zip(shape, tensor.shape, strict=True):
                if isinstance(one, str) and 0 < width <= MAX_WIDTH:
                    widths.setdefault(one, width)
        expected = tuple(widths.get(one, one) if isinstance(one, str) else one for one in shape)
        if tensor.dtype != np.float32 or tensor.shape != expected:
            wanted = ", ".join(map(str, expected))
            raise AlignerError(f"{name} is {tensor.shape} {tensor.dtype}; ({wanted}) float32 is expected")
        if not np.isfinite(tensor).all():
            raise AlignerError(f"{name} holds NaN or infinity")
    return widths


@contextmanager
def named(prefix: str) -> Iterator[None]:
    """Errors inside begin with a tensor's name; give it the prefix that it has in the file."""
    try:
        yield
    except AlignerError as error:
        raise type(error)(f"{prefix}{error}") from error


def whole(tensor: Array, name: str, *, at_most: int = MAX_WIDTH) -> int:
    """The only number of a tensor, from 1.

    Raises:
        AlignerError: it isn't whole, or out of range.
    """
    value = float(tensor.reshape(-1)[0])
    if not value.is_integer() or not 1 <= value <= at_most:
        raise AlignerError(f"{name} is {value:g}; a whole number from 1 to {at_most} is expected")
    return int(value)


def above_zero(tensor: Array, name: str) -> None:
    """Refuse numbers that are divided by, or rates.

    Raises:
        AlignerError: one isn't above 0.
    """
    if not (tensor > 0).all():
        raise AlignerError(f"{name} holds {float(tensor.min()):g}; numbers above 0 are expected")


def under(tensors: Mapping[str, T], prefix: str) -> dict[str, T]:
    """Those whose names begin so, without it."""
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
