"""Shared by both sides of Video-LLaMA: checks of options, number formats, padded lengths, and items as records."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from reelstore.arrays import Array, Float32Array
from reelstore.errors import ParamsError

if TYPE_CHECKING:
    from torch import Tensor

VERSION = 1
PAD_TO = 16
"""Sequences are padded to the next multiple, by their own length alone, so that their neighbours change nothing."""


def padded(length: int) -> int:
    """A sequence's length in its batch, by its own length alone."""
    return -(-length // PAD_TO) * PAD_TO


def record(**fields: Array) -> Array:
    """Arrays of several kinds as one, so that an item stays one array."""
    one = np.zeros((), dtype=[(name, values.dtype, values.shape) for name, values in fields.items()])
    for name, values in fields.items():
        one[name] = values
    return one


def arrays(values: "Tensor") -> Float32Array:
    """NumPy has no bfloat16."""
    return values.float().cpu().numpy()


def dtypes(key: str, dtype: str, device: str) -> tuple[str, str]:
    """Of the ViT and of the LLaMA."""
    if dtype == "auto":
        return ("float32", "float32") if device.partition(":")[0] == "cpu" else ("float16", "bfloat16")
    if dtype not in ("float32", "float16", "bfloat16"):
        raise ParamsError(f"encoders.{key}: dtype is {dtype!r}; it must be auto, float32, float16 or bfloat16.")
    return dtype, dtype


def check_list(key: str, option: str, values: object) -> None:
    """Refuse what isn't a list."""
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise ParamsError(f"encoders.{key}: {option} is {values!r}; a list is expected.")


def check_names(key: str, option: str, values: Sequence[str], known: Sequence[str]) -> None:
    """Refuse names that aren't known, none at all, and one twice."""
    check_list(key, option, values)
    for value in values:
        if value not in known:
            raise ParamsError(f"encoders.{key}: {option} has {value!r}. Known: {', '.join(known)}.")
    if not values or len(set(values)) < len(values):
        raise ParamsError(f"encoders.{key}: {option} is {list(values)}; each at most once, and at least one.")


def checked_prompt(key: str, prompt: str, slot: str, named: Mapping[str, str] | None = None) -> str:
    """The prompt of a name, or the prompt itself if it has its slot once."""
    named = named or {}
    if isinstance(prompt, str) and prompt in named:
        return named[prompt]
    if not isinstance(prompt, str) or prompt.count(slot) != 1:
        names = f", or one of {', '.join(named)}," if named else ""
        raise ParamsError(f"encoders.{key}: prompt is {prompt!r}; a text with {slot} in it, once{names} is expected.")
    return prompt
