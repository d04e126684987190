"""The nearest items are those of all scores sorted, whatever the blocks, ties among them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reelstore.errors import EvaluationError, NonFiniteError, UnknownNameError
from reelstore.ranking import nearest, score_matrix


def by_hand(queries: np.ndarray, items: np.ndarray, k: int, similarity: str) -> tuple[np.ndarray, np.ndarray]:
    """Every score, sorted from the highest down, equal ones as they come."""
    scores = score_matrix(text=queries, video=items, similarity=similarity)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return order, np.take_along_axis(scores, order, axis=1)


@st.composite
def problems(draw):
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    dim = draw(st.sampled_from([1, 3, 17, 64]))
    n_queries, n_items = draw(st.integers(0, 9)), draw(st.integers(0, 60))
    values = {
        "normal": lambda n: generator.normal(size=(n, dim)),
        "few": lambda n: generator.integers(-1, 2, size=(n, dim)),  # many ties, zero rows
        "collapsed": lambda n: 1 + 1e-4 * generator.normal(size=(n, dim)),
        "huge": lambda n: generator.normal(size=(n, dim)) * 1e120,
        "tiny": lambda n: generator.normal(size=(n, dim)) * 1e-60,
    }
    kind = draw(st.sampled_from(sorted(values)))
    dtype = np.float64 if kind in ("huge", "tiny") else draw(st.sampled_from([np.float16, np.float32, np.float64]))
    items = values[kind](n_items).astype(dtype)
    repeated = generator.integers(0, max(n_items, 1), size=n_items // 3)
    return values[kind](n_queries).astype(dtype), np.concatenate([items, items[repeated]]) if n_items else items


@settings(max_examples=150, deadline=None)
@given(problems(), st.sampled_from([1, 2, 7, 100]), st.sampled_from(["cosine", "dot", "euclidean"]))
def test_nearest_is_all_scores_sorted(problem, k, similarity):
    queries, items = problem
    expected = by_hand(queries, items, k, similarity)
    for memory in (1, 2**14, 2**30):
        found = nearest(queries, items, k, similarity=similarity, memory=memory)
        assert found.item.tolist() == expected[0].tolist()
        assert found.score.tolist() == expected[1].tolist()


def test_rows_of_many_blocks_and_queries_come_together():
    generator = np.random.default_rng(0)
    queries, items = generator.normal(size=(600, 24)).astype(np.float32), generator.normal(size=(2000, 24))
    found = nearest(queries, items.astype(np.float32), 5, memory=2**16)
    assert found.item.shape == (600, 5)
    expected = by_hand(queries, items.astype(np.float32), 5, "cosine")
    assert np.array_equal(found.item, expected[0])
    assert np.array_equal(found.score, expected[1])


def test_what_cannot_be_looked_up_says_why():
    one = np.ones((1, 2))
    with pytest.raises(NonFiniteError, match="queries: 1 of 1 rows"):
        nearest(one * np.nan, one)
    with pytest.raises(NonFiniteError, match="items: 1 of 2 rows hold NaN or infinity: 1"):
        nearest(one, np.array([[1, 2], [np.inf, 0]]))
    with pytest.raises(NonFiniteError, match=r"items row 0.*overflows"):
        nearest(one * 1e200, one * 1e200, similarity="dot")
    with pytest.raises(EvaluationError, match="2 wide and items 3"):
        nearest(one, np.ones((1, 3)))
    with pytest.raises(EvaluationError, match="k is 0"):
        nearest(one, one, 0)
    with pytest.raises(UnknownNameError, match="similarity"):
        nearest(one, one, similarity="manhattan")  # type: ignore[arg-type]
