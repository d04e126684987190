"""Attention pooling over tokens."""

from dataclasses import dataclass

from torch import nn

from reelstore.align.trained.base import Trained
from reelstore.align.trained.settings import AttentionPoolSettings
from reelstore.align.trained.token_towers import AttentionPoolTower


@dataclass(kw_only=True)
class AttentionPool(AttentionPoolSettings, Trained):
    """Tokens weighed by learned queries, then a residual MLP over their weighted means; it starts as their mean.

    See `AttentionPoolSettings`.
    """

    def _is_shared(self) -> bool:
        return self.shared

    def _tower(self, side: str, dim_in: int) -> nn.Module:
        return AttentionPoolTower(dim_in, self.widths, n_queries=self.n_queries, dropout=self.dropout)
