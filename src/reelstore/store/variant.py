"""One variant in its folder: its manifest and arrays, all of one version, each read on first use."""

import errno
import math
import mmap
import os
from collections.abc import Callable, Iterator
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from reelstore.arrays import Array, IntArray
from reelstore.errors import DamagedFileError, IrregularFileError, SchemaError, StoreError, StoreNotFoundError
from reelstore.io import read_bytes
from reelstore.store.arrays import Pattern, RowArray, check_metadata, read_metadata
from reelstore.store.chunks import ArrayLayout, key_runs
from reelstore.store.format import FAILED, MANIFEST, OK, STATUS_NAMES, VariantSpec, layouts_of, parse_manifest
from reelstore.store.key_index import KeyIndex
from reelstore.store.keys import Key, Keys
from reelstore.store.mmap import NotRawError, open_raw
from reelstore.store.split_names import SplitNames
from reelstore.store.table import RowTable


def open_array(
    folder: Path,
    name: str,
    n_rows: int,
    row_shape: tuple[int, ...],
    dtype: str,
    *,
    refuse_changed: Callable[[], None],
) -> RowArray:
    """An array in a variant's folder.

    Args:
        folder: the variant's.
        name: of the array.
        n_rows: of the array, as the manifest says.
        row_shape: as the manifest says.
        dtype: as the manifest says.
        refuse_changed: raises where the variant isn't the one that was opened.

    Raises:
        SchemaError: the array isn't what the manifest says.
        StoreError: the array or one of its files is missing, too short, or can't be what was written.
    """
    metadata = read_metadata(folder, name)
    check_metadata(folder, name, metadata, (n_rows, *row_shape), dtype)
    try:
        return open_raw(folder, name, metadata)
    except NotRawError:
        from reelstore.store.zarr_array import ZarrArray  # imports zarr: a third of a second

        return ZarrArray(folder, name, metadata, dtype, refuse_changed)


_NO_FILE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO)


class Variant:
    """One variant's arrays and metadata, each read on first use."""

    in_memory = False

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._manifest = self._read_manifest()
        self.attributes = parse_manifest(self._manifest, folder / MANIFEST)
        self.advice: Pattern | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        # A mapping can't be pickled: the other process opens the variant again, if it is still the same.
        return _open_again, (self.folder.absolute(), self.attributes["digest"], self.advice)

    @cached_property
    def spec(self) -> VariantSpec:
        """What the variant holds and what determined it."""
        return VariantSpec.of(self.attributes)

    @cached_property
    def layouts(self) -> dict[str, ArrayLayout]:
        """How its arrays lie in files, by name."""
        return layouts_of(self.attributes)

    def read(self, name: str, n_rows: int) -> Array:
        """An array of the table, of this length, copied."""
        layout = self.layouts[name]
        array = self._open(name, n_rows, layout.row_shape, layout.dtype)
        try:
            return np.array(array.read(0, array.shape[0]))
        except MemoryError:
            raise StoreError(
                f"{self.folder}/{name}: {array.shape} {array.dtype} is more than memory has room for."
            ) from None

    def _whole(self, name: str, n_rows: int, dtype: np.dtype[Any]) -> Array:
        """An array of the table: mapped where that can be, else read."""
        array = self._open(name, n_rows, (), dtype.name)
        if array.whole is not None:
            return array.whole
        return self.read(name, n_rows)

    @cached_property
    def values(self) -> RowArray:
        n_rows = self.n_rows if self.spec.n_tokens is not None else int(self.offsets[-1])
        values = self._open("values", n_rows, self.spec.row_shape, self.spec.dtype)
        values.advise(self.advice or _advice(values))
        return values

    def walk(self, starts: IntArray, counts: IntArray) -> Iterator[Array]:
        """Values of items, item after item: of each, the first row of `values` and how many there are."""
        self._refuse_changed()
        return self.values.walk(starts, counts)

    @cached_property
    def n_rows(self) -> int:
        return int(self.attributes["n_rows"])

    @cached_property
    def status(self) -> Array:
        status = self.read("status", self.n_rows)
        if status.max(initial=0) not in STATUS_NAMES:
            raise self._contradicts("status", f"has the number {status.max()}, which no status has")
        return status

    @cached_property
    def all_ok(self) -> bool:
        return bool((self.status == OK).all())

    @cached_property
    def splits(self) -> Array:
        """(n,) uint8: position of each row's split among the attribute's names."""
        splits, n_names = self.read("split", self.n_rows), len(self.attributes["splits"])
        if len(splits) and splits.max() >= n_names:
            raise self._contradicts("split", f"has the number {splits.max()}, there are {n_names} names of splits")
        return splits

    @cached_property
    def offsets(self) -> IntArray:
        offsets = self._ends("offsets")
        expected = self.attributes["n_value_rows"]
        if offsets[-1] != expected:
            raise self._contradicts("offsets", f"ends at {offsets[-1]}, values has {expected} rows")
        return offsets

    @cached_property
    def keys(self) -> Keys:
        """Of all rows; they are decoded, and looked at, when they are read."""
        ends = self._whole("video_id_offsets", self.n_rows + 1, np.dtype(np.int64))
        n_bytes = self.attributes.get("n_id_bytes", ends[-1])
        if ends[0] != 0 or ends[-1] < 0:
            raise self._contradicts("video_id_offsets", "doesn't ascend from 0")
        if ends[-1] != n_bytes:
            raise self._contradicts("video_id_offsets", f"ends at {ends[-1]}, the ids have {n_bytes} bytes")
        data = self._whole("video_id", int(ends[-1]), np.dtype(np.uint8))
        is_text = self.attributes["side"] == "text"
        indices = self._whole("caption_index", self.n_rows, np.dtype(np.int32)) if is_text else None
        return Keys(data, ends, indices, index=self._key_index(), where=self.folder)

    def _key_index(self) -> KeyIndex | None:
        """The stored one; None where there is none (schema 2)."""
        if "key_index" not in self.layouts:
            return None
        stored = self._whole("key_index", self.n_rows, np.dtype(np.uint64))
        starts = np.cumsum([0, *key_runs(self.layouts["key_index"])]).tolist()
        return KeyIndex([stored[start:stop] for start, stop in pairwise(starts)], starts[:-1])

    @cached_property
    def table(self) -> RowTable:
        splits = SplitNames(self.attributes["splits"], self.splits)
        return RowTable(self.keys, splits, self.read("fingerprint", self.n_rows), checked=True)

    @cached_property
    def failures(self) -> dict[Key, str]:
        failures: dict[Key, str] = {
            key if isinstance(key, str) else (key[0], key[1]): reason for key, reason in self.attributes["failures"]
        }
        for key, row in zip(failures, self.keys.find(failures).tolist(), strict=True):
            if row < 0 or self.status[row] != FAILED:
                what = "isn't a row" if row < 0 else "didn't fail"
                raise self._contradicts(MANIFEST, f"has the reason why {key!r} failed, which {what}")
        return failures

    def _ends(self, name: str) -> IntArray:
        """(n + 1,): where each row's part of another array ends; the first is 0."""
        ends: IntArray = self.read(name, self.n_rows + 1)
        if ends[0] != 0 or (ends[1:] < ends[:-1]).any():  # a difference could be beyond int64
            raise self._contradicts(name, "doesn't ascend from 0")
        return ends

    def _contradicts(self, name: str, what: str) -> SchemaError:
        return SchemaError(f"{self.folder}/{name} {what}. Fetch it again with dvc checkout.")

    def _open(self, name: str, n_rows: int, row_shape: tuple[int, ...], dtype: str) -> RowArray:
        return self._unchanged(
            lambda: open_array(self.folder, name, n_rows, row_shape, dtype, refuse_changed=self._refuse_changed)
        )

    def _read_manifest(self) -> bytes:
        content = self._manifest_now()
        if content is None:
            raise StoreNotFoundError(
                f"No variant at {self.folder}: it has no {MANIFEST}. Write or import it; in a project: dvc repro, or "
                "dvc pull."
            )
        return content

    def _manifest_now(self) -> bytes | None:
        """What the manifest's file holds, within the memory that takes; None where there is no file."""
        try:
            return read_bytes(self.folder / MANIFEST)
        except DamagedFileError as error:
            raise SchemaError(f"{error} Fetch it again with dvc checkout.") from None
        except OSError as error:
            if isinstance(error, IrregularFileError) or error.errno in _NO_FILE:
                return None
            raise

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
        manifest = self._manifest_now()
        if manifest == self._manifest:
            return
        # Metadata consolidated by a Zarr client is another file of the same version.
        if manifest is None or parse_manifest(manifest, self.folder / MANIFEST) != self.attributes:
            raise StoreError(f"{self.folder} was rewritten since it was opened. Open it again.")
        self._manifest = manifest


def _open_again(folder: Path, digest: str, advice: Pattern | None) -> Variant:
    variant = Variant(folder)
    if variant.attributes["digest"] != digest:
        raise StoreError(f"{folder} was rewritten since these rows were pickled. Open it again.")
    variant.advice = advice
    return variant


def _advice(values: RowArray) -> Pattern:
    """For values larger than memory, read-ahead would evict useful pages; for smaller ones it fills the cache."""
    memory = os.sysconf("SC_PHYS_PAGES") * mmap.PAGESIZE
    return "random" if math.prod(values.shape) * values.dtype.itemsize > memory else "normal"
