"""What every aligner keeps to, and that those which learn do learn."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from reelstore.align.base import FitContext, PairedRows
from reelstore.align.items import Items, read_items
from reelstore.align.mapping import measured_mrr
from reelstore.align.registry import ALIGNERS, FittedAligner, all_settings, load_aligner, make_aligner
from reelstore.errors import AlignerError
from reelstore.fitting import validation_mrr
from reelstore.store.read import Rows

TRAINED = {"max_epochs": 40, "dropout": 0.1, "lr": 0.005}
SETTINGS = {
    "unaligned": {"kind": "unaligned"},
    "procrustes": {"kind": "procrustes"},
    "ridge": {"kind": "ridge"},
    "cca": {"kind": "cca", "dims": [6, 12]},
    "kernel-ridge": {"kind": "kernel-ridge", "gammas": [0.5], "alphas": [0.1, 1.0], "landmarks": 64},
    "asif": {"kind": "asif", "kept": [10, 30]},
    "ensemble": {"kind": "ensemble", "members": ["ridge", "procrustes"]},
    "mlp": {"kind": "mlp", "widths": [32, 12], **TRAINED},
    "cca-infonce": {"kind": "cca-infonce", "dims": [6, 12], "max_epochs": 10},
    "transformer": {
        "kind": "transformer",
        "width": 32,
        "dim": 12,
        "n_layers": 1,
        "n_heads": 2,
        "feedforward": 32,
        "max_epochs": 25,
        "dropout": 0,
        "lr": 0.01,
        "batch_size": 30,
    },
    "attention-pool": {"kind": "attention-pool", "widths": [32, 12], **TRAINED},
}
DATA = {"video": {"digest": "v", "fingerprint": "vf"}, "text": {"digest": "t", "fingerprint": "tf"}}
CHANCE = sum(1 / rank for rank in range(1, 31)) / 30
"""Of the MRR among 30 videos."""


def fit_new(kind: str, towers, validate, context: FitContext, *, shuffled: bool = False) -> FittedAligner:
    aligner, pooling = make_aligner(SETTINGS[kind])
    train, validation = (part(towers, aligner, *some) for some in ((0, 90, shuffled), (90, 120)))
    aligner.fit(train, validation, validate=validate, context=context)
    return FittedAligner(aligner, kind, all_settings(SETTINGS[kind]), pooling, DATA)


@pytest.fixture(scope="module")
def fit(towers, tmp_path_factory):
    """kind -> an aligner fitted once, for all tests that don't change it."""
    fitted: dict[tuple[str, bool], FittedAligner] = {}

    def fit(kind: str, *, shuffled: bool = False) -> FittedAligner:
        if (kind, shuffled) not in fitted:
            context = FitContext(tmp_path_factory.mktemp("checkpoints"))
            fitted[kind, shuffled] = fit_new(kind, towers, validation_mrr, context, shuffled=shuffled)
        return fitted[kind, shuffled]

    return fit


def part(towers, aligner, start: int, stop: int, shuffled: bool = False) -> PairedRows:
    """Of the layout that the aligner takes."""
    return towers.part(start, stop, shuffled=shuffled, tokens="pooled" not in aligner.layouts)


def whole(rows: Rows) -> Items:
    return read_items(rows, np.arange(len(rows)))


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_every_aligner_is_tested_here() -> None:
    assert set(SETTINGS) == set(ALIGNERS)


@pytest.mark.parametrize("kind", sorted(ALIGNERS))
class TestEveryAligner:
    def test_both_sides_become_unit_vectors_of_one_width(self, kind, fit, towers) -> None:
        aligner = fit(kind)
        test = part(towers, aligner.aligner, 120, 150)
        video, text = aligner.transform_video(whole(test.video)), aligner.transform_text(whole(test.text))
        assert video.shape[1] == text.shape[1]
        assert video.dtype == text.dtype == np.float32
        for values in (video, text):
            np.testing.assert_allclose(np.linalg.norm(values, axis=1), 1, atol=1e-5)

    def test_a_loaded_aligner_maps_to_the_same_numbers(self, kind, fit, towers, tmp_path: Path) -> None:
        aligner = fit(kind)
        test = part(towers, aligner.aligner, 120, 150)
        aligner.save(tmp_path / "model")
        loaded = load_aligner(tmp_path / "model")
        video, text = whole(test.video), whole(test.text)
        assert np.array_equal(loaded.transform_video(video), aligner.transform_video(video))
        assert np.array_equal(loaded.transform_text(text), aligner.transform_text(text))
        variant = "mean" if "pooled" in aligner.aligner.layouts else "tokens"
        assert (loaded.kind, loaded.pooling, loaded.data) == (kind, {"video": variant, "text": variant}, DATA)

    def test_tensors_that_are_not_its_own_are_refused_by_name(self, kind, fit, tmp_path: Path) -> None:
        """Others might broadcast, and give numbers without a meaning."""
        from safetensors.numpy import load_file, save_file

        fit(kind).save(tmp_path)
        about = json.loads((tmp_path / "aligner.json").read_text())
        tensors = load_file(tmp_path / "aligner.safetensors")

        def refused(changed: dict[str, np.ndarray], says: str) -> None:
            save_file(changed, tmp_path / "aligner.safetensors")
            with pytest.raises(AlignerError, match=rf"{re.escape(str(tmp_path))}.*{re.escape(says)}"):
                load_aligner(tmp_path)

        largest = max(tensors, key=lambda name: tensors[name].size)
        values = tensors[largest].copy()
        values.reshape(-1)[-1] += 1
        refused({**tensors, largest: values}, "something was changed")

        # Whoever changes a file can leave the digest out, as earlier versions did.
        (tmp_path / "aligner.json").write_text(json.dumps({k: v for k, v in about.items() if k != "digest"}))
        refused({**tensors, "more": np.ones(1, dtype=np.float32)}, "more")
        for name, tensor in tensors.items():
            refused({other: t for other, t in tensors.items() if other != name}, f"{name} is missing")
            for changed_tensor in (
                np.concatenate([tensor, tensor[:1]]),
                tensor[None],
                tensor.astype(np.float64),
                np.full_like(tensor, np.nan),
                *([tensor[:1]] if len(tensor) > 1 else []),
                *([tensor[..., :1]] if tensor.shape[-1] > 1 else []),
            ):
                changed = {**tensors, name: np.ascontiguousarray(changed_tensor)}
                refused(changed, "expected" if np.isfinite(changed_tensor).all() else f"{name} holds NaN")

    def test_a_row_is_mapped_alone_as_among_others(self, kind, fit, towers) -> None:
        aligner = fit(kind)
        rows = part(towers, aligner.aligner, 120, 150).text
        alone = [aligner.transform_text(read_items(rows, np.array([n]))) for n in range(5)]
        np.testing.assert_allclose(np.concatenate(alone), aligner.transform_text(whole(rows))[:5], atol=2e-5)

    def test_fitting_twice_gives_the_same_two_files_and_logs_every_try(self, kind, fit, towers, tmp_path: Path) -> None:
        rows: list[dict] = []
        context = FitContext(tmp_path / "checkpoints", lambda row: rows.append(dict(row)))
        fit(kind).save(tmp_path / "once")
        fit_new(kind, towers, validation_mrr, context).save(tmp_path / "again")
        assert files(tmp_path / "once") == files(tmp_path / "again")
        assert set(files(tmp_path / "once")) == {"aligner.json", "aligner.safetensors"}
        assert rows
        assert all(0 < row["validation_MRR"] <= 1 for row in rows)

    def test_embeddings_of_another_width_are_refused(self, kind, fit, towers) -> None:
        aligner = fit(kind)
        test = part(towers, aligner.aligner, 120, 122)
        with pytest.raises(AlignerError, match=r"video .* 24 wide; these are 16 wide"):
            aligner.transform_video(whole(test.text))
        with pytest.raises(AlignerError, match=r"text .* 16 wide; these are 24 wide"):
            aligner.transform_text(whole(test.video))

    def test_embeddings_of_another_fingerprint_are_refused(self, kind, fit) -> None:
        aligner = fit(kind)
        aligner.check_fingerprint("video", "vf")
        with pytest.raises(AlignerError, match="another encoder"):
            aligner.check_fingerprint("video", "tf")


def score(aligner: FittedAligner, towers) -> float:
    test = part(towers, aligner.aligner, 120, 150)
    return measured_mrr(aligner, test, validation_mrr)


@pytest.mark.parametrize("kind", sorted(set(ALIGNERS) - {"unaligned"}))
def test_shared_latents_are_found_where_pairs_are_true_alone(kind, fit, towers) -> None:
    assert score(fit(kind), towers) > 4 * CHANCE
    assert score(fit(kind, shuffled=True), towers) < 2 * CHANCE
    assert score(fit("unaligned"), towers) < 2 * CHANCE


def test_a_saved_aligner_outlives_a_changed_default(fit, tmp_path: Path) -> None:
    fit("mlp").save(tmp_path)
    settings = json.loads((tmp_path / "aligner.json").read_text())["settings"]
    assert {"widths": [32, 12], "weight_decay": 0.05, "video": "mean", "trainer": {}}.items() <= settings.items()


def test_unaligned_fills_the_narrower_side_with_zeros(fit) -> None:
    joint = fit("unaligned").transform_text(np.ones((1, 16), dtype=np.float32))
    np.testing.assert_allclose(joint, [[0.25] * 16 + [0] * 8])
