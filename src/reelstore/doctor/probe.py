"""Is there anything to learn? A ridge regression from video to text, cross-validated where it was fitted."""

from collections.abc import Callable

import numpy as np
from scipy.linalg import eigh

from reelstore.arrays import Array, Float64Array, IntArray
from reelstore.doctor.geometry import share_below, unit
from reelstore.doctor.permutation import PermutationTest, permutation_test
from reelstore.doctor.sample import Sample

COMPONENTS = 128
STRENGTH = 1.0
"""Of the penalty, against the mean variance of a whitened component: 1 for one that carries nothing else."""
FOLDS = 3
LEAST = 12
"""Videos that are fitted on at least."""


class Probe:
    """Ridge regressions video -> mean caption, both sides whitened; fitted on one split, `fitted_on`.

    Videos of that split are predicted by regressions on the other folds, videos of other splits by one on all of it.
    """

    def __init__(self, sample: Sample) -> None:
        self.sample = sample
        self.fitted_on = sample.names[0]
        train = sample.videos_of(self.fitted_on)
        self.n_train = len(train)
        of_text = _whitening(sample.mean_captions[train])
        self.text = of_text(sample.text)
        """(n_captions, d)"""
        self.means = of_text(sample.mean_captions)
        """(n_videos, d)"""
        self.means[sample.n_captions == 0] = 0
        fold = np.random.default_rng(0).permutation(self.n_train) % FOLDS
        parts = [(train[fold != number], train[fold == number]) for number in range(FOLDS)]
        others = np.setdiff1d(np.arange(len(sample.video)), train)
        self._fits = [_Fit(sample.video, known, asked) for known, asked in [*parts, (train, others)]]
        self.predicted = self.predict(np.arange(len(sample.video)))

    def predict(self, partners: IntArray) -> Float64Array:
        """Every video in text space, (n_videos, d), of regressions on pairs (video, captions of partners[video]).

        A partner of -1 is none: the mean caption.
        """
        targets = np.where(partners[:, None] >= 0, self.means[partners], 0)
        predicted = np.zeros_like(self.means)
        for fit in self._fits:
            predicted[fit.asked] = fit.predict(targets)
        return predicted

    def test(self, split: str) -> PermutationTest:
        """How captions of a split find their videos."""
        rows, owner = self.sample.captions_of(split)
        return permutation_test(self.text[rows], self.predicted[self.sample.videos_of(split)], owner)

    def mean_caption_auc(self, split: str, predicted: Float64Array) -> float:
        """AUC of videos' mean captions: faster than `test`."""
        rows = self.sample.videos_of(split)
        return float(share_below(unit(self.means[rows]) @ unit(predicted[rows]).T, np.arange(len(rows))).mean())


class _Fit:
    """One regression: its inputs whitened, its Gram matrix made, for any targets."""

    def __init__(self, video: Array, known: IntArray, asked: IntArray) -> None:
        self.known, self.asked = known, asked
        of_video = _whitening(video[known])
        self._inputs = of_video(video[known])
        self._asked = of_video(video[asked])
        self._gram = self._inputs.T @ self._inputs + STRENGTH * len(known) * np.eye(self._inputs.shape[1])

    def predict(self, targets: Float64Array) -> Float64Array:
        return np.asarray(self._asked @ np.linalg.solve(self._gram, self._inputs.T @ targets[self.known]))


def _whitening(values: Array) -> Callable[[Array], Float64Array]:
    """Rows -> at most `COMPONENTS` components of variance 1 over `values`, made of length 1 and standardised."""
    lengthened = unit(values)
    mean, spread = lengthened.mean(axis=0), lengthened.std(axis=0)
    spread[spread <= 1e-6 * max(spread.max(), 1e-30)] = 1
    scaled = (lengthened - mean) / spread
    n, dim = scaled.shape
    wide = n < dim
    gram = scaled @ scaled.T if wide else scaled.T @ scaled
    kept = max(1, min(COMPONENTS, len(values) // 4, dim))
    variances, directions = eigh(gram, subset_by_index=[len(gram) - kept, len(gram) - 1])
    clear = variances > 1e-10 * max(float(variances[-1]), 1e-30)
    variances, directions = variances[clear], directions[:, clear]
    if wide:
        directions = scaled.T @ directions / np.sqrt(variances)
    projection = directions / np.sqrt(variances / n)
    return lambda rows: np.asarray((unit(rows) - mean) / spread @ projection)
