"""Confidence intervals of an evaluation's metrics."""

import numpy as np
import pytest
from scipy.sparse import csr_array
from scipy.stats import binomtest

from reelstore.errors import EvaluationError
from reelstore.evaluation import Pairs, bootstrap, confidence_intervals, evaluate
from reelstore.evaluation.clustered import mean_interval
from reelstore.evaluation.intervals import cluster_descriptions
from reelstore.evaluation.rescoring import DualSoftmax, evaluate_rescored


def related(n_captions: int, n_videos: int, *, noise: float, seed: int = 0):
    generator = np.random.default_rng(seed)
    video = generator.normal(size=(n_videos, 16))
    owner = np.arange(n_captions) % n_videos
    return video[owner] + noise * generator.normal(size=(n_captions, 16)), video, owner


@pytest.mark.parametrize("ties", ["expected", "optimistic", "pessimistic"])
@pytest.mark.parametrize("noise", [0.0, 2.0, 1e6])
def test_an_interval_holds_its_score_and_says_how_many_videos_are_behind_it(noise, ties):
    text, video, owner = related(300, 50, noise=noise)
    found = evaluate(text=np.sign(text), video=np.sign(video), video_of_caption=owner, ties=ties)
    intervals = confidence_intervals(found)
    for direction in ("t2v", "v2t"):
        assert set(intervals[direction]) == set(found.metrics[direction])
        for name, ends in intervals[direction].items():
            assert ends["low"] <= found.metrics[direction][name] <= ends["high"]
            assert ends["n_videos"] == 50
            assert ends["high"] <= (300 if name in ("MeanR", "MedR") else 1)
            assert ends["low"] >= (1 if name in ("MeanR", "MedR") else 0)
            # Of MedR, all but some ranks may be 1.
            assert name == "MedR" or ends["low"] < ends["high"]
    assert bootstrap(found, n_resamples=300, seed=1) == intervals


def test_all_right_and_all_wrong_have_the_exact_binomial_interval_of_the_videos():
    low = binomtest(40, 40).proportion_ci(method="exact").low
    owner = np.repeat(np.arange(40), 3)
    right = confidence_intervals(evaluate(text=np.eye(40)[owner], video=np.eye(40), video_of_caption=owner, ks=(1,)))
    assert right["t2v"]["R@01"] == right["t2v"]["MRR"] == {"low": pytest.approx(low), "high": 1.0, "n_videos": 40}
    assert right["v2t"]["hit@01"] == {"low": pytest.approx(low), "high": 1.0, "n_videos": 40}
    assert right["t2v"]["MeanR"]["low"] == 1.0 and right["t2v"]["MeanR"]["high"] == pytest.approx(1 + 39 * (1 - low))
    wrong = confidence_intervals(
        evaluate(
            text=np.eye(40)[owner], video=np.eye(40), video_of_caption=(owner + 1) % 40, ks=(1,), ties="pessimistic"
        )
    )
    assert wrong["t2v"]["R@01"] == {"low": 0.0, "high": pytest.approx(1 - low), "n_videos": 40}


def test_of_many_videos_the_ends_are_1_96_standard_errors_away():
    generator = np.random.default_rng(0)
    sizes = generator.integers(1, 21, 3000).astype(float)
    totals = generator.binomial(sizes.astype(int), generator.beta(1, 3, 3000)).astype(float)
    mean = totals.sum() / sizes.sum()
    error = np.sqrt(((totals - mean * sizes) ** 2).sum()) / sizes.sum()
    assert np.array(mean_interval(totals, sizes)) == pytest.approx([mean - 1.96 * error, mean + 1.96 * error], rel=3e-3)


def test_copies_of_captions_make_no_interval_narrower():
    text, video, owner = related(60, 30, noise=2.0)
    once = confidence_intervals(evaluate(text=text, video=video, video_of_caption=owner))["t2v"]
    often = confidence_intervals(
        evaluate(text=np.tile(text, (10, 1)), video=video, video_of_caption=np.tile(owner, 10))
    )["t2v"]
    for name in ("R@01", "MRR", "MeanR", "MedR"):
        assert often[name] == pytest.approx(once[name])


@pytest.mark.parametrize("n_videos", [1, 2, 5])
def test_few_videos_and_videos_without_captions_leave_no_hole(n_videos):
    text, video, _ = related(n_videos, 40, noise=0.1)
    intervals = confidence_intervals(evaluate(text=text, video=video, video_of_caption=np.arange(n_videos)))
    for direction, name, ends in [(side, name, ends) for side in intervals for name, ends in intervals[side].items()]:
        assert np.isfinite([ends["low"], ends["high"]]).all() and ends["n_videos"] == n_videos
        only_one_rank = direction == "v2t" and n_videos == 1 and name in ("MeanR", "MedR")
        assert (ends["low"], ends["high"]) == (1, 1) if only_one_rank else ends["low"] < ends["high"]


def test_a_higher_level_is_wider_and_what_is_no_level_is_refused():
    found = evaluate(**dict(zip(("text", "video", "video_of_caption"), related(90, 30, noise=2.0), strict=True)))
    widths = []
    for level in (0.5, 0.95, 0.99):
        ends = confidence_intervals(found, level=level)["t2v"]["MRR"]
        widths.append(ends["high"] - ends["low"])
    assert widths == sorted(widths) and widths[0] < widths[1] < widths[2]
    for level in (0, 1, 95, "0.95", float("nan")):
        with pytest.raises(EvaluationError, match="level"):
            confidence_intervals(found, level=level)


def as_matrix(owner: np.ndarray) -> np.ndarray:
    return np.eye(30)[owner]


FORMS = {
    "video_of_caption": lambda owner: owner,
    "list": lambda owner: owner.tolist(),
    "matrix": as_matrix,
    "bool": lambda owner: as_matrix(owner).astype(bool),
    "sparse": lambda owner: csr_array(as_matrix(owner)),
    "pairs": lambda owner: Pairs(np.arange(len(owner)), owner),
    "dict": lambda owner: dict(enumerate(owner.tolist())),
}


@pytest.mark.parametrize("form", FORMS)
def test_captions_of_one_video_are_one_cluster_in_whatever_form_relevance_comes(form):
    text, video, owner = related(150, 30, noise=2.0)
    scores, relevance = text @ video.T, FORMS[form](owner)
    known = confidence_intervals(evaluate(text=text, video=video, video_of_caption=owner, similarity="dot"))
    alone = confidence_intervals(evaluate(scores=scores, relevance=relevance))["retrieval"]
    assert alone["hit@01"] == pytest.approx(known["t2v"]["R@01"])
    assert alone["MRR"] == pytest.approx(known["t2v"]["MRR"])
    embeddings = confidence_intervals(evaluate(text=text, video=video, relevance=relevance, similarity="dot"))
    assert embeddings["v2t"] == known["v2t"]
    assert embeddings["t2v"]["MRR"] == pytest.approx(known["t2v"]["MRR"])


def test_the_other_direction_and_other_ways_to_measure_sample_videos_too():
    text, video, owner = related(150, 30, noise=2.0)
    scores = text @ video.T
    v2t = confidence_intervals(evaluate(text=text, video=video, video_of_caption=owner, similarity="dot"))["v2t"]
    assert confidence_intervals(evaluate(scores=scores.T, relevance=as_matrix(owner).T))["retrieval"] == v2t
    tokens = evaluate(text=text[:, None], video=video[:, None], video_of_caption=owner, similarity="maxsim")
    softmax = evaluate_rescored(text=text, video=video, video_of_caption=owner, rescoring=DualSoftmax())
    first = evaluate(text=text, video=video, video_of_caption=owner, v2t="first")
    grouped = evaluate(text=text, video=video, video_of_caption=owner, v2t="group_max")
    for found in (tokens, softmax, first, grouped, evaluate(scores=scores, video_of_caption=owner)):
        for of in confidence_intervals(found).values():
            assert {ends["n_videos"] for ends in of.values()} == {30}


def test_a_caption_of_several_videos_belongs_to_the_first_of_them():
    relevance = np.zeros((6, 4))
    relevance[[0, 0, 1, 2, 3, 4, 5], [0, 1, 0, 1, 2, 2, 2]] = 1
    found = evaluate(scores=np.random.default_rng(0).normal(size=(6, 4)), relevance=relevance)
    assert found.directions["retrieval"].video.tolist() == [0, 0, 1, 2, 2, 2]
    assert confidence_intervals(found)["retrieval"]["MRR"]["n_videos"] == 3
    assert "belongs to the first" in cluster_descriptions(found)["retrieval"]
    both = evaluate(scores=np.eye(6)[:, :4], video_of_caption=relevance)
    assert "belongs to the first" in cluster_descriptions(both)["t2v"]
    assert cluster_descriptions(evaluate(scores=np.eye(6), relevance=[0, 0, 1, 1, 2, 3])) == {
        "retrieval": "items, each with all its queries"
    }


def drawn(n_videos: int, most: int, p: float, rho: float, n_draws: int) -> tuple[np.ndarray, np.ndarray]:
    """Hits of each video and its captions, (n_draws, n_videos); hits within a video are correlated by `rho`."""
    generator = np.random.default_rng([n_videos, most, int(1000 * p), int(10 * rho)])
    sizes = generator.integers(1, most + 1, (n_draws, n_videos))
    share = np.full((n_draws, n_videos), p)
    if rho == 1:
        share = (generator.random((n_draws, n_videos)) < p).astype(float)
    elif rho:
        share = generator.beta(p * (1 - rho) / rho, (1 - p) * (1 - rho) / rho, (n_draws, n_videos))
    return generator.binomial(sizes, share).astype(float), sizes.astype(float)


def percentile(totals: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The bootstrap over videos that this package had before."""
    n_videos = totals.shape[1]
    weights = np.random.default_rng(0).multinomial(n_videos, np.full(n_videos, 1 / n_videos), size=400)
    low, high = np.quantile((totals @ weights.T) / (sizes @ weights.T), [0.025, 0.975], axis=1)
    return low, high


@pytest.mark.parametrize(
    ("n_videos", "most", "p", "rho"),
    [
        (n_videos, most, p, rho)
        for n_videos in (5, 10, 20, 40, 100)
        for p in (0.005, 0.02, 0.1, 0.5, 0.98)
        for most, rho in ((1, 0.0), (20, 0.0), (20, 0.3), (20, 1.0))
    ],
)
def test_a_proportion_is_covered_with_few_videos_and_near_0_and_1(n_videos, most, p, rho):
    low, high = mean_interval(*drawn(n_videos, most, p, rho, 1000))
    assert ((low <= p) & (p <= high)).mean() >= 0.93


def test_the_percentile_bootstrap_did_not_cover_there():
    for n_videos, most, p, rho in ((10, 1, 0.02, 0.0), (10, 20, 0.1, 0.3), (40, 20, 0.98, 1.0)):
        totals, sizes = drawn(n_videos, most, p, rho, 1000)
        low, high = percentile(totals, sizes)
        assert ((low <= p) & (p <= high)).mean() < 0.9


@pytest.mark.parametrize(("most", "rho"), [(1, 0.0), (20, 0.0), (20, 0.3), (20, 1.0)])
@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_with_a_thousand_videos_it_is_hardly_wider_than_the_bootstrap(most, p, rho):
    totals, sizes = drawn(1000, most, p, rho, 40)
    width, before = (np.mean(high - low) for low, high in (mean_interval(totals, sizes), percentile(totals, sizes)))
    assert 0.97 < width / before < 1.08


def test_scores_with_video_of_caption_cover():
    """Captions of a video are all right or all wrong: 200 captions say no more than 20."""
    generator = np.random.default_rng(0)
    owner = np.repeat(np.arange(20), 10)
    held = []
    for _ in range(150):
        right = generator.random(20) < 0.5
        scores = generator.random((200, 20))
        scores[np.arange(200), owner] = np.where(right[owner], 2, -1)
        ends = confidence_intervals(evaluate(scores=scores, relevance=owner, ks=(1,)))["retrieval"]["hit@01"]
        held.append(ends["low"] <= 0.5 <= ends["high"])
    assert np.mean(held) >= 0.93
