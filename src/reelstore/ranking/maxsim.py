"""Late interaction: a caption and a video are as close as their tokens are, each by the best of the other side.

Counts come about as those of pooled embeddings do: a product is a filter, the definition decides what it leaves open.
So they depend on no block, thread or dtype.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from reelstore.arrays import Float64Array
from reelstore.errors import EvaluationError
from reelstore.ranking.counts import DIRECTIONS, MEMORY, Direction, PairCounts, unique_pairs
from reelstore.ranking.filters import Level
from reelstore.ranking.token_counter import TokenCounter
from reelstore.ranking.token_scores import Interaction, Over, TokenSimilarity, Total
from reelstore.ranking.tokens import TokenSource


class MaxSim:
    """A scorer on tokens, for `evaluate(scores=MaxSim(text=text, video=video), video_of_caption=...)`.

    Args:
        text: tokens of the captions: ragged (values, offsets), (n, n_tokens, dim), a list
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
        >>> MaxSim(text=text, video=video).block(slice(0, 1), slice(0, 2))
        array([[0.5, 0.8]])
    """

    def __init__(
        self,
        *,
        text: Any,
        video: Any,
        similarity: TokenSimilarity = "cosine",
        over: Over = "text",
        total: Total = "mean",
    ) -> None:
        self.interaction = Interaction(similarity, over, total)
        self.text, self.video = TokenSource(text, "text"), TokenSource(video, "video")
        if self.text.dim != self.video.dim:
            raise EvaluationError(
                f"text tokens are {self.text.dim} wide and video tokens {self.video.dim}: they share no space."
            )
        self.shape = (len(self.text), len(self.video))

    def __repr__(self) -> str:
        return f"MaxSim({self.shape[0]} captions, {self.shape[1]} videos, {self.name.removeprefix('maxsim: ')})"

    @property
    def name(self) -> str:
        """What details call it."""
        return self.interaction.description

    def block(self, captions: slice, videos: slice) -> Float64Array:
        """(n_captions, n_videos) scores as they are defined."""
        text = self.text.items(*captions.indices(len(self.text))[:2])
        video = self.video.items(*videos.indices(len(self.video))[:2])
        at = np.indices((len(text), len(video))).reshape(2, -1)
        return self.interaction.scores(text, video, at[0], at[1]).reshape(len(text), len(video))

    def count(
        self,
        caption: npt.NDArray[np.integer],
        video_of: npt.NDArray[np.integer],
        *,
        directions: Sequence[Direction] = DIRECTIONS,
        return_hard_negatives: bool = False,
        memory: int = MEMORY,
        first: Level = "float32",
    ) -> dict[Direction, PairCounts]:
        """Counts of the directions asked for, as `count_pairs` gives them for pooled embeddings.

        Args:
            caption: (n_pairs,) int; with `video_of`, the relevant pairs.
            video_of: (n_pairs,) int.
            directions: `t2v`, `v2t` or both.
            return_hard_negatives: look for the hardest negative of each query too.
            memory: bytes for blocks of tokens and their scores (an item's tokens are never cut); changes no count.
            first: level to begin with; changes speed, never a count.

        Raises:
            NonFiniteError: a token holds NaN or infinity, or a product overflows.
        """
        pairs = unique_pairs(caption, video_of, self.shape[1])
        counter = TokenCounter(
            self.text,
            self.video,
            self.interaction,
            pairs,
            directions=directions,
            return_hard_negatives=return_hard_negatives,
            memory=memory,
            first=first,
        )
        return counter.run()
