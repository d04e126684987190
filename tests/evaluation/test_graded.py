"""Grades and cut runs: nDCG against every order of equal scores, trec_eval and scikit-learn."""

from itertools import chain, permutations, product

import numpy as np
import pytest
import pytrec_eval
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score

from reelstore.errors import EvaluationError
from reelstore.evaluation import evaluate

MEASURES = {"map", "recip_rank", "success.1,3,10", "recall.1,3,10", "ndcg_cut.10"}
OURS = {"MAP": "map", "MRR": "recip_rank", "nDCG@10": "ndcg_cut_10"}
OURS |= {
    f"{ours}@{k:02d}": f"{name}_{k}" for k in (1, 3, 10) for ours, name in (("hit", "success"), ("recall", "recall"))
}


def orders(scores: list[float]) -> list[list[int]]:
    """Every ranking that puts no lower score above a higher one."""
    levels = [
        [item for item, score in enumerate(scores) if score == level] for level in sorted(set(scores), reverse=True)
    ]
    return [list(chain(*parts)) for parts in product(*(permutations(level) for level in levels))]


def by_hand(
    order: list[int], scores: list[float], grades: list[float], k: int, gain: str, least: float
) -> dict[str, float]:
    """One ranking, from the definitions; what scored -inf wasn't retrieved."""
    gains = [(2.0**grade - 1 if gain == "exponential" else grade) if grade > 0 else 0.0 for grade in grades]
    retrieved = [item for item in order if scores[item] > -np.inf]
    ideal = sum(g / np.log2(1 + rank) for rank, g in enumerate(sorted(gains, reverse=True)[:k], start=1))
    found = {
        f"nDCG@{k:02d}": sum(gains[i] / np.log2(1 + rank) for rank, i in enumerate(retrieved[:k], start=1)) / ideal
    }
    right = [item for item, grade in enumerate(grades) if grade >= least]
    ranks = [rank for rank, item in enumerate(retrieved, start=1) if item in right]
    found["MRR"] = 1 / ranks[0] if ranks else 0.0
    found["MAP"] = sum((n + 1) / rank for n, rank in enumerate(ranks)) / len(right)
    found[f"hit@{k:02d}"] = float(bool(ranks) and ranks[0] <= k)
    found[f"recall@{k:02d}"] = sum(rank <= k for rank in ranks) / len(right)
    found["MeanR"] = float(min(order.index(item) for item in right) + 1)
    return found


@st.composite
def graded_problems(draw):
    n = draw(st.integers(1, 5))
    grades = draw(st.lists(st.sampled_from([-1.0, 0.0, 0.5, 1.0, 2.0, 3.0]), min_size=n, max_size=n))
    grades[draw(st.integers(0, n - 1))] = draw(st.sampled_from([2.0, 3.0]))
    scores = draw(st.lists(st.sampled_from([-np.inf, 0.0, 1.0, np.inf]), min_size=n, max_size=n))
    return (
        scores,
        grades,
        draw(st.integers(1, 4)),
        draw(st.sampled_from(["linear", "exponential"])),
        draw(st.sampled_from([0.5, 1, 2])),
    )


@settings(max_examples=80, deadline=None)
@given(graded_problems())
def test_every_metric_is_the_mean_the_best_or_the_worst_over_every_order_of_equal_scores(problem):
    scores, grades, k, gain, least = problem
    each = [by_hand(order, scores, grades, k, gain, least) for order in orders(scores)]
    options = {"scores": [scores], "relevance": [grades], "ks": k, "gain": gain, "relevant_from": least}
    found = evaluate(**options)
    for name in each[0]:
        values = [one[name] for one in each]
        best, worst = (min(values), max(values)) if name == "MeanR" else (max(values), min(values))
        assert found.metrics["retrieval"][name] == pytest.approx(np.mean(values), abs=1e-12)
        assert found.bounds["optimistic"]["retrieval"][name] == pytest.approx(best, abs=1e-12)
        assert found.bounds["pessimistic"]["retrieval"][name] == pytest.approx(worst, abs=1e-12)
        assert evaluate(**options, ties="optimistic").metrics["retrieval"][name] == pytest.approx(best, abs=1e-12)
    constant = [by_hand(order, [0.0] * len(scores), grades, k, gain, least) for order in orders([0.0] * len(scores))]
    assert found.chance["retrieval"] == pytest.approx(
        {name: np.mean([one[name] for one in constant]) for name in constant[0]}
        | {"MedR": pytest.approx(found.chance["retrieval"]["MedR"])}
    )
    if any(len({round(one[name], 9) for one in each}) > 1 for name in each[0]):
        assert found.directions["retrieval"].tied[0]


@pytest.mark.parametrize("level", [1, 2])
def test_trec_eval_agrees_on_grades_and_runs_cut_at_k(level):
    for seed in range(40):
        rng = np.random.default_rng(seed)
        n_queries, n_items = rng.integers(1, 12), rng.integers(2, 25)
        grades = rng.choice([-1, 0, 0, 0, 1, 2, 3], size=(n_queries, n_items))
        grades[0, 0] = 2
        scores = rng.permuted(np.tile(np.arange(float(n_items)), (n_queries, 1)), axis=1)
        scores[scores < rng.integers(n_items)] = -np.inf
        asked = np.flatnonzero((grades >= level).any(axis=1)).tolist()
        judged = {str(q): {str(i): int(grades[q, i]) for i in range(n_items)} for q in asked}
        run = {str(q): {str(i): scores[q, i] for i in np.flatnonzero(scores[q] > -np.inf).tolist()} for q in asked}
        each = pytrec_eval.RelevanceEvaluator(judged, MEASURES, relevance_level=level).evaluate(run).values()
        found = evaluate(scores=scores, relevance=grades, relevant_from=level, ks=(1, 3, 10)).metrics
        for ours, theirs in OURS.items():
            assert found["retrieval"][ours] == pytest.approx(np.mean([one[theirs] for one in each]), abs=1e-9), (
                seed,
                ours,
            )
        assert found["health"].get("not_retrieved", 0) == ((grades >= level) & (scores == -np.inf))[asked].sum()


@pytest.mark.parametrize(("gain", "of"), [("linear", lambda g: g), ("exponential", lambda g: 2.0**g - 1)])
def test_scikit_learn_agrees_on_graded_ties_in_both_directions(gain, of):
    for seed in range(30):
        rng = np.random.default_rng(seed)
        text, video = rng.integers(-2, 3, (14, 3)).astype("f4"), rng.integers(-2, 3, (9, 3)).astype("f4")
        grades = rng.choice([0, 0, 0, 1, 2, 4], size=(14, 9))
        grades[0, 0] = 1
        found = evaluate(
            text=text, video=video, relevance=grades, similarity="dot", ks=(1, 4), gain=gain, return_hard_negatives=True
        )
        for direction, scores, judged in (("t2v", text @ video.T, grades), ("v2t", video @ text.T, grades.T)):
            asked = (judged > 0).any(axis=1)
            want = ndcg_score(of(judged[asked].astype(float)), scores[asked], k=4)
            assert found.metrics[direction]["nDCG@04"] == pytest.approx(want, abs=1e-12)
            plain = evaluate(
                text=text, video=video, relevance=grades > 0, similarity="dot", ks=(1, 4), return_hard_negatives=True
            )
            names = set(plain.metrics[direction]) - {"nDCG@04"}
            assert all(found.metrics[direction][name] == plain.metrics[direction][name] for name in names)
            assert (
                found.directions[direction].hardest_negative.tolist()
                == plain.directions[direction].hardest_negative.tolist()
            )


def test_a_grade_below_the_threshold_is_a_wrong_item_to_every_metric_but_ndcg():
    rng = np.random.default_rng(0)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        scores, grades = rng.integers(0, 4, (8, 10)).astype(float), rng.choice([0, 1, 2], size=(8, 10))
        grades[0, 0] = 2
        found = evaluate(scores=scores, relevance=grades, relevant_from=2, return_hard_negatives=True)
        plain = evaluate(scores=scores, relevance=grades == 2, return_hard_negatives=True)
        for name in ("query", "n_relevant", "rank", "greater", "equal", "hardest_negative", "gap"):
            ours, theirs = getattr(found.directions["retrieval"], name), getattr(plain.directions["retrieval"], name)
            assert ours.tolist() == theirs.tolist(), name
        for name in set(plain.metrics["retrieval"]) - {"nDCG@10"}:
            assert found.metrics["retrieval"][name] == plain.metrics["retrieval"][name]


def test_equal_grades_are_relevance_of_yes_or_no_bit_for_bit():
    rng = np.random.default_rng(0)
    scores, right = rng.normal(size=(30, 20)), rng.random((30, 20)) < 0.2
    plain = evaluate(scores=scores, relevance=right).metrics
    for grades in (right * 3, np.where(right, 2.5, -1), np.where(right, 1e300, 0)):
        assert evaluate(scores=scores, relevance=grades).metrics == plain
    best = evaluate(scores=rng.permuted(np.tile(np.arange(9), (5, 1)), axis=1), relevance=np.tile(np.arange(9), (5, 1)))
    assert best.metrics["retrieval"]["nDCG@10"] < 1
    order = np.random.default_rng(1).permutation(9)
    perfect = evaluate(scores=[order], relevance=[order], gain="exponential")
    assert perfect.metrics["retrieval"]["nDCG@10"] == 1.0


def test_huge_and_tiny_grades_overflow_nothing_or_say_so():
    huge = evaluate(scores=[[3, 2, 1]], relevance=[[1e308, 1e308, 1.0]])
    assert huge.metrics["retrieval"]["nDCG@10"] == pytest.approx(1.0)
    tiny = {"relevant_from": 1e-300, "gain": "exponential"}
    assert evaluate(scores=[[3, 2]], relevance=[[1e-17, 2e-17]], **tiny).metrics["retrieval"][
        "nDCG@10"
    ] == pytest.approx((1 + 2 / np.log2(3)) / (2 + 1 / np.log2(3)))
    with pytest.raises(EvaluationError, match=r"overflows\. Use gain='linear'"):
        evaluate(scores=[[3, 2]], relevance=[[1, 2000]], gain="exponential")
    with pytest.raises(EvaluationError, match="must be above 0"):
        evaluate(scores=[[3, 2]], relevance=[[1, 2]], relevant_from=0)
    for v2t in ("first", "group_max"):
        with pytest.raises(EvaluationError, match="needs relevance of yes or no, not grades"):
            evaluate(text=np.eye(2), video=np.eye(2), relevance=[[2, 0], [0, 1]], v2t=v2t)


def test_what_was_not_retrieved_earns_nothing_and_its_rank_follows_the_others_in_random_order():
    scores = np.full((2, 4), -np.inf)
    scores[0, :2] = 2.0, 1.0
    found = evaluate(scores=scores, relevance=[3, 0], ks=(4,), return_hard_negatives=True)
    ranks = found.directions["retrieval"]
    assert {
        name: found.metrics["retrieval"][name] for name in ("hit@04", "recall@04", "MRR", "MAP", "nDCG@04")
    } == dict.fromkeys(("hit@04", "recall@04", "MRR", "MAP", "nDCG@04"), 0.0)
    assert ranks.rank.tolist() == [3.5, 2.5] and found.metrics["retrieval"]["MedR"] == 3.0
    assert ranks.gap.tolist() == [-np.inf, 0.0] and ranks.hardest_negative.tolist() == [0, 1]
    assert found.metrics["health"]["not_retrieved"] == 2
    assert found.curve("retrieval", 4)["recall"].tolist() == [0.0]
    both = evaluate(scores=scores, video_of_caption=[0, 3])
    assert both.metrics["t2v"]["R@01"] == both.metrics["v2t"]["hit@01"] == 0.5
