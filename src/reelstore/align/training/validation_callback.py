"""Measures a training before its first epoch and after each, always on the same rows."""

import math
from collections.abc import Callable

import numpy as np

from reelstore.align.base import PairedRows, Validate
from reelstore.align.items import Items, batches, read_items
from reelstore.align.mapping import first_equal
from reelstore.arrays import Float32Array
from reelstore.records import EpochSnapshot, JointSample

Transform = Callable[[str, Items], Float32Array]
"""(side, items) -> their place in the joint space."""


class EpochEvaluator:
    """Maps the validation rows and a sample of training rows, and measures both.

    The sample has as many videos as validation has, or all there are, with one caption each, drawn by the seed.

    Args:
        train: rows to sample from.
        validation: all of them are measured.
        validate: gives a text-to-video MRR.
        seed: of the sample.
    """

    def __init__(self, train: PairedRows, validation: PairedRows, *, validate: Validate, seed: int) -> None:
        self._validate = validate
        self._validation = _Sample(validation)
        rng = np.random.default_rng([seed, 2])
        order = rng.permutation(len(train.text))
        videos, first = np.unique(train.video_of_caption[order], return_index=True)
        drawn = np.sort(rng.permutation(len(videos))[: len(validation.video)])
        self._train = _Sample(
            PairedRows(
                video=train.video.at(videos[drawn]),
                text=train.text.at(order[first[drawn]]),
                video_of_caption=np.arange(len(drawn)),
            )
        )

    def measure(self, transform: Transform, *, aligner: str, epoch: int, step: int, loss: str,
             train_loss: float = math.nan, constant_loss: float) -> EpochSnapshot:  # fmt: skip
        """Both samples mapped by the towers as they are."""
        train, validation = self._train.mapped(transform), self._validation.mapped(transform)
        return EpochSnapshot(
            aligner=aligner,
            epoch=epoch,
            step=step,
            loss=loss,
            train_loss=train_loss,
            constant_loss=constant_loss,
            train=train,
            validation=validation,
            train_mrr=_mrr(self._validate, train),
            validation_mrr=_mrr(self._validate, validation),
        )


class _Sample:
    """Rows of both sides, each distinct one mapped once: equal ones must tie."""

    def __init__(self, rows: PairedRows) -> None:
        self._rows = rows
        self._sides = rows.by_side()
        self._distinct = {
            side: np.unique(first_equal(its_rows), return_inverse=True) for side, its_rows in self._sides.items()
        }

    def mapped(self, transform: Transform) -> JointSample:
        return JointSample(
            video=self._side("video", transform),
            text=self._side("text", transform),
            video_of_caption=self._rows.video_of_caption,
        )

    def _side(self, side: str, transform: Transform) -> Float32Array:
        rows, (kept, place) = self._sides[side], self._distinct[side]
        joint = np.concatenate([transform(side, read_items(rows, some)) for some in batches(rows, kept)])
        return joint[place]


def _mrr(validate: Validate, sample: JointSample) -> float:
    return validate(text=sample.text, video=sample.video, video_of_caption=sample.video_of_caption)


def curve_values(snapshot: EpochSnapshot) -> dict[str, float]:
    """Name of each curve -> its next point."""
    cosines = snapshot.validation.cosines()
    return {
        "train_loss": snapshot.train_loss,
        "validation_MRR": snapshot.validation_mrr,
        "train_MRR": snapshot.train_mrr,
        "cosine_positive": float(cosines.positive.mean()),
        "cosine_negative": float(cosines.negative.mean()),
    }


def summary_line(snapshot: EpochSnapshot, when: str) -> str:
    """A line for people: MRRs, and cosines of positive and negative pairs with their standard deviation."""
    positive, negative = snapshot.validation.cosines()
    return (
        f"{snapshot.aligner} {when}: validation t2v MRR {snapshot.validation_mrr:.4f} (train "
        f"{snapshot.train_mrr:.4f}), cosine of positive pairs {positive.mean():.3f} ± {positive.std():.3f}, of "
        f"negative pairs {negative.mean():.3f} ± {negative.std():.3f}"
    )
