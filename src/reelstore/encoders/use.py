"""Use an encoder without a store: arrays of frames, or texts, to arrays of named outputs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from reelstore.arrays import Float32Array, UInt8Array
from reelstore.bounds import ItemBounds
from reelstore.encoders.base import Encoder, EncoderSpec
from reelstore.encoders.registry import load_weights, make_encoder
from reelstore.errors import ParamsError
from reelstore.records import SIDES, Frames, Side

if TYPE_CHECKING:
    from reelstore.encoders.input_statistics import InputStatistics


def encoder(
    name: str, *, side: Side = "video", device: str = "auto", threads: int = 1, **options: Any
) -> "ReadyEncoder":
    """An encoder with its weights.

    Args:
        name: registry name, `efficientnet-lite0`; or with its side in front, `text/minilm-l6`.
        side: `video` or `text`, where the name doesn't say it.
        device: `auto` (a GPU where there is one), `cpu`, `cuda`, `cuda:1`.
        threads: CPU threads; they move the last bits.
        options: the encoder's own, as in params.yaml.

    Raises:
        UnknownNameError, ParamsError, MissingExtraError, WeightsError: as `load_encoder`.

    Example:
        >>> reelstore.encoder("minilm-l6", side="text").encode_texts(["a cat"])["tokens"][0].shape
        (4, 384)
    """
    made = unloaded_encoder(name, side=side, device=device, threads=threads, **options)
    load_weights(made.encoder)
    return made


def unloaded_encoder(
    name: str, *, side: Side = "video", device: str = "auto", threads: int = 1, **options: Any
) -> "ReadyEncoder":
    """As `encoder`, before its weights are read: for its `spec`. `load_weights(one.encoder)` makes it ready."""
    for one in SIDES:
        if name.startswith(f"{one}/"):
            side, name = one, name.removeprefix(f"{one}/")
    return ReadyEncoder(make_encoder(side, name, options=options, device=device, threads=threads))


@dataclass(frozen=True)
class ReadyEncoder:
    """An encoder that takes any number of items and sorts them into batches itself."""

    encoder: Encoder

    def __repr__(self) -> str:
        return f"ReadyEncoder({self.spec.side}/{self.spec.name})"

    @property
    def spec(self) -> EncoderSpec:
        """What determines its numbers."""
        return self.encoder.spec

    def encode_frames(self, frames: npt.ArrayLike, *, seconds: npt.ArrayLike | None = None) -> dict[str, Float32Array]:
        """Every output for a batch of videos of equally many frames.

        Args:
            frames: (batch, n_frames, height, width, 3) uint8 RGB: the frames the encoder sees, sampled already.
            seconds: (batch, n_frames), when each is shown; needed by encoders that tell their network the time.

        Returns:
            Name of an output -> (batch, n_tokens, dim) float32, or (batch, dim) for one that has no tokens.

        Raises:
            ParamsError: the encoder takes texts, or an array has another shape or dtype.
            ValueError: an output has more tokens for one video than for another.
        """
        self._check_side("video")
        pixels = self._checked(frames)
        times = np.full(pixels.shape[:2], np.nan) if seconds is None else np.asarray(seconds, dtype=np.float64)
        if times.shape != pixels.shape[:2]:
            raise ParamsError(f"seconds are {times.shape}; one for each of {pixels.shape[:2]} frames is expected.")
        results = self.encode_items([Frames(video, time) for video, time in zip(pixels, times, strict=True)])
        for name, values in results.items():
            if len(lengths := {len(value) for value in values}) > 1:
                raise ValueError(
                    f"{name} has {min(lengths)} to {max(lengths)} tokens for these videos, which fit into no array. "
                    "Encode them one by one."
                )
        return {name: np.stack(values) for name, values in results.items()}

    def encode_texts(self, texts: Sequence[str]) -> dict[str, list[Float32Array]]:
        """Every output for each text, in order.

        Returns:
            Name of an output -> one array a text, (n_tokens, dim) float32 or (dim,).

        Raises:
            ParamsError: the encoder takes frames, or a text isn't one.
            LongTextError: a text has more characters than `embed.max_characters` allows by default.
        """
        self._check_side("text")
        if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
            raise ParamsError("encode_texts takes a list of texts.")
        for text in texts:
            ItemBounds().check_text(text)
        return self.encode_items(texts)

    def input_statistics(self, frames: npt.ArrayLike) -> "InputStatistics | None":
        """What the network's first batch norm sees of these frames, against what it has stored from training.

        Args:
            frames: as for `encode_frames`: some dozen different pictures.

        Returns:
            Ratio of the variances, shift of the means, and whether both are right; None where there is no batch norm.
        """
        self._check_side("video")
        statistics = getattr(self.encoder, "input_statistics", None)
        items = [Frames(video, np.full(len(video), np.nan)) for video in self._checked(frames)]
        return None if statistics is None else statistics([self.encoder.prepare(item) for item in items])

    def _check_side(self, side: Side) -> None:
        if self.spec.side != side:
            method = "encode_texts" if self.spec.side == "text" else "encode_frames"
            raise ParamsError(f"{self.spec.side}/{self.spec.name} is of the other side: use {method}.")

    def _checked(self, frames: npt.ArrayLike) -> UInt8Array:
        pixels = np.asarray(frames)
        if pixels.ndim != 5 or pixels.shape[-1] != 3 or pixels.dtype != np.uint8 or not pixels.size:
            raise ParamsError(
                f"frames are {pixels.shape} {pixels.dtype}; (batch, n_frames, height, width, 3) uint8 is expected."
            )
        return pixels

    def encode_items(self, items: Sequence[Any]) -> dict[str, list[Float32Array]]:
        """Every output for each item, in order: `Frames` or texts that have been checked."""
        prepared = [self.encoder.prepare(item) for item in items]
        by_bucket: dict[Any, list[int]] = {}
        for position, item in enumerate(prepared):
            by_bucket.setdefault(self.encoder.bucket(item), []).append(position)
        results: dict[str, list[Any]] = {name: [None] * len(items) for name in self.spec.outputs}
        step = self.encoder.batch_size
        for positions in by_bucket.values():
            for start in range(0, len(positions), step):
                batch = positions[start : start + step]
                for position, outputs in zip(batch, self.encoder.encode([prepared[p] for p in batch]), strict=True):
                    for name, values in outputs.items():
                        results[name][position] = values
        return results
