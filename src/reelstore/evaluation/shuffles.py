"""Is a table of scores more than chance? The same table with captions and videos shuffled."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from reelstore.arrays import Array, Float64Array, IntArray
from reelstore.ranking import Similarity, score_matrix
from reelstore.ranking.reciprocal import reciprocal_ranks

LEVEL = 0.95
_BLOCK = 256
"""Captions ranked at once."""


@dataclass(frozen=True)
class Cells:
    """Text-to-video MRR of every cell, and the interval that holds all of them when nothing is matched.

    Attributes:
        mrr: cell -> MRR.
        chance: MRR of a constant score, H(n_videos) / n_videos: the mean over all shuffles, in every cell.
        low: lower end.
        high: upper end.
        n_shuffles: shuffles behind it.
    """

    mrr: dict[tuple[str, str], float]
    chance: float
    low: float
    high: float
    n_shuffles: int

    @property
    def outside(self) -> list[tuple[str, str]]:
        """Cells above or below the interval."""
        return [cell for cell, mrr in self.mrr.items() if not self.low <= mrr <= self.high]


def shuffled_cells(
    cells: Mapping[tuple[str, str], tuple[Array, Array]],
    video_of_caption: IntArray,
    n_videos: int,
    *,
    n_shuffles: int,
    seed: int,
    similarity: Similarity = "cosine",
) -> Cells:
    """MRR of every cell against random permutations of which video belongs to which group of captions.

    Each shuffle is applied to all cells alike, and its lowest and highest cell are kept; the interval runs from the
    lower 2.5 % of the lowest to the upper 2.5 % of the highest. Under the null all cells together are inside with
    probability 95 %: a max-statistic permutation test, which corrects for the number of cells and for how much they
    resemble one another, where a Bonferroni quantile would need far more shuffles and ignore the latter. Ends are
    order statistics, rounded outwards: below 39 shuffles they are the extremes, and the level is lower than stated.

    Args:
        cells: name -> text (n_captions, dim), video (n_videos, dim).
        video_of_caption: (n_captions,) row of each caption's video.
        n_videos: rows of every cell's video side.
        n_shuffles: permutations drawn.
        seed: of the permutations.
        similarity: as in `evaluate`.
    """
    generator = np.random.default_rng(seed)
    owners = [np.arange(n_videos)] + [generator.permutation(n_videos) for _ in range(n_shuffles)]
    permutations = np.stack(owners).T  # (n_videos, 1 + n_shuffles); the first is the truth
    means = np.stack(
        [
            _mean_reciprocal_ranks(text, video, video_of_caption, permutations, similarity)
            for text, video in cells.values()
        ]
    )  # (n_cells, 1 + n_shuffles)
    place = min(n_shuffles, math.ceil((n_shuffles + 1) * (1 + LEVEL) / 2))
    return Cells(
        mrr={cell: float(mean) for cell, mean in zip(cells, means[:, 0], strict=True)},
        chance=float(np.sum(1.0 / np.arange(1, n_videos + 1)) / n_videos),
        low=float(np.sort(means[:, 1:].min(axis=0))[n_shuffles - place]),
        high=float(np.sort(means[:, 1:].max(axis=0))[place - 1]),
        n_shuffles=n_shuffles,
    )


def _mean_reciprocal_ranks(
    text: Array, video: Array, owner: IntArray, permutations: IntArray, similarity: Similarity
) -> Float64Array:
    """(1 + n_shuffles,) MRR under each permutation: ranks are computed once, a shuffle looks others of them up."""
    total = np.zeros(permutations.shape[1])
    for start, reciprocals in _blocks(text, video, similarity):
        for row, of in zip(reciprocals, owner[start : start + len(reciprocals)], strict=True):
            total += row[permutations[of]]
    return total / len(text)


def _blocks(text: Array, video: Array, similarity: Similarity) -> Iterator[tuple[int, Float64Array]]:
    for start in range(0, len(text), _BLOCK):
        yield (
            start,
            reciprocal_ranks(score_matrix(text=text[start : start + _BLOCK], video=video, similarity=similarity)),
        )
