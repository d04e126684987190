"""How a training stands before its first epoch and after each: what printers, curves and a doctor look at."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from reelstore.arrays import Float32Array, IntArray


class Cosines(NamedTuple):
    """Of captions with videos, (n_captions,) float32 each.

    Attributes:
        right: each caption with its video.
        wrong: each caption with another video of the sample, the same one every time.
    """

    right: Float32Array
    wrong: Float32Array


@dataclass(frozen=True)
class JointSample:
    """Some videos and their captions, mapped into the joint space.

    Attributes:
        video: (n_videos, dim) float32, length 1.
        text: (n_captions, dim) float32, length 1.
        video_of_caption: (n_captions,) position of each caption's video.
    """

    video: Float32Array
    text: Float32Array
    video_of_caption: IntArray

    def cosines(self) -> Cosines:
        """Of right pairs and as many wrong ones; with a single video there is no wrong pair, and `wrong` is NaN."""
        n_videos, own = len(self.video), self.video_of_caption
        right = np.einsum("nd,nd->n", self.text, self.video[own])
        if n_videos < 2:
            return Cosines(right, np.full_like(right, np.nan))
        # 1 to n_videos - 1 places further on: never its own.
        other = (own + 1 + np.arange(len(own)) % (n_videos - 1)) % n_videos
        return Cosines(right, np.einsum("nd,nd->n", self.text, self.video[other]))


@dataclass(frozen=True)
class EpochStats:
    """One look at a training; the samples are of the same rows each time.

    Attributes:
        aligner: its kind, as `mlp`.
        epoch: epochs trained; 0 before the first.
        step: optimizer steps taken.
        loss: name of what is minimised, as `infonce`.
        train_loss: mean over the epoch's batches; NaN before the first.
        constant_loss: the least that loss can be while every pair has the same cosine, as of collapsed towers: .25
            for `mse` on as many right pairs as wrong ones, the logarithm of the batch for `infonce`.
        train: training rows, as many videos as validation has (or all), so that both MRRs are among as many.
        validation: the validation rows.
        train_mrr: text-to-video MRR within `train`.
        validation_mrr: text-to-video MRR within `validation`; the best epoch is kept.
    """

    aligner: str
    epoch: int
    step: int
    loss: str
    train_loss: float
    constant_loss: float
    train: JointSample
    validation: JointSample
    train_mrr: float
    validation_mrr: float
