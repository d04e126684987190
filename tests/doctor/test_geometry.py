"""Numbers of geometry against slow or known ones."""

import numpy as np
import pytest

from reelstore.doctor.geometry import (
    alignment,
    effective_rank,
    kernel_alignment,
    mean_cosine,
    mutual_neighbours,
    neighbours,
    permuted,
    top_share,
)

RNG = np.random.default_rng(0)
VALUES = RNG.normal(size=(60, 8)) + 1


def test_mean_cosine_is_that_of_all_pairs() -> None:
    unit = VALUES / np.linalg.norm(VALUES, axis=1, keepdims=True)
    every = [unit[i] @ unit[j] for i in range(60) for j in range(60) if i != j]
    assert mean_cosine(VALUES) == pytest.approx(np.mean(every))
    assert mean_cosine(np.ones((5, 3), dtype=np.float16)) == pytest.approx(1)


def test_effective_rank_counts_directions() -> None:
    assert effective_rank(np.eye(7)[RNG.integers(7, size=7000)] * 5) == pytest.approx(6, abs=0.1)
    assert effective_rank(np.outer(RNG.normal(size=50), np.ones(4))) == pytest.approx(1)
    assert effective_rank(np.ones((50, 4))) == 0
    assert effective_rank(np.zeros((50, 4))) == 0


def test_top_share_is_that_of_the_widest_dimensions() -> None:
    values = RNG.normal(size=(4000, 10)) * np.array([3] + [1] * 9)
    assert top_share(values, 1) == pytest.approx(9 / 18, abs=0.03)
    assert top_share(np.ones((4, 3)), 1) == 0


def test_alignment_is_one_up_to_rotation_and_none_for_unrelated_rows() -> None:
    rotation = np.linalg.qr(RNG.normal(size=(8, 8)))[0]
    centred = RNG.normal(size=(200, 8))
    assert alignment(*kernel_alignment(centred, centred @ rotation)) == pytest.approx(1, abs=1e-6)
    null = [alignment(*kernel_alignment(RNG.normal(size=(60, 64)), RNG.normal(size=(60, 64)))) for _ in range(30)]
    assert abs(np.mean(null)) < 0.02  # a biased estimate is near .5 here


def test_neighbours_are_the_nearest_others() -> None:
    found = neighbours(VALUES, 3)
    unit = VALUES / np.linalg.norm(VALUES, axis=1, keepdims=True)
    unit = unit - unit.mean(axis=0)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    for row in range(60):
        others = sorted((j for j in range(60) if j != row), key=lambda j: -(unit[row] @ unit[j]))
        assert set(found[row]) == set(others[:3])


def test_mutual_neighbours_of_renamed_rows_are_as_if_the_rows_were_permuted() -> None:
    order = RNG.permutation(60)
    assert mutual_neighbours(permuted(neighbours(VALUES, 5), order), neighbours(VALUES[order], 5)) == 1
    assert mutual_neighbours(neighbours(VALUES, 5), neighbours(RNG.normal(size=(60, 8)), 5)) < 0.3
