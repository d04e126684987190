"""Attention pooling over tokens."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from reelstore.align.base import TOKENS
from reelstore.align.closed_form.base import Steps
from reelstore.align.tensors import MAX_LAYERS
from reelstore.align.trained.base import Trained
from reelstore.align.trained.token_towers import AttentionPoolTower


@dataclass(kw_only=True)
class AttentionPool(Trained):
    """Tokens weighed by learned queries, then a residual MLP over their weighted means; it starts as their mean.

    Args:
        n_queries: weighted means an item has, one behind the other.
        widths: of the MLP's layers; the last is the joint space's.
        shared: whether both sides have one tower; they must be as wide.
        dropout: share of entries dropped in training.
    """

    kind: ClassVar[str] = "attention-pool"
    layouts: ClassVar[tuple[str, ...]] = TOKENS
    of_tokens: ClassVar[bool] = True

    preprocess: Steps = ("unit", "centre", "unit")
    n_queries: int = 1
    widths: Sequence[int] = (512, 256)
    shared: bool = False
    dropout: float = 0.3

    def __post_init__(self) -> None:
        super().__post_init__()
        self._refuse("n_queries", f"1 to {MAX_LAYERS}", not 1 <= self.n_queries <= MAX_LAYERS)
        self._refuse_widths("widths")
        self._refuse("dropout", "at least 0 and below 1", not 0 <= self.dropout < 1)

    def _is_shared(self) -> bool:
        return self.shared

    def _tower(self, side: str, dim_in: int) -> nn.Module:
        return AttentionPoolTower(dim_in, self.widths, n_queries=self.n_queries, dropout=self.dropout)
