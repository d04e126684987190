"""One tile of scores at one level: compared with the relevant pairs' scores, and what it leaves open settled."""

from dataclasses import dataclass

import numpy as np

from reelstore.arrays import Array, BoolArray, Float64Array, IntArray
from reelstore.ranking.count_state import CountState, refuse_overflow
from reelstore.ranking.counts import Direction
from reelstore.ranking.filters import Band, Level, OperandBlock, band, pair_products
from reelstore.ranking.reference import block_scores, pair_scores
from reelstore.ranking.tiles import GROUP, ThresholdHits, Tile

_UNDECIDED = {"bfloat16": 32, "float32": 64, "float64": 4}
"""One comparison in this many may be left undecided; from there on the next level is cheaper than the reference."""
_FEW = 128
"""One undecided comparison in this many scores of a whole tile isn't worth another product."""
_KNOWN_FROM = 64
"""Pairs from which on looking up lengths of rows is faster than finding them again."""


class TileCounter:
    """Some captions of a block against all videos of another, at one level."""

    def __init__(
        self,
        state: CountState,
        text: OperandBlock,
        video: OperandBlock,
        start: int,
        begin: int,
        columns: IntArray,
        level: Level,
    ) -> None:
        self.state, self.text, self.video, self.level = state, text, video, level
        self.start, self.begin, self.columns = start, begin, columns
        self.tile, self.bounds = self._scores()
        self.place = np.full(len(text), -1, dtype=np.int64)  # column of each caption of the block
        self.place[columns] = np.arange(len(columns))
        own = self._relevant_pairs()
        row, column = state.video_of[own] - begin, self.place[state.caption[own] - start]
        if state.deferred:
            self._estimate(row, column)
        self.tile.hide(row, column)
        # Where videos search groups: first column of each, and its number. Captions of none come last.
        self.first, self.groups = self._groups()
        self._by_group: Tile | None = None

    def _groups(self) -> tuple[IntArray, IntArray]:
        if self.state.group is None:
            return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
        of = self.state.group[self.columns + self.start]
        groups, first = np.unique(of, return_index=True)
        return first, groups

    def _scores(self) -> tuple[Tile, Band]:
        if self.level == "exact":
            scores = block_scores(self.text.stored[self.columns], self.video.stored, self.state.similarity)
            refuse_overflow(scores.T, self.start)
            padding = -len(scores) % GROUP
            padded = np.pad(scores, ((0, padding), (0, 0)), constant_values=-np.inf)
            return Tile(padded, len(scores)), Band(0.0)
        with self.state.lock:
            text = getattr(self.text, self.level)
        video = getattr(self.video, self.level)
        columns = self.columns
        straight = len(columns) == columns[-1] - columns[0] + 1
        tile = self.state.products.tile(
            self.level, video, text, slice(int(columns[0]), int(columns[-1]) + 1) if straight else columns
        )
        return tile, band(self.level, text, video, self.state.centres)

    def _estimate(self, row: IntArray, column: IntArray) -> None:
        """Scores of all relevant pairs, from this tile's own where it is precise and has them all."""
        state = self.state
        if self.level in ("float64", "exact"):
            state.score_relevant()
        elif state.estimates is None and self.level == "float32" and len(row) == len(state.caption):
            state.estimate(self.tile.at(row, column), self.bounds.error)
        elif state.estimates is None:
            sides = self.text.rough, self.video.rough
            products = pair_products(*sides, state.caption, state.video_of)
            state.estimate(products, band("float32", *sides, state.centres).error)

    def count(self) -> IntArray:
        """Add this tile to the counts. Gives back captions of the block it left too open, of which nothing is added."""
        self.state.wait()
        found = {direction: self._search(direction) for direction in self.state.counts}
        left = self._whole_groups(self._too_open(found))
        if left.any():
            n_left = int(left.sum())
            rows = np.repeat(np.arange(self.tile.n_rows), n_left)
            self.tile.hide(rows, np.tile(np.flatnonzero(left), self.tile.n_rows))
            self._by_group = None
            found = {direction: self._search(direction) for direction in self.state.counts}
        self._settle(found, left)
        return self.columns[left]

    def _search(self, direction: Direction) -> "DirectionHits":
        counts = self.state.counts[direction]
        pairs = self._thresholds(direction)
        line = self._line(direction, counts.query[pairs])
        if self.level == "exact":
            low = high = counts.score[pairs]
        else:
            low, high = self.state.around(direction, pairs, self.bounds, self.tile.dtype)
        view = self._view(direction)
        search = view.in_columns if direction == "t2v" else view.in_rows
        found = search(line, low, high, listed=self.level != "exact")
        if not self.state.return_hard_negatives:
            return DirectionHits(pairs, found, ThresholdHits.nothing())
        if self.level == "exact":
            return DirectionHits(pairs, found, self._exact_best(direction))
        bound, lines = self._best(direction)
        return DirectionHits(pairs, found, search(lines, bound, np.full_like(bound, np.inf)))

    def _thresholds(self, direction: Direction) -> IntArray:
        """Pairs whose scores are compared with this tile, by line."""
        counts = self.state.counts[direction]
        if direction == "v2t":
            return np.arange(len(counts.query))[counts.of(self.begin, self.begin + len(self.video))]
        pairs = np.arange(len(counts.query))[counts.of(self.start, self.start + len(self.text))]
        return pairs[self.place[counts.query[pairs] - self.start] >= 0]

    def _line(self, direction: Direction, query: IntArray) -> IntArray:
        """Column of a caption, row of a video."""
        return self.place[query - self.start] if direction == "t2v" else query - self.begin

    def _query(self, direction: Direction, line: IntArray) -> IntArray:
        return self.columns[line] + self.start if direction == "t2v" else line + self.begin

    def _view(self, direction: Direction) -> Tile:
        """The tile; for videos by groups, if there are any."""
        if direction == "t2v" or self.state.group is None:
            return self.tile
        if self._by_group is None:
            kept = self.groups < self.state.n_groups
            best = np.maximum.reduceat(self.tile.host(), self.first, axis=1)[:, kept]
            self._by_group = Tile(best, self.tile.n_rows)
        return self._by_group

    def _whole_groups(self, left: BoolArray) -> BoolArray:
        """A group goes on as a whole."""
        if self.state.group is None or not left.any():
            return left
        size = np.diff(np.r_[self.first, len(left)])
        return np.repeat(np.logical_or.reduceat(left, self.first), size)

    def _best(self, direction: Direction) -> tuple[Array, IntArray]:
        """Score from which on a non-relevant item may be the best of its query, and the query's line."""
        counts = self.state.counts[direction]
        lines = np.unique(self._line(direction, counts.query[self._thresholds(direction)]))
        view = self._view(direction)
        highest = view.highest_in_columns()[lines] if direction == "t2v" else view.highest_in_rows(lines)
        some = highest > -np.inf
        lines, highest = lines[some], highest[some].astype(np.float64)
        certain = highest - self.bounds.error - self.bounds.slope * np.abs(highest)
        by_highest = self.bounds.around(certain, self.tile.dtype)[0]
        known = counts.hardest_negative_score[self._query(direction, lines)]
        by_known = self.bounds.around(self.state.as_product(known), self.tile.dtype)[0]
        bound = np.maximum(by_highest, by_known)
        worth = highest >= bound
        return bound[worth], lines[worth]

    def _exact_best(self, direction: Direction) -> ThresholdHits:
        """Where the hardest negative of each query is, the first of several."""
        lines = np.unique(self._line(direction, self.state.counts[direction].query[self._thresholds(direction)]))
        host = self._view(direction).host()
        if not host.size:
            return ThresholdHits.nothing()
        place = host[:, lines].argmax(axis=0) if direction == "t2v" else host[lines].argmax(axis=1)
        row, column = (place, lines) if direction == "t2v" else (lines, place)
        some = host[row, column] > -np.inf
        nothing = np.zeros(0, dtype=np.int64)
        return ThresholdHits(nothing, nothing, np.flatnonzero(some), row[some], column[some])

    def _too_open(self, found: dict[Direction, "DirectionHits"]) -> BoolArray:
        """(n_columns,) whether so much is undecided there that the next level is cheaper."""
        left = np.zeros(len(self.columns), dtype=bool)
        if self.level == "exact":
            return left
        undecided = [
            self.first[part.column] if direction == "v2t" and self.state.group is not None else part.column
            for direction, one in found.items()
            for part in (one.found, one.near)
        ]
        worth = max(1024, self.tile.size // _FEW)
        if sum(map(len, undecided)) <= worth:
            return left
        per_column = np.bincount(np.concatenate(undecided), minlength=len(left))
        left = np.asarray(per_column > max(8, self.tile.n_rows // _UNDECIDED[self.level]))
        return left if per_column[left].sum() > worth else np.zeros_like(left)

    def _settle(self, found: dict[Direction, "DirectionHits"], left: BoolArray) -> None:
        for direction, one in found.items():
            counts = self.state.counts[direction]
            kept = np.ones(len(one.pairs), dtype=bool)
            if direction == "t2v":
                kept = ~left[self._line(direction, counts.query[one.pairs])]
            scores = self._worth_settling(direction, one)
            own, candidates = scores[: len(one.found.row)], scores[len(one.found.row) :]
            settled = one.pairs[one.found.near]
            above, same = own == np.inf, np.zeros(len(own), dtype=bool)
            told = np.isfinite(own)
            exact = self.state.score_of(direction, settled[told])
            above[told], same[told] = own[told] > exact, own[told] == exact
            best = candidates > -np.inf
            row, column = one.near.row[best] + self.begin, self._item(direction, one.near.column[best])
            with self.state.lock:
                counts.greater[one.pairs[kept]] += one.found.above[kept]
                if self.level == "exact":
                    counts.equal[one.pairs[kept]] += one.found.between[kept]
                np.add.at(counts.greater, settled[above], 1)
                np.add.at(counts.equal, settled[same], 1)
                query, item = (column, row) if direction == "t2v" else (row, column)
                counts.improve(query, item, candidates[best])

    def _item(self, direction: Direction, column: IntArray) -> IntArray:
        """Caption (or its group) that a column of a direction's view stands for."""
        grouped = direction == "v2t" and self.state.group is not None
        return self.groups[column] if grouped else self.columns[column] + self.start

    def _worth_settling(self, direction: Direction, one: "DirectionHits") -> Float64Array:
        """Exact scores of what is undecided, then of the candidates for the hardest negative; inf or -inf where float32
        has told already on which side they are."""
        rows = np.concatenate([one.found.row, one.near.row])
        columns = np.concatenate([one.found.column, one.near.column])
        scores = np.full(len(rows), np.nan)
        if not len(rows):
            return scores
        if self.level == "exact":
            return np.asarray(self._view(direction).host()[rows, columns], dtype=np.float64)
        if self.level == "bfloat16":
            scores = self._told_by_float32(direction, one, rows, columns)
        open_ones = np.flatnonzero(np.isnan(scores))
        width = self._view(direction).n_columns
        places, where = np.unique(rows[open_ones] * width + columns[open_ones], return_inverse=True)
        row, column = places // width, places % width
        if direction == "v2t" and self.state.group is not None:
            exact = self._exact_groups(row, column)
        else:
            exact = self._exact(row, column)
        scores[open_ones] = exact[where.reshape(-1)]
        return scores

    def _told_by_float32(
        self, direction: Direction, one: "DirectionHits", rows: IntArray, columns: IntArray
    ) -> Float64Array:
        """inf or -inf by the side on which a score certainly is, NaN where float32 can't tell."""
        text, video = self.text.rough, self.video.rough
        bounds = band("float32", text, video, self.state.centres)
        rough = pair_products(text, video, self.columns[columns], rows)
        scores = np.full(len(rows), np.nan)
        n = len(one.found.row)
        low, high = self.state.around(direction, one.pairs[one.found.near], bounds, np.float32)
        scores[:n] = np.where(rough[:n] > high, np.inf, np.where(rough[:n] < low, -np.inf, np.nan))
        # What is surely below another candidate of its query isn't the best.
        certain = np.full(int(one.near.near.max(initial=-1)) + 1, -np.inf)
        np.maximum.at(certain, one.near.near, rough[n:].astype(np.float64) - bounds.error)
        scores[n:][rough[n:] + bounds.error < certain[one.near.near]] = -np.inf
        return scores

    def _exact_groups(self, row: IntArray, group: IntArray) -> Float64Array:
        """(n,) score of the best caption of each group that isn't relevant."""
        if not len(row):
            return np.zeros(0)
        size = np.diff(np.r_[self.first, len(self.columns)])[group]
        ends = np.cumsum(size)
        column = np.arange(int(ends[-1])) - np.repeat(ends - size - self.first[group], size)
        return np.asarray(np.maximum.reduceat(self._exact(np.repeat(row, size), column), ends - size))

    def _exact(self, row: IntArray, column: IntArray) -> Float64Array:
        text_row = self.columns[column]
        text_lengths = video_lengths = None
        if self.state.similarity == "cosine" and len(row) >= _KNOWN_FROM:
            text_lengths = self.state.known[0].of(self.text.stored, text_row, self.start)
            video_lengths = self.state.known[1].of(self.video.stored, row, self.begin)
        return pair_scores(
            self.text.stored,
            self.video.stored,
            self.state.similarity,
            at=(text_row, row),
            text_lengths=text_lengths,
            video_lengths=video_lengths,
        )

    def _relevant_pairs(self) -> IntArray:
        state = self.state
        first, last = np.searchsorted(state.caption, [self.start, self.start + len(self.text)])
        own = np.arange(first, last)
        inside = (state.video_of[own] >= self.begin) & (state.video_of[own] < self.begin + len(self.video))
        own = own[inside]
        return own[self.place[state.caption[own] - self.start] >= 0]


@dataclass(frozen=True)
class DirectionHits:
    """Pairs compared with a tile, what was found of them, and candidates for the hardest negative."""

    pairs: IntArray
    found: ThresholdHits
    near: ThresholdHits
