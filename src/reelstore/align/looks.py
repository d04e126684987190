"""Measures a training before its first epoch and after each, always on the same rows."""

import math
from collections.abc import Callable

import numpy as np

from reelstore.align.base import Floats, PairedRows, Validate
from reelstore.align.epoch_view import EpochView, JointSample
from reelstore.align.items import Indices, Items
from reelstore.align.mapping import mapped
from reelstore.store.reader import Rows

Transform = Callable[[str, Items], Floats]
"""(side, items) -> their place in the joint space."""


class Looks:
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
        self._validation = validation
        rng = np.random.default_rng([seed, 2])
        order = rng.permutation(len(train.captions))
        videos, first = np.unique(train.video_of_caption[order], return_index=True)
        drawn = np.sort(rng.permutation(len(videos))[: len(validation.videos)])
        self._train = PairedRows(
            _at(train.videos, videos[drawn]), _at(train.captions, order[first[drawn]]), np.arange(len(drawn))
        )

    def take(self, transform: Transform, *, aligner: str, epoch: int, step: int, loss: str,
             train_loss: float = math.nan, constant_loss: float) -> EpochView:  # fmt: skip
        """Both samples mapped as training stands."""
        train, validation = self._mapped(transform, self._train), self._mapped(transform, self._validation)
        return EpochView(
            aligner=aligner,
            epoch=epoch,
            step=step,
            loss=loss,
            train_loss=train_loss,
            constant_loss=constant_loss,
            train=train,
            validation=validation,
            train_mrr=self._validate(train.video, train.text, train.video_of_caption),
            validation_mrr=self._validate(validation.video, validation.text, validation.video_of_caption),
        )

    @staticmethod
    def _mapped(transform: Transform, rows: PairedRows) -> JointSample:
        video = mapped(lambda items: transform("video", items), rows.videos)
        text = mapped(lambda items: transform("text", items), rows.captions)
        return JointSample(video, text, rows.video_of_caption)


def _at(rows: Rows, positions: Indices) -> Rows:
    keys = rows.ids
    return rows.select([keys[position] for position in positions.tolist()])


def numbers(view: EpochView) -> dict[str, float]:
    """The curves' next points."""
    cosines = view.validation.cosines()
    return {
        "train_loss": view.train_loss,
        "validation_MRR": view.validation_mrr,
        "train_MRR": view.train_mrr,
        "cosine_right": float(cosines.right.mean()),
        "cosine_wrong": float(cosines.wrong.mean()),
    }


def sentence(view: EpochView, when: str) -> str:
    """A line for people: cosines of right and wrong pairs with their spread, and MRRs."""
    right, wrong = view.validation.cosines()
    return (
        f"{view.aligner} {when}: validation t2v MRR {view.validation_mrr:.4f} (train {view.train_mrr:.4f}), cosine of "
        f"right pairs {right.mean():.3f} ± {right.std():.3f}, of wrong ones {wrong.mean():.3f} ± {wrong.std():.3f}"
    )
