"""Whatever holds numbers in memory -> a plain array; what NumPy would read as something else is refused."""

from typing import Any

import numpy as np

from reelstore.arrays import Array
from reelstore.errors import EvaluationError


def as_array(values: Any, name: str) -> Array:
    """A NumPy array of an array, a tensor on any device, a data frame, or nested lists of numbers.

    bfloat16 and the 8-bit floats become float32, which is exact.

    Raises:
        EvaluationError: rows have different lengths, or values are masked.
    """
    refuse_masked(values, name)
    if isinstance(values, list | tuple) and any(hasattr(part, "detach") for part in values):
        values = [as_array(part, name) for part in values]
    try:
        if hasattr(values, "detach"):
            values = values.detach().cpu()
            if str(values.dtype).startswith(("torch.bfloat16", "torch.float8")):
                values = values.float()
        array = np.asarray(values)
    except (ValueError, TypeError, RuntimeError, OverflowError) as error:
        ragged = " (its rows have different lengths)" if "inhomogeneous" in str(error) else ""
        raise EvaluationError(f"{name} can't be read as an array of numbers{ragged}: {error}") from None
    if array.dtype.name.startswith(("bfloat16", "float8")):
        array = array.astype(np.float32)
    return array


def is_sparse_tensor(values: Any) -> bool:
    """Whether it is a tensor of a layout that isn't dense."""
    return hasattr(values, "detach") and str(values.layout) != "torch.strided"


def refuse_masked(values: Any, name: str) -> None:
    """Raise EvaluationError where an array, or a list of arrays, has masked values: NumPy would read those beneath."""
    parts = values if isinstance(values, list | tuple) else [values]
    for number, part in enumerate(parts):
        if np.ma.is_masked(part):
            where = f"{name}[{number}]" if parts is values else name
            n = int(np.ma.getmaskarray(part).sum())
            raise EvaluationError(
                f"{where} has {n} masked values, and what they stand for isn't known. Leave these rows out, or say "
                "what they are with .filled(value)."
            )
