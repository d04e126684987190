"""`reelstore splits`: the same aligners on several random splits."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from reelstore.cli import main
from reelstore.datasets.index import read_index, write_index
from reelstore.datasets.splits import split_of_group
from reelstore.errors import DatasetError, ParamsError, UnknownNameError
from reelstore.evaluation import evaluate
from reelstore.project.settings import load_params
from reelstore.project.splits import redrawn, run_splits
from reelstore.records import Caption, Dataset, Video

SHARES = {"train": 0.6, "validation": 0.2, "test": 0.2}
MODEL = "fake-video+fake-text"


@pytest.fixture
def project(tmp_path, monkeypatch, write_variant):
    """120 videos in 60 groups, two captions each, with a shared part that can be found."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    ids = [f"v{number:03}" for number in range(120)]
    groups = [f"g{number // 2}" for number in range(120)]
    videos = [
        Video(one, f"{one}.mp4", "0" * 64, split_of_group(group, SHARES, seed=0), group)
        for one, group in zip(ids, groups, strict=True)
    ]
    keys = [(one, index) for one in ids for index in range(2)]
    captions = [Caption(one, index, f"text {one} {index}") for one, index in keys]
    write_index(Path("data/drawn"), Dataset("drawn", Path("clips"), tuple(videos), tuple(captions)), kind="folder")
    latent = rng.normal(size=(120, 6))
    write_variant("video", "fake-video", "mean", ids, latent @ rng.normal(size=(6, 12)) + rng.normal(size=(120, 12)))
    text = np.repeat(latent, 2, axis=0) @ rng.normal(size=(6, 10)) + rng.normal(size=(240, 10))
    write_variant("text", "fake-text", "mean", keys, text, failed=(("v003", 1),))
    Path("params.yaml").write_text(
        json.dumps(
            {
                "dataset": {"name": "drawn", "kind": "folder", "splits": SHARES},
                "encoders": {"video/fake-video": {}, "text/fake-text": {}},
                "model": {"video": ["fake-video"], "text": ["fake-text"]},
                "aligners": {
                    "small": {"kind": "ridge", "alphas": [1.0]},
                    "mlp": {"kind": "mlp", "widths": [8], "max_epochs": 2, "trainer": {"enable_progress_bar": False}},
                },
                "tracking": {"wandb": "disabled"},
            }
        )
    )
    return tmp_path


def run(*aligners, seeds=(0, 1, 2), said=None):
    say = said.append if said is not None else lambda line: None
    return run_splits(load_params(), video="fake-video", text="fake-text", aligners=aligners, seeds=seeds, progress=say)


def test_each_split_is_drawn_by_its_seed_and_measured_on_its_own_test_videos(project):
    report = run("unaligned", "ridge")
    dataset = read_index(Path("data/drawn"))
    for number, seed in enumerate((0, 1, 2)):
        drawn = redrawn(dataset, SHARES, seed=seed)
        test = {video.video_id for video in drawn.videos if video.split == "test"}
        one = report.results["ridge"][number]
        assert (one.seed, one.n_test) == (seed, len(test))
        assert one.n_captions == 2 * len(test) - ("v003" in test)
        assert one.n_train == sum(video.split == "train" for video in drawn.videos)
    assert len({run.n_test for run in report.results["ridge"]}) > 1


def test_the_first_split_is_the_projects_own_and_gives_the_same_numbers(project):
    """Unaligned needs no fit, so its score can be computed from the embeddings alone."""
    import reelstore

    store = reelstore.open("store/drawn")
    videos, texts = store["video/fake-video/mean"], store["text/fake-text/mean"].ok()
    test = [one.video_id for one in read_index(Path("data/drawn")).videos if one.split == "test"]
    keys = [key for key in texts.ids if key[0] in test]
    padded = np.zeros((len(keys), 12), dtype=np.float32)
    padded[:, :10] = texts.select(keys).array()
    expected = evaluate(
        text=padded, video=videos.select(test).array(), video_of_caption=[test.index(key[0]) for key in keys]
    )
    assert run("unaligned").results["unaligned"][0].t2v["MRR"] == pytest.approx(expected.metrics["t2v"]["MRR"])


def test_differences_are_paired_by_split(project):
    report = run("unaligned", "ridge")
    found = report.difference("ridge", "t2v")
    each = [b.t2v["MRR"] - a.t2v["MRR"] for a, b in zip(*report.results.values(), strict=True)]
    assert found.mean == pytest.approx(np.mean(each))
    assert found.n_above == sum(value > 0 for value in each) == 3
    assert report.difference("unaligned", "v2t").mean == 0


def test_what_is_done_is_read_and_what_it_depends_on_makes_it_new(project):
    first, second, third = [], [], []
    before = run("small", "mlp", said=first)
    assert run("small", "mlp", said=second).results == before.results
    assert (len([line for line in first if "seed" in line]), second) == (6, [])
    text = Path("params.yaml").read_text()
    Path("params.yaml").write_text(text.replace('"alphas": [1.0]', '"alphas": [2.0]'))
    run("small", "mlp", said=third)
    assert [line.split(":")[0] for line in third] == [f"seed {seed}, small" for seed in (0, 1, 2)]


def test_a_trained_aligner_has_the_seed_of_its_split(project):
    kept = run("mlp", seeds=(0, 1))
    again = run("mlp", seeds=(1, 0))
    assert kept.results["mlp"] == again.results["mlp"][::-1]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"aligner": 1}', "{}".encode("utf-16"), b"null"])
def test_a_kept_result_that_is_damaged_is_named(project, content):
    run("small")
    kept = next(Path("runs/splits").rglob("small-1-*.json"))
    kept.write_bytes(content)
    done = CliRunner().invoke(main, ["splits", MODEL, "small", "--seeds", "3"])
    assert done.exit_code == 1
    assert kept.as_posix() in done.output and "Remove it: the result is computed again." in done.output
    assert kept.read_bytes() == content


def test_published_splits_give_their_proportions(project):
    dataset = read_index(Path("data/drawn"))
    parts = ["train"] * 30 + ["validation"] * 15 + ["test"] * 15
    videos = tuple(replace(video, split=parts[number // 2]) for number, video in enumerate(dataset.videos))
    write_index(Path("data/drawn"), replace(dataset, videos=videos), kind="folder")
    report = run("unaligned", seeds=range(20))
    share = np.mean([one.n_test / 120 for one in report.results["unaligned"]])
    assert share == pytest.approx(0.25, abs=0.04)


def test_wrong_names_and_settings_are_refused_before_anything_is_fitted(project):
    said = []
    with pytest.raises(UnknownNameError, match=r"'ridgee'\. Did you mean ridge\? Known: .*ridge, small, transformer"):
        run("ridge", "ridgee", said=said)
    with pytest.raises(ParamsError, match="At least two splits"):
        run("ridge", seeds=[0])
    text = Path("params.yaml").read_text()
    Path("params.yaml").write_text('{"pairs": {"others": {}}, ' + re.sub(r'"aligners": .*?}}},', "", text[1:]))
    with pytest.raises(ParamsError, match=r"ridge trains on the pairs 'captions'\. pairs and mined have: others"):
        run("ridge", said=said)
    assert said == []


def test_too_few_groups_are_an_error(project):
    dataset = read_index(Path("data/drawn"))
    few = replace(
        dataset,
        videos=tuple(replace(video, group="one", split="train") for video in dataset.videos),
    )
    with pytest.raises(DatasetError, match=r"seed 0: no video with captions was drawn into .* of 1 groups"):
        redrawn(few, SHARES, seed=0)


def test_the_command_prints_tables_or_json(project):
    command = ["splits", MODEL, "unaligned", "small", "--seeds", "3"]
    done, as_json = CliRunner().invoke(main, command), CliRunner().invoke(main, [*command, "--json"])
    assert (done.exit_code, as_json.exit_code) == (0, 0), done.output
    found = json.loads(as_json.stdout)
    row = next(line for line in done.stdout.splitlines() if line.startswith("small  "))
    mean = found["aligners"]["small"]["t2v"]["mean"]
    assert f"{mean:.4f}" in row
    assert re.search(r"small .*t2v \+0\.\d{4} \([+-]\d\.\d{4} to [+-]\d\.\d{4}; 3 of 3\)", done.stdout)
    assert "held fixed" in done.stdout
    assert not any(Path(name).exists() for name in ("models", "metrics", "plots"))
