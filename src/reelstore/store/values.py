"""What an encoder gives -> what a variant stores: checked, in its dtype, or refused with the row's name."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from reelstore.errors import StoreError, ValueRangeError
from reelstore.store.schema import VariantSpec
from reelstore.store.table import Key

FLOAT16_INFINITY = 0x7C00  # bits of an infinity; a NaN has more


def as_stored(
    spec: VariantSpec,
    values: npt.NDArray[np.floating[Any]],
    counts: npt.NDArray[np.int64] | None,
    keys: Sequence[Key],
    folder: Path,
) -> npt.NDArray[np.floating[Any]]:
    """Values of some rows in the variant's dtype, or an error: arguments and errors are those of `append`."""
    ragged = counts is not None
    shape = (int(counts.sum()), spec.dim) if counts is not None else (len(keys), *spec.row_shape)
    if values.shape != shape or ragged != (spec.layout == "ragged"):
        wanted = ("n_tokens", spec.dim) if spec.layout == "ragged" else spec.row_shape
        found = values.shape if ragged or len(keys) != len(values) else values.shape[1:]
        raise StoreError(f"{folder}: row {keys[0]!r} has shape {found}; this variant's rows are {wanted}.")
    if not np.issubdtype(values.dtype, np.floating):
        raise StoreError(f"{folder}: row {keys[0]!r} has dtype {values.dtype}; embeddings are floating point.")
    limit = float(np.finfo(spec.dtype).max)
    if not fits(values, limit):
        _refuse_values(spec, values, counts, keys, folder, limit)
    return values.astype(spec.dtype, copy=False)


def fits(values: npt.NDArray[np.floating[Any]], limit: float) -> bool:
    """Whether all values are finite and within the limit."""
    if not values.size:
        return True
    if values.dtype == np.float16:  # by its bits: arithmetic on float16 is slow
        return bool((values.view(np.uint16) & 0x7FFF).max() < FLOAT16_INFINITY)
    return bool(values.max() <= limit and values.min() >= -limit)  # a NaN makes both false


def _refuse_values(
    spec: VariantSpec,
    values: npt.NDArray[np.floating[Any]],
    counts: npt.NDArray[np.int64] | None,
    keys: Sequence[Key],
    folder: Path,
    limit: float,
) -> None:
    with np.errstate(invalid="ignore"):
        bad = ~(np.abs(values.reshape(len(values), -1).astype(np.float64)) <= limit)
    first = int(np.flatnonzero(bad.any(axis=1))[0])
    key = keys[first if counts is None else int(np.searchsorted(np.cumsum(counts), first, side="right"))]
    worst = float(values.reshape(len(values), -1)[first][bad[first]][0])
    if not np.isfinite(worst):
        raise ValueRangeError(f"{folder}: row {key!r} holds NaN or infinity.")
    raise ValueRangeError(
        f"{folder}: row {key!r} holds {worst:g}, beyond {spec.dtype}'s {limit:g}. "
        "Set embed.dtype: float32 in params.yaml."
    )
