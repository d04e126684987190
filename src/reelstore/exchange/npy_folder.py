"""A folder of .npy files, one an item, as the report's scripts left them -> a source."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

from reelstore.errors import ForeignFileError
from reelstore.exchange.arrange import Naming, arrange
from reelstore.exchange.base import NOTHING, Array, Listing, Progress
from reelstore.exchange.npy import read_header, read_values

ENDING = ".npy"
THREADS = 4
"""They wait for the disk; a network's most of all."""
_TOGETHER = 256
"""Files a thread takes at a time."""


@dataclass(frozen=True)
class NpyFolder:
    """Videos `video7890.npy`, or captions `video7890-1.npy`, `-2`, …, numbered from 1. Other files are left alone.

    Attributes:
        folder: where they lie, side by side.
        naming: side, table and the like.
        progress: called with headers read and to read.
    """

    folder: Path
    naming: Naming
    progress: Progress
    kind = "npy"

    @cached_property
    def listing(self) -> Listing:
        """Every file's key, shape and dtype: only headers are read.

        Raises:
            ForeignFileError: a file isn't a whole .npy of numbers.
        """
        arranged = arrange(self._names(), self.naming, where=str(self.folder))
        paths = [None if name is None else self._path(name) for name in arranged.names]
        here = [path for path in paths if path is not None]
        shapes: list[tuple[int, ...]] = []
        dtypes: list[str] = []
        stamps: list[Any] = []
        done = 0
        self.progress(0, len(here))
        found = chain.from_iterable(_in_threads(_header, here))
        for path, row in zip(paths, arranged.rows, strict=True):
            if path is None:
                shape, dtype, stamp = (), "", row.failure
            else:
                shape, dtype, stamp = next(found)
                done += 1
                if done % _TOGETHER == 0 or done == len(here):
                    self.progress(done, len(here))
            shapes.append(shape)
            dtypes.append(dtype)
            stamps.append(stamp)
        return Listing(
            keys=[row.key for row in arranged.rows],
            splits=[row.split for row in arranged.rows],
            names=[str(path or self.folder) for path in paths],
            shapes=shapes,
            dtypes=dtypes,
            stamps=stamps,
            failures={n: row.failure for n, row in enumerate(arranged.rows) if row.failure is not None},
            notes=arranged.notes,
        )

    def read(self, start: int, stop: int) -> list[Array]:
        """Values of the files from `start` to `stop`."""
        listing = self.listing
        here = [n for n in range(start, stop) if n not in listing.failures]
        items = [(listing.names[n], listing.shapes[n], listing.dtypes[n]) for n in here]
        values = chain.from_iterable(_in_threads(_value, items))
        return [NOTHING if n in listing.failures else next(values) for n in range(start, stop)]

    def _names(self) -> list[str]:
        try:
            with os.scandir(self.folder) as entries:
                names = [
                    entry.name.removesuffix(ENDING)
                    for entry in entries
                    if entry.name.endswith(ENDING) and not entry.name.startswith(".") and not entry.is_dir()
                ]
        except OSError as error:
            raise ForeignFileError(f"{self.folder} can't be read as a folder: {error.strerror}.") from error
        if not names:
            raise ForeignFileError(f"{self.folder} has no .npy files. Folders below it aren't looked into.")
        return names

    def _path(self, name: str) -> Path:
        return self.folder / (name + ENDING)


def _in_threads(work: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[list[Any]]:
    """`work` of all items, in order, a slice a time."""
    slices = [items[start : start + _TOGETHER] for start in range(0, len(items), _TOGETHER)]
    if len(slices) < 2:
        yield [work(item) for item in items]
        return
    with ThreadPoolExecutor(THREADS) as threads:
        try:
            yield from threads.map(lambda some: [work(item) for item in some], slices)
        finally:
            threads.shutdown(cancel_futures=True)


def _header(path: Path) -> tuple[tuple[int, ...], str, tuple[int, ...]]:
    header, state = read_header(path)
    stamp = (state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino)
    return header.shape, header.dtype_name, stamp


def _value(item: tuple[str, tuple[int, ...], str]) -> Array:
    name, shape, dtype = item
    value = read_values(Path(name))
    if value.shape != shape or value.dtype.name != dtype:
        raise ForeignFileError(f"{name} changed while it was imported. Run it again.")
    return value
