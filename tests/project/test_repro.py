"""The whole pipeline by `dvc repro`, on a folder of drawn clips: it does what changed and nothing else."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image, ImageDraw

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.pipeline

COLOURS = ["red", "green", "blue", "orange", "purple", "black"]
SHAPES = ["circle", "square", "bar", "frame"]
MODEL = "efficientnet-lite0+minilm-l6"


class Project:
    """A user's project in a folder of its own, under git and DVC."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ["dvc.yaml", ".gitignore", ".dvcignore"]:
            shutil.copy(ROOT / name, folder / name)
        shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        params = yaml.safe_load((ROOT / "params.yaml").read_text())
        del params["dataset"]["still"]  # of the kind emoji
        params["dataset"] |= {"name": "drawn", "kind": "folder", "source": "clips", "captions": "captions.csv"}
        params["encoders"]["video/efficientnet-lite0"]["n_frames"] = 2
        params["aligners"]["mlp"] |= {"max_epochs": 3, "widths": [16, 8]}
        params["apply"] = {"ridge": {}}
        params["grid"]["n_shuffles"] = 50
        params["tracking"]["wandb"] = "disabled"
        self.write_params(params)
        (folder / "clips").mkdir()
        self.rows: list[tuple[str, str, str]] = []
        for number, (colour, shape) in enumerate((c, s) for c in COLOURS for s in SHAPES):
            self.add_clip(f"{colour}-{shape}", ["train", "train", "validation", "test"][number % 4])
        self.write_captions()
        for command in ["git init -q -b main", "git config user.name t", "git config user.email t@t", "dvc init -q"]:
            self.run(*command.split())
        self.run("git", "add", "-A")
        self.run("git", "commit", "-qm", "start")

    def params(self) -> dict:
        return yaml.safe_load((self.folder / "params.yaml").read_text())

    def write_params(self, params: dict) -> None:
        (self.folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))

    def add_clip(self, video_id: str, split: str) -> None:
        colour, shape, *again = video_id.split("-")
        frames = [draw(colour, shape, step + bool(again)) for step in range(4)]
        frames[0].save(self.folder / "clips" / f"{video_id}.gif", save_all=True, append_images=frames[1:], duration=80)
        words = " ".join([colour, shape, *again])
        self.rows += [(video_id, f"a {words}", split), (video_id, f"{words} moves", split)]

    def write_captions(self) -> None:
        lines = ["video_id,caption,split", *(f'{v},"{caption}",{split}' for v, caption, split in self.rows)]
        (self.folder / "clips" / "captions.csv").write_text("\n".join(lines) + "\n")

    def run(self, *command: str, check: bool = True) -> str:
        env = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "DVC_NO_ANALYTICS": "1"}
        done = subprocess.run(command, cwd=self.folder, env=env, capture_output=True, text=True, check=False)
        assert not check or done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def repro(self) -> tuple[set[str], str]:
        """Names of the stages that ran, without their matrix items, and all that was printed."""
        said = self.run("dvc", "repro")
        ran = {line.split("'")[1].split("@")[0] for line in said.splitlines() if line.startswith("Running stage")}
        return ran, said

    def metrics(self, name: str) -> dict:
        return json.loads((self.folder / "metrics" / "drawn" / MODEL / f"{name}.json").read_text())


def draw(colour: str, shape: str, step: int) -> Image.Image:
    image = Image.new("RGB", (48, 40), "white")
    brush, left = ImageDraw.Draw(image), 4 + 5 * step
    if shape == "circle":
        brush.ellipse([left, 8, left + 20, 28], fill=colour)
    elif shape == "square":
        brush.rectangle([left, 8, left + 20, 28], fill=colour)
    elif shape == "bar":
        brush.rectangle([left, 2, left + 6, 38], fill=colour)
    else:
        brush.rectangle([left, 8, left + 20, 28], outline=colour, width=4)
    return image


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = Project(tmp_path_factory.mktemp("project"))
    project.ran, project.said = project.repro()
    project.run("git", "add", "-A")
    project.run("git", "commit", "-qm", "first run")
    return project


def test_a_first_run_makes_everything_and_leaves_a_clean_status(project: Project) -> None:
    assert project.ran == {
        "dataset",
        "embed",
        "pool",
        "grid",
        "doctor",
        "pairs",
        "leakage",
        "align",
        "apply",
        "evaluate",
        "report",
    }
    assert "up to date" in project.run("dvc", "status")
    assert project.run("git", "status", "--porcelain") == ""
    for name in ["unaligned", "ridge", "cca", "kernel-ridge", "mlp"]:
        assert 0 < project.metrics(name)["t2v"]["MRR"] <= 1
    assert set(project.metrics("grid")["t2v_MRR"]) == {"first", "last", "max", "mean", "sum"}
    page = (project.folder / "report/drawn/index.html").read_text()
    assert "ridge" in page and "<svg" in page and "http:" not in page.replace("http://www.w3.org/2000/svg", "")
    shown = project.run("reelstore", "show")
    assert "drawn" in shown and "chance" in shown and "6 videos, 12 captions" in shown


@pytest.mark.parametrize(("aligner", "source"), [("ridge", "aligned.ridge"), ("mlp", "mapped by mlp")])
def test_a_stored_caption_finds_what_the_evaluation_ranked(project: Project, aligner: str, source: str) -> None:
    queries = pq.read_table(
        project.folder / "plots" / "drawn" / MODEL / aligner / "evaluation" / "queries.parquet"
    ).to_pylist()
    queries = [row for row in queries if row["direction"] == "t2v"]
    captions = {}
    for line in (project.folder / "data/drawn/captions.jsonl").read_text().splitlines():
        caption = json.loads(line)
        captions[caption["video_id"], caption["caption_index"]] = caption["text"]
    texts = [captions[row["video_id"], row["caption_index"]] for row in queries]
    command = ["reelstore", "search", MODEL, *texts, "--aligner", aligner, "--split", "test", "-k", "6"]
    found = [json.loads(line) for line in project.run(*command, "--json").splitlines()]
    assert [one["sentence"] for one in found] == texts
    for row, one in zip(queries, found, strict=True):
        place = {hit["video_id"]: hit["rank"] for hit in one["hits"]}
        assert len(place) == 6
        assert place[row["video_id"]] == row["rank"]
        hardest_negative = next(video for video in place if video != row["video_id"])
        assert hardest_negative == row["hardest_negative_video_id"]
    assert source in project.run(*command)


def test_a_search_that_cannot_be_says_why(project: Project) -> None:
    for arguments, said in [
        ([MODEL, " "], "sentence is empty"),
        ([MODEL, "a", "--aligner", "nobody"], "Unknown aligner 'nobody'"),
        ([MODEL, "a", "--split", "nowhere"], "no split 'nowhere'"),
        (["minilm-l6", "a"], "A model is <video encoder>+<text encoder>"),
        (["xclip+minilm-l6", "a"], "No aligner at models/drawn/xclip+minilm-l6"),
    ]:
        assert said in project.run("reelstore", "search", *arguments, check=False)


def test_the_store_opens_as_one_hierarchy_and_by_key(project: Project) -> None:
    import zarr

    import reelstore

    group = zarr.open_group(project.folder / "store" / "drawn", mode="r")
    assert group["video/efficientnet-lite0/tokens/values"].shape == (24, 2, 1280)
    store = reelstore.open(project.folder / "store" / "drawn")
    tokens = store["video/efficientnet-lite0/tokens"]["red-bar"].astype(np.float32)
    mean = store["video/efficientnet-lite0/mean"]["red-bar"]
    np.testing.assert_array_equal(mean, tokens.mean(axis=0).astype(np.float16))
    assert len(store["text/minilm-l6/mean"].split("test")) == 12
    assert store[f"text/{MODEL}/aligned.ridge"].split("test").dim == 384
    assert "24" in project.run("reelstore", "ls", "store")
    assert "uniform(2)" in project.run("reelstore", "info", "store/drawn/video/efficientnet-lite0/mean")


def test_nothing_runs_when_nothing_changed(project: Project) -> None:
    assert project.repro()[0] == set()


def test_one_more_video_embeds_one_video_and_its_captions(project: Project) -> None:
    project.add_clip("red-circle-again", "train")
    project.write_captions()
    _, said = project.repro()
    assert "video/efficientnet-lite0/tokens: 25 rows, 1 embedded" in said
    assert "text/minilm-l6/tokens: 50 rows, 2 embedded" in said


def test_a_removed_video_embeds_nothing(project: Project) -> None:
    (project.folder / "clips" / "blue-bar.gif").unlink()
    project.rows = [row for row in project.rows if row[0] != "blue-bar"]
    project.write_captions()
    _, said = project.repro()
    assert "video/efficientnet-lite0/tokens: 24 rows, nothing to embed" in said
    assert "text/minilm-l6/tokens: 48 rows, nothing to embed" in said


def test_switching_branches_and_back_runs_nothing(project: Project) -> None:
    project.run("git", "checkout", "-qb", "changed")
    project.run("git", "add", "-A")
    project.run("git", "commit", "-qm", "other clips")
    project.run("git", "checkout", "-q", "main")
    project.run("dvc", "checkout")
    project.run("git", "checkout", "-q", "changed")
    project.run("dvc", "checkout")
    assert project.repro()[0] == set()


def test_a_changed_aligner_setting_runs_what_comes_after_it_only(project: Project) -> None:
    params = project.params()
    params["aligners"]["ridge"]["alphas"] = [1.0]
    project.write_params(params)
    assert project.repro()[0] == {"align", "apply", "evaluate", "report"}
    assert "ridge.json" in project.run("dvc", "metrics", "diff", "--all")


def test_an_edit_to_a_metric_embeds_nothing(project: Project) -> None:
    path = project.folder / "src/reelstore/evaluation/metrics.py"
    path.write_text(path.read_text() + "\n# edited\n")
    assert not project.repro()[0] & {"dataset", "embed", "pool", "pairs", "align"}


def test_another_sampling_embeds_the_videos_again(project: Project) -> None:
    params = project.params()
    params["encoders"]["video/efficientnet-lite0"]["sampling"] = "centres"
    project.write_params(params)
    _, said = project.repro()
    assert "video/efficientnet-lite0/tokens: 24 rows, 24 embedded" in said
    assert "embed text" not in said
    assert "up to date" in project.run("dvc", "status")


def test_a_clip_that_cannot_be_decoded_is_a_failed_row_or_too_many(project: Project) -> None:
    (project.folder / "clips" / "red-bar.gif").write_bytes(b"GIF89a and nothing more")
    said = project.run("dvc", "repro", check=False)
    assert "1 of 24 rows failed" not in said, "a share of .05 allows one of 24"
    assert "1 failed" in said and "red-bar" in said
    params = project.params()
    params["embed"]["max_failures"] = 0
    project.write_params(params)
    said = project.run("dvc", "repro", check=False)
    assert "1 of 24 rows failed, embed.max_failures allows 0" in said
    assert "failed to reproduce" in said
