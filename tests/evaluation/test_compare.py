"""Paired differences of two evaluations."""

import numpy as np
import pytest
from scipy.stats import binomtest, permutation_test

from reelstore.errors import EvaluationError
from reelstore.evaluation.compare import Difference, adjust, compare


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


@pytest.mark.parametrize("n_videos", [1, 5, 40])
@pytest.mark.parametrize("name", ["R@01", "MRR", "MeanR"])
def test_no_difference_on_the_videos_at_hand_leaves_room_for_others(name, n_videos):
    video = np.repeat(np.arange(n_videos), 3)
    first = np.random.default_rng(0).integers(0, 2, len(video)) + (1.0 if name == "MeanR" else 0.0)
    found = compare({name: first}, {name: first.copy()}, video)[name]
    assert (found.difference, found.p, found.n_videos) == (0, 1, n_videos)
    assert found.low == -found.high < 0
    if name != "MeanR":  # no video of n differs: at most so many of all do
        assert found.high == pytest.approx(binomtest(0, n_videos).proportion_ci(method="exact").high)


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


def systems(kind: str, n_videos: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Hits of two systems on 1 to 20 captions a video: equally good, or equal but for 3 % of the videos."""
    generator = np.random.default_rng([n_videos, seed])
    sizes = generator.integers(1, 21, n_videos)
    video = np.repeat(np.arange(n_videos), sizes)
    first = (generator.random(len(video)) < generator.beta(1, 1, n_videos)[video]).astype(float)
    if kind == "equal":
        return first, (generator.random(len(video)) < generator.beta(1, 1, n_videos)[video]).astype(float), video
    return first, np.where((generator.random(n_videos) < 0.03)[video], 1.0, first), video


@pytest.mark.parametrize(("kind", "n_videos", "true"), [("equal", 6, 0), ("equal", 20, 0), ("rare", 20, 0.015)])
def test_differences_are_covered_and_equal_systems_rarely_found_different(kind, n_videos, true):
    found = []
    for seed in range(300):
        first, second, video = systems(kind, n_videos, seed)
        found.append(compare({"R@01": first}, {"R@01": second}, video, n_resamples=199, seed=seed)["R@01"])
    assert np.mean([one.low <= true <= one.high for one in found]) >= 0.93
    if kind == "equal":
        assert np.mean([one.p <= 0.05 for one in found]) <= 0.07


def test_p_is_never_0():
    video = np.arange(200)
    found = compare({"MRR": np.zeros(200)}, {"MRR": np.ones(200)}, video, n_resamples=99)["MRR"]
    assert found.p == 1 / 100 and 0.9 < found.low < found.high == 1


def test_video_numbers_may_have_holes():
    first, second, video = values(0.05)
    assert compare({"m": first}, {"m": second}, 7 * video + 3) == compare({"m": first}, {"m": second}, video)


def test_holm_corrects_all_but_the_primary_metric():
    def one(p: float) -> Difference:
        return Difference(0.5, 0.6, 0.05, 0.15, p, 40)

    found = {
        "t2v": {"MRR": one(0.03), "R@01": one(0.01), "R@05": one(0.04)},
        "v2t": {"MRR": one(0.02), "MAP": one(0.9)},
    }
    adjusted = adjust(found, ("t2v", "MRR"))
    p = {(side, name): of.p_adjusted for side in adjusted for name, of in adjusted[side].items()}
    assert p == {
        ("t2v", "MRR"): 0.03,
        ("t2v", "R@01"): pytest.approx(0.04),
        ("v2t", "MRR"): pytest.approx(0.06),
        ("t2v", "R@05"): pytest.approx(0.08),
        ("v2t", "MAP"): 0.9,
    }
    other = adjust(found, ("v2t", "MAP"))
    assert other["v2t"]["MAP"].p_adjusted == 0.9
    assert other["t2v"]["R@05"].p_adjusted == pytest.approx(0.06)  # not below the smaller p-values before it
    with pytest.raises(EvaluationError, match=r"No metric t2v\.MedR .* There are: t2v\.MRR"):
        adjust(found, ("t2v", "MedR"))
