"""Transformer encoders over tokens."""

from dataclasses import dataclass

from torch import nn

from reelstore.align.trained.base import Trained
from reelstore.align.trained.settings import TransformerSettings
from reelstore.align.trained.token_towers import TransformerTower
from reelstore.errors import ParamsError
from reelstore.records import SIDES


@dataclass(kw_only=True)
class Transformer(TransformerSettings, Trained):
    """A transformer encoder over [CLS] and the tokens of an item, a side or shared; [CLS] is the item's embedding.

    See `TransformerSettings`.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        self._refuse("width", f"a multiple of n_heads ({self.n_heads})", self.width % self.n_heads != 0)

    def _is_shared(self) -> bool:
        return self.shared

    def _make(self) -> None:
        widths = {self._preprocessing[side].dim_out for side in SIDES}
        if not self.width and not self.dim and len(widths) > 1:
            raise ParamsError(
                f"transformer: sides {min(widths)} and {max(widths)} wide meet nowhere; set dim or width."
            )
        super()._make()

    def _tower(self, side: str, dim_in: int) -> nn.Module:
        width = self.width or dim_in
        self._refuse("n_heads", f"a divisor of the width, {width}", width % self.n_heads != 0)
        return TransformerTower(
            dim_in,
            width=self.width,
            dim=self.dim,
            n_layers=self.n_layers,
            n_heads=self.n_heads,
            feedforward=self.feedforward,
            positions=self.positions,
            dropout=self.dropout,
        )
