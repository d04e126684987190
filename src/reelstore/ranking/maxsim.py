"""Late interaction: a caption and a video are as close as their tokens are, each by the best of the other side.

    over="text":   total over the caption's tokens of the highest score with a token of the video
    over="video":  total over the video's tokens of the highest score with a token of the caption
    over="both":   the mean of the two

The score of two tokens is the one that `reference` defines; a maximum rounds nothing; the total is the fold of the
maxima in the order of the tokens, for `mean` divided by their number. So counts depend on no block, thread or dtype, as
those of pooled embeddings do, and come about the same way: a matrix product of tokens is a filter that knows how wrong
it can be, float64 decides what it leaves open. A maximum or a mean of scores is wrong by no more than the scores are.
"""

import threading
from collections.abc import Sequence
from functools import cached_property
from hashlib import sha256
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from reelstore.errors import EvaluationError, NonFiniteError, UnknownNameError
from reelstore.ranking.counts import DIRECTIONS, MEMORY, Direction, PairCounts, unique_pairs
from reelstore.ranking.filters import Level, Side, band
from reelstore.ranking.reference import Array, Floats, Ints, fold, lengths, pair_scores
from reelstore.ranking.threads import each_alone
from reelstore.ranking.tiles import GROUP, Tile
from reelstore.ranking.tokens import Tokens, TokenSource

Over = Literal["text", "video", "both"]
Total = Literal["mean", "sum"]
TokenSimilarity = Literal["cosine", "dot"]

_LEVELS: tuple[Level, ...] = ("float32", "float64", "exact")
_TILE_TOKENS = 2048
"""Tokens of each side multiplied at once, at most: scores of 16 MB."""
_PRODUCTS = 2**16
"""Token pairs scored at once by the reference."""
_UNDECIDED = 32
"""One undecided comparison in this many pairs of a tile; from there on the next level is cheaper than the reference."""


class MaxSim:
    """A scorer on tokens, for `evaluate(scores=MaxSim(text, video), video_of_caption=...)`.

    Args:
        text: tokens of the captions, whatever `TokenSource` reads: ragged (values, offsets), (n, n_tokens, dim), a list
            of arrays, or a store's rows of tokens, which stream.
        video: tokens of the videos, of the same width.
        similarity: of two tokens: `cosine` (a zero token scores 0 with everything) or `dot`.
        over: whose tokens are added up: `text` (ColBERT), `video`, or `both` (their mean).
        total: `mean`, so that long captions aren't closer to everything, or `sum`. It changes no rank of videos over
            `text`.

    Attributes:
        shape: (n_captions, n_videos).

    Example:
        >>> text = [np.array([[1., 0.], [0., 1.]])]          # one caption of two tokens
        >>> video = [np.array([[1., 0.]]), np.array([[3., 4.], [0., 2.]])]
        >>> MaxSim(text, video).block(slice(0, 1), slice(0, 2))
        array([[0.5, 0.8]])
    """

    def __init__(
        self,
        text: Any,
        video: Any,
        *,
        similarity: TokenSimilarity = "cosine",
        over: Over = "text",
        total: Total = "mean",
    ) -> None:
        for kind, value, known in (
            ("similarity of tokens", similarity, TokenSimilarity),
            ("side to add up over", over, Over),
            ("total", total, Total),
        ):
            if value not in get_args(known):
                raise UnknownNameError(kind, value, get_args(known))
        self.text, self.video = TokenSource(text, "text"), TokenSource(video, "video")
        if self.text.dim != self.video.dim:
            raise EvaluationError(
                f"text tokens are {self.text.dim} wide and video tokens {self.video.dim}: they share no space."
            )
        self.similarity, self.over, self.total = similarity, over, total
        self.shape = (len(self.text), len(self.video))

    def __repr__(self) -> str:
        return f"MaxSim({self.shape[0]} captions, {self.shape[1]} videos, {self.similarity}, over {self.over})"

    @property
    def name(self) -> str:
        """What details call it."""
        return f"maxsim: {self.total} over {self.over} tokens of the highest {self.similarity}"

    def block(self, captions: slice, videos: slice) -> Floats:
        """(n_captions, n_videos) scores as they are defined."""
        text = self.text.items(*captions.indices(len(self.text))[:2])
        video = self.video.items(*videos.indices(len(self.video))[:2])
        at = np.indices((len(text), len(video))).reshape(2, -1)
        return self.pairs(text, video, at[0], at[1]).reshape(len(text), len(video))

    def pairs(self, text: Tokens, video: Tokens, caption: Ints, video_of: Ints) -> Floats:
        """(n,) scores, as they are defined, of these captions of `text` with these videos of `video`.

        Raises:
            NonFiniteError: a product of two tokens overflows.
        """
        scores = np.empty(len(caption))
        known = lengths(text.values), lengths(video.values)
        products = np.cumsum(text.counts[caption] * video.counts[video_of])
        start = 0
        while start < len(caption):
            limit = (products[start - 1] if start else 0) + _PRODUCTS
            stop = max(start + 1, int(np.searchsorted(products, limit, side="right")))
            some = slice(start, stop)
            grid = _TokenPairs(text, video, caption[some], video_of[some])
            tokens = pair_scores(
                text.values,
                video.values,
                self.similarity,
                at=(grid.left, grid.right),
                text_lengths=known[0][grid.left],
                video_lengths=known[1][grid.right],
            )
            scores[some] = self._totals(tokens, grid)
            start = stop
        if not np.isfinite(scores).all():
            raise NonFiniteError("A product of two tokens overflows. Use similarity='cosine'.")
        return scores

    def count(
        self,
        caption: npt.NDArray[np.integer],
        video_of: npt.NDArray[np.integer],
        *,
        directions: Sequence[Direction] = DIRECTIONS,
        answers: bool = False,
        memory: int = MEMORY,
        first: Level = "float32",
    ) -> dict[Direction, PairCounts]:
        """Counts of the directions asked for, as `count_pairs` gives them for pooled embeddings.

        Args:
            caption: (n_pairs,) int; with `video_of`, the right pairs.
            video_of: (n_pairs,) int.
            directions: `t2v`, `v2t` or both.
            answers: look for the best wrong item of each query too.
            memory: bytes for blocks of tokens and their scores (an item's tokens are never cut); changes no count.
            first: level to begin with; changes speed, never a count.

        Raises:
            NonFiniteError: a token holds NaN or infinity, or a product overflows.
        """
        right = unique_pairs(caption, video_of, self.shape[1])
        counter = _Counter(self, right, directions=directions, answers=answers, memory=memory, first=first)
        return counter.run()

    def _totals(self, tokens: Floats, grid: "_TokenPairs") -> Floats:
        """(n,) totals of pairs whose tokens score so with one another."""
        parts = []
        if self.over != "video":
            parts.append(self._total(np.maximum.reduceat(tokens, grid.of_text), grid.n_text))
        if self.over != "text":
            ordered = tokens[grid.by_video]
            parts.append(self._total(np.maximum.reduceat(ordered, grid.of_video), grid.n_video))
        return parts[0] if len(parts) == 1 else (parts[0] + parts[1]) / 2

    def _total(self, best: Floats, size: Ints) -> Floats:
        """(n,) fold of `size` maxima each; zeros at a row's end add nothing to it."""
        ragged = np.zeros((len(size), int(size.max())))
        ragged[np.arange(ragged.shape[1]) < size[:, None]] = best
        return fold(ragged) / (size if self.total == "mean" else 1)


class _TokenPairs:
    """Every token of a caption with every token of its video, for some pairs, one behind the other.

    Attributes:
        left, right: (n_token_pairs,) rows of the caption's and the video's token, the video's fastest.
        by_video: (n_token_pairs,) the same places with the caption's token fastest.
        of_text, of_video: where each caption's token begins, and in `by_video` each video's.
        n_text, n_video: (n_pairs,) tokens of either.
    """

    def __init__(self, text: Tokens, video: Tokens, caption: Ints, video_of: Ints) -> None:
        self.n_text, self.n_video = text.counts[caption], video.counts[video_of]
        size = self.n_text * self.n_video
        start = np.cumsum(size) - size
        within = np.arange(int(size.sum())) - np.repeat(start, size)
        wide, high = np.repeat(self.n_video, size), np.repeat(self.n_text, size)
        self.left = np.repeat(text.offsets[caption], size) + within // wide
        self.right = np.repeat(video.offsets[video_of], size) + within % wide
        self.by_video = np.repeat(start, size) + within % high * wide + within // high
        self.of_text = _starts(np.repeat(self.n_video, self.n_text))
        self.of_video = _starts(np.repeat(self.n_text, self.n_video))


def _starts(size: Ints) -> Ints:
    return np.cumsum(size) - size


class _Piece:
    """Tokens of some items, ready for products at each level; what repeats is found when it is asked for."""

    def __init__(self, source: TokenSource, start: int, stop: int, similarity: TokenSimilarity) -> None:
        self.start = start
        self.tokens = source.items(start, stop)
        self.side = Side(self.tokens.values, similarity)
        if not self.side.finite:
            source.refuse_nonfinite()

    def __len__(self) -> int:
        return len(self.tokens)

    @cached_property
    def first_equal(self) -> Ints:
        """(n_items,) the first item here that holds the same values."""
        known: dict[tuple[int, bytes], int] = {}
        found = []
        for number in range(len(self)):
            rows = np.ascontiguousarray(self.tokens.item(number))
            rows = rows + rows.dtype.type(0)  # -0 becomes 0
            found.append(known.setdefault((len(rows), sha256(rows.tobytes()).digest()), number))
        return np.array(found, dtype=np.int64)


class _Counter:
    """One count: pieces of captions stay while pieces of videos stream by."""

    def __init__(
        self,
        scorer: MaxSim,
        right: tuple[Ints, Ints],
        *,
        directions: Sequence[Direction],
        answers: bool,
        memory: int,
        first: Level,
    ) -> None:
        self.scorer, self.right = scorer, right
        self.answers, self.memory, self.first = answers, memory, first
        self.lock = threading.Lock()
        caption, video_of = right
        score = self._own_scores()
        self.counts: dict[Direction, PairCounts] = {}
        if "t2v" in directions:
            self.counts["t2v"] = PairCounts.empty(*scorer.shape, caption, video_of, score)
        if "v2t" in directions:
            self.counts["v2t"] = PairCounts.empty(*scorer.shape[::-1], video_of, caption, score)

    def run(self) -> dict[Direction, PairCounts]:
        """Count."""
        text, video = self.scorer.text, self.scorer.video
        if not len(self.right[0]):
            return self.counts
        token = 24 * max(text.dim, 16)  # as stored, in float32 and, should it come to it, in float64
        tile = max(1, min(_TILE_TOKENS, self.memory // 8 // token, int((self.memory // 32) ** 0.5)))
        held = max(tile, self.memory // 4 // token)
        pieces: list[_Piece] = []
        cuts = list(text.cuts(tile))
        for number, (start, stop) in enumerate(cuts):
            pieces.append(_Piece(text, start, stop, self.scorer.similarity))
            if sum(len(piece.tokens.values) for piece in pieces) >= held or number == len(cuts) - 1:
                self._stream(pieces, list(video.cuts(tile)))
                pieces = []
        return self.counts

    def _stream(self, pieces: list[_Piece], cuts: list[tuple[int, int]]) -> None:
        def work(number: int) -> None:
            video = _Piece(self.scorer.video, *cuts[number], self.scorer.similarity)
            for text in pieces:
                self._tile(text, video)

        each_alone(work, len(cuts))

    def _own_scores(self) -> Floats:
        caption, video_of = self.right
        scores = np.empty(len(caption))
        width = int(max(self.scorer.text.counts.max(initial=1), self.scorer.video.counts.max(initial=1)))
        step = max(1, min(256, self.memory // 8 // (24 * width * max(self.scorer.text.dim, 16))))
        for start in range(0, len(scores), step):
            some = slice(start, start + step)
            text, text_place = np.unique(caption[some], return_inverse=True)
            video, video_place = np.unique(video_of[some], return_inverse=True)
            tokens = self.scorer.text.take(text), self.scorer.video.take(video)
            for source, part in zip((self.scorer.text, self.scorer.video), tokens, strict=True):
                if not np.isfinite(part.values).all():
                    source.refuse_nonfinite()
            scores[some] = self.scorer.pairs(*tokens, text_place.reshape(-1), video_place.reshape(-1))
        return scores

    def _tile(self, text: _Piece, video: _Piece) -> None:
        lowest = [_LEVELS.index(piece.side.lowest) for piece in (text, video) if piece.side.lowest in _LEVELS]
        caption, video_of = self.right
        first, last = np.searchsorted(caption, [text.start, text.start + len(text)])
        own = np.arange(first, last)
        own = own[(video_of[own] >= video.start) & (video_of[own] < video.start + len(video))]
        hidden = video_of[own] - video.start, caption[own] - text.start
        for level in _LEVELS[max([*lowest, _LEVELS.index(self.first)]) :]:
            scores, error = self._scores(text, video, level)
            padded = np.pad(scores, ((0, -len(scores) % GROUP), (0, 0)), constant_values=-np.inf)
            tile = Tile(padded, len(scores))
            tile.hide(*hidden)
            found = [_Found(self, direction, tile, text, video, error) for direction in self.counts]
            undecided = sum(len(one.row) for one in found)
            if level == "exact" or undecided <= max(64, scores.size // _UNDECIDED):
                break
        self._settle(found, scores if level == "exact" else None, text, video)

    def _scores(self, text: _Piece, video: _Piece, level: Level) -> tuple[Floats, float]:
        """(n_videos, n_captions) approximate scores and how wrong they can be."""
        if level == "exact":
            return self._exact(
                text, video, *(np.indices((len(video), len(text))).reshape(2, -1))
            ).reshape(len(video), len(text)), 0.0
        with self.lock:
            left, right = getattr(video.side, level), getattr(text.side, level)
        tokens = np.matmul(left.values, right.values.T)
        starts = video.tokens.offsets[:-1], text.tokens.offsets[:-1]
        counts = video.tokens.counts[:, None], text.tokens.counts[None, :]
        error = band(level, right, left, None).error
        # Totals in float64: a rounding for each of their terms, here and in the reference.
        longest = max(int(of.max()) for of in counts)
        error += 4 * (longest + 4) * 2.0**-53 * (left.reach * right.reach + error)
        mean = self.scorer.total == "mean"
        parts = []
        if self.scorer.over != "video":
            best = np.maximum.reduceat(tokens, starts[0], axis=0)  # (n_videos, text tokens)
            parts.append(np.add.reduceat(best, starts[1], axis=1, dtype=np.float64) / (counts[1] if mean else 1))
        if self.scorer.over != "text":
            best = np.maximum.reduceat(tokens, starts[1], axis=1)  # (video tokens, n_captions)
            parts.append(np.add.reduceat(best, starts[0], axis=0, dtype=np.float64) / (counts[0] if mean else 1))
        scores: Floats = parts[0] if len(parts) == 1 else (parts[0] + parts[1]) / 2
        return scores, 1.01 * error * (1 if mean else longest)

    def _exact(self, text: _Piece, video: _Piece, row: Ints, column: Ints) -> Floats:
        """(n,) scores as they are defined; what repeats is scored once."""
        if not len(row):
            return np.zeros(0)
        key, place = np.unique(
            video.first_equal[row] * len(text) + text.first_equal[column], return_inverse=True
        )
        scores = self.scorer.pairs(text.tokens, video.tokens, key % len(text), key // len(text))
        return scores[place.reshape(-1)]

    def _settle(self, found: "list[_Found]", exact: Floats | None, text: _Piece, video: _Piece) -> None:
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


class _Found:
    """What one direction's right pairs found in a tile: scores surely above them, and where those lie that need the
    reference (`row`, `column`, of the pair `pairs[near]`); and where a query's best wrong item may be."""

    def __init__(
        self, counter: _Counter, direction: Direction, tile: Tile, text: _Piece, video: _Piece, error: float
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
        if counter.answers:
            lines = np.unique(line)
            highest = (
                tile.highest_in_columns()[lines] if direction == "t2v" else tile.highest_in_rows(lines)
            ).astype(np.float64)
            with counter.lock:
                known = counts.best_wrong_score[lines + piece.start]
            # A candidate may be the best of this tile, and no worse than what is known.
            bound = np.maximum(_around(highest, 2 * error)[0], _around(known, error)[0])
            some = (highest > -np.inf) & (highest >= bound)
            near = search(lines[some], bound[some], np.full(int(some.sum()), np.inf))
            self.best_row, self.best_column = near.row, near.column


def _around(score: Floats, error: float) -> tuple[Floats, Floats]:
    """Lowest and highest approximate score of an exact one, rounded outwards."""
    if error == 0:
        return score, score
    return np.nextafter(score - error, -np.inf), np.nextafter(score + error, np.inf)

