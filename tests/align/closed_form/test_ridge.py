"""What ridge makes of uneven data, and its solution against its definition."""

import numpy as np

from reelstore.align.base import PairedRows
from reelstore.align.closed_form.ridge import Ridge
from reelstore.arrays import unit_rows


def centred(values: np.ndarray) -> np.ndarray:
    short = unit_rows(values).astype(np.float64)
    return unit_rows(short - short.mean(axis=0)).astype(np.float64)


def test_a_video_without_captions_leaves_a_finite_fit(towers, context, validate) -> None:
    whole = towers.part(0, 40)
    captions = whole.text.select([key for key in whole.text.ids if key[0] != "v0"])
    aligner = Ridge(alphas=[1])
    paired = PairedRows(video=whole.video, text=captions, video_of_caption=whole.video_of_caption[3:])
    aligner.fit(paired, towers.part(90, 120), validate=validate, context=context)
    assert all(np.isfinite(tensor).all() for tensor in aligner.tensors().values())


def test_the_alpha_kept_is_the_best_on_validation(towers, context) -> None:
    answers = iter([0.1, 0.9, 0.5])
    several, one = Ridge(alphas=[0.1, 1, 10]), Ridge(alphas=[1])
    train, validation = towers.part(0, 40), towers.part(90, 120)
    several.fit(train, validation, validate=lambda **_: next(answers), context=context)
    one.fit(train, validation, validate=lambda **_: 0.5, context=context)
    assert np.array_equal(several.tensors()["weight"], one.tensors()["weight"])


def test_the_weight_solves_the_normal_equations(towers, context, validate) -> None:
    train, aligner = towers.part(0, 90), Ridge(alphas=[0.5])
    aligner.fit(train, towers.part(90, 120), validate=validate, context=context)
    x, captions = centred(train.video.array()), centred(train.text.array())
    y = unit_rows(np.stack([captions[train.video_of_caption == number].sum(axis=0) for number in range(len(x))]))
    strength = 0.5 * np.linalg.eigvalsh(x.T @ x).mean()
    expected = np.linalg.solve(x.T @ x + strength * np.eye(x.shape[1]), x.T @ y)
    np.testing.assert_allclose(aligner.tensors()["weight"], expected, atol=1e-4)
