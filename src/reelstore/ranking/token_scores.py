"""The score of a caption and a video by their tokens, defined.

    over="text":   total over the caption's tokens of the highest score with a token of the video
    over="video":  total over the video's tokens of the highest score with a token of the caption
    over="both":   the mean of the two

The score of two tokens is the one that `reference` defines; a maximum rounds nothing; the total is the fold of the
maxima in the order of the tokens, for `mean` divided by their number. A maximum or a mean of approximate scores is
wrong by no more than the scores are, which makes a matrix product of tokens a filter.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from reelstore.arrays import Float64Array, IntArray, Tokens
from reelstore.errors import NonFiniteError
from reelstore.ranking.arguments import one_of
from reelstore.ranking.filters import Operand, band
from reelstore.ranking.reference import fold, lengths, pair_scores

Over = Literal["text", "video", "both"]
Total = Literal["mean", "sum"]
TokenSimilarity = Literal["cosine", "dot"]
_PRODUCTS = 2**16
"""Token pairs scored at once by the definition."""


@dataclass(frozen=True)
class Interaction:
    """How tokens make a score.

    Attributes:
        similarity: of two tokens.
        over: whose tokens are added up.
        total: how they are.
    """

    similarity: TokenSimilarity = "cosine"
    over: Over = "text"
    total: Total = "mean"

    def __post_init__(self) -> None:
        for kind, value, known in (
            ("similarity of tokens", self.similarity, TokenSimilarity),
            ("side to add up over", self.over, Over),
            ("total", self.total, Total),
        ):
            one_of(kind, value, get_args(known))

    @property
    def description(self) -> str:
        """What its scores are, for people."""
        tokens = {"text": "text tokens", "video": "video tokens", "both": "tokens of both sides"}[self.over]
        return f"maxsim: {self.total} over {tokens} of the highest {self.similarity}"

    def scores(self, text: Tokens, video: Tokens, caption: IntArray, video_of: IntArray) -> Float64Array:
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

    def approximate(
        self, text: Tokens, video: Tokens, level: Literal["float32", "float64"], left: Operand, right: Operand
    ) -> tuple[Float64Array, float]:
        """(n_videos, n_captions) scores from a product of the tokens' operands, video on the left, and a bound of how
        wrong they can be."""
        tokens = np.matmul(left.values, right.values.T)
        starts = video.offsets[:-1], text.offsets[:-1]
        counts = video.counts[:, None], text.counts[None, :]
        error = band(level, right, left, None).error
        # Totals in float64: a rounding for each of their terms, here and in the definition.
        longest = max(int(of.max()) for of in counts)
        error += 4 * (longest + 4) * 2.0**-53 * (left.reach * right.reach + error)
        mean = self.total == "mean"
        parts = []
        if self.over != "video":
            best = np.maximum.reduceat(tokens, starts[0], axis=0)  # (n_videos, text tokens)
            parts.append(np.add.reduceat(best, starts[1], axis=1, dtype=np.float64) / (counts[1] if mean else 1))
        if self.over != "text":
            best = np.maximum.reduceat(tokens, starts[1], axis=1)  # (video tokens, n_captions)
            parts.append(np.add.reduceat(best, starts[0], axis=0, dtype=np.float64) / (counts[0] if mean else 1))
        scores: Float64Array = parts[0] if len(parts) == 1 else (parts[0] + parts[1]) / 2
        return scores, 1.01 * error * (1 if mean else longest)

    def _totals(self, tokens: Float64Array, grid: "_TokenPairs") -> Float64Array:
        """(n,) totals of pairs whose tokens score so with one another."""
        parts = []
        if self.over != "video":
            parts.append(self._total(np.maximum.reduceat(tokens, grid.of_text), grid.n_text))
        if self.over != "text":
            ordered = tokens[grid.by_video]
            parts.append(self._total(np.maximum.reduceat(ordered, grid.of_video), grid.n_video))
        return parts[0] if len(parts) == 1 else (parts[0] + parts[1]) / 2

    def _total(self, best: Float64Array, size: IntArray) -> Float64Array:
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

    def __init__(self, text: Tokens, video: Tokens, caption: IntArray, video_of: IntArray) -> None:
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


def _starts(size: IntArray) -> IntArray:
    return np.cumsum(size) - size
