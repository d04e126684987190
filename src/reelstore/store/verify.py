"""Check a variant against its manifest: every file, every row."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from reelstore.errors import StoreError
from reelstore.io import PARTIAL
from reelstore.records import SIDES
from reelstore.store.chunks import block_checksums
from reelstore.store.commit import interrupted
from reelstore.store.files import read_manifest
from reelstore.store.format import (
    ATTRIBUTE,
    FAILED,
    MANIFEST,
    OK,
    VariantSpec,
)
from reelstore.store.groups import group_fault, groups_above, outdated_consolidated
from reelstore.store.keys import Keys
from reelstore.store.open import open_variant
from reelstore.store.stored import StoredVariant, check_files, unrecognised_files

BETWEEN = {MANIFEST, ".gitignore"}
"""Files that may be beside a store's folders."""
CHECKED_ROWS = 2**20
BLOCK_BYTES = 16 * 2**20
"""Rows of an array, and bytes of them, that are checked at once, or a block of it."""
_LEFTOVER = "is left over from an interrupted write"


@dataclass(frozen=True)
class Finding:
    """A fault: a file or folder, and what is wrong with it."""

    path: Path
    what: str

    def __str__(self) -> str:
        return f"{self.path}: {self.what}"


def check_variant(folder: Path, *, quick: bool) -> Iterator[Finding]:
    """All faults of one variant.

    Args:
        folder: the variant's.
        quick: check names, sizes and the tables only; otherwise read every file.
    """
    if interrupted(folder):
        yield Finding(folder, "an update was interrupted; reelstore repair finishes it")
    try:
        attributes = read_manifest(folder)
    except StoreError as error:
        path = folder / MANIFEST
        yield Finding(path, str(error).removeprefix(f"{path} ").removeprefix(f"{path}: ").removeprefix(f"{folder}: "))
        return
    if attributes is None:
        yield Finding(folder / MANIFEST, "is missing")
        return
    yield from _check_names(folder, attributes)
    digests = attributes["digests"]
    published = StoredVariant(folder, attributes, check_files(folder, attributes, verify=not quick))
    for key, what in published.faults.items():
        link = " (a link: the copy in DVC's cache is the same)" if _is_link(folder / key) else ""
        yield Finding(folder / key, what + _rows_in(published, key) + link)
    for key in unrecognised_files(folder, digests):
        yield Finding(folder / key, _LEFTOVER if key.endswith(PARTIAL) else "isn't a file of this variant")
    if not published.faults:
        yield from _check_rows(folder, published, quick=quick)


def check_groups(folder: Path) -> Iterator[Finding]:
    """The groups above a variant: dataset, side, encoder; and what plain Zarr clients read of them."""
    if not has_groups(folder):
        return
    for group in groups_above(folder):
        if (fault := group_fault(group)) is not None:
            yield Finding(group / MANIFEST, fault)
    try:
        attributes = read_manifest(folder)
    except StoreError:
        return
    for group in outdated_consolidated(folder, {ATTRIBUTE: attributes}):
        name = folder.absolute().relative_to(group.absolute()).as_posix()
        yield Finding(
            group / MANIFEST,
            f"its consolidated metadata is outdated for {name}, and plain Zarr clients read by it; "
            "reelstore repair removes it",
        )


def has_groups(folder: Path) -> bool:
    """Whether a variant is below a side, so that the groups above it are a store's."""
    return folder.absolute().parts[-3:][0] in SIDES


def check_between(path: Path, variants: Collection[Path]) -> Iterator[Finding]:
    """What is at or below a path besides variants and the groups above them; files of DVC and git are allowed."""
    if path in variants:
        return
    for entry in sorted(path.iterdir()):
        if entry.is_dir() and any(entry == variant or entry in variant.parents for variant in variants):
            yield from check_between(entry, variants)
        elif not (entry.name in BETWEEN or entry.suffix == ".dvc") or entry.is_dir():
            what = _LEFTOVER if entry.name.endswith(PARTIAL) else "isn't part of a store"
            yield Finding(entry, what + (": there is no variant in it" if entry.is_dir() else ""))


def _check_names(folder: Path, attributes: object) -> Iterator[Finding]:
    assert isinstance(attributes, dict), "a manifest's attributes are a mapping"
    spec = VariantSpec.of(attributes)
    name = f"{spec.side}/{spec.encoder}/{spec.variant}"
    if tuple(folder.absolute().parts[-3:]) != (spec.side, spec.encoder, spec.variant):
        yield Finding(folder, f"holds {name}: it was moved here from elsewhere")


def _check_rows(folder: Path, published: StoredVariant, *, quick: bool) -> Iterator[Finding]:
    """Files that fit their digests can still contradict each other, after a fault in the writer."""
    n_rows, spec = published.n_rows, published.spec
    try:
        rows = open_variant(folder)
        keys = rows.ids
        keys.check()
        rows.dtype, rows.failures, rows.splits, rows.table  # noqa: B018
    except StoreError as error:
        yield Finding(folder, f"can't be read: {error}")
        return
    if len(keys) != n_rows:
        yield Finding(folder, f"has {len(keys)} keys for {n_rows} rows")
    status = published.status
    if not np.isin(status, (OK, FAILED)).all():
        yield Finding(folder / "status", f"row {int(np.flatnonzero(~np.isin(status, (OK, FAILED)))[0])} has no status")
    failed = keys.at(np.flatnonzero(status == FAILED))
    if failed != list(published.failures):
        yield Finding(folder, f"{len(failed)} rows failed, {len(published.failures)} reasons are stored")
    ends = [("video_id_offsets", published.read("video_id_offsets", 0, n_rows + 1))]
    if spec.layout == "ragged":
        ends.append(("offsets", published.offsets))
        if int(published.offsets[-1]) != published.attributes["n_value_rows"]:
            yield Finding(folder / "offsets", "don't end where the values do")
    for name, offsets in ends:
        if offsets[0] != 0 or (np.diff(offsets) < 0).any():
            yield Finding(folder / name, "aren't ascending from 0")
    if not quick:
        yield from _check_values(folder, published, keys)


def _check_values(folder: Path, published: StoredVariant, keys: Keys) -> Iterator[Finding]:
    """Whether values are finite, and blocks of all arrays what their checksums say."""
    for name, layout in published.layouts.items():
        if name not in published.checks and name != "values":
            continue
        block = layout.inner_rows or 1
        step = max(1, min(CHECKED_ROWS, BLOCK_BYTES // layout.row_bytes) // block) * block
        n_rows = layout.n_rows or 0
        for start in range(0, n_rows, step):
            rows = published.read(name, start, min(start + step, n_rows))
            if name in published.checks:
                found, first = block_checksums(rows, block), start // block
                wrong = np.flatnonzero(found != published.checks[name][first : first + len(found)])
                for number in wrong[:1]:
                    what = f"block {first + int(number)} of {name} isn't what its checksum says"
                    yield Finding(folder / "checksum", what)
            finite = np.isfinite(rows).reshape(len(rows), -1).all(axis=1) if name == "values" else np.ones(0)
            for position in np.flatnonzero(finite == 0)[:1]:
                row = start + int(position)
                if published.spec.layout == "ragged":
                    row = int(np.searchsorted(published.offsets, row, side="right")) - 1
                yield Finding(folder / "values", f"row {keys[row]!r} holds NaN or infinity")


def _rows_in(published: StoredVariant, key: str) -> str:
    """Description of the rows in a file."""
    name, _, rest = key.partition("/c/")
    if not rest or name in ("video_id", "key_index", "checksum"):
        return ""
    layout = published.layouts[name]
    bad = np.flatnonzero(published.bad_rows(key)) + int(rest.split("/")[0]) * layout.file_rows
    if not len(bad):
        return "; by the checksums of its blocks, none of its rows is damaged"
    first, last = int(bad[0]), int(bad[-1])
    if name == "values" and published.spec.layout == "ragged":
        offsets = published.offsets
        rows = np.flatnonzero((offsets[1:] > first) & (offsets[:-1] <= last))
        if not len(rows):
            return ""
        start, stop = int(rows[0]), int(rows[-1]) + 1
    else:
        start, stop = first, min(last + 1, published.n_rows)
    what = "damaged are rows" if len(bad) < min(layout.file_rows, (layout.n_rows or 0)) else "it has rows"
    return f"; {what} {start} to {stop - 1}" + _keys_between(published, start, stop)


def _keys_between(published: StoredVariant, start: int, stop: int) -> str:
    try:
        keys = open_variant(published.folder).ids
        return f", {keys[start]!r} to {keys[stop - 1]!r}"
    except StoreError:
        return ""  # the keys' files are damaged


def _is_link(path: Path) -> bool:
    return path.is_file() and (path.is_symlink() or path.stat().st_nlink > 1)
