"""Is there anything to learn? A ridge regression from video to text, on right pairs and on shuffled ones."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from reelstore.doctor.geometry import unit

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
COMPONENTS = 128
STRENGTH = 1.0
"""Of the penalty, against the mean variance of a whitened component: 1 for one that carries nothing else."""


@dataclass(frozen=True)
class ProbeScores:
    """Validation videos and captions in text space, after regression on right and on shuffled pairs.

    Attributes:
        right: (n_videos, dim), of the regression on right pairs.
        shuffled: the same on shuffled pairs.
        text: (n_captions, dim).
        n_train: videos regressed on.
    """

    right: Floats
    shuffled: Floats
    text: Floats
    n_train: int


def probe_pairs(
    video: Array, text: Array, validation_video: Array, validation_text: Array, *, seed: int = 0
) -> ProbeScores:
    """Both sides centred, of length 1 and whitened by training rows; then ridge, video -> text.

    Args:
        video: (n, dim) training videos.
        text: (n, other dim), the mean of each one's captions.
        validation_video: (n_videos, dim).
        validation_text: (n_captions, other dim).
        seed: of the shuffle.
    """
    of_video, of_text = _whitening(video), _whitening(text)
    x, y = of_video(video), of_text(text)
    order = np.random.default_rng(seed).permutation(len(x))
    gram = x.T @ x + STRENGTH * len(x) * np.eye(x.shape[1])
    asked = of_video(validation_video)
    right, shuffled = (asked @ np.linalg.solve(gram, x.T @ target) for target in (y, y[order]))
    return ProbeScores(right, shuffled, of_text(validation_text), len(x))


def _whitening(values: Array) -> Callable[[Array], Floats]:
    lengthened = unit(values)
    mean = lengthened.mean(axis=0)
    spread = np.linalg.norm(lengthened - mean, axis=0) / max(len(values), 1) ** 0.5
    spread[spread <= 1e-6 * max(spread.max(), 1e-30)] = 1
    scaled = (lengthened - mean) / spread
    _, singular, directions = np.linalg.svd(scaled, full_matrices=False)
    kept = min(COMPONENTS, int((singular > 1e-6 * singular[0]).sum()), max(len(values) // 4, 1))
    projection = directions[:kept].T / (singular[:kept] / len(values) ** 0.5)
    return lambda rows: np.asarray((unit(rows) - mean) / spread @ projection)
