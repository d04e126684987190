"""The network of EfficientNet-Lite0, its batch norms folded into the convolutions before them."""

from itertools import accumulate

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from reelstore.encoders.checkpoint import refuse_meaningless
from reelstore.encoders.efficientnet_lite0 import DIM
from reelstore.errors import WeightsError

# (repeats, kernel, stride of the first, expansion, channels in, channels out)
STAGES = [
    (1, 3, 1, 1, 32, 16),
    (2, 3, 2, 6, 16, 24),
    (2, 5, 2, 6, 24, 40),
    (3, 3, 2, 6, 40, 80),
    (3, 5, 1, 6, 80, 112),
    (4, 5, 2, 6, 112, 192),
    (1, 3, 1, 6, 192, 320),
]

_LAST_BLOCKS = tuple(stop - 1 for stop in accumulate(repeats for repeats, *_ in STAGES))[1:]
"""Number of each stage's last block; the first stage, 16 channels, is left out."""


def load_network(state: dict[str, Tensor], *, fold: bool = True) -> nn.Module:
    """The network without its classifier, from the published state dict.

    Args:
        state: name -> tensor.
        fold: fold the batch norms into the convolutions before them.

    Raises:
        WeightsError: a key is missing, isn't the model's, or has another shape.
    """
    network = _Network()
    expected = network.state_dict()
    given = {key: value for key, value in state.items() if not key.startswith("_fc.")}
    for fault, keys in [("lack", expected.keys() - given.keys()), ("have unknown", given.keys() - expected.keys())]:
        if keys:
            raise WeightsError(f"EfficientNet-Lite0's weights {fault} keys: {len(keys)}, {min(keys)} first.")
    for key, parameter in expected.items():
        if parameter.shape != given[key].shape:
            raise WeightsError(
                f"EfficientNet-Lite0's weights have {key} of shape {tuple(given[key].shape)}, "
                f"not {tuple(parameter.shape)}."
            )
        if parameter.dtype != given[key].dtype:
            raise WeightsError(f"EfficientNet-Lite0's weights have {key} as {given[key].dtype}, not {parameter.dtype}.")
    refuse_meaningless(given.items(), source="EfficientNet-Lite0's weights")
    network.load_state_dict(given)
    network.eval().requires_grad_(False)
    if not fold:
        return network
    folded: nn.Module = _folded(network)
    for parameter in folded.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return folded


def _folded(network: "_Network") -> "_Network":
    """Batch norms folded into the convolutions before them: with channels last .6 of the time on a CPU."""
    for module in [network, *network._blocks]:
        for convolution, norm in [
            ("_conv_stem", "_bn0"),
            ("_conv_head", "_bn1"),
            ("_expand_conv", "_bn0"),
            ("_depthwise_conv", "_bn1"),
            ("_project_conv", "_bn2"),
        ]:
            if hasattr(module, convolution):
                setattr(module, convolution, fuse_conv_bn_eval(getattr(module, convolution), getattr(module, norm)))
                setattr(module, norm, nn.Identity())
    return network


class _Network(nn.Module):
    """Names follow the published state dict: `_conv_stem`, `_blocks.0._depthwise_conv`, …"""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = _SameConv2d(3, 32, kernel=3, stride=2)
        self._bn0 = _batch_norm(32)
        blocks = []
        for repeats, kernel, stride, expansion, in_channels, out_channels in STAGES:
            for repeat in range(repeats):
                first = repeat == 0
                blocks.append(
                    _Block(
                        in_channels if first else out_channels, out_channels, kernel, stride if first else 1, expansion
                    )
                )
        self._blocks = nn.Sequential(*blocks)
        self._conv_head = nn.Conv2d(320, DIM, 1, bias=False)
        self._bn1 = _batch_norm(DIM)

    def forward(self, pixels: Tensor, pooled: list[Tensor] | None = None) -> Tensor:
        """The head's pooled activations; those of the stages before it, (n, channels) each, are added to `pooled`."""
        x = nn.functional.relu6(self._bn0(self._conv_stem(pixels)))  # (n, 32, 112, 112)
        for number, block in enumerate(self._blocks):  # to (n, 320, 7, 7)
            x = block(x)
            if pooled is not None and number in _LAST_BLOCKS:
                pooled.append(x.mean(dim=(2, 3)))
        x = nn.functional.relu6(self._bn1(self._conv_head(x)))  # (n, 1280, 7, 7)
        return x.mean(dim=(2, 3))  # (n, 1280)


class _Block(nn.Module):
    """Inverted residual: widen, filter each channel, project."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        width = in_channels * expansion
        self.residual = stride == 1 and in_channels == out_channels
        if expansion != 1:
            self._expand_conv = nn.Conv2d(in_channels, width, 1, bias=False)
            self._bn0 = _batch_norm(width)
        self._depthwise_conv = _SameConv2d(width, width, kernel=kernel, stride=stride, groups=width)
        self._bn1 = _batch_norm(width)
        self._project_conv = nn.Conv2d(width, out_channels, 1, bias=False)
        self._bn2 = _batch_norm(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        widened = x
        if hasattr(self, "_expand_conv"):
            widened = nn.functional.relu6(self._bn0(self._expand_conv(x)))
        filtered = nn.functional.relu6(self._bn1(self._depthwise_conv(widened)))
        projected: Tensor = self._bn2(self._project_conv(filtered))
        return projected + x if self.residual else projected


class _SameConv2d(nn.Conv2d):
    """TensorFlow's SAME padding, for which the weights were trained: with stride 2 the extra row goes to the end."""

    def __init__(self, in_channels: int, out_channels: int, *, kernel: int, stride: int, groups: int = 1) -> None:
        super().__init__(in_channels, out_channels, kernel, stride=stride, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        amounts = [max((-(-size // stride) - 1) * stride + kernel - size, 0) for size in x.shape[-2:]]
        height, width = amounts
        padded = nn.functional.pad(x, [width // 2, width - width // 2, height // 2, height - height // 2])
        return super().forward(padded)


def _batch_norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)
