"""The trained map of one side."""

import torch
from torch import Tensor, nn


class Tower(nn.Module):
    """Centre, then a linear map plus a two-layer MLP beside it, then length 1.

    The MLP's last layer starts at zero: training starts from the linear map and adds what helps.
    """

    mean: Tensor

    def __init__(self, dim_in: int, dim_out: int, *, hidden: int, dropout: float) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(dim_in))
        self.linear = nn.Linear(dim_in, dim_out, bias=False)
        last = nn.Linear(hidden, dim_out)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.mlp = nn.Sequential(nn.Linear(dim_in, hidden), nn.LayerNorm(hidden), nn.GELU(), nn.Dropout(dropout), last)
        self.dropout = nn.Dropout(dropout)

    def forward(self, values: Tensor) -> Tensor:
        unit = nn.functional.normalize
        centred = unit(unit(values, dim=-1) - self.mean, dim=-1)  # (batch, dim_in)
        scaled = centred * centred.shape[-1] ** 0.5  # entries near 1, as layers expect
        joint = self.linear(self.dropout(scaled)) + self.mlp(scaled)  # (batch, dim_out)
        return unit(joint, dim=-1)
