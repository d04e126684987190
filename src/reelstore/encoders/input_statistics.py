"""Compare a network's input with the statistics that its first batch norm stored in training.

A batch norm keeps the mean and variance that each channel of its input had in training. Other mean and deviation in
front of the network, another range or another order of channels change what arrives there.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from reelstore.errors import NonFiniteError

VARIANCE_RANGE = (0.5, 2.0)
"""Seen by stored variance that is taken for right. Photographs and drawings had 0.7 to 1.3 with a network's own pixels,
3.4 to 6.6 with ImageNet's mean and deviation instead of (x - 127) / 128, and 0.2 to 0.3 with pixels in [0, 1]."""
MOST_SHIFT = 2.0
"""Distance of the means, in stored standard deviations, that is taken for right. Drawings on white had 1.3."""


@dataclass(frozen=True)
class InputStatistics:
    """What a network's first batch norm sees, against what it has stored.

    Attributes:
        layer: its name in the network.
        n_channels: its channels.
        variance_ratio: sum of the channels' variances seen, by the sum of those stored; 1 is as in training.
        mean_shift: distance between the means seen and stored, in stored standard deviations: the root of the summed
            squares of the channels' differences, by the root of the summed variances.
    """

    layer: str
    n_channels: int
    variance_ratio: float
    mean_shift: float

    @property
    def ok(self) -> bool:
        """Whether both are within what a network's own pixels give."""
        low, high = VARIANCE_RANGE
        return low <= self.variance_ratio <= high and self.mean_shift <= MOST_SHIFT

    def __str__(self) -> str:
        low, high = VARIANCE_RANGE
        verdict = "ok" if self.ok else "WARNING: the network is probably fed other pixels than it was trained on"
        return (
            f"first batch norm {self.layer} ({self.n_channels} channels): variance seen / stored "
            f"{self.variance_ratio:.2f} (ok from {low} to {high}), mean shifted by {self.mean_shift:.2f} stored "
            f"standard deviations (ok up to {MOST_SHIFT}): {verdict}"
        )


def input_statistics(
    network: nn.Module, *inputs: Any, run: Callable[[], object] | None = None
) -> InputStatistics | None:
    """The statistics at a network's first batch norm for these inputs; None where it has no batch norm.

    First is the one that runs first. Batch norms that were folded into other layers can't be seen.

    Args:
        network: any torch network; it is run in evaluation mode, without gradients, and left as it was.
        inputs: arguments of its `forward`, pixels for example: some dozen different pictures of the user's own.
        run: what to call in place of `network(*inputs)`.

    Raises:
        NonFiniteError: NaN or infinity arrives there.

    Example:
        >>> norm = nn.BatchNorm2d(3).eval()  # stores mean 0, variance 1
        >>> input_statistics(norm, 3 * torch.randn(8, 3, 16, 16)).ok
        False
    """
    seen: list[tuple[str, nn.Module, Tensor]] = []
    hooks = [
        module.register_forward_pre_hook(
            lambda module, given, name=name: seen.append((name, module, given[0].detach())) if not seen else None
        )
        for name, module in network.named_modules()
        if _is_batch_norm(module)
    ]
    if not hooks:
        return None
    training = [module for module in network.modules() if module.training]
    try:
        network.eval()
        with torch.inference_mode():
            network(*inputs) if run is None else run()
    finally:
        for hook in hooks:
            hook.remove()
        for module in training:
            module.training = True
    return _compared(*seen[0]) if seen else None


def _is_batch_norm(module: nn.Module) -> bool:
    """A layer of torch, or a library's frozen one: anything that stores a running mean and variance."""
    return all(isinstance(getattr(module, name, None), Tensor) for name in ("running_mean", "running_var"))


def _compared(layer: str, norm: Any, values: Tensor) -> InputStatistics:
    channels = values.double().transpose(0, 1).flatten(1)  # (n_channels, ...)
    mean, variance = channels.mean(1), channels.var(1, correction=0)
    if not (torch.isfinite(mean).all() and torch.isfinite(variance).all()):
        raise NonFiniteError(f"NaN or infinity arrives at the first batch norm, {layer}.")
    # Sums rather than each channel's ratio: a channel that is never active has stored a variance of 0.
    stored = norm.running_var.double().sum()
    return InputStatistics(
        layer=layer or type(norm).__name__,
        n_channels=len(mean),
        variance_ratio=float(variance.sum() / stored),
        mean_shift=float(((mean - norm.running_mean.double()).square().sum() / stored).sqrt()),
    )
