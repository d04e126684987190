"""Numbers over random splits: mean, spread and an interval."""

import numpy as np
import pytest
from scipy import stats

from reelstore.evaluation.resampled import over_splits


def test_without_overlap_it_is_the_t_interval_of_scipy() -> None:
    values = np.random.default_rng(0).normal(0.2, 0.01, 10)
    found = over_splits(values.tolist(), test_share=0)
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    np.testing.assert_allclose([found.low, found.high], [expected.low, expected.high])
    assert found.mean == pytest.approx(values.mean())
    assert found.deviation == pytest.approx(values.std(ddof=1))


def test_overlap_widens_it_by_the_ratio_of_test_to_training() -> None:
    values = [0.1, 0.2, 0.15, 0.12]
    plain, corrected = (over_splits(values, test_share=share) for share in (0, 0.25))
    widened = (corrected.high - corrected.low) / (plain.high - plain.low)
    assert widened == pytest.approx(((1 / 4 + 0.25) / (1 / 4)) ** 0.5)


def test_it_covers_the_mean_of_all_splits() -> None:
    """The error of a mean on random splits of 100 numbers, drawn again and again."""
    rng = np.random.default_rng(1)
    covered = {0.0: 0, 0.25: 0}
    n_draws = 400
    for _ in range(n_draws):
        data = rng.normal(size=100)
        results = []
        for _ in range(10):
            order = rng.permutation(100)
            train, test = data[order[:80]], data[order[80:]]
            results.append(float(((test - train.mean()) ** 2).mean()))
        for share in covered:
            found = over_splits(results, test_share=share)
            covered[share] += found.low <= 1 + 1 / 80 <= found.high  # the expected error over all data sets
    assert covered[0.25] / n_draws > 0.85
    assert covered[0.0] / n_draws < covered[0.25] / n_draws - 0.1


def test_how_often_it_is_above_zero_is_counted() -> None:
    assert over_splits([0.1, -0.1, 0.0, 0.2], test_share=0.2).n_above == 2


@pytest.mark.parametrize("values", [[], [0.1], [0.1, float("nan")]])
def test_too_few_or_no_numbers_are_refused(values: list[float]) -> None:
    with pytest.raises(ValueError, match="at least two finite values"):
        over_splits(values, test_share=0.2)
