"""Dual softmax, inverted softmax and QB-Norm: as their papers write them, in whatever order queries come."""

import numpy as np
import pytest
from scipy.special import softmax

from reelstore.errors import EvaluationError, UnknownNameError
from reelstore.evaluation import evaluate
from reelstore.evaluation.rescoring import (
    BankStatistics,
    DualSoftmax,
    InvertedSoftmax,
    QueryBank,
    evaluate_rescored,
    make_rescoring,
)
from reelstore.ranking import score_matrix


def drawn(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Captions of hubs: some videos lie near all of them."""
    rng = np.random.default_rng(seed)
    video = rng.normal(size=(40, 16))
    owner = rng.integers(40, size=90)
    text = video[owner] + 1.5 * rng.normal(size=(90, 16)) + video[:3].mean(axis=0)
    return text, video, owner


def ranks(scores: np.ndarray, owner: np.ndarray) -> list[int]:
    right = scores[np.arange(len(owner)), owner]
    return (1 + (scores > right[:, None]).sum(axis=1)).tolist()


def test_dual_softmax_is_the_score_times_the_softmax_over_the_queries():
    text, video, owner = drawn()
    scores = score_matrix(text=text, video=video)
    found = evaluate_rescored(text=text, video=video, video_of_caption=owner, rescoring=DualSoftmax(scale=30.0))
    assert found.t2v.rank.tolist() == ranks(scores * softmax(30 * scores, axis=0), owner)
    turned = scores.T * softmax(30 * scores.T, axis=0)
    best = np.array([turned[v, owner == v].max() for v in found.v2t.query])
    wrong = [turned[v, owner != v] for v in found.v2t.query]
    assert found.v2t.greater.tolist() == [(w > b).sum() for w, b in zip(wrong, best, strict=True)]
    assert (
        found.metrics["t2v"]["R@01"] != evaluate(text=text, video=video, video_of_caption=owner).metrics["t2v"]["R@01"]
    )


def test_inverted_softmax_is_the_exponential_over_its_sum_over_the_queries():
    text, video, owner = drawn()
    scores = score_matrix(text=text, video=video)
    found = evaluate_rescored(text=text, video=video, video_of_caption=owner, rescoring=InvertedSoftmax(scale=30.0))
    assert found.t2v.rank.tolist() == ranks(softmax(30 * scores, axis=0), owner)
    turned = softmax(30 * scores.T, axis=0)
    best = np.array([turned[v, owner == v].max() for v in found.v2t.query])
    wrong = [turned[v, owner != v] for v in found.v2t.query]
    assert found.v2t.greater.tolist() == [(w > b).sum() for w, b in zip(wrong, best, strict=True)]


def by_the_paper(scores: np.ndarray, bank: np.ndarray, *, beta: float, k: int) -> np.ndarray:
    """Equations of the paper, query by query: the querybank probes the gallery, its top k make the activation set."""
    activation = set()
    for probe in bank:
        activation |= {int(item) for item in sorted(range(len(probe)), key=lambda item: -probe[item])[:k]}
    rescored = []
    for query in scores:
        if int(np.argmax(query)) in activation:
            sums = [sum(np.exp(beta * probe[item]) for probe in bank) for item in range(len(query))]
            rescored.append([np.exp(beta * s) / total for s, total in zip(query, sums, strict=True)])
        else:
            rescored.append(list(query))
    return np.array(rescored)


@pytest.mark.parametrize("seed", range(4))
def test_qb_norm_is_the_dynamic_inverted_softmax_of_its_paper(seed):
    text, video, owner = drawn(seed)
    rng = np.random.default_rng(seed + 100)
    bank_video = rng.normal(size=(7, 16))
    bank_text = bank_video[rng.integers(7, size=9)] + rng.normal(size=(9, 16))
    scores, text_bank, video_bank = (
        score_matrix(text=text, video=video),
        score_matrix(text=bank_text, video=video),
        score_matrix(text=bank_video, video=text),
    )
    found = {}
    for k in (1, 2, 5):
        rescoring = QueryBank(scale=20.0, k=k)
        banks = {"bank_text": bank_text, "bank_video": iter([bank_video[:3], bank_video[3:]])}
        found[k] = evaluate_rescored(text=text, video=video, video_of_caption=owner, rescoring=rescoring, **banks)
        assert found[k].t2v.rank.tolist() == ranks(by_the_paper(scores, text_bank, beta=20.0, k=k), owner)
        turned = by_the_paper(scores.T, video_bank, beta=20.0, k=k)
        best = np.array([turned[v, owner == v].max() for v in found[k].v2t.query])
        wrong = [turned[v, owner != v] for v in found[k].v2t.query]
        assert found[k].v2t.greater.tolist() == [(w > b).sum() for w, b in zip(wrong, best, strict=True)]
    plain = evaluate(text=text, video=video, video_of_caption=owner)
    assert len({of.metrics["t2v"]["MRR"] for of in (plain, *found.values())}) == 4  # k matters


def test_scores_of_queries_that_no_bank_query_is_near_stay_as_they_are():
    scores = np.random.default_rng(0).normal(size=(6, 5))
    none = BankStatistics(np.arange(5.0), np.zeros(5, dtype=bool))
    assert np.array_equal(QueryBank().normalized(scores, none), scores)
    some = BankStatistics(np.arange(5.0), np.arange(5) == 2)
    near = scores.argmax(axis=1) == 2
    found = QueryBank().normalized(scores, some)
    assert np.array_equal(found[~near], scores[~near]) and near.any() and not near.all()
    assert np.array_equal(found[near], 20 * scores[near] - np.arange(5.0))


def test_the_blocks_of_a_bank_change_no_score_beyond_rounding():
    bank = np.random.default_rng(0).normal(size=(50, 8))
    whole = QueryBank(k=2).statistics([bank])
    parts = QueryBank(k=2).statistics([bank[:1], bank[1:1], bank[1:20], bank[20:]])
    assert np.array_equal(parts.activation, whole.activation)
    np.testing.assert_allclose(parts.log_sum, np.log(np.exp(20 * bank).sum(axis=0)), rtol=1e-14)


def test_a_bank_that_is_missing_empty_or_not_wanted_is_refused():
    text, video, owner = drawn()
    for banks, says in (
        ({}, "bank_text is missing"),
        ({"bank_text": text}, "bank_video is missing"),
        ({"bank_text": text[:0], "bank_video": video}, "bank of QB-Norm is empty"),
        ({"bank_text": iter([]), "bank_video": video}, "bank of QB-Norm is empty"),
        ({"bank_text": text[:, :3], "bank_video": video}, "3 wide and the items 16"),
    ):
        with pytest.raises(EvaluationError, match=says):
            evaluate_rescored(text=text, video=video, video_of_caption=owner, rescoring=QueryBank(), **banks)
    with pytest.raises(EvaluationError, match="bank_video is given; only QB-Norm has a bank"):
        evaluate_rescored(text=text, video=video, video_of_caption=owner, rescoring=InvertedSoftmax(), bank_video=video)


@pytest.mark.parametrize("rescoring", [DualSoftmax(), InvertedSoftmax()])
def test_the_order_of_rows_changes_no_bit_and_a_constant_tower_scores_chance(rescoring):
    text, video, owner = drawn(1)
    order = np.random.default_rng(0).permutation(len(text))
    straight = evaluate_rescored(text=text, video=video, video_of_caption=owner, rescoring=rescoring)
    shuffled = evaluate_rescored(text=text[order], video=video, video_of_caption=owner[order], rescoring=rescoring)
    assert shuffled.metrics == straight.metrics
    constant = evaluate_rescored(text=np.ones_like(text), video=video, video_of_caption=owner, rescoring=rescoring)
    assert constant.metrics["v2t"] == constant.chance["v2t"]
    assert "uses the other test queries" in straight.similarity


def test_a_large_scale_does_not_overflow():
    text, video, owner = drawn()
    found = evaluate_rescored(
        text=1e3 * text, video=video, video_of_caption=owner, rescoring=DualSoftmax(1e4), similarity="dot"
    )
    assert 0 <= found.metrics["t2v"]["R@01"] <= 1


def test_settings_that_are_none_are_refused():
    for wrong in (lambda: DualSoftmax(0.0), lambda: InvertedSoftmax(-1.0), lambda: QueryBank(k=0)):
        with pytest.raises(EvaluationError, match="must be"):
            wrong()
    with pytest.raises(EvaluationError, match="finite number"):
        QueryBank(float("nan"))
    with pytest.raises(EvaluationError, match="inverted_softmax has no k; it is a setting of qb_norm"):
        make_rescoring("inverted_softmax", k=3)
    with pytest.raises(UnknownNameError, match="dual_softmax, inverted_softmax, qb_norm"):
        make_rescoring("softmax")
    with pytest.raises(UnknownNameError, match="similarity"):
        evaluate(text=np.eye(1), video=np.eye(1), video_of_caption=[0], similarity="dual_softmax")
