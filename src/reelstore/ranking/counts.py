"""Two sides and who belongs to whom -> exact counts of both directions from one pass over the blocks.

Every tile of scores is computed at the fastest level that decides nearly all of its comparisons. What a level leaves
undecided is scored by the reference; a caption with too much of it moves to the next level for good. So the counts are
those of the reference, whatever the blocks, threads or device.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from reelstore.errors import EvaluationError, NonFiniteError
from reelstore.ranking.filters import LEVELS, Band, Centres, Level, Side, band, find_centres
from reelstore.ranking.products import Products, bfloat16_pays
from reelstore.ranking.reference import (
    Array,
    Floats,
    Ints,
    Similarity,
    block_scores,
    check_similarity,
    lengths,
    pair_scores,
)
from reelstore.ranking.sources import Source
from reelstore.ranking.threads import each_alone, n_threads, one_by_one
from reelstore.ranking.tiles import GROUP, Found, Tile

Direction = Literal["t2v", "v2t"]
DIRECTIONS: tuple[Direction, ...] = ("t2v", "v2t")
MEMORY = 2**30
"""Bytes that blocks and their tiles may take together."""

_SMALL = 1e9
"""Multiplications below which threads cost more than they save."""
_SAMPLE = 64
_UNDECIDED = {"bfloat16": 32, "float32": 64, "float64": 4}
"""One comparison in this many may be left undecided; from there on the next level is cheaper than the reference."""
_FEW = 128
"""One undecided comparison in this many scores of a whole tile isn't worth another product."""


@dataclass(frozen=True)
class PairCounts:
    """One direction: the right items of every query, and the wrong ones above and beside them.

    Every metric under every tie rule follows from these. Pairs are sorted by query.

    Attributes:
        n_queries: number of queries, those without a right item among them.
        n_items: number of items.
        query: (n_pairs,) query of each right pair.
        item: (n_pairs,) its right item.
        score: (n_pairs,) float64.
        greater: (n_pairs,) wrong items that score higher for this query.
        equal: (n_pairs,) wrong items that score exactly the same.
        best_wrong: (n_queries,) wrong item with the highest score, the first of several; -1 where all are right, and
            where none is.
        best_wrong_score: (n_queries,) its score; -inf where there is none.
    """

    n_queries: int
    n_items: int
    query: Ints
    item: Ints
    score: Floats
    greater: Ints
    equal: Ints
    best_wrong: Ints
    best_wrong_score: Floats

    def __repr__(self) -> str:
        return f"PairCounts({self.n_queries} queries, {self.n_items} items, {len(self.query)} right pairs)"

    @classmethod
    def empty(cls, n_queries: int, n_items: int, query: Ints, item: Ints, score: Floats) -> "PairCounts":
        """Nothing counted yet; pairs in any order."""
        order = np.lexsort((item, query))
        zeros = np.zeros((2, len(query)), dtype=np.int64)
        none = np.full(n_queries, -1, dtype=np.int64)
        worst = np.full(n_queries, -np.inf)
        return cls(n_queries, n_items, query[order], item[order], score[order], zeros[0], zeros[1], none, worst)

    def of(self, start: int, stop: int) -> slice:
        """Pairs of the queries from start (inclusive) to stop (exclusive)."""
        return slice(*np.searchsorted(self.query, [start, stop]))

    def improve(self, query: Ints, item: Ints, score: Floats) -> None:
        """Take these wrong items where they are better than what is known; of equals the first."""
        order = np.lexsort((item, -score, query))
        query, item, score = query[order], item[order], score[order]
        first = np.r_[True, query[1:] != query[:-1]][: len(query)]
        query, item, score = query[first], item[first], score[first]
        known, place = self.best_wrong_score[query], self.best_wrong[query]
        better = (score > known) | ((score == known) & ((item < place) | (place < 0)))
        self.best_wrong[query[better]] = item[better]
        self.best_wrong_score[query[better]] = score[better]


def count_pairs(
    text: Any,
    video: Any,
    caption: npt.NDArray[np.integer],
    video_of: npt.NDArray[np.integer],
    *,
    similarity: Similarity = "cosine",
    directions: Sequence[Direction] = DIRECTIONS,
    memory: int = MEMORY,
    device: str | None = None,
    first: Level | None = None,
) -> dict[Direction, PairCounts]:
    """Counts of the directions asked for, from one pass, in bounded memory.

    Args:
        text: (n_captions, dim) real numbers: arrays, tensors, or whatever `Source` reads block by block.
        video: (n_videos, dim).
        caption: (n_pairs,) int; with `video_of`, the right pairs. A caption or video may have several, or none.
        video_of: (n_pairs,) int.
        similarity: `cosine` (a zero vector scores 0 with everything), `dot`, or `euclidean` (minus the distance).
        directions: `t2v`, `v2t` or both.
        memory: bytes for blocks and tiles; changes speed, never a count.
        device: torch device of the products; None for the processor, or where the tensors are.
        first: level to begin with; None chooses. Changes speed, never a count.

    Raises:
        NonFiniteError: a row holds NaN or infinity, or a product of float64 numbers overflows.
    """
    check_similarity(similarity)
    sides = Source(text, "text"), Source(video, "video")
    pairs = unique_pairs(caption, video_of, len(sides[1]))
    known = _Lengths(len(sides[0])), _Lengths(len(sides[1]))
    score = _own_scores(*sides, pairs, similarity, known)
    counts: dict[Direction, PairCounts] = {}
    if "t2v" in directions:
        counts["t2v"] = PairCounts.empty(len(sides[0]), len(sides[1]), pairs[0], pairs[1], score)
    if "v2t" in directions:
        counts["v2t"] = PairCounts.empty(len(sides[1]), len(sides[0]), pairs[1], pairs[0], score)
    if len(pairs[0]):
        device = device or sides[0].device or sides[1].device
        _Counter(sides[0], sides[1], pairs, counts, similarity, known, device, memory, first).run()
    return counts


def score_matrix(
    text: npt.NDArray[Any], video: npt.NDArray[Any], *, similarity: Similarity = "cosine", block: int = 1024
) -> Floats:
    """All scores, (n_captions, n_videos) float64, each the very number `count_pairs` compares.

    Example:
        >>> score_matrix(np.array([[2., 0.], [0., 0.]]), np.array([[1., 0.], [3., 4.]]))
        array([[1. , 0.6],
               [0. , 0. ]])
    """
    check_similarity(similarity)
    sides = Source(text, "text"), Source(video, "video")
    for side in sides:
        side.refuse_nonfinite()
    scores = np.empty((len(sides[0]), len(sides[1])))
    for start in range(0, len(sides[0]), block):
        rows = sides[0].rows(start, start + block)
        for begin in range(0, len(sides[1]), block):
            found = block_scores(rows, sides[1].rows(begin, begin + block), similarity)
            scores[start : start + block, begin : begin + block] = found.T
    _refuse_overflow(scores)
    return scores


def refuse_nonfinite(values: Any, name: str) -> None:
    """Raise NonFiniteError with the rows of `values` (n, dim) that hold NaN or infinity."""
    Source(values, name).refuse_nonfinite()


class _Counter:
    """One pass: blocks of captions stay while the videos stream by."""

    def __init__(
        self,
        text: Source,
        video: Source,
        pairs: tuple[Ints, Ints],
        counts: dict[Direction, PairCounts],
        similarity: Similarity,
        known: tuple["_Lengths", "_Lengths"],
        device: str | None,
        memory: int,
        first: Level | None,
    ) -> None:
        self.text, self.video, self.counts, self.similarity, self.known = text, video, counts, similarity, known
        self.caption, self.video_of = pairs
        self.exact_scale = 0.5 if similarity == "euclidean" else 1.0
        sample = [
            side.take(np.linspace(0, len(side) - 1, min(_SAMPLE, len(side))).astype(np.int64)) for side in (text, video)
        ]
        self._refuse_nonfinite(*(Side(rows, "dot", None, None) for rows in sample))
        self.centres: Centres | None = find_centres(sample[0], sample[1], similarity)
        many = "v2t" in counts and len(self.caption) >= 4 * len(video)
        self._plan(memory, many)
        self.first: Level = first or self._fastest(many, device)
        self.products = Products(device)
        self.lock = threading.Lock()

    def _plan(self, memory: int, many: bool) -> None:
        width = max(self.text.shape[1], 16)
        row = 24 * width  # as stored, in float32, in bfloat16 and, should it come to it, in float64
        threads = n_threads()
        if float(len(self.text)) * len(self.video) * width < _SMALL:
            threads = 1
        self.n_captions = max(GROUP, memory // 2 // row)
        # Where a video has many captions their scores are sorted, and long rows are sorted best.
        largest = min(512 if many else 4096, memory // 4 // row // threads, -(-len(self.video) // threads))
        self.n_videos = max(GROUP, -(-largest // GROUP) * GROUP)
        scores = max(GROUP * GROUP, min(2**22 if many else 2**21, memory // 64 // threads))
        self.n_columns = max(GROUP, scores // self.n_videos)
        self.threads = threads

    def _fastest(self, many: bool, device: str | None) -> Level:
        # With many thresholds a row, what bfloat16 leaves open costs more than its product saves; with centres too.
        if many or self.centres is not None or self.similarity == "euclidean" or device is not None:
            return "float32"
        work = float(len(self.text)) * len(self.video) * self.text.shape[1]
        return "bfloat16" if bfloat16_pays(work) else "float32"

    def run(self) -> None:
        """Count."""
        for start in range(0, len(self.text), self.n_captions):
            stop = min(start + self.n_captions, len(self.text))
            text = self._side(self.text.rows(start, stop), "text")
            levels = np.full(len(text), LEVELS.index(self.first))

            def count(number: int, text: Side = text, start: int = start, levels: Ints = levels) -> None:
                self._block(text, start, number * self.n_videos, levels)

            # A product as short as a small problem's in bfloat16 is over before a second thread has woken up.
            in_blocks = each_alone if self.threads > 1 or self.first == "bfloat16" else one_by_one
            in_blocks(count, -(-len(self.video) // self.n_videos))

    def _block(self, text: Side, start: int, begin: int, levels: Ints) -> None:
        video = self._side(self.video.rows(begin, begin + self.n_videos), "video")
        self._refuse_nonfinite(text, video)
        lowest = max(LEVELS.index(side.lowest) for side in (text, video))
        with self.lock:
            np.maximum(levels, lowest, out=levels)
        for column in range(0, len(text), self.n_columns):
            self._chunk(text, video, start, begin, slice(column, column + self.n_columns), levels)

    def _side(self, rows: Array, name: str) -> Side:
        centres = self.centres
        if centres is None:
            return Side(rows, self.similarity, None, None)
        own, other = (centres.text, centres.video) if name == "text" else (centres.video, centres.text)
        return Side(rows, self.similarity, own, other)

    def _chunk(self, text: Side, video: Side, start: int, begin: int, columns: slice, levels: Ints) -> None:
        """All videos of a block with some captions, each at its level; those left too open go on to the next."""
        here = np.arange(len(text))[columns]
        with self.lock:
            at = levels[here]
        for number, level in enumerate(LEVELS):
            own = here[at == number]
            if not len(own):
                continue
            left = _Pass(self, text, video, start, begin, own, level).count()
            at[np.isin(here, left)] = number + 1
            with self.lock:
                levels[left] = np.maximum(levels[left], number + 1)
                if 2 * len(left) > len(own):
                    # Most of these captions needed more; the ones after them will as well.
                    levels[own[-1] + 1 :] = np.maximum(levels[own[-1] + 1 :], number + 1)

    def _refuse_nonfinite(self, text: Side, video: Side) -> None:
        for side, source in ((text, self.text), (video, self.video)):
            if not side.finite:
                source.refuse_nonfinite()


class _Pass:
    """Some captions of a block against all videos of another, at one level."""

    def __init__(
        self, counter: _Counter, text: Side, video: Side, start: int, begin: int, columns: Ints, level: Level
    ) -> None:
        self.counter, self.text, self.video, self.level = counter, text, video, level
        self.start, self.begin, self.columns = start, begin, columns
        self.tile, self.bounds, self.row_shift, self.column_shift, self.common = self._scores()
        self.place = np.full(len(text), -1, dtype=np.int64)  # column of each caption of the block
        self.place[columns] = np.arange(len(columns))
        own = self._right_pairs()
        self.tile.hide(counter.video_of[own] - begin, self.place[counter.caption[own] - start])
        self._views: dict[Direction, Tile] = {}

    def _scores(self) -> tuple[Tile, Band, Floats | None, Floats | None, float]:
        if self.level == "exact":
            scores = block_scores(self.text.stored[self.columns], self.video.stored, self.counter.similarity)
            _refuse_overflow(scores.T, self.start)
            padding = -len(scores) % GROUP
            padded = np.pad(scores, ((0, padding), (0, 0)), constant_values=-np.inf)
            return Tile(padded, len(scores)), Band(0.0), None, None, 0.0
        with self.counter.lock:
            text = getattr(self.text, self.level)
        video = getattr(self.video, self.level)
        columns = self.columns
        straight = len(columns) == columns[-1] - columns[0] + 1
        tile = self.counter.products.tile(
            self.level, video, text, slice(int(columns[0]), int(columns[-1]) + 1) if straight else columns
        )
        centres = self.counter.centres
        common = 0.0 if centres is None or self.counter.similarity == "euclidean" else centres.common
        shift = None if text.shift is None else text.shift[columns]
        return tile, band(self.level, text, video, centres), video.shift, shift, common

    def count(self) -> Ints:
        """Add this tile to the counts. Gives back captions of the block it left too open, of which nothing is added."""
        found = {direction: self._search(direction) for direction in self.counter.counts}
        left = self._too_open(found)
        if left.any():
            n_left = int(left.sum())
            rows = np.repeat(np.arange(self.tile.n_rows), n_left)
            self.tile.hide(rows, np.tile(np.flatnonzero(left), self.tile.n_rows))
            self._views.clear()
            found = {direction: self._search(direction) for direction in self.counter.counts}
        self._settle(found, left)
        return self.columns[left]

    def _search(self, direction: Direction) -> "_Searched":
        counts = self.counter.counts[direction]
        pairs = self._thresholds(direction)
        exact = counts.score[pairs]
        line = self._line(direction, counts.query[pairs])
        low, high = self._around(exact, direction, line)
        view = self._view(direction)
        search = view.in_columns if direction == "t2v" else view.in_rows
        found = search(line, low, high, listed=self.level != "exact")
        if self.level == "exact":
            return _Searched(pairs, found, self._exact_best(direction))
        bound, lines = self._best(direction)
        return _Searched(pairs, found, search(lines, bound, np.full_like(bound, np.inf)))

    def _thresholds(self, direction: Direction) -> Ints:
        """Pairs whose scores are compared with this tile, by line."""
        counts = self.counter.counts[direction]
        if direction == "v2t":
            return np.arange(len(counts.query))[counts.of(self.begin, self.begin + len(self.video))]
        pairs = np.arange(len(counts.query))[counts.of(self.start, self.start + len(self.text))]
        return pairs[self.place[counts.query[pairs] - self.start] >= 0]

    def _line(self, direction: Direction, query: Ints) -> Ints:
        """Column of a caption, row of a video."""
        return self.place[query - self.start] if direction == "t2v" else query - self.begin

    def _query(self, direction: Direction, line: Ints) -> Ints:
        return self.columns[line] + self.start if direction == "t2v" else line + self.begin

    def _around(self, exact: Floats, direction: Direction, line: Ints) -> tuple[Array, Array]:
        """Bounds of the approximate score of an exact one, in the view of its direction."""
        if self.level == "exact":
            return exact, exact
        shift = self.column_shift if direction == "t2v" else self.row_shift
        value = exact * self.counter.exact_scale - self.common
        return self.bounds.around(value if shift is None else value - shift[line], self.tile.dtype)

    def _view(self, direction: Direction) -> Tile:
        """The tile with the shift that differs between the items of a query."""
        shift = self.row_shift if direction == "t2v" else self.column_shift
        if shift is None:
            return self.tile
        if direction not in self._views:
            self._views[direction] = (
                self.tile.shifted(of_rows=shift) if direction == "t2v" else self.tile.shifted(of_columns=shift)
            )
        return self._views[direction]

    def _best(self, direction: Direction) -> tuple[Array, Ints]:
        """Score from which on a wrong item may be the best of its query, and the query's line."""
        counts = self.counter.counts[direction]
        lines = np.unique(self._line(direction, counts.query[self._thresholds(direction)]))
        view = self._view(direction)
        highest = view.highest_in_columns()[lines] if direction == "t2v" else view.highest_in_rows(lines)
        some = highest > -np.inf
        lines, highest = lines[some], highest[some].astype(np.float64)
        certain = highest - self.bounds.error - self.bounds.slope * np.abs(highest)
        by_highest = self.bounds.around(certain, self.tile.dtype)[0]
        known = counts.best_wrong_score[self._query(direction, lines)]
        by_known = self._around(known, direction, lines)[0]
        bound = np.maximum(by_highest, by_known)
        worth = highest >= bound
        return bound[worth], lines[worth]

    def _exact_best(self, direction: Direction) -> Found:
        """Where the best wrong item of each query is, the first of several."""
        lines = np.unique(self._line(direction, self.counter.counts[direction].query[self._thresholds(direction)]))
        host = self.tile.host()
        place = host[:, lines].argmax(axis=0) if direction == "t2v" else host[lines].argmax(axis=1)
        row, column = (place, lines) if direction == "t2v" else (lines, place)
        some = host[row, column] > -np.inf
        nothing = np.zeros(0, dtype=np.int64)
        return Found(nothing, nothing, np.flatnonzero(some), row[some], column[some])

    def _too_open(self, found: dict[Direction, "_Searched"]) -> npt.NDArray[np.bool_]:
        """(n_columns,) whether so much is undecided there that the next level is cheaper."""
        left = np.zeros(len(self.columns), dtype=bool)
        if self.level == "exact":
            return left
        undecided = np.concatenate([part.column for one in found.values() for part in (one.found, one.near)])
        if len(undecided) <= max(1024, self.tile.size // _FEW):
            return left
        per_column = np.bincount(undecided, minlength=len(left))
        return np.asarray(per_column > max(8, self.tile.n_rows // _UNDECIDED[self.level]))

    def _settle(self, found: dict[Direction, "_Searched"], left: npt.NDArray[np.bool_]) -> None:
        rows = np.concatenate([part.row for one in found.values() for part in (one.found, one.near)])
        columns = np.concatenate([part.column for one in found.values() for part in (one.found, one.near)])
        exact = self._worth_settling(found, rows, columns)
        done = 0
        for direction, one in found.items():
            counts = self.counter.counts[direction]
            kept = np.ones(len(one.pairs), dtype=bool)
            if direction == "t2v":
                kept = ~left[self._line(direction, counts.query[one.pairs])]
            own = exact[done : done + len(one.found.row)]
            candidates = exact[done + len(own) : done + len(own) + len(one.near.row)]
            done += len(own) + len(candidates)
            settled = one.pairs[one.found.near]
            above, same = own > counts.score[settled], own == counts.score[settled]  # certain ones are inf or -inf
            row, column = one.near.row + self.begin, self.columns[one.near.column] + self.start
            with self.counter.lock:
                counts.greater[one.pairs[kept]] += one.found.above[kept]
                if self.level == "exact":
                    counts.equal[one.pairs] += one.found.between
                np.add.at(counts.greater, settled[above], 1)
                np.add.at(counts.equal, settled[same], 1)
                best = candidates > -np.inf
                query, item = (column[best], row[best]) if direction == "t2v" else (row[best], column[best])
                counts.improve(query, item, candidates[best])

    def _worth_settling(self, found: dict[Direction, "_Searched"], rows: Ints, columns: Ints) -> Floats:
        """Exact scores of undecided pairs; inf or -inf where float32 has told already on which side they are."""
        scores = np.full(len(rows), np.nan)
        if self.level == "bfloat16":
            text, video = self.text.rough, self.video.rough
            bounds = band("float32", text, video, None)
            rough = np.empty(len(rows), dtype=np.float32)
            step = max(1, 2**17 // max(text.values.shape[1], 1))
            for start in range(0, len(rows), step):
                some = slice(start, start + step)
                left, right = text.values[self.columns[columns[some]]], video.values[rows[some]]
                np.einsum("ij,ij->i", left, right, out=rough[some])
            done = 0
            for direction, one in found.items():
                counts = self.counter.counts[direction]
                pairs = one.pairs[one.found.near]
                own = slice(done, done + len(pairs))
                low, high = bounds.around(counts.score[pairs], np.float32)
                scores[own] = np.where(rough[own] > high, np.inf, np.where(rough[own] < low, -np.inf, np.nan))
                best = slice(own.stop, own.stop + len(one.near.near))
                # What is surely below another candidate of its query isn't the best.
                certain = np.full(int(one.near.near.max(initial=-1)) + 1, -np.inf)
                np.maximum.at(certain, one.near.near, rough[best].astype(np.float64) - bounds.error)
                scores[best][rough[best] + bounds.error < certain[one.near.near]] = -np.inf
                done = best.stop
        open_ones = np.flatnonzero(np.isnan(scores))
        places, where = np.unique(rows[open_ones] * len(self.columns) + columns[open_ones], return_inverse=True)
        exact = self._exact(places // len(self.columns), places % len(self.columns))
        scores[open_ones] = exact[where.reshape(-1)]
        return scores

    def _exact(self, row: Ints, column: Ints) -> Floats:
        if self.level == "exact":
            return np.asarray(self.tile.host()[row, column])
        similarity, known = self.counter.similarity, self.counter.known
        scores = np.empty(len(row))
        for start in range(0, len(row), 4096):
            video_row = row[start : start + 4096]
            text_row = self.columns[column[start : start + 4096]]
            scores[start : start + 4096] = pair_scores(
                self.text.stored[text_row],
                self.video.stored[video_row],
                similarity,
                text_lengths=known[0].of(self.text.stored, text_row, self.start) if similarity == "cosine" else None,
                video_lengths=known[1].of(self.video.stored, video_row, self.begin) if similarity == "cosine" else None,
            )
        return scores

    def _right_pairs(self) -> Ints:
        counter = self.counter
        first, last = np.searchsorted(counter.caption, [self.start, self.start + len(self.text)])
        own = np.arange(first, last)
        inside = (counter.video_of[own] >= self.begin) & (counter.video_of[own] < self.begin + len(self.video))
        own = own[inside]
        return own[self.place[counter.caption[own] - self.start] >= 0]


@dataclass(frozen=True)
class _Searched:
    """Pairs compared with a tile, what was found of them, and candidates for the best wrong item."""

    pairs: Ints
    found: Found
    near: Found


def unique_pairs(caption: Any, video_of: Any, n_videos: int) -> tuple[Ints, Ints]:
    """Sorted by caption, then video."""
    key = np.unique(np.asarray(caption, dtype=np.int64) * max(n_videos, 1) + np.asarray(video_of, dtype=np.int64))
    return key // max(n_videos, 1), key % max(n_videos, 1)


class _Lengths:
    """Lengths of the rows of one side that were needed so far, (n,); NaN of the others."""

    def __init__(self, n: int) -> None:
        self._known = np.full(n, np.nan)

    def of(self, block: Array, rows: Ints, first: int) -> Floats:
        """Lengths of these rows of a block that begins at row `first`."""
        found = self._known[rows + first]
        if np.isnan(found).any():
            missing = np.unique(rows[np.isnan(found)])
            self._known[missing + first] = lengths(block[missing])
            found = self._known[rows + first]
        return found

    def put(self, rows: Ints, values: Array) -> Floats:
        """Lengths of these distinct rows, of which `values` are given."""
        missing = np.isnan(self._known[rows])
        if missing.any():
            self._known[rows[missing]] = lengths(values[missing])
        return self._known[rows]


def _own_scores(
    text: Source, video: Source, pairs: tuple[Ints, Ints], similarity: Similarity, known: tuple[_Lengths, _Lengths]
) -> Floats:
    if text.shape[1] != video.shape[1]:
        raise EvaluationError(f"text is {text.shape[1]} wide and video {video.shape[1]}: they share no space.")
    scores = np.empty(len(pairs[0]))
    for start in range(0, len(scores), 4096):
        some = slice(start, start + 4096)
        rows = []
        given = []
        for side, of, asked in zip((text, video), known, pairs, strict=True):
            distinct, place = np.unique(asked[some], return_inverse=True)
            block = side.take(distinct)
            rows.append(block[place])
            given.append(of.put(distinct, block)[place] if similarity == "cosine" else None)
        scores[some] = pair_scores(rows[0], rows[1], similarity, text_lengths=given[0], video_lengths=given[1])
    if not np.isfinite(scores).all():
        text.refuse_nonfinite()
        video.refuse_nonfinite()
        _refuse_overflow(scores[:, None])
    return scores


def _refuse_overflow(scores: Floats, first: int = 0) -> None:
    if not np.isfinite(scores).all():
        row = first + int(np.flatnonzero(~np.isfinite(scores).all(axis=1))[0])
        raise NonFiniteError(f"text row {row}: its product with a video overflows. Use similarity='cosine'.")
