"""What a trained aligner minimises."""

import torch
from torch import Tensor


def info_nce(video: Tensor, text: Tensor, logit_scale: Tensor, sentence: Tensor | None = None) -> Tensor:
    """Symmetric InfoNCE: each video against all captions of the batch, and each caption against all videos.

    L = (CE(s V T', i) + CE(s T V', i)) / 2 with s = exp(logit_scale); a loss of log(batch) is what guessing gives.
    Two videos described by the same sentence aren't wrong answers to each other: such pairs are left out of both sums.
    Source: Radford et al. 2021, https://arxiv.org/abs/2103.00020, figure 3.

    Args:
        video: (batch, dim), length 1; row i belongs to row i of `text`.
        text: (batch, dim), length 1.
        logit_scale: scalar, the logarithm of the inverse temperature.
        sentence: (batch,) int; rows with the same number have the same caption. Without it all captions differ.
    """
    logits = logit_scale.exp() * video @ text.T  # (batch, batch)
    right = torch.arange(len(video), device=video.device)
    if sentence is not None:
        repeated = (sentence[:, None] == sentence[None, :]) & (right[:, None] != right[None, :])
        logits = logits.masked_fill(repeated, -torch.inf)
    cross_entropy = torch.nn.functional.cross_entropy
    return (cross_entropy(logits, right) + cross_entropy(logits.T, right)) / 2


def equal_rows(values: Tensor) -> Tensor:
    """(n,) int64, the position of the first row with the same values: one sentence has one embedding."""
    first: dict[bytes, int] = {}
    rows = values.detach().cpu().numpy()
    numbers = [first.setdefault(row.tobytes(), number) for number, row in enumerate(rows)]
    return torch.tensor(numbers, device=values.device)
