"""Each step against its definition, in batches of any size, on embeddings and on tokens."""

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from reelstore.align import items, spectrum
from reelstore.align.items import read_items
from reelstore.align.preprocess import Preprocessing
from reelstore.arrays import Tokens, unit_rows
from reelstore.errors import AlignerError, ParamsError


@pytest.fixture(params=[7, 1024])
def batch_rows(request, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(items, "BATCH_ROWS", request.param)
    return request.param


def fitted(steps, rows, **settings) -> Preprocessing:
    side = Preprocessing(steps, **settings)
    side.fit(rows)
    return side


def test_centred_rows_lose_the_mean_of_their_directions(towers, batch_rows) -> None:
    rows = towers.part(0, 40).text
    values = unit_rows(rows.array().astype(np.float64)).astype(np.float64)
    got = fitted(["unit", "centre", "unit"], rows).apply(rows.array())
    np.testing.assert_allclose(got, unit_rows(values - values.mean(axis=0)), atol=1e-6)


def test_standardised_rows_are_those_of_scikit_learn(towers, batch_rows) -> None:
    rows, others = towers.part(0, 40).text, towers.part(90, 120).text
    expected = StandardScaler().fit(rows.array().astype(np.float64)).transform(others.array().astype(np.float64))
    np.testing.assert_allclose(fitted(["standardise"], rows).apply(others.array()), expected, atol=1e-4)


def test_whitened_rows_are_those_of_scikit_learn_but_for_signs(towers, batch_rows) -> None:
    rows, others = towers.part(0, 90).text, towers.part(90, 120).text
    n = len(rows)
    pca = PCA(5, whiten=True, svd_solver="full").fit(rows.array().astype(np.float64))
    expected = pca.transform(others.array()) * np.sqrt(n / (n - 1))  # it divides by n - 1
    got = fitted(["whiten"], rows, components=5, shrinkage=0.0).apply(others.array())
    np.testing.assert_allclose(np.abs(got), np.abs(expected), atol=1e-3)


def test_shrinkage_draws_variances_to_their_mean(towers) -> None:
    rows = towers.part(0, 90).text
    variances = np.linalg.eigvalsh(np.cov(rows.array().astype(np.float64).T, bias=True))[::-1]
    got = fitted(["whiten"], rows, components=4, shrinkage=0.25).apply(rows.array())
    np.testing.assert_allclose(
        got.var(axis=0), variances[:4] / (0.75 * variances[:4] + 0.25 * variances.mean()), rtol=1e-3
    )


def test_whitening_keeps_no_more_components_than_rows_span(towers) -> None:
    rows = towers.part(0, 3).video
    side = fitted(["whiten"], rows, components=20, shrinkage=0.0)
    assert side.dim_out == 2 and np.isfinite(side.apply(rows.array())).all()


def test_the_first_token_goes_and_the_others_are_averaged(write_variant, batch_rows) -> None:
    tokens = [np.random.default_rng(n).normal(size=(1 + n % 4, 4)) for n in range(20)]
    rows = write_variant("ragged", tokens)
    got = fitted(["drop_first", "mean"], rows).apply(read_items(rows, np.arange(20)))
    stored = [np.float16(t).astype(np.float64) for t in tokens]
    np.testing.assert_allclose(got, [t[1:].mean(axis=0) if len(t) > 1 else t[0] for t in stored], atol=1e-5)


def test_without_mean_every_token_is_preprocessed_by_itself(write_variant, batch_rows) -> None:
    tokens = [np.random.default_rng(n).normal(size=(1 + n % 4, 4)) + 5 for n in range(20)]
    rows = write_variant("ragged", tokens)
    got = fitted(["drop_first", "standardise"], rows).apply(read_items(rows, np.arange(20)))
    assert isinstance(got, Tokens) and got.counts.tolist() == [max(1, n % 4) for n in range(20)]
    np.testing.assert_allclose(got.values.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(got.values.std(axis=0), 1, atol=1e-4)


def test_a_constant_dimension_stays_finite(write_variant) -> None:
    values = np.random.default_rng(0).normal(size=(20, 4))
    values[:, 1] = 3
    got = fitted(["standardise"], write_variant("pooled", values)).apply(values)
    assert np.isfinite(got).all() and np.allclose(got[:, 1], 0, atol=1e-3)


def test_what_was_learned_can_be_restored(towers) -> None:
    rows, steps = towers.part(0, 40).video, ["unit", "standardise", "whiten", "unit"]
    side, other = fitted(steps, rows), Preprocessing(steps)
    other.restore(side.tensors())
    assert np.array_equal(side.apply(rows.array()), other.apply(rows.array()))
    with pytest.raises(KeyError):
        Preprocessing(["centre"]).restore(side.tensors())


def test_a_zero_row_stays_finite() -> None:
    np.testing.assert_allclose(unit_rows(np.array([[3.0, 4.0], [0.0, 0.0]])), [[0.6, 0.8], [0, 0]], rtol=1e-6)


def test_iterated_eigenvectors_are_those_of_lapack(monkeypatch) -> None:
    rng = np.random.default_rng(0)
    half = rng.normal(size=(300, 200)) * np.geomspace(10, 0.01, 200)
    matrix = half.T @ half
    values, vectors = spectrum.top_eigenpairs(matrix, 10)
    monkeypatch.setattr(spectrum, "EXACT_DIM", 10)
    again, iterated = spectrum.top_eigenpairs(matrix, 10)
    np.testing.assert_allclose(again, values, rtol=1e-4)
    np.testing.assert_allclose(np.abs((vectors * iterated).sum(axis=0)), 1, atol=1e-3)
    np.testing.assert_allclose(iterated.T @ iterated, np.eye(10), atol=1e-10)


def test_a_flat_spectrum_is_captured_without_end_of_iterating(monkeypatch) -> None:
    matrix = np.cov(np.random.default_rng(0).normal(size=(200, 4000)))
    best = np.linalg.eigvalsh(matrix)[::-1][:10].sum()
    monkeypatch.setattr(spectrum, "EXACT_DIM", 10)
    values, vectors = spectrum.top_eigenpairs(matrix, 10)
    assert values.sum() > 0.97 * best
    np.testing.assert_allclose(np.trace(vectors.T @ matrix @ vectors), values.sum(), rtol=1e-9)


@pytest.mark.parametrize("steps", [["mean", "drop_first"], ["unit", "mean"], ["mean", "mean"], ["centred"]], ids=str)
def test_steps_in_an_order_that_cannot_be_are_refused(steps) -> None:
    with pytest.raises(ParamsError, match="preprocess"):
        Preprocessing(steps)


def test_a_pooled_variant_has_no_first_token(towers) -> None:
    with pytest.raises(AlignerError, match="fake-video/mean is pooled"):
        fitted(["drop_first", "mean"], towers.part(0, 40).video)
