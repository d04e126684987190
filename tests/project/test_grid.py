"""The grid stage on a small store, from outside."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from reelstore.datasets.base import DatasetParams
from reelstore.pooling import POOLINGS
from reelstore.project.grid import run_grid
from reelstore.project.settings import GridParams, ModelParams, Params

N_VIDEOS, N_CAPTIONS = 60, 4
PLOTS = Path("plots/drawn/v+t/grid")


@pytest.fixture
def params(tmp_path, monkeypatch, write_variant) -> Params:
    """A store whose mean poolings are related and whose others aren't; one video failed."""
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    videos = [f"v{number}" for number in range(N_VIDEOS)]
    captions = [(video, index) for video in videos for index in range(N_CAPTIONS)]
    latent = generator.normal(size=(N_VIDEOS, 8))
    for pooling in POOLINGS:
        video, text = generator.normal(size=(N_VIDEOS, 12)), generator.normal(size=(len(captions), 8))
        if pooling in ("mean", "sum"):
            scale = 4 if pooling == "sum" else 1
            video = scale * np.pad(latent, ((0, 0), (0, 4)))
            text = scale * np.repeat(latent, N_CAPTIONS, axis=0)
        write_variant("video", "v", pooling, videos, video, failed=("v7",))
        write_variant("text", "t", pooling, captions, text)
    return Params(
        dataset=DatasetParams(name="drawn"),
        encoders={"video/v": {}, "text/t": {}},
        model=ModelParams(video=("v",), text=("t",)),
        grid=GridParams(split="test", n_shuffles=200, seed=0),
    )


def test_grid_tells_related_poolings_from_unrelated_ones(params):
    report = run_grid(params, video="v", text="t")
    related = {(a, b) for a in ("mean", "sum") for b in ("mean", "sum")}
    assert set(report.cells.outside) == related
    metrics = json.loads(Path("metrics/drawn/v+t/grid.json").read_text())
    assert metrics["t2v_MRR"]["mean"]["mean"] == metrics["t2v_MRR"]["sum"]["mean"] == 1.0
    assert metrics["cells_outside"] == 4
    assert metrics["shuffled"]["low"] < metrics["chance"] < metrics["shuffled"]["high"]
    assert set(metrics["t2v_MRR"]) == set(metrics["t2v_MRR"]["mean"]) == set(POOLINGS)


def test_grid_leaves_out_what_failed_and_says_so(params):
    run_grid(params, video="v", text="t")
    health = json.loads(Path("metrics/drawn/v+t/grid.json").read_text())["health"]
    assert health == {
        "videos": N_VIDEOS - 1,
        "captions": N_CAPTIONS * (N_VIDEOS - 1),
        "missing_videos": 1,
        "missing_captions": N_CAPTIONS,
    }


def test_grid_draws_every_cell_and_is_the_same_when_run_again(params):
    run_grid(params, video="v", text="t")
    first = {path.name: path.read_bytes() for path in PLOTS.iterdir()}
    rows = list(csv.DictReader((PLOTS / "grid.csv").read_text().splitlines()))
    assert {(row["video_pooling"], row["text_pooling"]) for row in rows} == {(a, b) for a in POOLINGS for b in POOLINGS}
    assert b"chance" in first["grid.svg"] and b"4 of 25 cells outside" in first["grid.svg"]
    run_grid(params, video="v", text="t")
    assert {path.name: path.read_bytes() for path in PLOTS.iterdir()} == first
