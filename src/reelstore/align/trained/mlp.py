"""MLP towers over embeddings."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from reelstore.align.base import ANY_LAYOUT
from reelstore.align.trained.base import Trained
from reelstore.align.trained.towers import ReportTower, ResidualTower


@dataclass(kw_only=True)
class Mlp(Trained):
    """An MLP a side, or one that both share.

    Args:
        widths: of the layers; the last is the joint space's.
        block: `residual`, a linear map plus an MLP beside it, or `report`: Linear, ReLU, LayerNorm, dropout.
        shared: whether both sides have one tower; they must be as wide.
        dropout: share of entries dropped in training.
    """

    kind: ClassVar[str] = "mlp"
    layouts: ClassVar[tuple[str, ...]] = ANY_LAYOUT
    of_tokens: ClassVar[bool] = False

    widths: Sequence[int] = (512, 256)
    block: str = "residual"
    shared: bool = False
    dropout: float = 0.3

    def __post_init__(self) -> None:
        super().__post_init__()
        self._refuse_widths("widths")
        self._refuse("block", "residual or report", self.block not in ("residual", "report"))
        self._refuse("dropout", "at least 0 and below 1", not 0 <= self.dropout < 1)

    def _is_shared(self) -> bool:
        return self.shared

    def _tower(self, side: str, dim_in: int) -> nn.Module:
        tower = ResidualTower if self.block == "residual" else ReportTower
        return tower(dim_in, self.widths, dropout=self.dropout)
