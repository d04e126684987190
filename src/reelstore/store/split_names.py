"""The split of each row, kept as numbers of names."""

from collections.abc import Iterable, Iterator, Sequence
from typing import overload

import numpy as np
import numpy.typing as npt

from reelstore.arrays import Array, UInt8Array
from reelstore.errors import StoreError
from reelstore.records import MAX_SPLITS, first_fault, shortened


class SplitNames(Sequence[str]):
    """The split of each row; equal to any sequence of the same names.

    Args:
        names: ascending, each once.
        numbers: (n,) uint8, position in `names`.
    """

    def __init__(self, names: Sequence[str], numbers: UInt8Array) -> None:
        self.names, self.numbers = list(names), numbers

    @classmethod
    def of(cls, splits: Iterable[str]) -> "SplitNames":
        """From a name for each row.

        Raises:
            StoreError: there are more than a store has numbers for, or one that it can't keep.
        """
        if isinstance(splits, SplitNames):
            return splits
        given = list(splits)
        names = sorted(set(given))
        if len(names) > MAX_SPLITS:
            raise StoreError(f"{len(names)} splits; a store keeps at most {MAX_SPLITS}.")
        if names and (found := first_fault(names)) is not None:
            raise StoreError(f"The name of a split {found[1]}: {shortened(names[found[0]])}.")
        number = {name: place for place, name in enumerate(names)}
        return cls(names, np.fromiter(map(number.__getitem__, given), np.uint8, len(given)))

    def __len__(self) -> int:
        return len(self.numbers)

    def __repr__(self) -> str:
        return f"SplitNames({len(self)} rows of {', '.join(self.names)})"

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> "SplitNames": ...
    def __getitem__(self, index: int | slice) -> "str | SplitNames":
        return self.at(self.numbers[index]) if isinstance(index, slice) else self.names[self.numbers[index]]

    def __iter__(self) -> Iterator[str]:
        return map(self.names.__getitem__, self.numbers.tolist())

    def __eq__(self, other: object) -> bool:
        if isinstance(other, SplitNames) and self.names == other.names:
            return np.array_equal(self.numbers, other.numbers)
        if isinstance(other, Sequence) and not isinstance(other, str):
            return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> Array:
        return np.array(self.names, dtype=dtype)[self.numbers]

    def at(self, numbers: UInt8Array) -> "SplitNames":
        """Splits of other rows, by their numbers; names that none has are left out."""
        used = np.unique(numbers)
        place = np.zeros(256, dtype=np.uint8)
        place[used] = np.arange(len(used))
        return SplitNames([self.names[number] for number in used.tolist()], place[numbers])

    def followed_by(self, other: "SplitNames") -> "SplitNames":
        """These and others, one behind the other."""
        names = sorted({*self.names, *other.names})
        if len(names) > MAX_SPLITS:
            raise StoreError(f"{len(names)} splits; a store keeps at most {MAX_SPLITS}.")
        place = [
            np.array([names.index(name) for name in one.names], dtype=np.uint8)[one.numbers] for one in (self, other)
        ]
        return SplitNames(names, np.concatenate(place))
