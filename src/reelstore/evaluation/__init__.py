"""Two sets of embeddings -> numbers that can be trusted."""

from reelstore.evaluation.evaluator import Evaluation, Ranks, evaluate
from reelstore.evaluation.intervals import bootstrap
from reelstore.evaluation.shuffles import shuffled_cells
from reelstore.evaluation.unaligned import pad_to_same_width

__all__ = ["Evaluation", "Ranks", "bootstrap", "evaluate", "pad_to_same_width", "shuffled_cells"]
