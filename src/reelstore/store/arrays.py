"""An array of a variant -> its rows: mapped where its files hold them as they are, through zarr-python elsewhere."""

from collections.abc import Container
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from reelstore.store.layout import read_metadata
from reelstore.store.mapped import MappedArray, NotRawError, Pattern

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

    def scan(self) -> "RowArray":
        """The same rows, for reading in order."""
        ...


def open_array(folder: Path, name: str, listed: Container[str]) -> RowArray:
    """An array in a variant's folder.

    Args:
        folder: the variant's.
        name: of the array.
        listed: file keys that must be there; to Zarr a missing file means a block of the fill value.

    Raises:
        StoreError: the array or one of its files is missing, too short, or can't be what was written.
    """
    metadata = read_metadata(folder, name)
    try:
        return MappedArray(folder, name, metadata, listed)
    except NotRawError:
        from reelstore.store.unmapped import ZarrArray  # imports zarr: a third of a second

        return ZarrArray(folder, name, metadata, listed)
