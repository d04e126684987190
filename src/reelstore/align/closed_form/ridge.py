"""Ridge regression of a video's mean caption on the video: closed form, the baseline for trained aligners."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from reelstore.align.base import PairedRows
from reelstore.align.closed_form.base import ClosedForm, Found, Steps, add, positive
from reelstore.align.limits import Positives, Share, Width
from reelstore.align.tensors import Shape
from reelstore.arrays import Float32Array, unit_rows
from reelstore.errors import AlignerError


class Ridge(ClosedForm):
    """W = argmin |X W - Y|^2 + alpha |W|^2, X the videos, Y the mean of each one's captions, scaled to length 1.

    `alpha` is the product of one of `alphas`, chosen by validation MRR, and the mean eigenvalue of X X' (n_videos of
    them), so that it means the same for any encoder. X'X and X'Y are summed over blocks of videos: memory doesn't grow
    with their number.
    """

    def __init__(
        self,
        *,
        alphas: Positives = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30),
        preprocess: Steps = ("mean", "unit", "centre", "unit"),
        components: Width = 256,
        shrinkage: Share = 0.1,
    ) -> None:
        super().__init__(preprocess, components=components, shrinkage=shrinkage)
        self._alphas = positive("ridge", "alphas", alphas)

    def _candidates(self, train: PairedRows) -> Iterator[Found]:
        square: Any = 0.0  # (video dim, video dim)
        target: Any = 0.0  # (video dim, text dim)
        n_videos = 0
        for block in self._blocks(train):
            x, y = block.video.astype(np.float64), unit_rows(block.mean_text())
            square, target = add(square, x.T @ x), add(target, x.T @ y)
            n_videos += len(x)
        if not np.trace(square) > 0:
            raise AlignerError(
                f"All {n_videos} training videos are the same embedding, of which ridge can learn nothing. "
                "reelstore doctor says which variants are constant."
            )
        rank = min(n_videos, len(square))
        diagonal = np.diag_indices(len(square))
        for alpha in self._alphas:
            system = square.copy()
            system[diagonal] += alpha * np.trace(square) / rank
            yield {"alpha": float(alpha)}, {"weight": np.linalg.solve(system, target).astype(np.float32)}

    def _map_shapes(self, video: int, text: int) -> Mapping[str, Shape]:
        return {"weight": (video, text)}

    def _map_video(self, values: Float32Array, maps: Mapping[str, Float32Array]) -> Float32Array:
        joint: Float32Array = values @ maps["weight"]
        return joint

    def _map_text(self, values: Float32Array, maps: Mapping[str, Float32Array]) -> Float32Array:
        return values
