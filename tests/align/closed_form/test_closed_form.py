"""Closed forms against public implementations of the same, and against problems whose solution is known."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.linalg import orthogonal_procrustes
from sklearn.cross_decomposition import CCA
from sklearn.kernel_approximation import Nystroem
from sklearn.kernel_ridge import KernelRidge as SklearnKernelRidge
from sklearn.linear_model import Ridge as SklearnRidge

from reelstore.align import items
from reelstore.align.base import FitContext, PairedRows
from reelstore.align.closed_form import base
from reelstore.align.closed_form.asif import Asif
from reelstore.align.closed_form.base import ClosedForm, drawn
from reelstore.align.closed_form.cca import Cca
from reelstore.align.closed_form.kernel_ridge import KernelRidge
from reelstore.align.closed_form.procrustes import Procrustes
from reelstore.align.closed_form.ridge import Ridge
from reelstore.align.mapping import mapped
from reelstore.arrays import unit_rows
from reelstore.errors import AlignerError, ParamsError
from reelstore.store.read import Rows

PLAIN = ["unit"]
"""Preprocessing that is easily done by hand."""


@pytest.fixture
def fit(towers, context, validate):
    def fit(aligner: ClosedForm, train: PairedRows | None = None, validation: PairedRows | None = None) -> ClosedForm:
        train, validation = train or towers.part(0, 90), validation or towers.part(90, 120)
        aligner.fit(train, validation, validate=validate, context=context)
        return aligner

    return fit


def by_hand(paired: PairedRows) -> tuple[np.ndarray, np.ndarray]:
    """Videos, and the mean of each one's captions, all of length 1, float64."""
    video, captions = unit_rows(paired.video.array()), unit_rows(paired.text.array()).astype(np.float64)
    means = [captions[paired.video_of_caption == number].mean(axis=0) for number in range(len(video))]
    return video.astype(np.float64), unit_rows(np.array(means)).astype(np.float64)


@pytest.fixture
def two_sides(tmp_path: Path, write_side):
    """(video, text) arrays -> the rows, caption n of video n."""

    def two_sides(video: np.ndarray, text: np.ndarray) -> PairedRows:
        ids = [f"v{number}" for number in range(len(video))]
        folder = tmp_path / f"drawn-{video.shape[1]}-{text.shape[1]}"
        return PairedRows(
            video=write_side(folder, "video", ids, video),
            text=write_side(folder, "text", [(video_id, 0) for video_id in ids], text),
            video_of_caption=np.arange(len(video)),
        )

    return two_sides


def test_procrustes_is_scipys(fit, two_sides) -> None:
    rng = np.random.default_rng(0)
    paired = two_sides(rng.normal(size=(60, 8)), rng.normal(size=(60, 8)))
    rotation = fit(Procrustes(preprocess=PLAIN), paired, paired).tensors()["rotation"]
    np.testing.assert_allclose(rotation, orthogonal_procrustes(*by_hand(paired))[0], atol=1e-5)


@pytest.mark.parametrize(("video_dim", "text_dim"), [(8, 8), (12, 8), (8, 12)])
def test_a_rotation_is_recovered_whatever_the_widths(fit, two_sides, video_dim, text_dim) -> None:
    rng = np.random.default_rng(0)
    narrow = rng.normal(size=(60, 8)).astype(np.float16).astype(np.float64)
    rotation, _ = np.linalg.qr(rng.normal(size=(12, 12)))
    wide = narrow @ rotation[:8, : max(video_dim, text_dim)] if video_dim != text_dim else narrow @ rotation[:8, :8]
    if video_dim == text_dim:
        wide = narrow @ np.linalg.qr(rng.normal(size=(8, 8)))[0]
    paired = two_sides(*((wide, narrow) if video_dim >= text_dim else (narrow, wide)))
    aligner = fit(Procrustes(preprocess=PLAIN), paired, paired)
    video, text = aligner.transform_video(paired.video.array()), aligner.transform_text(paired.text.array())
    np.testing.assert_allclose((video * text).sum(axis=1), 1, atol=1e-5)
    # Neither side's own angles have changed.
    np.testing.assert_allclose(
        video @ video.T, unit_rows(paired.video.array()) @ unit_rows(paired.video.array()).T, atol=1e-5
    )
    np.testing.assert_allclose(
        text @ text.T, unit_rows(paired.text.array()) @ unit_rows(paired.text.array()).T, atol=1e-5
    )


def test_ridge_is_scikit_learns(fit, towers) -> None:
    x, y = by_hand(towers.part(0, 90))
    weight = fit(Ridge(alphas=[0.5], preprocess=PLAIN)).tensors()["weight"]
    strength = 0.5 * np.linalg.eigvalsh(x.T @ x).mean()
    expected = SklearnRidge(alpha=strength, fit_intercept=False).fit(x, y).coef_.T
    np.testing.assert_allclose(weight, expected, atol=1e-4)


def test_ridge_with_fewer_videos_than_dimensions_is_scikit_learns(fit, towers) -> None:
    few = towers.part(0, 10)
    x, y = by_hand(few)
    weight = fit(Ridge(alphas=[0.5], preprocess=PLAIN), few).tensors()["weight"]
    strength = 0.5 * np.linalg.eigvalsh(x @ x.T).mean()
    expected = SklearnRidge(alpha=strength, fit_intercept=False).fit(x, y).coef_.T
    np.testing.assert_allclose(weight, expected, atol=1e-4)


def rate_of(x: np.ndarray, gamma: float) -> float:
    distances = ((x[:, None] - x[None]) ** 2).sum(axis=-1)
    return gamma / (distances.sum() / (len(x) * (len(x) - 1)))


def test_kernel_ridge_is_scikit_learns(fit, towers) -> None:
    x, y = by_hand(towers.part(0, 90))
    test = towers.part(120, 150)
    aligner = fit(KernelRidge(gammas=[0.7], alphas=[0.2], preprocess=PLAIN))
    oracle = SklearnKernelRidge(alpha=0.2, kernel="rbf", gamma=rate_of(x, 0.7)).fit(x, y)
    expected = unit_rows(oracle.predict(unit_rows(test.video.array()).astype(np.float64)))
    np.testing.assert_allclose(aligner.transform_video(test.video.array()), expected, atol=1e-4)


def test_kernel_ridge_on_landmarks_is_ridge_on_scikit_learns_nystroem_features(fit, towers) -> None:
    train, test = towers.part(0, 90), towers.part(120, 150)
    x, y = by_hand(train)
    aligner = fit(KernelRidge(gammas=[0.7], alphas=[0.2], landmarks=20, preprocess=PLAIN))
    landmarks = aligner.tensors()["landmarks"]
    assert len(landmarks) == 20
    features = Nystroem(kernel="rbf", gamma=rate_of(landmarks.astype(np.float64), 0.7), n_components=20)
    features.fit(landmarks.astype(np.float64))  # all of them, in some order
    oracle = SklearnRidge(alpha=0.2, fit_intercept=False).fit(features.transform(x), y)
    expected = unit_rows(oracle.predict(features.transform(unit_rows(test.video.array()).astype(np.float64))))
    np.testing.assert_allclose(aligner.transform_video(test.video.array()), expected, atol=2e-3)


def test_cca_finds_the_correlations_that_scikit_learn_finds(fit, towers) -> None:
    train = towers.part(0, 90)
    aligner = fit(Cca(dims=[4], regularisations=[1e-6], powers=[0.0], preprocess=PLAIN))
    maps = aligner.tensors()
    x = unit_rows(train.video.array())[train.video_of_caption].astype(np.float64)
    y = unit_rows(train.text.array()).astype(np.float64)
    oracle = CCA(n_components=4, max_iter=5000, tol=1e-10).fit(x, y)
    expected = [np.corrcoef(a, b)[0, 1] for a, b in zip(*(side.T for side in oracle.transform(x, y)), strict=True)]
    video, text = x @ maps["video_map"], y @ maps["text_map"]
    found = [np.corrcoef(a, b)[0, 1] for a, b in zip(video.T, text.T, strict=True)]
    np.testing.assert_allclose(found, expected, atol=5e-3)
    np.testing.assert_allclose(np.corrcoef(video.T), np.eye(4), atol=1e-2)


def test_cca_weighs_directions_by_their_correlation(fit) -> None:
    plain = fit(Cca(dims=[4], regularisations=[0.1], powers=[0.0], preprocess=PLAIN)).tensors()
    squared = fit(Cca(dims=[4], regularisations=[0.1], powers=[2.0], preprocess=PLAIN)).tensors()
    weights = squared["video_map"] / plain["video_map"]
    np.testing.assert_allclose(weights, np.broadcast_to(weights[0], weights.shape), rtol=1e-3)
    assert (np.diff(weights[0]) < 0).all() and 0 < weights.min() < weights.max() <= 1


def test_asif_compares_what_each_side_resembles(fit, two_sides) -> None:
    video = np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [0.8, 0.6, 0]])
    paired = two_sides(video, video[:, ::-1].copy())
    aligner = fit(Asif(kept=[2], powers=[2.0], preprocess=PLAIN), paired, paired)
    new = aligner.transform_video(np.array([[0.6, 0.8, 0.0]]))[0]
    # Cosines 0.6, 0.8, 0 and 0.96: the two largest, squared, length 1.
    np.testing.assert_allclose(new, unit_rows(np.array([[0, 0.64, 0, 0.9216]]))[0], atol=1e-3)
    text = aligner.transform_text(np.array([[0.0, 0.8, 0.6]]))[0]
    np.testing.assert_allclose(text, new, atol=1e-3)


ALL = [
    pytest.param(lambda: Procrustes(), id="procrustes"),
    pytest.param(lambda: Ridge(alphas=[0.1]), id="ridge"),
    pytest.param(lambda: Cca(dims=[8], regularisations=[0.1], powers=[1.0]), id="cca"),
    pytest.param(lambda: KernelRidge(gammas=[1.0], alphas=[0.1]), id="kernel-ridge"),
    pytest.param(lambda: KernelRidge(gammas=[1.0], alphas=[0.1], landmarks=30), id="nystroem"),
    pytest.param(lambda: Asif(kept=[90], powers=[1.0]), id="asif"),
]


def scores(aligner: ClosedForm, video: Rows, text: Rows) -> np.ndarray:
    """Cosines: directions of the joint space may be turned round."""
    return mapped(aligner.transform_video, video) @ mapped(aligner.transform_text, text).T


@pytest.mark.parametrize("make", ALL)
def test_blocks_of_any_size_give_the_same_map(make, fit, towers, monkeypatch) -> None:
    test = towers.part(120, 150)
    one = scores(fit(make()), test.video, test.text)
    monkeypatch.setattr(base, "BLOCK_CAPTIONS", 10)
    np.testing.assert_allclose(scores(fit(make()), test.video, test.text), one, atol=2e-4)


@pytest.mark.parametrize("make", ALL)
def test_tokens_are_averaged_as_pooling_does(make, fit, towers, write_side, tmp_path) -> None:
    """Up to what float16 makes of the pooled ones."""
    rows = towers.caption_tokens
    means = np.array([tokens.mean(axis=0, dtype=np.float32) for tokens in rows.take(np.arange(len(rows)))])
    pooled = write_side(tmp_path / "drawn", "text", rows.ids, means)
    found = []
    for captions in (rows, pooled):
        train, validation, test = (with_captions(towers.part(*at), captions) for at in ((0, 90), (90, 120), (120, 150)))
        found.append(scores(fit(make(), train, validation), test.video, test.text))
    np.testing.assert_allclose(found[0], found[1], atol=2e-2)


def with_captions(paired: PairedRows, captions: Rows) -> PairedRows:
    """The same keys' rows of another variant."""
    return replace(paired, text=captions.select(paired.text.ids))


@pytest.mark.parametrize("side", ["video", "text"])
@pytest.mark.parametrize("make", ALL)
def test_a_constant_side_is_chance_or_an_error_that_says_so(make, side, fit, two_sides) -> None:
    """As `first` is where it is a language model's BOS."""
    rng = np.random.default_rng(0)
    sides = {"video": rng.normal(size=(60, 8)), "text": rng.normal(size=(60, 8))}
    sides[side] = np.full((60, 8), 2.0)  # unit and centre leave nothing of it
    paired = two_sides(**sides)
    aligner = make()
    try:
        fit(aligner, paired, paired)
    except AlignerError as error:
        assert "same embedding" in str(error)
        return
    assert all(np.isfinite(tensor).all() for tensor in aligner.tensors().values())
    found = scores(aligner, paired.video, paired.text)
    np.testing.assert_allclose(found.std(axis=0 if side == "video" else 1), 0, atol=1e-5)


@pytest.mark.parametrize("make", ALL)
def test_captions_are_read_a_few_at_a_time(make, fit, towers, monkeypatch) -> None:
    """However many there are."""
    monkeypatch.setattr(base, "BLOCK_CAPTIONS", 12)
    monkeypatch.setattr(items, "BATCH_ROWS", 12)
    sizes: list[int] = []
    take = Rows.take

    def counted(rows: Rows, indices, out=None):
        sizes.append(len(indices))
        return take(rows, indices, out)

    monkeypatch.setattr(Rows, "take", counted)
    fit(make(), towers.part(0, 90), towers.part(90, 92))
    assert max(sizes) <= 12 and sum(sizes) >= 90 + 270


def test_a_block_has_whole_videos_and_every_caption_once(fit, towers, monkeypatch) -> None:
    monkeypatch.setattr(base, "BLOCK_CAPTIONS", 10)
    whole = towers.part(0, 40)
    shuffled = np.random.default_rng(0).permutation(len(whole.text))
    paired = replace(whole, text=whole.text.at(shuffled), video_of_caption=whole.video_of_caption[shuffled])
    aligner = fit(Ridge(alphas=[1.0], preprocess=PLAIN))
    blocks = list(aligner._blocks(paired))
    np.testing.assert_array_equal(np.concatenate([block.counts for block in blocks]), 3)
    assert [len(block.video) for block in blocks] == [3] * 13 + [1]
    x, y = by_hand(paired)
    np.testing.assert_allclose(np.concatenate([block.video for block in blocks]), x, atol=1e-6)
    np.testing.assert_allclose(unit_rows(np.concatenate([block.mean_text() for block in blocks])), y, atol=1e-5)


def test_a_video_with_more_captions_than_a_block_has_room_for_is_one(fit, towers, monkeypatch) -> None:
    monkeypatch.setattr(base, "BLOCK_CAPTIONS", 2)
    blocks = list(fit(Ridge(alphas=[1.0]))._blocks(towers.part(0, 5)))
    assert [block.counts.tolist() for block in blocks] == [[3]] * 5


def test_some_videos_are_drawn_with_their_captions(towers) -> None:
    some = drawn(towers.part(0, 90), 20, seed=3)
    assert len(some.video) == 20 and len(some.text) == 60
    owners = [some.video.ids[video] for video in some.video_of_caption]
    assert owners == some.text.video_ids
    assert drawn(towers.part(0, 90), 20, seed=3).video.ids == some.video.ids
    assert drawn(towers.part(0, 90), 20, seed=4).video.ids != some.video.ids


def test_settings_may_differ_by_side(fit, towers) -> None:
    aligner = fit(Ridge(alphas=[1.0], preprocess={"video": ["standardise"], "text": ["unit", "centre"]}))
    assert {"video.0.deviation", "text.1.mean"} <= set(aligner.tensors())


def test_tokens_without_a_mean_are_refused(towers, fit) -> None:
    with pytest.raises(AlignerError, match="fake-text/tokens holds tokens"):
        fit(Ridge(preprocess=PLAIN), with_captions(towers.part(0, 90), towers.caption_tokens))


@pytest.mark.parametrize(
    "make",
    [
        lambda: Cca(dims=[]),
        lambda: Cca(dims=[0]),
        lambda: Cca(regularisations=[0.0]),
        lambda: Cca(powers=[-1.0]),
        lambda: KernelRidge(gammas=[-1.0]),
        lambda: KernelRidge(landmarks=0),
        lambda: Asif(kept=[0]),
        lambda: Asif(powers=[]),
        lambda: Ridge(preprocess={"video": ["unit"]}),
        lambda: Ridge(shrinkage=1.5),
    ],
)
def test_settings_that_cannot_be_are_refused(make) -> None:
    with pytest.raises(ParamsError):
        make()


def test_the_best_of_all_settings_tried_is_kept(towers, validate, tmp_path) -> None:
    tried: list[dict] = []
    context = FitContext(tmp_path, lambda row: tried.append(dict(row)))
    aligner = KernelRidge(gammas=[0.5, 2.0], alphas=[0.01, 1.0, 100.0])
    validation = towers.part(90, 120)
    aligner.fit(towers.part(0, 90), validation, validate=validate, context=context)
    video = aligner.transform_video(validation.video.array())
    text = aligner.transform_text(validation.text.array())
    assert len(tried) == 6 and all({"gamma", "alpha", "validation_MRR"} == set(row) for row in tried)
    best = max(row["validation_MRR"] for row in tried)
    assert validate(text=text, video=video, video_of_caption=validation.video_of_caption) == pytest.approx(best)
