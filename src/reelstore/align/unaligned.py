"""No alignment: embeddings as they are, the narrower side filled up with zeros."""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from reelstore.align.base import NO_CONTEXT, POOLED, FitContext, PairedRows, Validate, embeddings
from reelstore.align.items import Items
from reelstore.align.mapping import measured_mrr
from reelstore.align.tensors import check_tensors, whole
from reelstore.arrays import Float32Array, unit_rows


class Unaligned:
    """The zero point that aligners are compared with. Nothing is learned but the widths."""

    layouts: ClassVar[tuple[str, ...]] = POOLED

    def __init__(self) -> None:
        self._widths = np.zeros(2, dtype=np.float32)

    def fit(
        self, train: PairedRows, validation: PairedRows, *, validate: Validate, context: FitContext = NO_CONTEXT
    ) -> None:
        """Remember both widths."""
        self._widths = np.array([train.video.dim, train.text.dim], dtype=np.float32)
        context.log({"validation_MRR": measured_mrr(self, validation, validate)})

    def transform_video(self, video: Items) -> Float32Array:
        """(n, video dim) -> (n, wider dim), length 1."""
        return self._padded(embeddings(video, self.width_of("video"), "video"))

    def transform_text(self, text: Items) -> Float32Array:
        """(n, text dim) -> (n, wider dim), length 1."""
        return self._padded(embeddings(text, self.width_of("text"), "text"))

    def tensors(self) -> dict[str, Float32Array]:
        """Both widths."""
        return {"widths": self._widths}

    def restore(self, tensors: Mapping[str, Float32Array]) -> None:
        """The inverse of `tensors`."""
        check_tensors(tensors, {"widths": (2,)})
        for width in tensors["widths"]:
            whole(width, "widths")
        self._widths = tensors["widths"]

    def width_of(self, side: str) -> int:
        """Of an embedding of this side."""
        return int(self._widths[0 if side == "video" else 1])

    def _padded(self, values: Float32Array) -> Float32Array:
        return unit_rows(np.pad(values, [(0, 0), (0, int(self._widths.max()) - values.shape[1])]))
