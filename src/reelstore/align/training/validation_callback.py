"""Measures a training before its first epoch and after each, always on the same rows."""

import math
from collections.abc import Callable

import numpy as np

from reelstore.align.base import PairedRows, Validate
from reelstore.align.items import Items, batches, read_items
from reelstore.align.mapping import first_equal
from reelstore.arrays import Float32Array, IntArray
from reelstore.records import EpochSnapshot, JointSample
from reelstore.store.read import Rows

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
        order = rng.permutation(len(train.captions))
        videos, first = np.unique(train.video_of_caption[order], return_index=True)
        drawn = np.sort(rng.permutation(len(videos))[: len(validation.videos)])
        self._train = _Sample(
            PairedRows(
                _at(train.videos, videos[drawn]), _at(train.captions, order[first[drawn]]), np.arange(len(drawn))
            )
        )

    def take(self, transform: Transform, *, aligner: str, epoch: int, step: int, loss: str,
             train_loss: float = math.nan, constant_loss: float) -> EpochSnapshot:  # fmt: skip
        """Both samples mapped as training stands."""
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
            train_mrr=self._validate(train.video, train.text, train.video_of_caption),
            validation_mrr=self._validate(validation.video, validation.text, validation.video_of_caption),
        )


class _Sample:
    """Rows of both sides, each distinct one mapped once: equal ones must tie."""

    def __init__(self, rows: PairedRows) -> None:
        self._rows = rows
        self._sides = {"video": rows.videos, "text": rows.captions}
        self._distinct = {
            side: np.unique(first_equal(its_rows), return_inverse=True) for side, its_rows in self._sides.items()
        }

    def mapped(self, transform: Transform) -> JointSample:
        return JointSample(self._side("video", transform), self._side("text", transform), self._rows.video_of_caption)

    def _side(self, side: str, transform: Transform) -> Float32Array:
        rows, (kept, place) = self._sides[side], self._distinct[side]
        joint = np.concatenate([transform(side, read_items(rows, some)) for some in batches(rows, kept)])
        return joint[place]


def _at(rows: Rows, positions: IntArray) -> Rows:
    keys = rows.ids
    return rows.select([keys[position] for position in positions.tolist()])


def numbers(view: EpochSnapshot) -> dict[str, float]:
    """The curves' next points."""
    cosines = view.validation.cosines()
    return {
        "train_loss": view.train_loss,
        "validation_MRR": view.validation_mrr,
        "train_MRR": view.train_mrr,
        "cosine_right": float(cosines.right.mean()),
        "cosine_wrong": float(cosines.wrong.mean()),
    }


def sentence(view: EpochSnapshot, when: str) -> str:
    """A line for people: cosines of right and wrong pairs with their spread, and MRRs."""
    right, wrong = view.validation.cosines()
    return (
        f"{view.aligner} {when}: validation t2v MRR {view.validation_mrr:.4f} (train {view.train_mrr:.4f}), cosine of "
        f"right pairs {right.mean():.3f} ± {right.std():.3f}, of wrong ones {wrong.mean():.3f} ± {wrong.std():.3f}"
    )
