"""An HDF5 file with a dataset an item -> a source."""

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from reelstore.errors import ForeignFileError, MissingExtraError
from reelstore.exchange.arrange import Naming, arrange
from reelstore.exchange.base import NOTHING, Array, Listing


@dataclass(frozen=True)
class Hdf5File:
    """Datasets `video7890`, or captions `video7890-1` or `video7890/1`, in the file's root or in groups.

    Attributes:
        path: of the file.
        naming: side, table and the like.
    """

    path: Path
    naming: Naming
    kind = "hdf5"

    @cached_property
    def listing(self) -> Listing:
        """Every dataset's key, shape and dtype; links are not followed.

        Raises:
            ForeignFileError: the file isn't HDF5, or a dataset's values lie in another file.
        """
        names: list[str] = []
        self._file.visititems(lambda name, node: names.append(name) if hasattr(node, "dtype") else None)
        if not names:
            raise ForeignFileError(f"{self.path} holds no datasets.")
        arranged = arrange(names, self.naming, where=str(self.path))
        nodes = [None if name is None else self._file[name] for name in arranged.names]
        for name, node in zip(arranged.names, nodes, strict=True):
            if node is not None and (node.is_virtual or node.external):
                raise ForeignFileError(f"{self.path}: the values of {name!r} lie in another file; it isn't read.")
        state = os.stat(self.path)
        stamp = (state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino)
        return Listing(
            keys=[row.key for row in arranged.rows],
            splits=[row.split for row in arranged.rows],
            names=[f"{name} of {self.path}" for name in arranged.names],
            shapes=[() if node is None else tuple(node.shape or ()) for node in nodes],
            dtypes=["" if node is None else node.dtype.newbyteorder("=").name for node in nodes],
            stamps=[(*stamp, name) for name in arranged.names],
            failures={n: row.failure for n, row in enumerate(arranged.rows) if row.failure is not None},
            notes=arranged.notes,
        )

    def read(self, start: int, stop: int) -> list[Array]:
        """Values of the datasets from `start` to `stop`."""
        listing = self.listing
        values = []
        for number in range(start, stop):
            if number in listing.failures:
                values.append(NOTHING)
                continue
            try:
                values.append(np.asarray(self._file[listing.stamps[number][-1]][()]))
            except OSError as error:
                raise ForeignFileError(f"{listing.names[number]} can't be read: {error}") from error
        return values

    @cached_property
    def _file(self) -> Any:
        try:
            import h5py
        except ImportError:
            raise MissingExtraError("Reading HDF5 needs h5py. Run: pip install 'reelstore[hdf5]'.") from None
        try:
            return h5py.File(self.path, "r")
        except OSError as error:
            raise ForeignFileError(f"{self.path} can't be read as HDF5: {error}") from error
