"""Scores -> exact counts: how many wrong items stand above, and beside, every right one."""

from reelstore.ranking.counts import (
    DIRECTIONS,
    MEMORY,
    Direction,
    PairCounts,
    count_pairs,
    refuse_nonfinite,
    score_matrix,
)
from reelstore.ranking.filters import Level
from reelstore.ranking.reference import Floats, Ints, Similarity

__all__ = [
    "DIRECTIONS",
    "MEMORY",
    "Direction",
    "Floats",
    "Ints",
    "Level",
    "PairCounts",
    "Similarity",
    "count_pairs",
    "refuse_nonfinite",
    "score_matrix",
]
