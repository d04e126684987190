"""Dual softmax and QB-Norm: as their papers write them, in whatever order queries come."""

import numpy as np
import pytest
from scipy.special import softmax

from reelstore.errors import EvaluationError, UnknownNameError
from reelstore.evaluation import evaluate
from reelstore.evaluation.protocols import DualSoftmax, QueryBank, evaluate_transductive, make_protocol
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
    scores = score_matrix(text, video)
    found = evaluate_transductive(text, video, owner, protocol=DualSoftmax(scale=30.0))
    assert found.t2v.rank.tolist() == ranks(scores * softmax(30 * scores, axis=0), owner)
    turned = scores.T * softmax(30 * scores.T, axis=0)
    best = np.array([turned[v, owner == v].max() for v in found.v2t.query])
    wrong = [turned[v, owner != v] for v in found.v2t.query]
    assert found.v2t.greater.tolist() == [(w > b).sum() for w, b in zip(wrong, best, strict=True)]
    assert found.metrics["t2v"]["R@01"] != evaluate(text, video, owner).metrics["t2v"]["R@01"]


def test_qb_norm_is_the_dynamic_inverted_softmax_of_its_paper():
    text, video, owner = drawn()
    scores = score_matrix(text, video)
    for k in (1, 3):
        hubs = {item for row in scores for item in np.argsort(-row)[:k].tolist()}
        inverted = np.exp(20 * scores) / np.exp(20 * scores).sum(axis=0)
        rows = [inverted[q] if int(row.argmax()) in hubs else row for q, row in enumerate(scores)]
        found = evaluate_transductive(text, video, owner, protocol=QueryBank(k=k))
        assert found.t2v.rank.tolist() == ranks(np.array(rows), owner)


@pytest.mark.parametrize("protocol", [DualSoftmax(), QueryBank()])
def test_the_order_of_rows_changes_no_bit_and_a_constant_tower_scores_chance(protocol):
    text, video, owner = drawn(1)
    order = np.random.default_rng(0).permutation(len(text))
    straight = evaluate_transductive(text, video, owner, protocol=protocol)
    shuffled = evaluate_transductive(text[order], video, owner[order], protocol=protocol)
    assert shuffled.metrics == straight.metrics
    constant = evaluate_transductive(np.ones_like(text), video, owner, protocol=protocol)
    assert constant.metrics["v2t"] == constant.chance["v2t"]
    assert "uses the other test queries" in straight.similarity


def test_a_large_scale_does_not_overflow():
    text, video, owner = drawn()
    found = evaluate_transductive(1e3 * text, video, owner, protocol=DualSoftmax(1e4), similarity="dot")
    assert 0 <= found.metrics["t2v"]["R@01"] <= 1


def test_settings_that_are_none_are_refused():
    for wrong in (lambda: DualSoftmax(0.0), lambda: QueryBank(float("nan")), lambda: QueryBank(k=0)):
        with pytest.raises(EvaluationError, match="must be"):
            wrong()
    with pytest.raises(UnknownNameError, match="dual_softmax, qb_norm"):
        make_protocol("softmax")
    with pytest.raises(UnknownNameError, match="similarity"):
        evaluate(*drawn(), similarity="dual_softmax")
