"""Frames through the video side of a dual encoder of the Hugging Face layout."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reelstore.arrays import Array, Float32Array
from reelstore.encoders.base import EncoderSpec, Output
from reelstore.encoders.checkpoint import refuse_nonfinite
from reelstore.encoders.folder import refusing
from reelstore.encoders.hub import Checkpoint, arithmetic
from reelstore.encoders.input_statistics import InputStatistics, input_statistics
from reelstore.encoders.preprocess import Preprocessing
from reelstore.encoders.weights import resolve_device
from reelstore.errors import ParamsError
from reelstore.records import Frames


class VideoTower:
    """Frames -> the outputs that a subclass makes of a batch of pixels.

    A subclass sets its network, calls this, and implements `_outputs`.
    """

    def __init__(
        self,
        *,
        name: str,
        version: int,
        checkpoint: Checkpoint,
        network: Any,
        preprocessing: Preprocessing,
        frames: dict[str, Any],
        batch_size: int,
        device: str,
        threads: int,
        words: str = "",
    ) -> None:
        torch.set_num_threads(threads)
        self.frames = frames
        self.batch_size = batch_size
        self._device = resolve_device(device)
        self._network = network.to(self._device)
        self._preprocessing = preprocessing
        self._source = checkpoint.source
        number = frames["n_frames"] or frames["step"]
        n_frames = frames["n_frames"] or 1
        with refusing(f"{self._source} can't embed a video"):
            probe = self._run(np.zeros((1, n_frames, 3, *preprocessing.shape), dtype=np.float32))
        for values in probe.values():
            refuse_nonfinite(values, source=self._source)
        self.spec = EncoderSpec(
            name=name,
            version=version,
            side="video",
            outputs={output: self._declared(values[0]) for output, values in probe.items()},
            weights_sha256=checkpoint.sha256,
            preprocessing=f"{preprocessing}{words}, {arithmetic(network)}",
            sampling=f"{frames['policy']}({number})" if number else frames["policy"],
            batch=f"({batch_size}, n_frames, 3, {preprocessing.shape[0]}, {preprocessing.shape[1]})",
            threads=threads,
        )

    def prepare(self, item: Frames) -> Float32Array:
        """Frames -> (n_frames, 3, height, width) float32.

        Raises:
            ParamsError: there are more or fewer than the encoder takes.
        """
        expected = self.frames["n_frames"]
        if expected is not None and len(item) != expected:
            raise ParamsError(f"{self._source} takes {expected} frames of a video, not {len(item)}.")
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

    def input_statistics(self, batch: Sequence[Array]) -> InputStatistics | None:
        """Prepared videos of equally many frames at the network's first batch norm; None where it has none."""
        return input_statistics(self._network, run=lambda: self._run(np.stack(batch)))

    def _outputs(self, pixels: Tensor) -> Mapping[str, Tensor]:
        """(batch, n_frames, 3, height, width) -> (batch, dim) or (batch, n_tokens, dim) of every output."""
        raise NotImplementedError

    @torch.inference_mode()
    def _run(self, pixels: Float32Array) -> Mapping[str, Tensor]:
        return self._outputs(torch.from_numpy(pixels).to(self._device, self._network.dtype))

    def _declared(self, values: Tensor) -> Output:
        if values.ndim == 1:
            return Output(values.shape[0], 0)
        return Output(values.shape[1], values.shape[0] if self.frames["n_frames"] else None)


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
