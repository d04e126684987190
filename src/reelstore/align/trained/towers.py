"""Trained maps of one side's embeddings, one vector an item."""

import itertools
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from reelstore.arrays import Float32Array


class ResidualTower(nn.Module):
    """The sum of a linear map and an MLP, then length 1.

    The MLP's last layer starts at zero: training starts from the linear map and adds what helps.

    Args:
        dim_in: width of the embeddings.
        widths: of the MLP's layers; the last is the joint space's. With one width there is the linear map alone.
        dropout: share of entries dropped, of the input of the linear map and behind each hidden layer.
    """

    def __init__(self, dim_in: int, widths: Sequence[int], *, dropout: float) -> None:
        super().__init__()
        *hidden, dim_out = widths
        self.linear = nn.Linear(dim_in, dim_out, bias=False)
        self.dropout = nn.Dropout(dropout)
        self.mlp: nn.Sequential | None = None
        if hidden:
            layers: list[nn.Module] = []
            for before, after in itertools.pairwise([dim_in, *hidden]):
                layers += [nn.Linear(before, after), nn.LayerNorm(after), nn.GELU(), nn.Dropout(dropout)]
            last = nn.Linear(hidden[-1], dim_out)
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
            self.mlp = nn.Sequential(*layers, last)

    def forward(self, values: Tensor) -> Tensor:
        # Entries near 1, as layers expect, for embeddings of any length.
        scaled = nn.functional.normalize(values, dim=-1) * values.shape[-1] ** 0.5  # (batch, dim_in)
        joint = self.linear(self.dropout(scaled))  # (batch, dim_out)
        if self.mlp is not None:
            joint = joint + self.mlp(scaled)
        return nn.functional.normalize(joint, dim=-1)


class ReportTower(nn.Module):
    """Linear, ReLU, LayerNorm, dropout for every width, then length 1: the MLP of the report.

    Args:
        dim_in: width of the embeddings.
        widths: of the layers; the last is the joint space's.
        dropout: share of entries dropped behind each layer.
    """

    def __init__(self, dim_in: int, widths: Sequence[int], *, dropout: float) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise([dim_in, *widths]):
            layers += [nn.Linear(before, after), nn.ReLU(), nn.LayerNorm(after), nn.Dropout(dropout)]
        self.layers = nn.Sequential(*layers)

    def forward(self, values: Tensor) -> Tensor:
        return nn.functional.normalize(self.layers(values), dim=-1)  # (batch, widths[-1])


class StartedTower(nn.Module):
    """A linear map that is given and stays, length 1, then a square one that begins as the identity, length 1.

    Args:
        start: (dim_in, dim) float32.
        dropout: share of entries dropped between the two.
    """

    start: Tensor

    def __init__(self, start: Float32Array, *, dropout: float) -> None:
        super().__init__()
        self.register_buffer("start", torch.from_numpy(np.array(start)))
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(start.shape[1], start.shape[1], bias=False)
        nn.init.eye_(self.linear.weight)

    def forward(self, values: Tensor) -> Tensor:
        begun = nn.functional.normalize(values @ self.start, dim=-1)  # (batch, dim)
        return nn.functional.normalize(self.linear(self.dropout(begun)), dim=-1)


class Towers(nn.Module):
    """The maps of both sides, or one that both share."""

    def __init__(self, video: nn.Module, text: nn.Module | None) -> None:
        super().__init__()
        self._of_video, self._of_text = video, text

    def side(self, side: str) -> nn.Module:
        """That of `video` or `text`."""
        return self._of_video if side == "video" or self._of_text is None else self._of_text

    @property
    def dtype(self) -> torch.dtype:
        """Of weights, and so of what they take."""
        return next(self.parameters()).dtype
