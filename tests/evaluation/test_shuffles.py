"""The shuffled-pairs null of a table of scores."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reelstore.evaluation import evaluate, shuffled_cells
from reelstore.ranking.reciprocal import reciprocal_ranks

OWNER = np.arange(400) % 60


def unrelated(seed: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    return generator.normal(size=(400, 12)), generator.normal(size=(60, 12))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.integers(0, 2), min_size=5, max_size=5), min_size=1, max_size=4))
def test_reciprocal_ranks_are_the_evaluators_whichever_video_is_right(scores):
    found = reciprocal_ranks(np.array(scores, dtype=float))
    for video in range(5):
        owner = np.full(len(scores), video)
        one = evaluate(text=np.array(scores, dtype=float), video=np.eye(5), video_of_caption=owner, similarity="dot")
        assert found[:, video] == pytest.approx(one.t2v.values["MRR"])


def test_the_true_pairing_of_a_cell_is_its_mrr():
    text, video = unrelated(0)
    cells = shuffled_cells({("a", "b"): (text, video)}, OWNER, 60, n_shuffles=20, seed=0)
    found = evaluate(text=text, video=video, video_of_caption=OWNER)
    assert cells.mrr["a", "b"] == pytest.approx(found.metrics["t2v"]["MRR"])
    assert cells.chance == pytest.approx(found.chance["t2v"]["MRR"])


def test_unrelated_towers_lie_inside_and_related_ones_outside():
    generator = np.random.default_rng(1)
    text, video = unrelated(1)
    related = video[OWNER] + 3 * generator.normal(size=text.shape)
    cells = {("video", str(seed)): unrelated(seed) for seed in range(2, 12)} | {("video", "related"): (related, video)}
    found = shuffled_cells(cells, OWNER, 60, n_shuffles=400, seed=0)
    assert found.outside == [("video", "related")]
    assert found.low < found.chance < found.high < found.mrr["video", "related"]


def test_all_cells_together_stay_inside_as_often_as_stated():
    inside = 0
    owner = np.arange(40) % 20
    for seed in range(200):
        generator = np.random.default_rng(seed)
        video = generator.normal(size=(20, 3))
        cells = {("v", str(n)): (generator.normal(size=(40, 3)), video) for n in range(6)}
        inside += not shuffled_cells(cells, owner, 20, n_shuffles=99, seed=seed).outside
    assert 0.90 <= inside / 200 <= 0.99


def test_a_constant_tower_is_chance_under_every_shuffle():
    _, video = unrelated(2)
    found = shuffled_cells({("a", "b"): (video[OWNER], np.ones((60, 12)))}, OWNER, 60, n_shuffles=30, seed=0)
    assert found.low == found.high == pytest.approx(found.chance)
    assert found.mrr["a", "b"] == pytest.approx(found.chance)
