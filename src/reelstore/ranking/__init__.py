"""Scores -> exact counts: how many non-relevant items rank above every relevant one, or equal to it."""

from reelstore.ranking.counter import count_pairs, refuse_nonfinite, score_matrix
from reelstore.ranking.counts import DIRECTIONS, MEMORY, Direction, PairCounts
from reelstore.ranking.filters import Level
from reelstore.ranking.maxsim import MaxSim
from reelstore.ranking.nearest import Nearest, nearest
from reelstore.ranking.reference import Similarity
from reelstore.ranking.scorers import Matrix, Scorer, count_scores

__all__ = [
    "DIRECTIONS",
    "MEMORY",
    "Direction",
    "Level",
    "Matrix",
    "MaxSim",
    "Nearest",
    "PairCounts",
    "Scorer",
    "Similarity",
    "count_pairs",
    "count_scores",
    "nearest",
    "refuse_nonfinite",
    "score_matrix",
]
