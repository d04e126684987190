"""The expected median where every order can't be walked through."""

import numpy as np
import pytest

from reelstore.evaluation import evaluate


@pytest.mark.parametrize("n_captions", [7, 40, 3000])
def test_median_of_a_constant_tower_is_the_middle_of_the_ranks(n_captions):
    found = evaluate(text=np.ones((n_captions, 1)), video=np.ones((31, 1)), video_of_caption=np.arange(n_captions) % 31)
    assert found.metrics["t2v"]["MedR"] == pytest.approx(16.0, abs=1e-9)


def test_median_of_ties_of_many_sizes_agrees_with_drawing_orders():
    generator = np.random.default_rng(0)
    scores = generator.integers(0, 4, size=(60, 25)).astype(float)
    owner = generator.integers(25, size=60)
    own = scores[np.arange(60), owner][:, None]
    above, tied = (scores > own).sum(axis=1), (scores == own).sum(axis=1) - 1
    drawn = np.median(above + 1 + generator.integers(0, tied + 1, size=(40_000, 60)), axis=1)
    found = evaluate(text=scores, video=np.eye(25), video_of_caption=owner, similarity="dot").metrics["t2v"]["MedR"]
    assert found == pytest.approx(drawn.mean(), abs=5 * drawn.std() / 200)
