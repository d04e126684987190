"""Trained maps of one side's tokens, any number of them an item."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from reelstore.align.trained.towers import ResidualTower


class TransformerTower(nn.Module):
    """A transformer encoder over [CLS] and an item's tokens; what [CLS] became, at length 1.

    Layers are torch's (attention and feed-forward, each added and then normalised, ReLU), as the report had them.

    Args:
        dim_in: width of a token.
        width: that tokens, scaled to entries near 1, are mapped to first; 0 leaves them as they are.
        dim: of the joint space; 0 takes [CLS] as it is.
        n_layers: of the encoder.
        n_heads: of each layer; they share the width evenly.
        feedforward: width between the two maps of a layer's feed-forward part.
        positions: whether a token's place is added to it (sines and cosines); without, their order doesn't count.
        dropout: within layers.
    """

    def __init__(
        self,
        dim_in: int,
        *,
        width: int,
        dim: int,
        n_layers: int,
        n_heads: int,
        feedforward: int,
        positions: bool,
        dropout: float,
    ) -> None:
        super().__init__()
        self.inward = nn.Linear(dim_in, width) if width else None
        width = width or dim_in
        self.cls = nn.Parameter(torch.randn(width) * 0.02)
        layer = nn.TransformerEncoderLayer(width, n_heads, feedforward, dropout, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, n_layers, enable_nested_tensor=False)
        self.outward = nn.Linear(width, dim) if dim else nn.Identity()
        self._positions = positions

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """(batch, n_tokens, dim_in), and where there is a token, (batch, n_tokens) bool -> (batch, dim)."""
        states = tokens  # (batch, n_tokens, width)
        if self.inward is not None:
            # Entries near 1, or what is added for positions would drown them.
            states = self.inward(nn.functional.normalize(tokens, dim=-1) * tokens.shape[-1] ** 0.5)
        if self._positions:
            states = states + _sinusoids(states.shape[1], states.shape[2]).to(states)
        states = torch.cat([self.cls.expand(len(states), 1, -1).to(states.dtype), states], dim=1)
        padding = None
        if mask is not None:
            padding = torch.cat([mask.new_zeros(len(mask), 1), ~mask], dim=1)  # (batch, 1 + n_tokens), True is padding
        return nn.functional.normalize(self.outward(self.encoder(states, src_key_padding_mask=padding)[:, 0]), dim=-1)


class AttentionPoolTower(nn.Module):
    """Tokens weighed by how they answer learned queries, then a `ResidualTower` over the weighted means.

    Queries start at zero, so that training starts from the mean over tokens.

    Args:
        dim_in: width of a token.
        widths: of the tower.
        n_queries: weighted means an item has, one behind the other.
        dropout: of the tower.
    """

    def __init__(self, dim_in: int, widths: Sequence[int], *, n_queries: int, dropout: float) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.zeros(n_queries, dim_in))
        self.tower = ResidualTower(n_queries * dim_in, widths, dropout=dropout)

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """(batch, n_tokens, dim_in), and where there is a token, (batch, n_tokens) bool -> (batch, widths[-1])."""
        # Cosine with the query, not its product: outlier dimensions and long tokens don't decide alone.
        answers = nn.functional.normalize(tokens, dim=-1) @ self.queries.T  # (batch, n_tokens, n_queries)
        if mask is not None:
            answers = answers.masked_fill(~mask[:, :, None], -torch.inf)
        weights = answers.softmax(dim=1)
        joint: Tensor = self.tower(torch.einsum("ntq,ntd->nqd", weights, tokens).flatten(1))
        return joint


def _sinusoids(n_tokens: int, width: int) -> Tensor:
    """(n_tokens, width). Source: Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, section 3.5."""
    place = torch.arange(n_tokens)[:, None] / 10_000 ** (torch.arange(0, width, 2) / width)
    return torch.stack([place.sin(), place.cos()], dim=2).flatten(1)[:, :width]
