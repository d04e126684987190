"""The report of a project whose files somebody else wrote, and of results that don't belong together."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from click.testing import CliRunner

from reelstore.align.registry import FittedAligner, make_aligner
from reelstore.cli import main
from reelstore.project.evaluate.stage import run_evaluate
from reelstore.project.settings import parse_params
from reelstore.store.open import open_store

HOSTILE = ["<script>alert(1)</script>", "\x1b[2J\x1b]0;owned\x07", "\u202egnp.exe", "\x9b31m", "a&b<c>\"d'"]
RAW = {
    "dataset": {"name": "drawn"},
    "encoders": {"video/v": {}, "text/t": {}},
    "model": {"video": ["v"], "text": ["t"]},
    "aligners": {"zero": {"kind": "unaligned"}, "one": {"kind": "unaligned"}},
    "tracking": {"wandb": "disabled"},
}
PLOTS = Path("plots/drawn/v+t/zero/evaluation")
METRICS = Path("metrics/drawn/v+t/zero.json")


@pytest.fixture
def project(tmp_path, monkeypatch, write_variant):
    """Two evaluations of towers, one of them half wrong, over ids that a browser or a terminal would obey."""
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(yaml.safe_dump(RAW))
    videos = [*HOSTILE, *(f"v{number}" for number in range(7))]
    captions = [(video, index) for video in videos for index in range(2)]
    rng = np.random.default_rng(0)
    latent = rng.normal(size=(12, 8))
    told = np.repeat(latent, 2, axis=0)
    write_variant("video", "v", "mean", videos, latent)
    write_variant("text", "t", "mean", captions, told + rng.normal(size=told.shape))
    write_variant("text", "t", "max", captions, told + 2 * rng.normal(size=told.shape))
    store = open_store("store/drawn")
    for name, text in (("zero", "mean"), ("one", "max")):
        aligner, pooling = make_aligner({"kind": "unaligned", "text": text})
        aligner.restore({"widths": np.array([8, 8], dtype=np.float32)})
        rows = {side: store[f"{side}/{side[0]}/{pooling[side]}"] for side in pooling}
        data = {side: {"digest": of.digest, "fingerprint": of.fingerprint} for side, of in rows.items()}
        FittedAligner(aligner, "unaligned", {}, pooling, data).save(Path("models/drawn/v+t", name))
        run_evaluate(parse_params(RAW), video="v", text="t", aligner=name)
    Path("plots/drawn/v+t/grid").mkdir()
    svg = '<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"><script>alert(1)</script></svg>'
    Path("plots/drawn/v+t/grid/grid.svg").write_text(svg)


def run(*words: str):
    return CliRunner().invoke(main, list(words))


def test_neither_ids_nor_pictures_run_in_a_browser(project):
    assert run("report").exit_code == 0
    page = Path("report/drawn/index.html").read_text()
    assert "<script" not in page and "onload" not in page and "Content-Security-Policy" in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; / 0" in page or "a&amp;b&lt;c&gt;" in page


def test_no_id_commands_the_terminal(project):
    done = run("compare", "plots/drawn/v+t/zero", "plots/drawn/v+t/one", "--changed", "100")
    assert done.exit_code == 0
    assert "\\u001b[2J" in done.output and "\\u202e" in done.output and "\\u009b" in done.output
    assert not {"\x1b", "\x9b", "\x07", "\u202e"} & set(done.output)


def swap_metrics():
    shutil.copy(METRICS.with_name("one.json"), METRICS)


def swap_plots():
    shutil.rmtree(PLOTS)
    shutil.copytree(PLOTS.parents[1] / "one" / "evaluation", PLOTS)


def edit(path: Path, *keys: str, value=None):
    def change():
        about = json.loads(path.read_text())
        inner = about
        for key in keys[:-1]:
            inner = inner[key]
        inner[keys[-1]] = value
        path.write_text(json.dumps(about))

    change.__name__ = f"{path.stem} {'.'.join(keys)} {value!r}"
    return change


def pipe():
    METRICS.unlink()
    os.mkfifo(METRICS)


def nothing():
    (PLOTS / "queries.parquet").unlink()


def endless():
    (PLOTS / "details.json").unlink()
    (PLOTS / "details.json").symlink_to("/dev/zero")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (swap_metrics, "they are of two evaluations"),
        (swap_plots, "they are of two evaluations"),
        (edit(METRICS, "t2v", "MRR", value=0.9), "t2v.MRR 0.9"),
        (edit(METRICS, "t2v", "MRR", value=7), "which no ranking gives"),
        (edit(METRICS, "t2v", "MRR", value="high"), "t2v.MRR is 'high'; a number"),
        (edit(METRICS, "t2v", value=[]), "t2v is a list"),
        (edit(PLOTS / "details.json", "model", value="x+y"), "is about"),
        (edit(PLOTS / "details.json", "chance", "t2v", value={}), "chance.t2v"),
        (edit(PLOTS / "details.json", "video", value="mean"), "video is 'mean'; a mapping"),
        (edit(PLOTS / "details.json", "intervals", "t2v", "MRR", value=[0, 1]), "intervals"),
        (pipe, "zero.json is a pipe"),
        (nothing, "queries.parquet is missing"),
        (endless, "details.json is a device"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_does_not_belong_together_is_one_line(project, change, says):
    change()
    for command in ("report", "show"):
        done = run(command)
        assert done.exit_code == 1 and isinstance(done.exception, SystemExit)
        assert len(done.stderr.splitlines()) == 1 and says in done.stderr
        assert "zero" in done.stderr
