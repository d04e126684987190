"""Exact retrieval metrics with ties, chance, confidence intervals and paired tests."""

from reelstore.evaluation.evaluator import evaluate
from reelstore.evaluation.intervals import bootstrap, confidence_intervals
from reelstore.evaluation.relevance import Pairs
from reelstore.evaluation.result import DirectionResult, Evaluation
from reelstore.evaluation.shuffles import shuffled_cells
from reelstore.evaluation.unaligned import pad_to_same_width
from reelstore.ranking import MaxSim

__all__ = [
    "DirectionResult",
    "Evaluation",
    "MaxSim",
    "Pairs",
    "bootstrap",
    "confidence_intervals",
    "evaluate",
    "pad_to_same_width",
    "shuffled_cells",
]
