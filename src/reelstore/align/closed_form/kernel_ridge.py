"""Kernel ridge regression of a video's mean caption on the video, with a Gaussian kernel."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from reelstore.align.base import PairedRows
from reelstore.align.closed_form.base import ClosedForm, Found, Steps, add, drawn, positive
from reelstore.align.limits import Count, Positives, Seed, Share, Width
from reelstore.align.tensors import Shape, above_zero
from reelstore.arrays import Float32Array, Float64Array, unit_rows

JITTER = 1e-9
"""Of the kernel among landmarks, relative to its diagonal, so that rounding doesn't make it singular."""


class KernelRidge(ClosedForm):
    """A = argmin |K A - Y|^2 + alpha tr(A' K A), K(x, z) = exp(-gamma |x - z|^2), Y the mean of each video's captions.

    With as many landmarks as videos this is kernel ridge itself: (K + alpha) A = Y. With fewer it is Nyström's form of
    it, functions spanned by the kernels at landmarks drawn from the training videos:
    (K_lv K_vl + alpha K_ll) A = K_lv Y, summed over blocks of videos, so that memory is a few matrices (landmarks,
    landmarks) however many there are.
    Sources: Saunders et al. 1998 (kernel ridge), Rudi et al. 2015, https://arxiv.org/abs/1507.04717 (Nyström).

    Args:
        gammas: to try, each relative to the inverse of the mean squared distance of landmarks.
        alphas: to try, each relative to the kernel matrix's mean eigenvalue.
        landmarks: training videos at most, drawn by seed where there are more.
        seed: of that.
    """

    def __init__(
        self,
        *,
        gammas: Positives = (0.5, 1.0, 2.0, 4.0),
        alphas: Positives = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0),
        landmarks: Count = 2048,
        seed: Seed = 0,
        preprocess: Steps = ("mean", "unit", "centre", "unit"),
        components: Width = 256,
        shrinkage: Share = 0.1,
    ) -> None:
        super().__init__(preprocess, components=components, shrinkage=shrinkage)
        self._gammas, self._alphas = (
            positive("kernel-ridge", name, values) for name, values in (("gammas", gammas), ("alphas", alphas))
        )
        (self._landmarks,) = (int(number) for number in positive("kernel-ridge", "landmarks", [landmarks]))
        self._seed = seed

    def _candidates(self, train: PairedRows) -> Iterator[Found]:
        some = drawn(train, self._landmarks, seed=self._seed)
        landmarks = np.concatenate([block.video for block in self._blocks(some)])
        distances = squared_distances(landmarks, landmarks)
        spread = float(distances.sum()) / max(len(landmarks) * (len(landmarks) - 1), 1)
        for gamma in self._gammas:
            rate = gamma / spread if spread > 0 else gamma
            inner = np.exp(-rate * distances)
            square, target = self._moments(train, landmarks, inner, rate, exact=some is train)
            for alpha in self._alphas:
                # In the exact case `square` is the kernel itself, and 1 takes the place of the inner product.
                system = square + alpha * (np.eye(len(inner)) if some is train else inner)
                dual = np.linalg.solve(system, target)
                yield (
                    {"gamma": float(gamma), "alpha": float(alpha)},
                    {
                        "landmarks": landmarks,
                        "dual": dual.astype(np.float32),
                        "rate": np.array([rate], dtype=np.float32),
                    },
                )

    def _moments(
        self, train: PairedRows, landmarks: Float32Array, inner: Float64Array, rate: float, *, exact: bool
    ) -> tuple[Float64Array, Float64Array]:
        """(landmarks, landmarks) and (landmarks, text dim): the left and right of the system to solve, without alpha.

        A kernel's diagonal is 1, so that 1 is the mean eigenvalue, and alpha needs no other scale.
        """
        square: Any = 0.0
        target: Any = 0.0
        parts: list[Float64Array] = []
        for block in self._blocks(train):
            y = unit_rows(block.mean_text()).astype(np.float64)
            if exact:
                parts.append(y)
                continue
            kernel = np.exp(-rate * squared_distances(block.video, landmarks))  # (block, landmarks)
            square, target = add(square, kernel.T @ kernel), add(target, kernel.T @ y)
        if exact:
            return inner, np.concatenate(parts)
        square[np.diag_indices(len(square))] += JITTER * np.trace(square) / len(square)
        return square, target

    def _map_shapes(self, video: int, text: int) -> Mapping[str, Shape]:
        return {"landmarks": ("landmarks", video), "dual": ("landmarks", text), "rate": (1,)}

    def _check_maps(self, maps: Mapping[str, Float32Array], video: int, text: int) -> dict[str, int]:
        widths = super()._check_maps(maps, video, text)
        above_zero(maps["rate"], "rate")
        return widths

    def _map_video(self, values: Float32Array, maps: Mapping[str, Float32Array]) -> Float32Array:
        kernel = np.exp(-float(maps["rate"][0]) * squared_distances(values, maps["landmarks"])).astype(np.float32)
        joint: Float32Array = kernel @ maps["dual"]
        return joint

    def _map_text(self, values: Float32Array, maps: Mapping[str, Float32Array]) -> Float32Array:
        return values


def squared_distances(values: Float32Array, others: Float32Array) -> Float64Array:
    """(n, m) float64, of all rows with all others."""
    x, z = values.astype(np.float64), others.astype(np.float64)
    found: Float64Array = (x**2).sum(axis=1)[:, None] + (z**2).sum(axis=1) - 2 * (x @ z.T)
    return np.maximum(found, 0, out=found)
