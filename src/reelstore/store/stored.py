"""The variant that a folder holds, file by file; a file counts only if it has the digest that the manifest lists."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from stat import S_ISREG
from typing import Any

import google_crc32c
import numpy as np

from reelstore.arrays import Array, BoolArray, UInt32Array
from reelstore.errors import ReelstoreError, StoreError
from reelstore.io import is_folder, open_regular, read_json
from reelstore.store.chunks import ArrayLayout, file_parts
from reelstore.store.files import digest_of, everything_in, read_manifest
from reelstore.store.format import FAILED, MANIFEST, OK, VariantSpec, as_json_bytes, layouts_of
from reelstore.store.keys import Key
from reelstore.store.table import RowTable

HASHING_THREADS = 2


class StoredVariant:
    """The variant published in a folder.

    Attributes:
        folder: the variant's folder.
        attributes: its manifest.
        faults: file key -> what is wrong with it; such a file's rows don't count.
    """

    def __init__(self, folder: Path, attributes: Mapping[str, Any], faults: Mapping[str, str]) -> None:
        self.folder = folder
        self.attributes = attributes
        self.faults = faults
        self._recognised = False

    @property
    def verified(self) -> dict[str, str]:
        """File key -> sha256 (hex) of the files that are what they should be."""
        digests: Mapping[str, str] = self.attributes["digests"]
        return {key: digest for key, digest in digests.items() if key not in self.faults}

    @cached_property
    def spec(self) -> VariantSpec:
        """What the variant holds and what determined it."""
        return VariantSpec.of(self.attributes)

    @cached_property
    def n_rows(self) -> int:
        """Rows of the variant, bad ones among them."""
        return int(self.attributes["n_rows"])

    @cached_property
    def fingerprints(self) -> Array:
        """(n, 16) uint8; zeros where their file is bad."""
        return self.read("fingerprint", 0, self.n_rows)

    @cached_property
    def status(self) -> Array:
        """(n,) uint8; 0 where its file is bad."""
        return self.read("status", 0, self.n_rows)

    @cached_property
    def offsets(self) -> Array:
        """(n + 1,) int64 of a ragged variant; zeros where their file is bad."""
        return self.read("offsets", 0, self.n_rows + 1)

    @cached_property
    def failures(self) -> dict[Key, str]:
        """Key -> reason."""
        return {
            key if isinstance(key, str) else (key[0], key[1]): reason for key, reason in self.attributes["failures"]
        }

    @cached_property
    def reason_of(self) -> dict[int, str]:
        """Row -> reason, of the failed rows: reasons are stored in the order of the rows."""
        return dict(zip(np.flatnonzero(self.status == FAILED).tolist(), self.failures.values(), strict=False))

    @cached_property
    def usable(self) -> BoolArray:
        """(n,): rows that have a value or a reason, all of it in undamaged files."""
        good = np.ones(self.n_rows, dtype=np.bool_)
        if not self._recognised:
            good &= ~(self._bad("fingerprint", self.n_rows) | self._bad("status", self.n_rows))
        good &= (self.status == OK) | (self.status == FAILED)
        if int((self.status == FAILED).sum()) != len(self.failures):
            good &= self.status != FAILED  # the reasons can't be assigned to rows
        if self.spec.layout != "ragged":
            return good & ~self._bad("values", self.n_rows)
        bad_offsets = self._bad("offsets", self.n_rows + 1)
        good &= ~(bad_offsets[:-1] | bad_offsets[1:])
        n_tokens = int(self.attributes["n_value_rows"])
        starts, stops = self.offsets[:-1], self.offsets[1:]
        good &= (self.offsets[0] == 0) & (starts >= 0) & (starts <= stops) & (stops <= n_tokens)
        bad_tokens = np.concatenate([[0], np.cumsum(self._bad("values", n_tokens))])
        starts, stops = np.where(good, starts, 0), np.where(good, stops, 0)
        whole: BoolArray = bad_tokens[stops] == bad_tokens[starts]
        return good & whole

    def recognise(self, table: RowTable) -> None:
        """See whether the rows' fingerprints and statuses must be those of `table`, even if their files are bad.

        Their digests tell: then a flipped byte among them costs no row.
        """
        if not any(key.startswith(("fingerprint/", "status/")) for key in self.faults) or len(table) != self.n_rows:
            return
        failed = table.keys.find(self.failures)
        status = np.full(len(table), OK, dtype=np.uint8)
        status[failed[failed >= 0]] = FAILED
        digests = self.attributes["digests"]
        for name, rows in (("fingerprint", table.fingerprints), ("status", status)):
            layout = self.layouts[name]
            if any(digests[key] != digest for key, digest in _digests(layout, rows).items()):
                return
        self.fingerprints, self.status = table.fingerprints, status
        self._recognised = True

    def read(self, name: str, start: int, stop: int) -> Array:
        """Rows of an array, copied from its files; zeros where they are bad."""
        layout = self.layouts[name]
        rows = np.zeros((stop - start, *layout.row_shape), dtype=layout.dtype)
        for number in range(start // layout.file_rows, -(-stop // layout.file_rows)):
            key = layout.file_key(number)
            if key in self.faults and _size_of(self.folder / key) != layout.file_bytes(number):
                continue
            first = number * layout.file_rows
            here = slice(max(start, first), min(stop, first + layout.file_rows))
            offset = (here.start - first) * rows[:1].nbytes
            found = rows[here.start - start : here.stop - start]
            _read_into(self.folder / key, offset, found)
            if key in self.faults:
                found[self.bad_rows(key)[here.start - first : here.stop - first]] = 0
        return rows

    @cached_property
    def layouts(self) -> dict[str, ArrayLayout]:
        """How its arrays lie in files, by name."""
        return layouts_of(self.attributes)

    @cached_property
    def checks(self) -> Mapping[str, UInt32Array]:
        """Name -> (n_blocks,) crc32c of each block of an array; nothing where they aren't kept or are bad."""
        layout = self.layouts.get("checksum")
        if layout is None or any(key.startswith("checksum/c/") for key in self.faults):
            return {}
        found = self.read("checksum", 0, layout.n_rows or 0)
        blocks = {name: one.n_blocks for name, one in self.layouts.items() if name != "checksum"}
        ends = np.cumsum([0, *blocks.values()]).tolist()
        return {name: found[start:stop] for name, (start, stop) in zip(blocks, pairwise(ends), strict=True)}

    def bad_rows(self, key: str) -> BoolArray:
        """(k,) of the rows in an array's file: whether they aren't what was written, by the checksums of its blocks."""
        name, _, rest = key.partition("/c/")
        layout, number = self.layouts[name], int(rest.partition("/")[0])
        assert layout.n_rows is not None, f"{name} has a length"
        first = number * layout.file_rows
        count = min(layout.file_rows, layout.n_rows - first)
        bad = np.ones(count, dtype=np.bool_)
        if name not in self.checks or _size_of(self.folder / key) != layout.file_bytes(number):
            return bad
        assert layout.inner_rows is not None, "what has checksums has blocks"
        with open_regular(self.folder / key) as file:
            for start in range(0, count, layout.inner_rows):
                block = file.read(layout.inner_rows * layout.row_bytes)
                good = google_crc32c.value(block) == self.checks[name][(first + start) // layout.inner_rows]
                bad[start : start + layout.inner_rows] = not good
        return bad

    def _bad(self, name: str, n_rows: int) -> BoolArray:
        layout = self.layouts[name]
        bad = np.zeros(n_rows, dtype=np.bool_)
        for number in range(-(-n_rows // layout.file_rows)):
            key = layout.file_key(number)
            if key in self.faults:
                bad[number * layout.file_rows : (number + 1) * layout.file_rows] = self.bad_rows(key)
        return bad


def open_published(folder: Path, *, verify: bool = True) -> StoredVariant | None:
    """What is published in this folder; None where there is nothing.

    Args:
        folder: a variant's.
        verify: as of `check_files`.

    Raises:
        SchemaError: the manifest is damaged, of a newer schema, or not a variant's.
    """
    attributes = read_manifest(folder)
    if attributes is None:
        return None
    return StoredVariant(folder, attributes, check_files(folder, attributes, verify=verify))


def check_files(folder: Path, attributes: Mapping[str, Any], *, verify: bool = True) -> dict[str, str]:
    """File key -> what is wrong with it, for the files that aren't what their digest or the format says.

    Args:
        folder: the variant's.
        attributes: its manifest.
        verify: read every file; otherwise only look at sizes, and read the arrays' zarr.json.
    """
    digests: Mapping[str, str] = attributes["digests"]
    expected = _expected_bytes(attributes)

    def fault(key: str) -> str | None:
        size = _size_of(folder / key)
        if size is None:
            return "is missing"
        if size != expected.get(key, size):
            return f"has {size} bytes, not {expected[key]}"
        if not verify and not key.endswith(f"/{MANIFEST}"):  # an array's is small
            return None
        found = digest_of(folder / key)
        if found is None:
            return "is missing"
        return None if found == digests[key] else f"holds other bytes (sha256 {found[:12]}, not {digests[key][:12]})"

    with ThreadPoolExecutor(HASHING_THREADS) as threads:
        faults = dict(zip(digests, threads.map(fault, digests), strict=True))
    return {key: what for key, what in faults.items() if what is not None} | _misfits(folder, attributes, faults)


def _read_into(path: Path, offset: int, rows: Array) -> None:
    """Copy bytes of a file: one that is cut short meanwhile is an error here; a mapped one would end the process."""
    with open_regular(path) as file:
        file.seek(offset)
        if file.readinto(rows.view(np.uint8).reshape(-1).data) != rows.nbytes:
            raise StoreError(f"{path} became shorter while it was read. Fetch it again with dvc checkout.")


def _size_of(path: Path) -> int | None:
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_size if S_ISREG(state.st_mode) else None


def _expected_bytes(attributes: Mapping[str, Any]) -> dict[str, int]:
    """File key -> its length by the format."""
    found = layouts_of(attributes)
    return {
        key: found[name].file_bytes(int(rest.partition("/")[0]))
        for key in attributes["digests"]
        for name, _, rest in [key.partition("/c/")]
        if rest
    }


def _misfits(folder: Path, attributes: Mapping[str, Any], faults: Mapping[str, str | None]) -> dict[str, str]:
    """What is wrong with the zarr.json of arrays that are what their digests say: these may be another array's."""
    misfits = {}
    digests: Mapping[str, str] = attributes["digests"]
    for name, layout in layouts_of(attributes).items():
        key, length = f"{name}/{MANIFEST}", layout.n_rows
        if faults.get(key) is not None:
            continue
        if length is None:
            n_files = sum(one.startswith(f"{name}/c/") for one in digests)
            length = _length_of(folder / key, at_least=(n_files - 1) * layout.file_rows + 1 if n_files else 0)
        if digests[key] != sha256(as_json_bytes(layout.metadata(length))).hexdigest():
            misfits[key] = f"isn't the metadata of {name} in this variant: {length} rows, {layout.dtype}"
    return misfits


def _length_of(path: Path, *, at_least: int) -> int:
    """Rows of an array by its own metadata, if they are as many as its files hold; else the least that they do."""
    try:
        metadata = read_json(path)
        length = metadata["shape"][0]
    except (ReelstoreError, OSError, KeyError, TypeError, IndexError):
        return at_least
    return length if type(length) is int and length >= at_least else at_least


def _digests(layout: ArrayLayout, rows: Array) -> dict[str, str]:
    """File key -> sha256 (hex) of an array's files, were these its rows."""
    digests = {}
    for number, start in enumerate(range(0, len(rows), layout.file_rows)):
        content = b"".join(file_parts(layout, rows[start : start + layout.file_rows]))
        digests[layout.file_key(number)] = sha256(content).hexdigest()
    return digests


def unrecognised_files(folder: Path, digests: Mapping[str, str]) -> list[str]:
    """What is in a variant's folder and not part of it: files, half-written ones, links to folders, empty folders."""
    ours = {MANIFEST, *digests}
    found = []
    for path in everything_in(folder):
        key = path.relative_to(folder).as_posix()
        if (key in ours or not any(path.iterdir())) if is_folder(path) else key not in ours:
            found.append(key)
    return sorted(found)
