"""How well rows are shuffled, and how far a block shuffle falls behind."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from reelstore.align.loading.shuffle import block_order, row_order


@given(
    n=st.integers(0, 300),
    seed=st.integers(0, 2**40),
    epoch=st.integers(0, 9),
    block_rows=st.integers(1, 70),
    window_rows=st.integers(1, 400),
)
def test_every_item_comes_once(n, seed, epoch, block_rows, window_rows) -> None:
    rows = {"block_rows": block_rows, "window_rows": window_rows}
    assert sorted(block_order(n, seed=seed, epoch=epoch, **rows)) == list(range(n))
    assert sorted(row_order(n, seed=seed, epoch=epoch)) == list(range(n))


def test_a_window_is_of_few_blocks() -> None:
    order = block_order(64 * 16, seed=0, epoch=0, block_rows=16, window_rows=4 * 16)
    for window in order.reshape(-1, 4 * 16):
        assert len(set(window // 16)) == 4
        assert not (np.diff(window) > 0).all()


@pytest.mark.parametrize("kind", ["rows", "blocks"])
def test_seed_and_epoch_alone_decide(kind) -> None:
    def order(seed: int, epoch: int) -> list[int]:
        if kind == "rows":
            return row_order(100, seed=seed, epoch=epoch).tolist()
        return block_order(100, seed=seed, epoch=epoch, block_rows=10, window_rows=30).tolist()

    assert order(1, 2) == order(1, 2)
    assert len({tuple(order(seed, epoch)) for seed in range(3) for epoch in range(3)}) == 9


def test_block_order_tells_as_little_of_the_stored_order_as_the_number_of_blocks_allows() -> None:
    """Rank correlations scatter around 0 like those of a permutation of the 64 blocks: by 1 / sqrt(63)."""
    n = 64 * 64
    correlations = [
        spearmanr(np.arange(n), block_order(n, seed=seed, epoch=0, block_rows=64, window_rows=512)).statistic
        for seed in range(100)
    ]
    assert abs(np.mean(correlations)) < 4 / np.sqrt(63 * 100)
    assert np.std(correlations) == pytest.approx(1 / np.sqrt(63), rel=0.3)


def test_blocks_lie_anywhere_in_an_epoch() -> None:
    """The mean distance between a row's place in the store and in the epoch is a third of n, as of a permutation."""
    n = 64 * 64
    distances = [
        np.abs(np.argsort(block_order(n, seed=seed, epoch=0, block_rows=64, window_rows=512)) - np.arange(n)).mean()
        for seed in range(50)
    ]
    assert np.mean(distances) / n == pytest.approx(1 / 3, abs=0.02)
