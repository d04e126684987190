"""A folder of .npy files, one an item, as a container of arrays under their names."""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from reelstore.arrays import Array
from reelstore.convert.base import Listing, stamp_of
from reelstore.convert.named import About
from reelstore.convert.npy import NpyRows, read_header, read_values
from reelstore.errors import ForeignFileError
from reelstore.io import Progress, no_progress

ENDING = ".npy"
THREADS = 4
"""They wait for the disk; a network's most of all."""
_TOGETHER = 256
"""Files a thread takes at a time."""


@dataclass(frozen=True)
class NpyFolder:
    """Files `<name>.npy`, side by side; others are left alone. A container.

    Attributes:
        path: of the folder.
        progress: called with headers read and to read.
    """

    path: Path
    progress: Progress = no_progress
    kind = "npy"

    def names(self) -> list[str]:
        """Of all files, without the ending."""
        if self.path.exists() and not self.path.is_dir():
            raise ForeignFileError(f"{self.path} isn't a folder. One .npy file is imported by: reelstore import array.")
        try:
            with os.scandir(self.path) as entries:
                names = [
                    entry.name.removesuffix(ENDING)
                    for entry in entries
                    if entry.name.endswith(ENDING) and not entry.name.startswith(".") and not entry.is_dir()
                ]
        except OSError as error:
            raise ForeignFileError(f"{self.path} can't be read as a folder: {error.strerror}.") from error
        if not names:
            raise ForeignFileError(f"{self.path} has no .npy files. Folders below it aren't looked into.")
        return names

    def label(self, name: str) -> str:
        """The file's path."""
        return str(self.path / (name + ENDING))

    def about(self, names: Sequence[str]) -> Iterator[About]:
        """Of some files: only headers are read."""
        self.progress(0, len(names))
        done = 0
        for done, one in enumerate(chain.from_iterable(_in_threads(_header, [*map(self.label, names)])), start=1):
            if done % _TOGETHER == 0 or done == len(names):
                self.progress(done, len(names))
            yield one

    def read(self, names: Sequence[str], about: Sequence[About]) -> Iterator[Array]:
        """Values of some files."""
        items = [(self.label(name), one.shape, one.dtype) for name, one in zip(names, about, strict=True)]
        return chain.from_iterable(_in_threads(_value, items))

    def rows(self, name: str) -> NpyRows:
        """One file, to be cut by rows."""
        return NpyRows(Path(self.label(name)))


def refuse_parts(folder: Path, listing: Listing) -> None:
    """See that the files aren't parts of one matrix, as clip-retrieval writes them: `img_emb/img_emb_0.npy`.

    Raises:
        ForeignFileError: they seem to be.
    """
    part = re.compile(rf"{re.escape(folder.absolute().name)}_[0-9]+")
    names = [Path(name).stem for name in listing.names]
    if listing.named and all(map(part.fullmatch, names)) and all(len(shape) == 2 for shape in listing.shapes):
        raise ForeignFileError(
            f"{folder} holds {names[0]}.npy and the like: are these parts of one matrix, whose rows are items? Then: "
            f"reelstore import array {folder} TARGET --keys METADATA. If each file is one item, say --layout ragged."
        )


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


def _header(name: str) -> About:
    header, state = read_header(Path(name))
    return About(header.shape, header.dtype_name, stamp_of(state))


def _value(item: tuple[str, tuple[int, ...], str]) -> Array:
    name, shape, dtype = item
    value = read_values(Path(name))
    if value.shape != shape or value.dtype.name != dtype:
        raise ForeignFileError(f"{name} changed while it was imported. Run it again.")
    return value
