"""Find different items that get the same row: another model's tokenizer, or a token that sees nothing."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from reelstore.arrays import FloatArray, IntArray
from reelstore.records import Caption, Video
from reelstore.store.update import VariantUpdate

A_FEW = 3
"""Items that may share a row without a warning: captions cut before they differ, pictures that are black throughout."""


@dataclass(frozen=True)
class EqualRows:
    """The different items of one variant that share a row with most others.

    Attributes:
        variant: its name.
        n_items: how many.
        examples: two of them.
    """

    variant: str
    n_items: int
    examples: tuple[str, str]


class WatchedUpdate(VariantUpdate):
    """A variant's update that remembers what its new rows hash to."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._hashes: list[tuple[IntArray, npt.NDArray[np.uint64]]] = []

    def put_rows(self, rows: IntArray, values: FloatArray, counts: IntArray | None = None) -> None:
        super().put_rows(rows, values, counts)
        ends = np.arange(len(rows) + 1) if counts is None else np.concatenate([[0], np.cumsum(counts)])
        hashes = [blake2b(values[a:b].tobytes(), digest_size=8).digest() for a, b in pairwise(ends)]
        self._hashes.append((rows, np.frombuffer(b"".join(hashes), np.uint64)))

    def equal_rows(self, items: Sequence[Caption] | Sequence[Video]) -> EqualRows | None:
        """The largest group of different items whose new rows are equal, if it is more than a few.

        Args:
            items: of the table, in its order.
        """
        if not self._hashes:
            return None
        rows = np.concatenate([part for part, _ in self._hashes])
        hashes = np.concatenate([part for _, part in self._hashes])
        order = np.argsort(hashes, kind="stable")
        largest: dict[str, str] = {}
        for group in np.split(rows[order], np.flatnonzero(np.diff(hashes[order])) + 1):
            if len(group) <= max(A_FEW, len(largest)):
                continue
            different = {_meaning(items[row]): _named(items[row]) for row in group.tolist()}
            largest = max(largest, different, key=len)
        if len(largest) <= A_FEW:
            return None
        first, second = list(largest.values())[:2]
        return EqualRows(self.spec.variant, len(largest), (first, second))


def _meaning(item: Caption | Video) -> str:
    """What an encoder can tell an item from others by: many read neither case nor accents nor punctuation."""
    if isinstance(item, Video):
        return item.sha256
    letters = unicodedata.normalize("NFKD", item.text).casefold()
    return "".join(letter for letter in letters if unicodedata.category(letter)[0] not in "PZCM")


def _named(item: Caption | Video) -> str:
    if isinstance(item, Video):
        return item.video_id
    return item.text if len(item.text) <= 60 else f"{item.text[:59]}…"
