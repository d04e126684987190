"""The rows of a variant without their values: keys, splits and fingerprints, in order, and the arrays of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from reelstore.arrays import Array, IntArray, UInt8Array
from reelstore.errors import StoreError
from reelstore.records import MAX_CAPTION_INDEX, MAX_SPLITS, first_fault, shortened
from reelstore.store.format import FINGERPRINT_BYTES, VariantSpec

Key = str | tuple[str, int]
"""A video's `video_id`, or a caption's (`video_id`, `caption_index`)."""


@dataclass(frozen=True)
class RowTable:
    """Keys, splits and fingerprints of n rows.

    Attributes:
        keys: n unique keys, all of one side's kind.
        splits: n split names, at most 256 different ones.
        fingerprints: (n, 16) uint8; what determined each row.

    Raises:
        StoreError: a key occurs twice, or a key or split is none that a store can keep.
    """

    keys: Sequence[Key]
    splits: Sequence[str]
    fingerprints: UInt8Array

    def __post_init__(self) -> None:
        if len(self.splits) != len(self.keys) or self.fingerprints.shape != (len(self.keys), FINGERPRINT_BYTES):
            raise ValueError(f"{len(self.keys)} keys, {len(self.splits)} splits, {self.fingerprints.shape}")
        if len(self.row_of) != len(self.keys):
            seen: set[Key] = set()
            double = next(key for key in self.keys if key in seen or seen.add(key))  # type: ignore[func-returns-value]
            raise StoreError(f"The key {double!r} occurs twice. Rows are found by key, so keys must be unique.")
        self._refuse_unkept()

    def __len__(self) -> int:
        return len(self.keys)

    def __repr__(self) -> str:
        return f"RowTable({len(self.keys)} rows)"

    def _refuse_unkept(self) -> None:
        """The last check before rows are written; readers of tables have reported file and line already."""
        ids = [key if isinstance(key, str) else key[0] for key in self.keys]
        if ids and (found := first_fault(ids)) is not None:
            raise StoreError(f"The video_id of row {found[0]} {found[1]}: {shortened(ids[found[0]])}.")
        splits = sorted(set(self.splits))
        if len(splits) > MAX_SPLITS:
            raise StoreError(f"{len(splits)} splits; a store keeps at most {MAX_SPLITS}.")
        if splits and (found := first_fault(splits)) is not None:
            raise StoreError(f"The name of a split {found[1]}: {shortened(splits[found[0]])}.")
        numbers = [key[1] for key in self.keys if not isinstance(key, str)]
        if numbers and not (min(numbers) >= 0 and max(numbers) <= MAX_CAPTION_INDEX):
            worst = max(numbers, key=abs)
            raise StoreError(f"caption_index {shortened(worst)}; a store keeps 0 to {MAX_CAPTION_INDEX}.")

    @cached_property
    def row_of(self) -> dict[Key, int]:
        """Row number of each key."""
        return {key: row for row, key in enumerate(self.keys)}

    def same_as(self, other: "RowTable") -> bool:
        """Whether keys, their order, splits and fingerprints are equal."""
        return (
            list(self.keys) == list(other.keys)
            and list(self.splits) == list(other.splits)
            and np.array_equal(self.fingerprints, other.fingerprints)
        )


def table_columns(spec: VariantSpec, table: RowTable, status: UInt8Array, offsets: IntArray) -> dict[str, Array]:
    """The arrays aligned with the rows, by name."""
    encoded = [(key if isinstance(key, str) else key[0]).encode() for key in table.keys]
    numbers = {split: number for number, split in enumerate(split_names(table))}
    columns: dict[str, Array] = {
        "video_id": np.frombuffer(b"".join(encoded), dtype=np.uint8),
        "video_id_offsets": np.cumsum([0, *map(len, encoded)], dtype=np.int64),
        "status": status,
        "split": np.array([numbers[split] for split in table.splits], dtype=np.uint8),
        "fingerprint": table.fingerprints,
    }
    if spec.side == "text":
        columns["caption_index"] = np.array([key[1] for key in table.keys], dtype=np.int32)
    if spec.layout == "ragged":
        columns["offsets"] = offsets
    return columns


def split_names(table: RowTable) -> list[str]:
    """Names of the splits, by their number in `split`."""
    return sorted(set(table.splits))
