"""The align stage: a store and pairs in, a fitted aligner and its curves out."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from reelstore.align.registry import load_aligner
from reelstore.errors import AlignerError, ParamsError
from reelstore.fitting import fit
from reelstore.io import write_atomically
from reelstore.pairs.build import Pair
from reelstore.pairs.files import pairs_parquet
from reelstore.project.align.check_loader import check_loader
from reelstore.project.align.rows import paired_rows
from reelstore.project.align.stage import run_align
from reelstore.project.settings import parse_params

MLP = {"kind": "mlp", "widths": [8, 4], "max_epochs": 3}
PARAMS = parse_params(
    {
        "dataset": {"name": "drawn", "kind": "folder"},
        "aligners": {
            "unaligned": {"kind": "unaligned"},
            "ridge": {"kind": "ridge", "alphas": [0.1, 1]},
            "mlp": MLP,
            "report": {
                **MLP,
                "block": "report",
                "loss": "mse",
                "pairs": "labelled",
                "batch_size": 50,
                "preprocess": [],
            },
            "pooled": {"kind": "attention-pool", "widths": [4], "max_epochs": 2},
        },
        "encoders": {"video/fake-video": {}, "text/fake-text": {}},
        "model": {"video": ["fake-video"], "text": ["fake-text"]},
        "pairs": {"captions": {}, "labelled": {"positives": 1, "negatives": 1}},
        "tracking": {"wandb": "disabled"},
    }
)
PLOTS = "plots/drawn/fake-video+fake-text"


@pytest.fixture
def project(tmp_path, monkeypatch, towers):
    """A folder with the towers as its store, and their pairs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    (tmp_path / "store").mkdir()
    os.symlink(towers.videos.folder.parents[2], tmp_path / "store" / "drawn")
    for split in ("train", "validation"):
        part = towers.part(0, 90) if split == "train" else towers.part(90, 120)
        pairs = [Pair(video_id, video_id, index) for video_id, index in part.text.ids]
        write_atomically(Path("pairs/drawn/captions") / f"{split}.parquet", pairs_parquet(pairs))
        wrong = [Pair(pair.video_id, other.video_id, 0, 0) for pair, other in zip(pairs, pairs[3:], strict=False)]
        write_atomically(Path("pairs/drawn/labelled") / f"{split}.parquet", pairs_parquet(2 * (pairs + wrong)))


def align(name: str):
    return run_align(PARAMS, video="fake-video", text="fake-text", aligner=name, progress=lambda line: None)


def outputs() -> dict[str, bytes]:
    found = [p for top in ("models", "plots") for p in Path(top).rglob("*") if p.is_file()]
    return {path.as_posix(): path.read_bytes() for path in sorted(found)}


@pytest.mark.parametrize("name", ["unaligned", "ridge", "mlp", "report"])
def test_a_stage_leaves_an_aligner_that_loads_and_its_curves(project, towers, name):
    report = align(name)
    loaded = load_aligner(Path("models/drawn/fake-video+fake-text") / name)
    assert loaded.data["video"] == {"digest": towers.videos.digest, "fingerprint": towers.videos.fingerprint}
    curve = Path(PLOTS, name, "training/plots/metrics/validation_MRR.tsv").read_text().splitlines()
    assert curve[0] == "step\tvalidation_MRR"
    best = max(float(line.split("\t")[1]) for line in curve[1:])
    assert report.validation_mrr == pytest.approx(best)
    assert f"validation t2v MRR {best:.4f}" in report.summary()


@pytest.mark.parametrize("name", ["unaligned", "ridge", "mlp"])
def test_fit_from_python_gives_the_stages_aligner(project, towers, name):
    align(name)
    staged = load_aligner(Path("models/drawn/fake-video+fake-text") / name)
    train = towers.part(0, 90)
    settings = {key: value for key, value in staged.settings.items() if key not in ("kind", "pairs", "video", "text")}
    given = {"text": train.text, "video": train.video, "video_of_caption": train.video_of_caption}
    fitted = fit(staged.kind, **given, validation=towers.part(90, 120), **settings)
    assert fitted.data == staged.data
    for side, rows in towers.part(120, 150).by_side().items():
        np.testing.assert_array_equal(fitted.transform(**{side: rows}), staged.transform(**{side: rows}))


@pytest.mark.parametrize("name", ["unaligned", "ridge", "mlp"])
def test_a_stage_run_again_leaves_the_same_bytes(project, name):
    align(name)
    first = outputs()
    align(name)
    assert outputs() == first


def test_what_is_live_stays_in_runs(project):
    align("mlp")
    assert sorted(path.name for path in Path().iterdir()) == ["models", "pairs", "plots", "runs", "store"]
    assert not [name for name in outputs() if name.endswith(".ckpt")]


def test_curves_of_a_longer_run_before_are_gone(project):
    old = Path(PLOTS, "ridge/training/plots/metrics/old.tsv")
    old.parent.mkdir(parents=True)
    old.write_text("step\told\n")
    align("ridge")
    assert not old.exists()


def test_an_aligner_that_params_do_not_have_names_those_they_do(project):
    with pytest.raises(ParamsError, match=r"no 'cca'\. Known: unaligned, ridge, mlp, report"):
        align("cca")


def test_pairs_of_rows_that_a_store_lacks_are_left_out(project, towers):
    keys = [("v0", 2), ("gone", 0), ("v3", 0), ("v0", 0), ("v3", 99)]
    paired = paired_rows(towers.videos, towers.captions, [Pair(video_id, video_id, index) for video_id, index in keys])
    assert paired.video.ids == ["v0", "v3"]
    assert paired.text.ids == [("v0", 2), ("v3", 0), ("v0", 0)]
    assert paired.video_of_caption.tolist() == [0, 1, 0]
    assert np.array_equal(paired.video.array()[1], towers.videos["v3"])


def test_wrong_and_repeated_pairs_are_no_pairs_to_contrast(project, towers):
    pairs = [Pair("v0", "v0", 2), Pair("v0", "v3", 0, 0), Pair("v0", "v0", 2), Pair("v3", "v3", 0)]
    paired = paired_rows(towers.videos, towers.captions, pairs)
    assert paired.text.ids == [("v0", 2), ("v3", 0)]
    assert paired.video_of_caption.tolist() == [0, 1]


def test_no_pair_in_the_store_is_an_error(project, towers):
    with pytest.raises(AlignerError, match="0 videos"):
        paired_rows(towers.videos, towers.captions, [Pair("gone", "gone", 0)])


def test_saved_settings_are_complete(project):
    align("mlp")
    settings = json.loads(Path("models/drawn/fake-video+fake-text/mlp/aligner.json").read_text())["settings"]
    assert {"widths": [8, 4], "lr": 0.001, "video": "mean", "seed": 0}.items() <= settings.items()


def test_wrong_pairs_are_there_for_losses_of_labels(project, towers):
    pairs = [Pair("v0", "v0", 2), Pair("v0", "v3", 0, 0), Pair("v0", "v0", 2), Pair("v3", "gone", 0, 0)]
    labelled = paired_rows(towers.videos, towers.captions, pairs).labelled
    assert labelled is not None
    assert labelled.video.ids == ["v0"]
    assert labelled.text.ids == [("v0", 2), ("v3", 0)]
    assert [numbers.tolist() for numbers in labelled.pairs] == [[0, 0, 0], [0, 1, 0], [1, 0, 1]]


def test_a_loss_of_labels_refuses_right_pairs_alone(project):
    aligners = {"report": {**PARAMS.aligners["report"], "pairs": "captions"}}
    params = PARAMS.model_copy(update={"aligners": aligners})
    with pytest.raises(AlignerError, match="name a set with `negatives`"):
        run_align(params, video="fake-video", text="fake-text", aligner="report", progress=lambda line: None)


@pytest.mark.parametrize(("name", "n_negative"), [("mlp", 0), ("report", 24)])
def test_check_loader_says_what_batches_hold(project, name, n_negative):
    report = check_loader(PARAMS, video="fake-video", text="fake-text", aligner=name, n_described=2)
    assert report.same_order and report.next_differs
    assert report.pairs_per_second > 0
    first = report.batches[0]
    assert first.n_positive + first.n_negative == min(90 if name == "mlp" else 50, 1024)
    assert abs(first.n_negative - n_negative) <= 12  # half of 50 drawn pairs, within what chance allows
    for video, caption in first.pairs:
        assert name == "report" or caption[0] == video
    assert f"video ({first.n_positive + first.n_negative}, 24) float32" in report.summary()


def test_check_loader_says_how_much_is_padding(project, towers):
    report = check_loader(PARAMS, video="fake-video", text="fake-text", aligner="pooled", n_described=1)
    counts = towers.caption_tokens.token_counts
    assert 0 < report.batches[0].padding < 1 - counts.min() / counts.max()
    assert "video (90, 3, 24) float32" in report.summary()


def test_check_loader_refuses_what_has_no_batches(project):
    with pytest.raises(ParamsError, match="isn't trained from batches"):
        check_loader(PARAMS, video="fake-video", text="fake-text", aligner="ridge", n_described=1)


def test_a_process_that_shares_a_training_leaves_results_to_the_one_that_started_it(project, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert align("ridge") is None
    assert not outputs()
