"""An array of a variant -> its rows: mapped where its files hold them as they are, through zarr-python elsewhere."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from reelstore.store.layout import check_metadata, read_metadata
from reelstore.store.mapped import Pattern, open_raw
from reelstore.store.raw import NotRawError

Array = npt.NDArray[Any]


class RowArray(Protocol):
    """Rows of one Zarr array, however they are read; see `MappedArray`."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    zero_row: int

    @property
    def whole(self) -> Array | None:
        """All rows as one read-only array, if that costs no more than reading them."""
        ...

    def take(self, rows: npt.NDArray[np.int64], out: Array, *, scattered: bool = False) -> None:
        """Copy rows into `out`; zeros for `zero_row`. `scattered`: hardly any follows the one before it."""
        ...

    def read(self, start: int, stop: int) -> Array:
        """Rows from `start` to, without, `stop`; maybe read-only."""
        ...

    def advise(self, pattern: Pattern) -> None:
        """How they will be read."""
        ...

    def walk(self, starts: npt.NDArray[np.int64], counts: npt.NDArray[np.int64]) -> Iterator[Array]:
        """Rows of items, item after item, read-only, from their files: of each, where it starts and how many."""
        ...


def open_array(
    folder: Path,
    name: str,
    n_rows: int | None,
    row_shape: tuple[int, ...],
    dtype: str,
    *,
    refuse_changed: Callable[[], None],
) -> RowArray:
    """An array in a variant's folder.

    Args:
        folder: the variant's.
        name: of the array.
        n_rows: of the array, as the manifest says; None where nothing else says it.
        row_shape: as the manifest says.
        dtype: as the manifest says.
        refuse_changed: raises where the variant isn't the one that was opened.

    Raises:
        SchemaError: the array isn't what the manifest says.
        StoreError: the array or one of its files is missing, too short, or can't be what was written.
    """
    metadata = read_metadata(folder, name)
    n_rows = next(iter(metadata["shape"]), 0) if n_rows is None else n_rows
    check_metadata(folder, name, metadata, (n_rows, *row_shape), dtype)
    try:
        return open_raw(folder, name, metadata)
    except NotRawError:
        from reelstore.store.unmapped import ZarrArray  # imports zarr: a third of a second

        return ZarrArray(folder, name, metadata, dtype, refuse_changed)
