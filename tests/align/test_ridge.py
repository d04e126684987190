"""What ridge makes of uneven data, and its preprocessing against its definition."""

import numpy as np

from reelstore.align import preprocess
from reelstore.align.base import PairedRows
from reelstore.align.preprocess import centred, mean_direction, unit
from reelstore.align.ridge import Ridge


def test_a_video_without_captions_leaves_a_finite_fit(towers, workplace, validate) -> None:
    whole = towers.part(0, 40)
    captions = whole.captions.select([key for key in whole.captions.ids if key[0] != "v0"])
    aligner = Ridge(alphas=[1])
    paired = PairedRows(whole.videos, captions, whole.video_of_caption[3:])
    aligner.fit(paired, towers.part(90, 120), validate=validate, workplace=workplace)
    assert all(np.isfinite(tensor).all() for tensor in aligner.tensors().values())


def test_the_alpha_kept_is_the_best_on_validation(towers, workplace) -> None:
    answers = iter([0.1, 0.9, 0.5])
    several, one = Ridge(alphas=[0.1, 1, 10]), Ridge(alphas=[1])
    train, validation = towers.part(0, 40), towers.part(90, 120)
    several.fit(train, validation, validate=lambda *_: next(answers), workplace=workplace)
    one.fit(train, validation, validate=lambda *_: 0.5, workplace=workplace)
    assert np.array_equal(several.tensors()["weight"], one.tensors()["weight"])


def test_the_mean_of_stored_rows_needs_a_part_of_them_at_a_time(towers, monkeypatch) -> None:
    monkeypatch.setattr(preprocess, "ROWS_AT_ONCE", 7)
    captions = towers.part(0, 40).captions
    got = preprocess.mean_direction_of(captions)
    np.testing.assert_allclose(got, mean_direction(captions.array().astype(np.float32)), rtol=1e-6)


def test_centred_rows_have_length_1_and_a_zero_row_stays_finite() -> None:
    values = np.array([[3.0, 4.0], [0.0, 0.0]], dtype=np.float32)
    np.testing.assert_allclose(unit(values), [[0.6, 0.8], [0, 0]], rtol=1e-6)
    np.testing.assert_allclose(mean_direction(values), [0.3, 0.4], rtol=1e-6)
    np.testing.assert_allclose(centred(values, mean_direction(values)), [[0.6, 0.8], [-0.6, -0.8]], rtol=1e-6)


def test_the_weight_solves_the_normal_equations(towers, workplace, validate) -> None:
    train, aligner = towers.part(0, 90), Ridge(alphas=[0.5])
    aligner.fit(train, towers.part(90, 120), validate=validate, workplace=workplace)
    video, text = train.video_array(), train.text_array()
    x = centred(video, mean_direction(video)).astype(np.float64)
    captions = centred(text, mean_direction(text))
    y = unit(np.stack([captions[train.video_of_caption == number].sum(axis=0) for number in range(len(x))]))
    strength = 0.5 * np.linalg.eigvalsh(x.T @ x).mean()
    expected = np.linalg.solve(x.T @ x + strength * np.eye(x.shape[1]), x.T @ y)
    np.testing.assert_allclose(aligner.tensors()["weight"], expected, atol=1e-4)
