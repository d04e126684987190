"""Scores of some videos (rows) with some captions (columns), searched for what is above a threshold or near it.

A threshold is a pair of bounds `low` and `high`: what is above `high` counts, what is between is handed back to be
decided exactly. Most columns have nothing up there, so maxima of groups of rows come first.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from reelstore.arrays import Array, BoolArray, Float64Array, IntArray, UInt8Array
from reelstore.ranking.reference import rows_at
from reelstore.ranking.threads import in_parts

GROUP = 64
"""Rows whose maximum is taken together."""
_SORT_FROM = 6
"""Thresholds a row from which sorting it is faster than comparing it with each of them."""
_PLACES = 2**29 - 1
"""Bits of a float64 beyond those of a float32."""
_CHUNK_VALUES = 2**18
"""Scores compared at once: a chunk and its marks stay in a core's cache."""


@dataclass(frozen=True)
class ThresholdHits:
    """What thresholds found in a tile.

    Attributes:
        above: (n,) scores above each threshold's `high`.
        between: (n,) scores from `low` to `high`.
        near: (m,) threshold of each of those, where they were asked for.
        row, column: (m,) where it stands.
    """

    above: IntArray
    between: IntArray
    near: IntArray
    row: IntArray
    column: IntArray

    @classmethod
    def nothing(cls) -> "ThresholdHits":
        """By no threshold."""
        none = np.zeros(0, dtype=np.int64)
        return cls(none, none, none, none, none)


class Tile:
    """(n_videos, n_captions) scores in the machine's memory.

    Args:
        scores: a matrix whose rows were padded with -inf to whole groups.
        n_rows: rows that count.
    """

    def __init__(self, scores: Array, n_rows: int) -> None:
        self._padded = scores
        self.n_rows = n_rows

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the thresholds it is compared with."""
        return self._padded.dtype

    @property
    def n_columns(self) -> int:
        """Captions."""
        return int(self._padded.shape[1])

    @property
    def size(self) -> int:
        """Scores."""
        return self.n_rows * self.n_columns

    def hide(self, row: IntArray, column: IntArray) -> None:
        """Take these scores out of the competition: -inf is above no threshold."""
        self._padded[row, column] = -np.inf
        self.__dict__.pop("maxima", None)

    @cached_property
    def maxima(self) -> Array:
        """(n_groups, n_columns) highest score of each group of rows."""
        return np.asarray(np.maximum.reduce(self._padded.reshape(-1, GROUP, self.n_columns), axis=1))

    def at(self, row: IntArray, column: IntArray) -> Array:
        """(n,) scores that stand there."""
        return np.asarray(self._padded[row, column])

    def cells(self, group: IntArray, column: IntArray) -> Array:
        """(n, GROUP) scores of a group of rows in one column."""
        return np.asarray(self._padded.reshape(-1, GROUP, self.n_columns)[group, :, column])

    def host(self) -> Array:
        """(n_rows, n_columns) in the machine's memory."""
        return self._padded[: self.n_rows]

    def in_columns(self, column: IntArray, low: Array, high: Array, *, listed: bool = True) -> ThresholdHits:
        """Search each threshold's column; `column` (n,) is ascending and may repeat. `listed` says where scores are."""
        above, between = np.zeros((2, len(column)), dtype=np.int64)
        hot = self.maxima[:, column] >= low  # (n_groups, n)
        if 8 * np.count_nonzero(hot) <= hot.size:
            group, near = np.nonzero(hot)
        else:
            group, near = self._count_whole(column, low, high, above, between)
            if not listed:
                return ThresholdHits(above, between, *_nowhere())
        # Cells that were counted already are only searched for where their scores are.
        counted = above.any() or between.any()
        parts = [_nowhere()]
        step = max(1, _CHUNK_VALUES // GROUP)
        for some in (slice(start, start + step) for start in range(0, len(near), step)):
            own = near[some]
            scores = self.cells(group[some], column[own])
            over = scores > high[own, None]
            inside = ~over & (scores >= low[own, None])
            if not counted:
                above += np.bincount(own, over.sum(axis=1), minlength=len(above)).astype(np.int64)
                between += np.bincount(own, inside.sum(axis=1), minlength=len(above)).astype(np.int64)
            if listed:
                at, place = np.divmod(np.flatnonzero(inside), GROUP)
                parts.append((own[at], group[some][at] * GROUP + place, column[own[at]]))
        return ThresholdHits(above, between, *_joined(parts))

    def in_rows(self, row: IntArray, low: Array, high: Array, *, listed: bool = True) -> ThresholdHits:
        """Search each threshold's row; `row` (n,) is ascending and may repeat."""
        rows, first, times = np.unique(row, return_index=True, return_counts=True)
        if len(row) < _SORT_FROM * len(rows):
            return self._compared_in_rows(row, low, high, listed)
        above, over_low = np.zeros((2, len(row)), dtype=np.int64)
        parts = [_nowhere()]
        step = max(1, _CHUNK_VALUES // max(self.n_columns, 1))

        def rank(start: int, stop: int) -> None:
            for begin in range(start, stop, step):
                some = np.arange(begin, min(begin + step, stop))
                own = slice(first[some[0]], first[some[-1]] + times[some[-1]])
                found = self._ranked_in_rows(rows[some], times[some], low[own], high[own])
                above[own], over_low[own], near, near_row, column = found
                if listed:
                    parts.append((near + own.start, near_row, column))

        in_parts(rank, len(rows))
        return ThresholdHits(above, over_low - above, *_joined(parts))

    def _compared_in_rows(self, row: IntArray, low: Array, high: Array, listed: bool) -> ThresholdHits:
        """Every threshold with its whole row."""
        host = self.host()
        above, over_low = np.zeros((2, len(row)), dtype=np.int64)
        step = max(1, _CHUNK_VALUES // max(self.n_columns, 1))

        def compare(start: int, stop: int) -> None:
            for some in (slice(s, min(s + step, stop)) for s in range(start, stop, step)):
                scores = rows_at(host, row[some])
                above[some] = np.count_nonzero(scores > high[some, None], axis=1)
                over_low[some] = np.count_nonzero(scores >= low[some, None], axis=1)

        in_parts(compare, len(row))
        parts = [_nowhere()]
        open_ones = np.flatnonzero(over_low != above) if listed else np.zeros(0, dtype=np.int64)
        for start in range(0, len(open_ones), step):
            some = open_ones[start : start + step]
            scores = host[row[some]]
            inside = scores >= low[some, None]
            inside &= scores <= high[some, None]
            # Many times faster than nonzero of a matrix.
            at, column = np.divmod(np.flatnonzero(inside), self.n_columns)
            parts.append((some[at], row[some[at]], column))
        return ThresholdHits(above, over_low - above, *_joined(parts))

    def _ranked_in_rows(
        self, rows: IntArray, times: IntArray, low: Array, high: Array
    ) -> tuple[IntArray, IntArray, IntArray, IntArray, IntArray]:
        """Some rows with `times` thresholds each, by sorting what no threshold of a row is above.

        Returns:
            Scores above each threshold and from its `low` on; threshold, row and column of those between.
        """
        host, n_columns = self.host(), self.n_columns
        ends = np.cumsum(times)
        lowest = np.minimum.reduceat(low, ends - times)
        scores = rows_at(host, rows)
        place = np.flatnonzero(scores >= lowest[:, None])
        kept = scores.reshape(-1)[place]
        bounds = np.searchsorted(place, np.arange(len(rows) + 1) * n_columns).tolist()
        from_low, from_high = np.empty((2, len(low)), dtype=np.int64)
        order = np.empty(len(place), dtype=np.int64)
        ranked = _Ranked(kept, n_columns, low, high)
        for number, (stop, n) in enumerate(zip(ends.tolist(), times.tolist(), strict=True)):
            own, (start, end) = slice(stop - n, stop), bounds[number : number + 2]
            order[start:end], from_low[own], from_high[own] = ranked.of(kept[start:end], own)
            for values in (order[start:end], from_low[own], from_high[own]):
                values += start
        end_of = np.repeat(bounds[1:], times)
        n_between = from_high - from_low
        near = np.repeat(np.arange(len(low)), n_between)
        at = np.arange(len(near)) + np.repeat(from_low - (np.cumsum(n_between) - n_between), n_between)
        found = place[order[at]]
        return end_of - from_high, end_of - from_low, near, rows[found // n_columns], found % n_columns

    def highest_in_columns(self) -> Array:
        """(n_columns,) highest score."""
        return np.asarray(self.maxima.max(axis=0))

    def highest_in_rows(self, rows: IntArray) -> Array:
        """(n,) highest score of these rows."""
        return np.asarray(self.host()[rows].max(axis=1, initial=-np.inf))

    def _padded_host(self) -> Array:
        return self._padded

    def _count_whole(
        self, column: IntArray, low: Array, high: Array, above: IntArray, between: IntArray
    ) -> tuple[IntArray, IntArray]:
        """Compare every score of the columns. Gives back group and threshold of cells with scores between."""
        # Thresholds of one column one after the other, so that each comparison is of whole rows.
        turn = np.arange(len(column)) - np.searchsorted(column, column)
        cells = [(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))]
        for number in range(int(turn.max(initial=-1)) + 1):
            own = np.flatnonzero(turn == number)
            over_low, over_high = self._over(column[own], low[own], high[own])
            above[own] = over_high.sum(axis=0, dtype=np.int64)
            between[own] = over_low.sum(axis=0, dtype=np.int64) - above[own]
            group, place = np.nonzero(over_low != over_high)
            cells.append((group, own[place]))
        return np.concatenate([cell[0] for cell in cells]), np.concatenate([cell[1] for cell in cells])

    def _over(self, column: IntArray, low: Array, high: Array) -> tuple[Array, Array]:
        """(n_groups, n) scores of each group from `low` on, and above `high`; one threshold a column."""
        host = self._padded_host()
        scores = host if len(column) == self.n_columns else np.ascontiguousarray(host[:, column])
        return count_groups(scores, low, strict=False), count_groups(scores, high, strict=True)


class _Ranked:
    """Scores in ascending order, and where thresholds stand among them.

    Sorting is vectorized where finding the order is not: float32 scores become float64 with their places in the bits
    that float32 doesn't have, which leaves their order as it was but among equal ones.

    Args:
        scores: all scores that will be ranked, of the thresholds' dtype.
        n_most: how many are ranked at once at most.
        low, high: (n,) thresholds: scores from `low` on, and above `high`.
    """

    def __init__(self, scores: Array, n_most: int, low: Array, high: Array) -> None:
        # An infinity with a place in its bits is no number.
        finite = all(np.isfinite(values).all() for values in (scores, low, high))
        self._narrow = scores.dtype == np.float32 and finite
        self._low, self._high = low, high
        if self._narrow:
            self._low, self._high = _with_places(low, low < 0), _with_places(high, high >= 0)
            self._places = np.arange(n_most)

    def of(self, scores: Array, own: slice) -> tuple[IntArray, IntArray, IntArray]:
        """Order of some of the scores, and how many come before each of these thresholds' `low`, and up to `high`."""
        if not self._narrow:
            order = scores.argsort()
            ranked = scores[order]
        else:
            ranked = scores + np.float64(0)  # which makes one zero of the two
            bits = ranked.view(np.int64)
            bits |= self._places[: len(scores)]
            ranked.sort()
            order = bits & _PLACES
        return order, ranked.searchsorted(self._low[own]), ranked.searchsorted(self._high[own], side="right")


def _with_places(thresholds: Array, outermost: BoolArray) -> Float64Array:
    """Thresholds on the outer side of every score equal to them, at any place, where they are to be there."""
    wide = thresholds + np.float64(0)
    bits = wide.view(np.int64)
    bits |= np.where(outermost, _PLACES, 0)
    return wide


def _nowhere() -> tuple[IntArray, IntArray, IntArray]:
    none = np.zeros(0, dtype=np.int64)
    return none, none, none


def _joined(parts: list[tuple[IntArray, IntArray, IntArray]]) -> tuple[IntArray, IntArray, IntArray]:
    threshold, row, column = (np.concatenate([part[i] for part in parts]) for i in range(3))
    return threshold, row, column


def count_groups(scores: Array, threshold: Array, *, strict: bool) -> UInt8Array:
    """(n_groups, n_columns) scores over each column's threshold."""
    groups, columns = len(scores) // GROUP, scores.shape[1]
    counts = np.empty((groups, columns), dtype=np.uint8)
    compare = np.greater if strict else np.greater_equal
    step = max(1, _CHUNK_VALUES // (GROUP * max(columns, 1)))

    def work(start: int, stop: int) -> None:
        marks = np.empty((step * GROUP, columns), dtype=bool)
        for first in range(start, stop, step):
            last = min(first + step, stop)
            some = marks[: (last - first) * GROUP]
            compare(scores[first * GROUP : last * GROUP], threshold, out=some)
            cells = some.view(np.uint8).reshape(last - first, GROUP, columns)
            np.add.reduce(cells, axis=1, dtype=np.uint8, out=counts[first:last])

    in_parts(work, groups)
    return counts
