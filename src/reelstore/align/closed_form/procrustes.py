"""Orthogonal Procrustes: the rotation that brings each video closest to its mean caption."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from reelstore.align.base import PairedRows
from reelstore.align.closed_form.base import ClosedForm, Found, Steps, add
from reelstore.align.limits import Share, Width
from reelstore.align.tensors import Shape
from reelstore.arrays import Float32Array, unit_rows


class Procrustes(ClosedForm):
    """R = argmin |X R - Y| over orthogonal R, X the videos, Y the mean of each one's captions, scaled to length 1.

    Where the widths differ, the narrower side is rotated into the wider one, R R' = 1, as if it were padded with zeros.
    Lengths and angles within each side stay as they are. X'Y is summed over blocks of videos.
    Source: Schönemann 1966, https://doi.org/10.1007/BF02289451.
    """

    def __init__(
        self, *, preprocess: Steps = ("mean", "unit", "centre", "unit"), components: Width = 256, shrinkage: Share = 0.1
    ) -> None:
        super().__init__(preprocess, components=components, shrinkage=shrinkage)

    def _candidates(self, train: PairedRows) -> Iterator[Found]:
        product: Any = 0.0  # (video dim, text dim)
        for block in self._blocks(train):
            product = add(product, block.video.astype(np.float64).T @ unit_rows(block.mean_text()))
        left, _, right = np.linalg.svd(product, full_matrices=False)
        rotation = (left @ right).astype(np.float32)
        yield {}, {"rotation": rotation}

    def _map_shapes(self, video: int, text: int) -> Mapping[str, Shape]:
        return {"rotation": (video, text)}

    def _map_video(self, values: Float32Array, maps: Mapping[str, Float32Array]) -> Float32Array:
        rotation = maps["rotation"]
        return values if rotation.shape[0] > rotation.shape[1] else values @ rotation

    def _map_text(self, values: Float32Array, maps: Mapping[str, Float32Array]) -> Float32Array:
        rotation = maps["rotation"]
        return values @ rotation.T if rotation.shape[0] > rotation.shape[1] else values
