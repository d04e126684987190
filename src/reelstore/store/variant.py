"""One variant in its folder: its metadata and arrays, all of one version, each read on first use."""

import mmap
import os
from collections.abc import Callable
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from reelstore.errors import SchemaError, StoreError, StoreNotFoundError
from reelstore.store.arrays import RowArray, open_array
from reelstore.store.files import content_of
from reelstore.store.manifest import MANIFEST, parse_manifest
from reelstore.store.mapped import MappedArray, Pattern
from reelstore.store.schema import OK
from reelstore.store.table import Key, RowTable

Array = npt.NDArray[Any]
Indices = npt.NDArray[np.int64]


class Variant:
    """One variant's arrays and metadata, each read on first use."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._manifest = self._read_manifest()
        self.attributes = parse_manifest(self._manifest, folder / MANIFEST)
        self.advice: Pattern | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        # A mapping can't travel to another process: the variant is opened anew there, if it is still the same.
        return _open_again, (self.folder.absolute(), self.attributes["digest"], self.advice)

    def array(self, name: str) -> RowArray:
        return self._unchanged(lambda: open_array(self.folder, name, self.attributes["digests"]))

    def read(self, name: str) -> Array:
        """A small array, copied."""
        array = self.array(name)
        return np.array(array.read(0, array.shape[0]))

    @cached_property
    def values(self) -> RowArray:
        values = self.array("values")
        dim, n_tokens = self.attributes["dim"], self.attributes["n_tokens"]
        n_rows = self.n_rows if n_tokens is not None else int(self.offsets[-1])
        expected = (n_rows, n_tokens, dim) if n_tokens else (n_rows, dim)
        if values.shape != expected or values.dtype != np.dtype(self.attributes["dtype"]):
            raise SchemaError(
                f"{self.folder}/values holds {values.shape} {values.dtype} where the variant's {MANIFEST} says "
                f"{expected} {self.attributes['dtype']}. Fetch it again with dvc checkout."
            )
        if isinstance(values, MappedArray):
            values.advise(self.advice or _advice(values))
        return values

    def scan(self) -> RowArray:
        """Values for reading in order."""
        return self._unchanged(self.values.scan)

    @cached_property
    def n_rows(self) -> int:
        return int(self.attributes["n_rows"]) if "n_rows" in self.attributes else len(self.read("status"))

    @cached_property
    def status(self) -> Array:
        return self._column("status", self.n_rows)

    @cached_property
    def all_ok(self) -> bool:
        return bool((self.status == OK).all())

    @cached_property
    def splits(self) -> Array:
        """(n,) uint8: position of each row's split among the attribute's names."""
        return self._column("split", self.n_rows)

    @cached_property
    def offsets(self) -> Indices:
        offsets: Indices = self._column("offsets", self.n_rows + 1).astype(np.int64, copy=False)
        if offsets[0] != 0 or (np.diff(offsets) < 0).any():
            raise SchemaError(f"{self.folder}/offsets doesn't ascend from 0. Fetch it again with dvc checkout.")
        return offsets

    @cached_property
    def table(self) -> RowTable:
        data, ends = self.read("video_id").tobytes(), self._column("video_id_offsets", self.n_rows + 1)
        video_ids = [data[start:stop].decode() for start, stop in pairwise(ends.tolist())]
        keys: list[Key] = list(video_ids)
        if self.attributes["side"] == "text":
            keys = list(zip(video_ids, self._column("caption_index", self.n_rows).tolist(), strict=True))
        names = self.attributes["splits"]
        return RowTable(keys, [names[n] for n in self.splits.tolist()], self._column("fingerprint", self.n_rows))

    @cached_property
    def failures(self) -> dict[Key, str]:
        return {
            key if isinstance(key, str) else (key[0], key[1]): reason for key, reason in self.attributes["failures"]
        }

    def _column(self, name: str, length: int) -> Array:
        column = self.read(name)
        if len(column) != length:
            raise SchemaError(
                f"{self.folder}/{name} has {len(column)} rows, the variant {length}. Fetch it again with dvc checkout."
            )
        return column

    def _read_manifest(self) -> bytes:
        content = content_of(self.folder / MANIFEST)
        if content is None:
            raise StoreNotFoundError(
                f"No variant at {self.folder}: it has no {MANIFEST}. Make it with dvc repro, or fetch it with dvc pull."
            )
        return content

    def _unchanged(self, opened: Callable[[], RowArray]) -> RowArray:
        """What `opened` gives, of the version whose manifest was read.

        A writer takes the manifest away before it renames a file: one that is still the same says that no file was
        another version's.
        """
        try:
            array = opened()
        except StoreError:
            self._refuse_changed()
            raise
        self._refuse_changed()
        return array

    def _refuse_changed(self) -> None:
        if content_of(self.folder / MANIFEST) != self._manifest:
            raise StoreError(f"{self.folder} was written anew since it was opened. Open it again.")


def _open_again(folder: Path, digest: str, advice: Pattern | None) -> Variant:
    variant = Variant(folder)
    if variant.attributes["digest"] != digest:
        raise StoreError(f"{folder} was written anew since these rows were pickled. Open it again.")
    variant.advice = advice
    return variant


def _advice(values: MappedArray) -> Pattern:
    """Beyond memory, random reads would throw out with every read-ahead what will be wanted; below, it warms up."""
    memory = os.sysconf("SC_PHYS_PAGES") * mmap.PAGESIZE
    return "random" if int(np.prod(values.shape)) * values.dtype.itemsize > memory else "normal"
