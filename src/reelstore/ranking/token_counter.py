"""Tokens of both sides and who belongs to whom -> exact counts, piece by piece."""

import threading
from collections.abc import Sequence
from functools import cached_property
from hashlib import sha256

import numpy as np

from reelstore.arrays import Float64Array, IntArray
from reelstore.ranking.counts import Direction, PairCounts
from reelstore.ranking.filters import Level, OperandBlock
from reelstore.ranking.threads import each_alone
from reelstore.ranking.tiles import GROUP, Tile
from reelstore.ranking.token_scores import Interaction, TokenSimilarity
from reelstore.ranking.tokens import TokenSource

_LEVELS: tuple[Level, ...] = ("float32", "float64", "exact")
_TILE_TOKENS = 2048
"""Tokens of each side multiplied at once, at most: scores of 16 MB."""
_UNDECIDED = 32
"""One undecided comparison in this many pairs of a tile; from there on the next level is cheaper."""


class _Piece:
    """Tokens of some items, ready for products at each level; what repeats is found when it is asked for."""

    def __init__(self, source: TokenSource, start: int, stop: int, similarity: TokenSimilarity) -> None:
        self.start = start
        self.tokens = source.items(start, stop)
        self.side = OperandBlock(self.tokens.values, similarity)
        if not self.side.finite:
            source.refuse_nonfinite()

    def __len__(self) -> int:
        return len(self.tokens)

    @cached_property
    def first_equal(self) -> IntArray:
        """(n_items,) the first item here that holds the same values."""
        known: dict[tuple[int, bytes], int] = {}
        found = []
        for number in range(len(self)):
            rows = np.ascontiguousarray(self.tokens.item(number))
            rows = rows + rows.dtype.type(0)  # -0 becomes 0
            found.append(known.setdefault((len(rows), sha256(rows.tobytes()).digest()), number))
        return np.array(found, dtype=np.int64)


class TokenCounter:
    """One count: pieces of captions stay while pieces of videos stream by."""

    def __init__(
        self,
        text: TokenSource,
        video: TokenSource,
        interaction: Interaction,
        pairs: tuple[IntArray, IntArray],
        *,
        directions: Sequence[Direction],
        return_hard_negatives: bool,
        memory: int,
        first: Level,
    ) -> None:
        self.text, self.video, self.interaction, self.pairs = text, video, interaction, pairs
        self.return_hard_negatives, self.memory, self.first = return_hard_negatives, memory, first
        self.lock = threading.Lock()
        caption, video_of = pairs
        score = self._own_scores()
        self.counts: dict[Direction, PairCounts] = {}
        if "t2v" in directions:
            self.counts["t2v"] = PairCounts.empty(len(text), len(video), caption, video_of, score)
        if "v2t" in directions:
            self.counts["v2t"] = PairCounts.empty(len(video), len(text), video_of, caption, score)

    def run(self) -> dict[Direction, PairCounts]:
        """Count."""
        text, video = self.text, self.video
        if not len(self.pairs[0]):
            return self.counts
        token = 24 * max(text.dim, 16)  # as stored, in float32 and, should it come to it, in float64
        tile = max(1, min(_TILE_TOKENS, self.memory // 8 // token, int((self.memory // 32) ** 0.5)))
        held = max(tile, self.memory // 4 // token)
        pieces: list[_Piece] = []
        cuts = list(text.cuts(tile))
        for number, (start, stop) in enumerate(cuts):
            pieces.append(_Piece(text, start, stop, self.interaction.similarity))
            if sum(len(piece.tokens.values) for piece in pieces) >= held or number == len(cuts) - 1:
                self._stream(pieces, list(video.cuts(tile)))
                pieces = []
        return self.counts

    def _stream(self, pieces: list[_Piece], cuts: list[tuple[int, int]]) -> None:
        def work(number: int) -> None:
            video = _Piece(self.video, *cuts[number], self.interaction.similarity)
            for text in pieces:
                self._tile(text, video)

        each_alone(work, len(cuts))

    def _own_scores(self) -> Float64Array:
        caption, video_of = self.pairs
        scores = np.empty(len(caption))
        width = int(max(self.text.counts.max(initial=1), self.video.counts.max(initial=1)))
        step = max(1, min(256, self.memory // 8 // (24 * width * max(self.text.dim, 16))))
        for start in range(0, len(scores), step):
            some = slice(start, start + step)
            text, text_place = np.unique(caption[some], return_inverse=True)
            video, video_place = np.unique(video_of[some], return_inverse=True)
            tokens = self.text.take(text), self.video.take(video)
            for source, part in zip((self.text, self.video), tokens, strict=True):
                if not np.isfinite(part.values).all():
                    source.refuse_nonfinite()
            scores[some] = self.interaction.scores(*tokens, text_place.reshape(-1), video_place.reshape(-1))
        return scores

    def _tile(self, text: _Piece, video: _Piece) -> None:
        lowest = [_LEVELS.index(piece.side.lowest) for piece in (text, video) if piece.side.lowest in _LEVELS]
        caption, video_of = self.pairs
        first, last = np.searchsorted(caption, [text.start, text.start + len(text)])
        own = np.arange(first, last)
        own = own[(video_of[own] >= video.start) & (video_of[own] < video.start + len(video))]
        hidden = video_of[own] - video.start, caption[own] - text.start
        for level in _LEVELS[max([*lowest, _LEVELS.index(self.first)]) :]:
            scores, error = self._scores(text, video, level)
            padded = np.pad(scores, ((0, -len(scores) % GROUP), (0, 0)), constant_values=-np.inf)
            tile = Tile(padded, len(scores))
            tile.hide(*hidden)
            found = [_TokenHits(self, direction, tile, text, video, error) for direction in self.counts]
            undecided = sum(len(one.row) for one in found)
            if level == "exact" or undecided <= max(64, scores.size // _UNDECIDED):
                break
        self._settle(found, scores if level == "exact" else None, text, video)

    def _scores(self, text: _Piece, video: _Piece, level: Level) -> tuple[Float64Array, float]:
        """(n_videos, n_captions) scores of a level and how wrong they can be."""
        if level == "exact":
            row, column = np.indices((len(video), len(text))).reshape(2, -1)
            return self._exact(text, video, row, column).reshape(len(video), len(text)), 0.0
        with self.lock:
            left, right = getattr(video.side, level), getattr(text.side, level)
        return self.interaction.approximate(
            text.tokens, video.tokens, "float64" if level == "float64" else "float32", left, right
        )

    def _exact(self, text: _Piece, video: _Piece, row: IntArray, column: IntArray) -> Float64Array:
        """(n,) scores as they are defined; what repeats is scored once."""
        if not len(row):
            return np.zeros(0)
        key, place = np.unique(video.first_equal[row] * len(text) + text.first_equal[column], return_inverse=True)
        scores = self.interaction.scores(text.tokens, video.tokens, key % len(text), key // len(text))
        found: Float64Array = scores[place.reshape(-1)]
        return found

    def _settle(self, found: "list[_TokenHits]", exact: Float64Array | None, text: _Piece, video: _Piece) -> None:
        for one in found:
            counts = self.counts[one.direction]
            row, column = np.r_[one.row, one.best_row], np.r_[one.column, one.best_column]
            scores = self._exact(text, video, row, column) if exact is None else exact[row, column]
            own, best = scores[: len(one.row)], scores[len(one.row) :]
            settled = one.pairs[one.near]
            queries, items = one.best_row + video.start, one.best_column + text.start
            if one.direction == "t2v":
                queries, items = items, queries
            with self.lock:
                counts.greater[one.pairs] += one.above
                np.add.at(counts.greater, settled[own > counts.score[settled]], 1)
                np.add.at(counts.equal, settled[own == counts.score[settled]], 1)
                counts.improve(queries, items, best)


class _TokenHits:
    """What one direction's relevant pairs found in a tile: scores surely above them, and where those are that need the
    reference (`row`, `column`, of the pair `pairs[near]`); and where a query's hardest negative may be."""

    def __init__(
        self, counter: TokenCounter, direction: Direction, tile: Tile, text: _Piece, video: _Piece, error: float
    ) -> None:
        counts = counter.counts[direction]
        piece = text if direction == "t2v" else video
        self.direction = direction
        self.pairs = np.arange(len(counts.query))[counts.of(piece.start, piece.start + len(piece))]
        line = counts.query[self.pairs] - piece.start
        search = tile.in_columns if direction == "t2v" else tile.in_rows
        score = counts.score[self.pairs]
        found = search(line, *_around(score, error))
        self.above, self.near, self.row, self.column = found.above, found.near, found.row, found.column
        self.best_row = self.best_column = np.zeros(0, dtype=np.int64)
        if counter.return_hard_negatives:
            lines = np.unique(line)
            highest = (tile.highest_in_columns()[lines] if direction == "t2v" else tile.highest_in_rows(lines)).astype(
                np.float64
            )
            with counter.lock:
                known = counts.hardest_negative_score[lines + piece.start]
            # A candidate may be the best of this tile, and no worse than what is known.
            bound = np.maximum(_around(highest, 2 * error)[0], _around(known, error)[0])
            some = (highest > -np.inf) & (highest >= bound)
            near = search(lines[some], bound[some], np.full(int(some.sum()), np.inf))
            self.best_row, self.best_column = near.row, near.column


def _around(score: Float64Array, error: float) -> tuple[Float64Array, Float64Array]:
    """Lowest and highest approximate score of an exact one, rounded outwards."""
    if error == 0:
        return score, score
    return np.nextafter(score - error, -np.inf), np.nextafter(score + error, np.inf)
