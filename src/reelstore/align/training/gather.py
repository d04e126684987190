"""Embeddings of all ranks, so that a contrastive loss sees the whole batch and not a rank's slice of it."""

import torch
from torch import Tensor
from torch import distributed as dist


def is_shared() -> bool:
    """Whether several processes train together."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def gathered(values: Tensor) -> Tensor:
    """(n, ...) of this rank -> (world size x n, ...), the ranks' concatenated; itself where there is one rank.

    Gradients go back to the rank that a row came from, summed over the ranks that used it. With losses that are means
    over a rank's own rows, DDP's mean over ranks is then the gradient of the whole batch's mean.
    """
    if not is_shared():
        return values
    from torch.distributed.nn.functional import all_gather  # differentiable, as that of torch.distributed isn't

    return torch.cat(all_gather(values.contiguous()))  # type: ignore[no-untyped-call]  # torch leaves it so
