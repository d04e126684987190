"""Finds keys by their hashes: sorted runs of rows, of which what is appended changes the last ones."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import google_crc32c
import numpy as np
import numpy.typing as npt

from reelstore.arrays import Array, BoolArray, IntArray
from reelstore.store.arrays import ranges

if TYPE_CHECKING:
    from reelstore.store.keys import Keys

BLOCK = 65_536
"""Keys decoded, encoded or hashed at a time."""
_ROW = np.uint64(2**32 - 1)
_HASH_BITS = np.uint64(32)


class KeyIndex:
    """Finds keys by their hashes.

    Args:
        runs: of each run of rows, (k,) uint64 ascending: the hash of a key times 2^32, plus the row's place in the run.
        starts: the first row of each run.
    """

    def __init__(self, runs: Sequence[Array], starts: Sequence[int]) -> None:
        self._runs, self._starts = runs, starts

    @classmethod
    def of(cls, keys: "Keys") -> "KeyIndex":
        """Of all these keys, in one run."""
        return cls([sorted_run(keys, 0, len(keys))], [0])

    def fits(self, keys: "Keys") -> bool:
        """Whether this is the index of these keys."""
        return all(
            np.array_equal(run, sorted_run(keys, start, start + len(run)))
            for run, start in zip(self._runs, self._starts, strict=True)
        )

    def find(self, keys: "Keys", wanted: "Keys") -> IntArray:
        """Position of each key wanted; -1 where there is none. `keys`: those of this index."""
        found = np.full(len(wanted), -1, dtype=np.int64)
        if not len(wanted) or (wanted.indices is None) != (keys.indices is None):
            return found
        hashes = np.concatenate(
            [wanted.hashes(start, min(start + BLOCK, len(wanted))) for start in range(0, len(wanted), BLOCK)]
        ).astype(np.uint64)
        order = np.argsort(hashes, kind="stable")
        ordered = hashes[order]
        for run, first in zip(self._runs, self._starts, strict=True):
            needle, row = _same_hash(ordered, run)
            if not len(needle):
                continue
            row = row + first
            if int(row.max()) >= len(keys):
                raise keys.contradicts("key_index", "has a row that its run doesn't have")
            right = _same_keys(wanted, order[needle], keys, row)
            found[order[needle[right]]] = row[right]
        return found

    def find_one(self, keys: "Keys", name: bytes, index: int | None) -> int | None:
        """Position of the key with this id and, of a caption, `caption_index`; None where there is none."""
        hash_of = google_crc32c.value(name if index is None else name + index.to_bytes(4, "little"))
        least = np.uint64(hash_of << 32)
        for run, first in zip(self._runs, self._starts, strict=True):
            at = int(run.searchsorted(least))
            while at < len(run) and int(run[at]) >> 32 == hash_of:
                position = first + (int(run[at]) & 0xFFFFFFFF)
                if position >= len(keys):
                    raise keys.contradicts("key_index", "has a row that its run doesn't have")
                row = position if keys.rows is None else int(keys.rows[position])
                same = keys.indices is None or int(keys.indices[row]) == index
                if same and keys.bytes_of(np.array([row]))[1].tobytes() == name:
                    return position
                at += 1
        return None


def first_double(keys: "Keys") -> int | None:
    """Position of the first key that another before it equals; None where all differ."""
    first, second = _equal_hashes(sorted_run(keys, 0, len(keys)))
    doubles = np.maximum(first, second)[_same_keys(keys, first, keys, second)]
    return int(doubles.min()) if len(doubles) else None


def sorted_run(keys: "Keys", start: int, stop: int) -> npt.NDArray[np.uint64]:
    """(stop - start,) uint64, ascending: of each of these rows its key's hash times 2^32, plus its place among them."""
    run = np.empty(stop - start, dtype=np.uint64)
    for first in range(start, stop, BLOCK):
        last = min(first + BLOCK, stop)
        run[first - start : last - start] = keys.hashes(first, last)
    run <<= _HASH_BITS
    run |= np.arange(stop - start, dtype=np.uint64)
    run.sort()
    return run


def _same_hash(ordered: npt.NDArray[np.uint64], run: Array) -> tuple[IntArray, IntArray]:
    """Pairs of places in `ordered`, ascending hashes, and rows of a run with the same hash."""
    if len(ordered) <= len(run):
        low = np.searchsorted(run, ordered << _HASH_BITS)
        counts = np.searchsorted(run, (ordered << _HASH_BITS) | _ROW, side="right") - low
        some = np.flatnonzero(counts)
        return np.repeat(some, counts[some]), (run[ranges(low[some], counts[some])] & _ROW).astype(np.int64)
    hashes = np.asarray(run) >> _HASH_BITS
    low = np.searchsorted(ordered, hashes)
    counts = np.searchsorted(ordered, hashes, side="right") - low
    some = np.flatnonzero(counts)
    rows = (np.asarray(run)[some] & _ROW).astype(np.int64)
    return ranges(low[some], counts[some]), np.repeat(rows, counts[some])


def _equal_hashes(run: Array) -> tuple[IntArray, IntArray]:
    """Pairs of rows of one run with the same hash, each but the first with every one before it."""
    first, second = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
    for distance in range(1, len(run)):
        count = len(run) - distance
        parts = [
            start + np.flatnonzero((run[start:stop] ^ run[start + distance : stop + distance]) <= _ROW)
            for start, stop in ((at, min(at + BLOCK, count)) for at in range(0, count, BLOCK))
        ]
        same = np.concatenate(parts)
        if not len(same):
            break
        first.append((run[same] & _ROW).astype(np.int64))
        second.append((run[same + distance] & _ROW).astype(np.int64))
    return np.concatenate(first), np.concatenate(second)


def _same_keys(some: "Keys", places: IntArray, others: "Keys", rows: IntArray) -> BoolArray:
    """Whether the keys at these places are equal."""
    places = places if some.rows is None else some.rows[places]
    rows = rows if others.rows is None else others.rows[rows]
    lengths = some.ends[places + 1] - some.ends[places]
    same: BoolArray = lengths == others.ends[rows + 1] - others.ends[rows]
    if some.indices is not None and others.indices is not None:
        same &= some.indices[places] == others.indices[rows]
    left = np.flatnonzero(same)
    for start in range(0, len(left), BLOCK):
        here = left[start : start + BLOCK]
        counts, mine = some.bytes_of(places[here])
        _, theirs = others.bytes_of(rows[here])
        if len(mine):
            differs = np.concatenate([[0], np.cumsum(mine != theirs)])
            stops = np.cumsum(counts)
            same[here] = differs[stops] == differs[stops - counts]
    return same
