"""Two sets of embeddings -> numbers that can be trusted."""

from reelstore.evaluation.evaluator import evaluate
from reelstore.evaluation.intervals import bootstrap, confidence_intervals
from reelstore.evaluation.relevance import Pairs
from reelstore.evaluation.result import Evaluation, Ranks
from reelstore.evaluation.shuffles import shuffled_cells
from reelstore.evaluation.unaligned import pad_to_same_width
from reelstore.ranking import MaxSim

__all__ = [
    "Evaluation",
    "MaxSim",
    "Pairs",
    "Ranks",
    "bootstrap",
    "confidence_intervals",
    "evaluate",
    "pad_to_same_width",
    "shuffled_cells",
]
