"""Embeddings of all ranks, so that a contrastive loss sees the whole batch and not a rank's slice of it."""

from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist


def is_shared() -> bool:
    """Whether several processes train together."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def gathered(values: Tensor) -> Tensor:
    """(n, …) of this rank -> (world size x n, …), the ranks' one behind the other; itself where there is one rank.

    Gradients go back to the rank that a row came from, summed over the ranks that used it. With losses that are means
    over a rank's own rows, DDP's mean over ranks is then the gradient of the whole batch's mean.
    """
    if not is_shared():
        return values
    gathered_rows: Tensor = _Gather.apply(values)  # type: ignore[no-untyped-call]  # torch leaves it so
    return gathered_rows


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        parts = [torch.empty_like(values) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, values.contiguous())
        ctx.n = len(values)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (gradient,) = gradients
        # gloo has no reduce_scatter; of what is (batch, dim) large, the whole sum is cheap.
        total = gradient.contiguous().clone()
        dist.all_reduce(total)
        rank = dist.get_rank()
        return total[rank * ctx.n : (rank + 1) * ctx.n]
