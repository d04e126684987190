"""Canonical correlation analysis on all caption pairs, regularised, its directions weighted by their correlation."""

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

import numpy as np

from reelstore.align.base import PairedRows
from reelstore.align.closed_form.base import ClosedForm, Found, Steps, add, positive
from reelstore.align.limits import Dims, Positives, Powers, Share, Width
from reelstore.align.tensors import Shape
from reelstore.arrays import Float32Array, Float64Array
from reelstore.errors import ParamsError


class Cca(ClosedForm):
    """The directions of both sides that correlate most over caption pairs, a video counting once for each caption.

    Cxx^-1/2 Cxy Cyy^-1/2 = U S V', where a multiple of the mean variance is added to both sides' variances; each side
    is projected on its first `dims` directions, scaled by S ** power. All three covariances are summed over blocks of
    videos: memory doesn't grow with their number or that of captions. The preprocessing's shrinkage is 1 by
    default: principal components are taken as they are, and `regularisations` alone say how far they are whitened.
    Source: Hotelling 1936, https://doi.org/10.1093/biomet/28.3-4.321; weights by correlation: CSA, Li et al. 2024,
    https://arxiv.org/abs/2410.07610.

    Args:
        dims: widths of the joint space to try; those beyond what both sides have are that.
        regularisations: shares of the mean variance to try.
        powers: exponents of the correlations to try; 0 weighs all directions alike.
    """

    def __init__(
        self,
        *,
        dims: Dims = (64, 128, 256, 512),
        regularisations: Positives = (0.01, 0.1, 0.3, 1.0, 3.0),
        powers: Powers = (0.0, 0.5, 1.0),
        preprocess: Steps = ("mean", "unit", "centre", "unit", "whiten"),
        components: Width = 512,
        shrinkage: Share = 1.0,
    ) -> None:
        super().__init__(preprocess, components=components, shrinkage=shrinkage)
        self._dims = [int(dim) for dim in positive("cca", "dims", dims)]
        self._regularisations = positive("cca", "regularisations", regularisations)
        if not powers or min(powers) < 0:
            raise ParamsError(f"cca: powers must not be negative, not {list(powers)}.")
        self._powers = tuple(powers)

    def _candidates(self, train: PairedRows) -> Iterator[Found]:
        xx, xy, yy = self._covariances(train)
        of_video, of_text = np.linalg.eigh(xx), np.linalg.eigh(yy)
        for regularisation in self._regularisations:
            white_x, white_y = _inverse_root(*of_video, regularisation), _inverse_root(*of_text, regularisation)
            left, correlations, right = np.linalg.svd(white_x @ xy @ white_y, full_matrices=False)
            video, text = white_x @ left, white_y @ right.T  # (dim, min of both)
            widths = sorted({min(dim, len(correlations)) for dim in self._dims})
            for dim, power in product(widths, self._powers):
                weights = np.clip(correlations[:dim], 0, 1) ** power
                maps = {"video_map": video[:, :dim] * weights, "text_map": text[:, :dim] * weights}
                settings = {"dim": float(dim), "regularisation": float(regularisation), "power": float(power)}
                yield settings, {name: value.astype(np.float32) for name, value in maps.items()}

    def _covariances(self, train: PairedRows) -> tuple[Float64Array, Float64Array, Float64Array]:
        """Of videos, of videos with captions, of captions; over caption pairs, about their means."""
        xx: Any = 0.0
        xy: Any = 0.0
        yy: Any = 0.0
        x_sum: Any = 0.0
        y_sum: Any = 0.0
        for block in self._blocks(train):
            video, counts, sums = block.video.astype(np.float64), block.counts, block.text_sums()
            xx, xy = add(xx, (video * counts[:, None]).T @ video), add(xy, video.T @ sums)
            yy = add(yy, block.text.T @ block.text)
            x_sum, y_sum = add(x_sum, counts @ video), add(y_sum, sums.sum(axis=0))
        n = len(train.video_of_caption)
        x_mean, y_mean = x_sum / n, y_sum / n
        return (
            xx / n - np.outer(x_mean, x_mean),
            xy / n - np.outer(x_mean, y_mean),
            yy / n - np.outer(y_mean, y_mean),
        )

    def _map_shapes(self, video: int, text: int) -> Mapping[str, Shape]:
        return {"video_map": (video, "joint"), "text_map": (text, "joint")}

    def _map_video(self, values: Float32Array, maps: Mapping[str, Float32Array]) -> Float32Array:
        joint: Float32Array = values @ maps["video_map"]
        return joint

    def _map_text(self, values: Float32Array, maps: Mapping[str, Float32Array]) -> Float32Array:
        joint: Float32Array = values @ maps["text_map"]
        return joint


def _inverse_root(values: Float64Array, vectors: Float64Array, regularisation: float) -> Float64Array:
    """(C + r I)^-1/2 of a covariance given by its eigenvalues and eigenvectors, r relative to their mean."""
    roots = np.sqrt(np.maximum(values, 0) + regularisation * max(float(values.mean()), 1e-30))
    inverse: Float64Array = (vectors / roots) @ vectors.T
    return inverse
