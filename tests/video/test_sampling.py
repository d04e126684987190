"""Sampling: which frames of n."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reelstore.errors import ParamsError, UnknownNameError
from reelstore.video import Sampling


@pytest.mark.parametrize(
    ("sampling", "n", "expected"),
    [
        (Sampling("uniform", n_frames=4), 10, [0, 2, 5, 7]),
        (Sampling("uniform", n_frames=8), 72, [0, 9, 18, 27, 36, 45, 54, 63]),
        (Sampling("uniform", n_frames=4), 2, [0, 0, 1, 1]),
        (Sampling("uniform", n_frames=3), 1, [0, 0, 0]),
        (Sampling("centres", n_frames=4), 10, [1, 3, 6, 8]),
        (Sampling("centres", n_frames=1), 5, [2]),
        (Sampling("every_nth", step=4), 10, [0, 4, 8]),
        (Sampling("all"), 3, [0, 1, 2]),
        (Sampling("uniform_distinct", n_frames=4), 10, [0, 2, 5, 7]),
        (Sampling("uniform_distinct", n_frames=8), 3, [0, 1, 2]),
    ],
    ids=str,
)
def test_policies_take_the_frames_that_their_formula_says(sampling: Sampling, n: int, expected: list[int]) -> None:
    assert sampling.indices(n).tolist() == expected


@given(policy=st.sampled_from(["uniform", "centres"]), k=st.integers(1, 64), n=st.integers(1, 10_000))
def test_counted_policies_always_give_k_frames_in_order_and_in_range(policy: str, k: int, n: int) -> None:
    indices = Sampling(policy, n_frames=k).indices(n)
    assert len(indices) == k
    assert (np.diff(indices) >= 0).all()
    assert indices[0] >= 0
    assert indices[-1] < n
    if n >= k:
        assert len(np.unique(indices)) == k


@pytest.mark.parametrize("k", [8, 16, 32])
def test_distinct_frames_are_those_of_a_float_range(k: int) -> None:
    """How Video-LLaMA's code takes them."""
    for n in range(1, 3000):
        theirs = np.arange(0, n, n / min(k, n)).astype(int)
        assert Sampling("uniform_distinct", n_frames=k).indices(n).tolist() == theirs.tolist()


@pytest.mark.parametrize(
    ("sampling", "text"),
    [
        (Sampling("uniform", n_frames=8), "uniform(8)"),
        (Sampling("every_nth", step=4), "every_nth(4)"),
        (Sampling("all"), "all"),
    ],
)
def test_a_sampling_prints_as_policy_and_number(sampling: Sampling, text: str) -> None:
    assert str(sampling) == text


def test_an_unknown_policy_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match=r"'random'.*all, centres, every_nth, uniform"):
        Sampling("random", n_frames=8)


@pytest.mark.parametrize(
    "wrong",
    [
        {"policy": "uniform"},
        {"policy": "uniform", "n_frames": 0},
        {"policy": "uniform", "n_frames": 2.5},
        {"policy": "centres", "n_frames": "8"},
        {"policy": "centres", "n_frames": True},
        {"policy": "uniform", "n_frames": 8, "step": 2},
        {"policy": "every_nth", "n_frames": 8},
        {"policy": "every_nth", "step": -1},
        {"policy": "all", "n_frames": 8},
    ],
)
def test_a_number_that_the_policy_cannot_use_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ParamsError, match=f"Sampling {wrong['policy']}"):
        Sampling(**wrong)  # type: ignore[arg-type]


def test_a_file_without_frames_has_none_to_take() -> None:
    with pytest.raises(ValueError, match="0 frames"):
        Sampling("all").indices(0)
