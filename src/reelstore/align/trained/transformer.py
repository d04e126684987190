"""Transformer encoders over tokens."""

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from reelstore.align.base import TOKENS
from reelstore.align.closed_form.base import SIDES, Steps
from reelstore.align.tensors import MAX_LAYERS, MAX_WIDTH
from reelstore.align.trained.base import Trained
from reelstore.align.trained.token_towers import TransformerTower
from reelstore.errors import ParamsError


@dataclass(kw_only=True)
class Transformer(Trained):
    """A transformer encoder over [CLS] and the tokens of an item, a side or shared; [CLS] is the item's embedding.

    The report's is `{width: 0, dim: 0, n_layers: 6, n_heads: 8, preprocess: []}`.

    Args:
        width: that tokens are mapped to first; 0 leaves them as wide as they are.
        dim: of the joint space; 0 takes [CLS] as it is.
        n_layers: of the encoder.
        n_heads: of each layer; they share the width evenly.
        feedforward: width between the two maps of a layer's feed-forward part.
        positions: whether a token's place counts.
        shared: whether both sides have one tower; they must be as wide.
        dropout: within layers.
    """

    kind: ClassVar[str] = "transformer"
    layouts: ClassVar[tuple[str, ...]] = TOKENS
    of_tokens: ClassVar[bool] = True

    preprocess: Steps = ("unit", "centre", "unit")
    width: int = 256
    dim: int = 256
    n_layers: int = 2
    n_heads: int = 8
    feedforward: int = 1024
    positions: bool = True
    shared: bool = False
    dropout: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, least, most in (
            ("n_layers", 1, MAX_LAYERS),
            ("n_heads", 1, MAX_WIDTH),
            ("feedforward", 1, MAX_WIDTH),
            ("width", 0, MAX_WIDTH),
            ("dim", 0, MAX_WIDTH),
        ):
            self._refuse(name, f"{least} to {most}", not least <= getattr(self, name) <= most)
        self._refuse("width", f"a multiple of n_heads ({self.n_heads})", self.width % self.n_heads != 0)
        self._refuse("dropout", "at least 0 and below 1", not 0 <= self.dropout < 1)

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
