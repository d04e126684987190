"""MLP towers over embeddings."""

from dataclasses import dataclass

from torch import nn

from reelstore.align.trained.base import Trained
from reelstore.align.trained.settings import MlpSettings
from reelstore.align.trained.towers import ReportTower, ResidualTower


@dataclass(kw_only=True)
class Mlp(MlpSettings, Trained):
    """An MLP a side, or one that both share; see `MlpSettings`."""

    def _is_shared(self) -> bool:
        return self.shared

    def _tower(self, side: str, dim_in: int) -> nn.Module:
        tower = ResidualTower if self.block == "residual" else ReportTower
        return tower(dim_in, self.widths, dropout=self.dropout)
