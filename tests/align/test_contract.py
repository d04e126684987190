"""What every aligner keeps to, and that those which learn do learn."""

import json
from pathlib import Path

import numpy as np
import pytest

from reelstore.align.base import Workplace
from reelstore.align.registry import ALIGNERS, FittedAligner, all_settings, load_aligner, make_aligner
from reelstore.errors import AlignerError

SETTINGS = {
    "unaligned": {"kind": "unaligned"},
    "procrustes": {"kind": "procrustes"},
    "ridge": {"kind": "ridge"},
    "cca": {"kind": "cca", "dims": [6, 12]},
    "kernel-ridge": {"kind": "kernel-ridge", "gammas": [0.5], "alphas": [0.1, 1.0], "landmarks": 64},
    "asif": {"kind": "asif", "kept": [10, 30]},
    "mlp": {"kind": "mlp", "dim": 12, "hidden": 32, "max_epochs": 60, "dropout": 0.1, "lr": 0.003},
}
DATA = {"video": {"digest": "v", "fingerprint": "vf"}, "text": {"digest": "t", "fingerprint": "tf"}}
CHANCE = sum(1 / rank for rank in range(1, 31)) / 30
"""Of the MRR among 30 videos."""


@pytest.fixture
def fit(towers, workplace, validate):
    def fit(kind: str, *, shuffled: bool = False, workplace: Workplace = workplace) -> FittedAligner:
        aligner, pooling = make_aligner(SETTINGS[kind])
        aligner.fit(towers.part(0, 90, shuffled=shuffled), towers.part(90, 120), validate=validate, workplace=workplace)
        return FittedAligner(aligner, kind, all_settings(SETTINGS[kind]), pooling, DATA)

    return fit


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_every_aligner_is_tested_here() -> None:
    assert set(SETTINGS) == set(ALIGNERS)


@pytest.mark.parametrize("kind", sorted(ALIGNERS))
class TestEveryAligner:
    def test_both_sides_become_unit_vectors_of_one_width(self, kind, fit, towers) -> None:
        aligner, test = fit(kind), towers.part(120, 150)
        video, text = aligner.transform_video(test.video_array()), aligner.transform_text(test.text_array())
        assert video.shape[1] == text.shape[1]
        assert video.dtype == text.dtype == np.float32
        for values in (video, text):
            np.testing.assert_allclose(np.linalg.norm(values, axis=1), 1, atol=1e-5)

    def test_a_loaded_aligner_maps_to_the_same_numbers(self, kind, fit, towers, tmp_path: Path) -> None:
        aligner, test = fit(kind), towers.part(120, 150)
        aligner.save(tmp_path / "model")
        loaded = load_aligner(tmp_path / "model")
        video, text = test.video_array(), test.text_array()
        assert np.array_equal(loaded.transform_video(video), aligner.transform_video(video))
        assert np.array_equal(loaded.transform_text(text), aligner.transform_text(text))
        assert (loaded.kind, loaded.pooling, loaded.data) == (kind, {"video": "mean", "text": "mean"}, DATA)

    def test_a_row_is_mapped_alone_as_among_others(self, kind, fit, towers) -> None:
        aligner, rows = fit(kind), towers.part(120, 150).captions
        together = aligner.transform_text(rows.array())
        alone = np.concatenate([aligner.transform_text(rows.array()[n : n + 1]) for n in range(5)])
        np.testing.assert_allclose(alone, together[:5], atol=2e-5)

    def test_fitting_twice_gives_the_same_two_files(self, kind, fit, tmp_path: Path) -> None:
        for name in ("once", "again"):
            fit(kind).save(tmp_path / name)
        assert files(tmp_path / "once") == files(tmp_path / "again")
        assert set(files(tmp_path / "once")) == {"aligner.json", "aligner.safetensors"}

    def test_embeddings_of_another_width_are_refused(self, kind, fit) -> None:
        aligner = fit(kind)
        with pytest.raises(AlignerError, match=r"video embeddings 24 wide; these are \(2, 25\)"):
            aligner.transform_video(np.ones((2, 25), dtype=np.float32))
        with pytest.raises(AlignerError, match=r"text embeddings 16 wide; these are \(2, 24\)"):
            aligner.transform_text(np.ones((2, 24), dtype=np.float32))

    def test_embeddings_of_another_fingerprint_are_refused(self, kind, fit) -> None:
        aligner = fit(kind)
        aligner.check_fingerprint("video", "vf")
        with pytest.raises(AlignerError, match="another encoder"):
            aligner.check_fingerprint("video", "tf")

    def test_every_try_is_logged_with_its_validation_mrr(self, kind, fit, tmp_path: Path) -> None:
        rows: list[dict] = []
        fit(kind, workplace=Workplace(tmp_path, lambda row: rows.append(dict(row)), lambda line: None))
        assert rows
        assert all(0 < row["validation_MRR"] <= 1 for row in rows)


def score(aligner: FittedAligner, towers, validate) -> float:
    test = towers.part(120, 150)
    video, text = aligner.transform_video(test.video_array()), aligner.transform_text(test.text_array())
    return validate(video, text, test.video_of_caption)


@pytest.mark.parametrize("kind", [kind for kind in sorted(ALIGNERS) if kind != "unaligned"])
def test_shared_latents_are_found_where_pairs_are_right_alone(kind, fit, towers, validate) -> None:
    assert score(fit(kind), towers, validate) > 4 * CHANCE
    assert score(fit(kind, shuffled=True), towers, validate) < 2 * CHANCE
    assert score(fit("unaligned"), towers, validate) < 2 * CHANCE


def test_a_saved_aligner_outlives_a_changed_default(fit, tmp_path: Path) -> None:
    fit("mlp").save(tmp_path)
    settings = json.loads((tmp_path / "aligner.json").read_text())["settings"]
    assert {"hidden": 32, "weight_decay": 0.05, "video": "mean"}.items() <= settings.items()


def test_unaligned_fills_the_narrower_side_with_zeros(fit) -> None:
    joint = fit("unaligned").transform_text(np.ones((1, 16), dtype=np.float32))
    np.testing.assert_allclose(joint, [[0.25] * 16 + [0] * 8])
