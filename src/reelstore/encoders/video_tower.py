"""Frames through the video side of a dual encoder of the Hugging Face layout."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from reelstore.arrays import Array, Float32Array
from reelstore.encoders.base import EncoderSpec, Output
from reelstore.encoders.folder import refusing
from reelstore.encoders.hub_model import HubModel, VideoOptions
from reelstore.encoders.preprocess import Preprocessing
from reelstore.encoders.weights import resolve_device
from reelstore.errors import ParamsError, WeightsError
from reelstore.records import Frames

if TYPE_CHECKING:
    from torch import Tensor

    from reelstore.encoders.input_statistics import InputStatistics


class VideoTower:
    """Frames -> the outputs that a subclass makes of a batch of pixels.

    Args:
        options: the encoder's.
        version: of the encoder.
        model: whose video side it is.
        preprocessing: of its frames.
        frames: arguments of its `Sampling`.
        outputs: what comes out, and how wide it is.
        words: what else is done, for the fingerprint.
    """

    Options: ClassVar[type[VideoOptions]] = VideoOptions

    def __init__(
        self,
        options: VideoOptions,
        *,
        version: int,
        model: HubModel,
        preprocessing: Preprocessing,
        frames: dict[str, Any],
        outputs: Mapping[str, Output],
        words: str = "",
    ) -> None:
        self.frames = frames
        self.batch_size = options.batch_size
        self._options, self._model, self._preprocessing = options, model, preprocessing
        number = frames["n_frames"] or frames["step"]
        self.spec = EncoderSpec(
            name=options.name,
            version=version,
            side="video",
            outputs=outputs,
            weights_sha256=model.checkpoint.sha256,
            preprocessing=f"{preprocessing}{words}, {model.arithmetic}",
            sampling=f"{frames['policy']}({number})" if number else frames["policy"],
            batch=f"({options.batch_size}, n_frames, 3, {preprocessing.shape[0]}, {preprocessing.shape[1]})",
            threads=options.threads,
        )

    def load(self) -> None:
        """Read the weights, and see what black frames give."""
        import torch

        from reelstore.encoders.checkpoint import refuse_nonfinite
        from reelstore.encoders.hub_network import check_arithmetic

        torch.set_num_threads(self._options.threads)
        source = self._model.source
        network = self._build()
        check_arithmetic(network, self._model.arithmetic, source=source)
        self._device = resolve_device(self._options.device)
        self._network = network.to(self._device)
        n_frames = self.frames["n_frames"] or 1
        with refusing(f"{source} can't embed a video"):
            probe = self._run(np.zeros((1, n_frames, 3, *self._preprocessing.shape), dtype=np.float32))
        for name, values in probe.items():
            refuse_nonfinite(values, source=source)
            output = self.spec.outputs[name]
            expected = (output.dim,) if output.n_tokens == 0 else (output.n_tokens or n_frames, output.dim)
            if tuple(values.shape[1:]) != expected:
                raise WeightsError(
                    f"{source} gives {name} of shape {tuple(values.shape[1:])}, and its config.json says {expected}: "
                    "it is of a kind that isn't known here."
                )

    def _build(self) -> Any:
        """The network, without what frames don't pass."""
        from reelstore.encoders.hub_network import load_network

        return load_network(self._model.checkpoint, dtype=self._model.dtype)

    def prepare(self, item: Frames) -> Float32Array:
        """Frames -> (n_frames, 3, height, width) float32.

        Raises:
            ParamsError: there are more or fewer than the encoder takes.
        """
        expected = self.frames["n_frames"]
        if expected is not None and len(item) != expected:
            raise ParamsError(f"{self._model.source} takes {expected} frames of a video, not {len(item)}.")
        return self._preprocessing(item.pixels)

    def bucket(self, prepared: Array) -> int:
        """Videos with equally many frames share a batch."""
        return len(prepared)

    def encode(self, batch: Sequence[Array]) -> list[dict[str, Float32Array]]:
        """Every output of each video."""
        pixels = np.zeros((self.batch_size, *batch[0].shape), dtype=np.float32)
        for position, prepared in enumerate(batch):
            pixels[position] = prepared
        results = {name: values.float().cpu().numpy() for name, values in self._run(pixels).items()}
        return [{name: values[row] for name, values in results.items()} for row in range(len(batch))]

    def input_statistics(self, batch: Sequence[Array]) -> "InputStatistics | None":
        """Prepared videos of equally many frames at the network's first batch norm; None where it has none."""
        from reelstore.encoders.input_statistics import input_statistics

        return input_statistics(self._network, run=lambda: self._run(np.stack(batch)))

    def _outputs(self, pixels: "Tensor") -> "Mapping[str, Tensor]":
        """(batch, n_frames, 3, height, width) -> (batch, dim) or (batch, n_tokens, dim) of every output."""
        raise NotImplementedError

    def _run(self, pixels: Float32Array) -> "Mapping[str, Tensor]":
        import torch

        with torch.inference_mode():
            return self._outputs(torch.from_numpy(pixels).to(self._device, self._network.dtype))


def wanted_frames(encoder: str, sampling: str, n_frames: int | None, *, fixed: int) -> dict[str, Any]:
    """The sampling of a network that takes exactly `fixed` frames.

    Raises:
        ParamsError: another number is asked for, or a sampling that doesn't give a number of frames.
    """
    if n_frames not in (None, fixed):
        raise ParamsError(f"encoders.{encoder}: this checkpoint takes {fixed} frames; n_frames is {n_frames!r}.")
    if sampling not in ("uniform", "centres"):
        raise ParamsError(
            f"encoders.{encoder}: this checkpoint takes {fixed} frames, and sampling {sampling!r} doesn't give a fixed "
            "number. Use uniform or centres."
        )
    return {"policy": sampling, "n_frames": fixed, "step": None}
