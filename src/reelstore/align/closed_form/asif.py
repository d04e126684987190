"""ASIF: an item is described by what it resembles among training pairs, a video among their videos, a caption among
their captions. Nothing is solved."""

from collections.abc import Iterator, Mapping
from itertools import product

import numpy as np

from reelstore.align.base import PairedRows
from reelstore.align.closed_form.base import ClosedForm, Found, Steps, drawn, positive
from reelstore.align.limits import Count, Counts, Powers, Seed, Share, Width
from reelstore.align.tensors import Shape, above_zero, whole
from reelstore.arrays import Float32Array, unit_rows


class Asif(ClosedForm):
    """Cosines with the anchors of one's own side, the `kept` largest of them, each to a power.

    An anchor is a training video and the mean of its captions; both sides' vectors of anchors are compared as they are,
    so the joint space is as wide as there are anchors.
    Source: Norelli et al. 2023, https://arxiv.org/abs/2210.01738.

    Args:
        kept: numbers of nearest anchors to try; at most all.
        powers: exponents of their cosines to try; cosines below 0 count as 0.
        anchors: training videos at most, drawn by seed where there are more.
        seed: of that.
    """

    def __init__(
        self,
        *,
        kept: Counts = (50, 100, 200, 400),
        powers: Powers = (1.0, 2.0, 4.0),
        anchors: Count = 4096,
        seed: Seed = 0,
        preprocess: Steps = ("mean", "unit", "centre", "unit"),
        components: Width = 256,
        shrinkage: Share = 0.1,
    ) -> None:
        super().__init__(preprocess, components=components, shrinkage=shrinkage)
        self._kept = [int(number) for number in positive("asif", "kept", kept)]
        self._powers = positive("asif", "powers", powers)
        (self._anchors,) = (int(number) for number in positive("asif", "anchors", [anchors]))
        self._seed = seed

    def _candidates(self, train: PairedRows) -> Iterator[Found]:
        some = drawn(train, self._anchors, seed=self._seed)
        blocks = [(block.video, block.mean_text()) for block in self._blocks(some)]
        video, text = (unit_rows(np.concatenate(side)) for side in zip(*blocks, strict=True))
        for kept, power in product(sorted({min(number, len(video)) for number in self._kept}), self._powers):
            rule = np.array([kept, power], dtype=np.float32)
            maps = {"video_anchors": video, "text_anchors": text, "rule": rule}
            yield {"kept": float(kept), "power": float(power)}, maps

    def _map_shapes(self, video: int, text: int) -> Mapping[str, Shape]:
        return {"video_anchors": ("anchors", video), "text_anchors": ("anchors", text), "rule": (2,)}

    def _check_maps(self, maps: Mapping[str, Float32Array], video: int, text: int) -> dict[str, int]:
        widths = super()._check_maps(maps, video, text)
        whole(maps["rule"], "rule", at_most=widths["anchors"])
        above_zero(maps["rule"], "rule")
        return widths

    def _map_video(self, values: Float32Array, maps: Mapping[str, Float32Array]) -> Float32Array:
        return _resemblance(values, maps["video_anchors"], maps["rule"])

    def _map_text(self, values: Float32Array, maps: Mapping[str, Float32Array]) -> Float32Array:
        return _resemblance(values, maps["text_anchors"], maps["rule"])


def _resemblance(values: Float32Array, anchors: Float32Array, rule: Float32Array) -> Float32Array:
    """(n, n_anchors) the largest cosines to a power, zeros elsewhere."""
    kept, power = int(rule[0]), float(rule[1])
    cosines = np.maximum(unit_rows(values) @ anchors.T, 0)
    if kept < cosines.shape[1]:
        least = -np.partition(-cosines, kept - 1, axis=1)[:, kept - 1 : kept]
        cosines[cosines < least] = 0
    return np.asarray(cosines**power)
