"""The rows of a variant without their values: keys, splits and fingerprints, in order, and the arrays of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reelstore.arrays import Array, IntArray, UInt8Array
from reelstore.store.chunks import FINGERPRINT_BYTES
from reelstore.store.format import VariantSpec
from reelstore.store.keys import Key, Keys
from reelstore.store.split_names import SplitNames

__all__ = ["Key", "RowTable", "table_columns"]


@dataclass(frozen=True, init=False)
class RowTable:
    """Keys, splits and fingerprints of n rows.

    Attributes:
        keys: n unique keys, all of one side's kind.
        splits: n split names, at most 256 different ones.
        fingerprints: (n, 16) uint8; what determined each row.

    Raises:
        StoreError: a key occurs twice, or a key or split is none that a store can keep.
    """

    keys: Keys
    splits: SplitNames
    fingerprints: UInt8Array

    def __init__(
        self, keys: Sequence[Key], splits: Sequence[str], fingerprints: UInt8Array, *, checked: bool = False
    ) -> None:
        """`checked`: the keys have been, as those of a published variant."""
        if len(splits) != len(keys) or fingerprints.shape != (len(keys), FINGERPRINT_BYTES):
            raise ValueError(f"{len(keys)} keys, {len(splits)} splits, {fingerprints.shape}")
        object.__setattr__(self, "keys", Keys.of(keys))
        object.__setattr__(self, "splits", SplitNames.of(splits))
        object.__setattr__(self, "fingerprints", fingerprints)
        if not checked:
            self.keys.check()

    def __len__(self) -> int:
        return len(self.keys)

    def __repr__(self) -> str:
        return f"RowTable({len(self.keys)} rows)"

    def same_as(self, other: "RowTable") -> bool:
        """Whether keys, their order, splits and fingerprints are equal."""
        return (
            self.keys == other.keys
            and self.splits == other.splits
            and np.array_equal(self.fingerprints, other.fingerprints)
        )


def table_columns(spec: VariantSpec, table: RowTable, status: UInt8Array, offsets: IntArray) -> dict[str, Array]:
    """The arrays aligned with the rows, by name."""
    keys = table.keys.packed()
    columns: dict[str, Array] = {
        "video_id": keys.data,
        "video_id_offsets": keys.ends,
        "status": status,
        "split": table.splits.numbers,
        "fingerprint": table.fingerprints,
    }
    if spec.side == "text":
        columns["caption_index"] = np.zeros(0, dtype=np.int32) if keys.indices is None else keys.indices
    if spec.layout == "ragged":
        columns["offsets"] = offsets
    return columns
