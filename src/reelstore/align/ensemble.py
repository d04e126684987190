"""Several aligners side by side, their scores averaged in one joint space."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np

from reelstore.align.base import NO_CONTEXT, POOLED, Aligner, FitContext, PairedRows, Validate
from reelstore.align.items import Items
from reelstore.align.mapping import measured_mrr
from reelstore.align.tensors import named, under
from reelstore.arrays import Float32Array
from reelstore.errors import AlignerError, ParamsError


class Ensemble:
    """Unit vectors of all members one behind the other, divided by the root of their number.

    The cosine of two such vectors is the mean of the members' cosines, so the joint space is searched and evaluated
    like any other. Members have their default settings, each chosen on validation by itself.

    Args:
        members: kinds of aligners that take pooled variants.
    """

    layouts: ClassVar[tuple[str, ...]] = POOLED

    def __init__(self, *, members: Sequence[str] = ("kernel-ridge", "cca")) -> None:
        from reelstore.align.registry import make_aligner

        if not members or "ensemble" in members or len(set(members)) < len(members):
            raise ParamsError(f"ensemble: members must be different kinds, and not ensembles; they are {members}.")
        self._members: dict[str, Aligner] = {kind: make_aligner({"kind": kind})[0] for kind in members}
        for kind, member in self._members.items():
            if "pooled" not in member.layouts:
                raise ParamsError(f"ensemble: {kind} takes tokens; members take pooled variants.")

    def fit(
        self, train: PairedRows, validation: PairedRows, *, validate: Validate, context: FitContext = NO_CONTEXT
    ) -> None:
        """Fit the members one after the other; the row logged last is the ensemble's own."""
        for kind, member in self._members.items():
            folder = context.checkpoints and context.checkpoints / kind
            member.fit(train, validation, validate=validate, context=replace(context, checkpoints=folder))
        context.log({"validation_MRR": measured_mrr(self, validation, validate)})

    def transform_video(self, video: Items) -> Float32Array:
        """n videos -> (n, sum of the members' joint dims), length 1."""
        return _joined([member.transform_video(video) for member in self._members.values()])

    def transform_text(self, text: Items) -> Float32Array:
        """n captions -> (n, sum of the members' joint dims), length 1."""
        return _joined([member.transform_text(text) for member in self._members.values()])

    def tensors(self) -> dict[str, Float32Array]:
        """Each member's, as `kernel-ridge/…`."""
        return {f"{kind}/{name}": t for kind, member in self._members.items() for name, t in member.tensors().items()}

    def restore(self, tensors: Mapping[str, Float32Array]) -> None:
        """The inverse of `tensors`."""
        for name in tensors:
            if name.partition("/")[0] not in self._members:
                raise AlignerError(f"{name} is none of theirs")
        for kind, member in self._members.items():
            with named(f"{kind}/"):
                member.restore(under(tensors, f"{kind}/"))
        for side in ("video", "text"):
            widths = {member.width_of(side) for member in self._members.values()}
            if len(widths) > 1:
                raise AlignerError(f"members take {side} embeddings {' and '.join(map(str, sorted(widths)))} wide")

    def width_of(self, side: str) -> int:
        """Of an embedding of this side."""
        return next(iter(self._members.values())).width_of(side)


def _joined(parts: Sequence[Float32Array]) -> Float32Array:
    joined: Float32Array = np.concatenate(parts, axis=1) / np.float32(len(parts) ** 0.5)
    return joined
