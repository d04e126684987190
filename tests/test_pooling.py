"""Tokens -> one embedding."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from reelstore.errors import UnknownNameError
from reelstore.pooling import POOLINGS, pool

TOKENS = np.array([[1, 4], [3, 2], [-1, 0]], dtype=np.float16)


@pytest.mark.parametrize(
    ("pooling", "want"), [("first", [1, 4]), ("last", [-1, 0]), ("max", [3, 4]), ("mean", [1, 2]), ("sum", [3, 6])]
)
def test_each_pooling_by_hand(pooling: str, want: list[float]) -> None:
    got = pool(TOKENS, pooling)
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, want)


@given(arrays(np.float16, st.tuples(st.integers(1, 9), st.integers(1, 5)), elements=st.floats(-100, 100, width=16)))
def test_one_token_is_itself_and_a_sum_is_n_means(tokens: np.ndarray) -> None:
    for pooling in POOLINGS:
        np.testing.assert_array_equal(pool(tokens[:1], pooling), tokens[0].astype(np.float32))
    np.testing.assert_allclose(pool(tokens, "sum"), len(tokens) * pool(tokens, "mean"), rtol=1e-4, atol=1e-3)


def test_an_unknown_pooling_and_no_tokens_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="'avg'"):
        pool(TOKENS, "avg")
    with pytest.raises(ValueError, match="at least one token"):
        pool(TOKENS[:0], "mean")
