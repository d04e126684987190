"""Paired differences of two evaluations."""

import numpy as np
import pytest
from scipy.stats import permutation_test

from reelstore.errors import EvaluationError
from reelstore.evaluation.compare import compare


def values(change: float, seed: int = 0, n_videos: int = 60) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two systems on three captions a video; videos differ far more than systems do."""
    generator = np.random.default_rng(seed)
    video = np.repeat(np.arange(n_videos), 3)
    first = generator.normal(size=n_videos)[video] + 0.1 * generator.normal(size=len(video))
    return first, first + change + 0.1 * generator.normal(size=n_videos)[video], video


def test_a_small_change_shows_although_videos_differ_far_more():
    first, second, video = values(0.05)
    found = compare({"MRR": first}, {"MRR": second}, video)["MRR"]
    assert found.difference == pytest.approx((second - first).mean())
    assert 0 < found.low < found.difference < found.high
    assert found.p < 0.01


def test_nothing_changed_is_nothing_found():
    first, _, video = values(0.0)
    found = compare({"MRR": first}, {"MRR": first.copy()}, video)["MRR"]
    assert (found.difference, found.low, found.high, found.p) == (0, 0, 0, 1)


def test_scipy_s_test_of_swapped_pairs_agrees():
    first, second, video = values(0.02, seed=3)
    totals = [np.bincount(video, side) for side in (first, second)]
    theirs = permutation_test(
        totals,
        lambda a, b: np.mean(b - a),
        permutation_type="samples",
        n_resamples=20_000,
        rng=np.random.default_rng(0),
    )
    ours = compare({"MRR": first}, {"MRR": second}, video, n_resamples=20_000)["MRR"]
    assert ours.p == pytest.approx(theirs.pvalue, abs=0.01)


def test_p_values_are_even_where_there_is_no_difference():
    p = [
        compare({"m": a}, {"m": b}, video, n_resamples=199)["m"].p for a, b, video in (values(0, s) for s in range(200))
    ]
    assert 0.01 <= np.mean(np.array(p) <= 0.05) <= 0.1
    assert np.mean(p) == pytest.approx(0.5, abs=0.08)


def test_copies_of_captions_make_nothing_more_certain():
    first, second, video = values(0.02, n_videos=30)
    once = compare({"m": first}, {"m": second}, video)["m"]
    often = compare({"m": np.tile(first, 5)}, {"m": np.tile(second, 5)}, np.tile(video, 5))["m"]
    assert [often.low, often.high, often.p] == pytest.approx([once.low, once.high, once.p])


def test_nothing_in_common_is_an_error():
    with pytest.raises(EvaluationError, match="share no metric"):
        compare({"a": np.ones(1)}, {"b": np.ones(1)}, np.zeros(1, dtype=int))
