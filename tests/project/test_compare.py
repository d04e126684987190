"""Comparing evaluations from the shell: paths, folders, git revisions, conditions."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from reelstore.cli import main
from reelstore.errors import EvaluationError
from reelstore.evaluation import evaluate
from reelstore.evaluation.matched import Matched
from reelstore.io import write_atomically
from reelstore.project.evaluate.compare import Condition, run_compare
from reelstore.project.evaluate.stage import queries_parquet

VIDEOS = [f"v{number}" for number in range(40)]
CAPTIONS = [(video, index) for video in VIDEOS for index in range(2)]
OWNER = np.repeat(np.arange(40), 2)


def write(folder: Path, noise: float, *, leave_out: int = 0):
    generator = np.random.default_rng(0)
    video = generator.normal(size=(40, 8))
    text = video[OWNER] + noise * generator.normal(size=(80, 8))
    kept = slice(leave_out, None)
    matched = Matched(VIDEOS, CAPTIONS[kept], OWNER[kept], {})
    found = evaluate(text=text[kept], video=video, video_of_caption=OWNER[kept], return_hard_negatives=True)
    write_atomically(folder / "evaluation" / "queries.parquet", queries_parquet(found, matched))
    return found


def test_metrics_of_both_and_their_difference(tmp_path):
    good, bad = write(tmp_path / "good", 0.8), write(tmp_path / "bad", 1.6)
    report = run_compare(str(tmp_path / "good"), str(tmp_path / "bad" / "evaluation" / "queries.parquet"))
    for direction in ("t2v", "v2t"):
        for metric, d in report.differences[direction].items():
            assert d.first == pytest.approx(good.metrics[direction][metric])
            assert d.second == pytest.approx(bad.metrics[direction][metric])
        assert set(report.differences[direction]) == set(good.metrics[direction]) - {"MedR"}
        assert {d.n_videos for d in report.differences[direction].values()} == {40}
    assert report.differences["t2v"]["R@01"].high < 0
    assert report.n_queries == 120 and report.n_alone == (0, 0)
    moved = [abs(np.log(one.second / one.first)) for one in report.changed["t2v"]]
    assert moved == sorted(moved, reverse=True)
    assert report.changed["t2v"][0].query.partition(" / ")[0] in VIDEOS


def test_a_metrics_file_stands_for_the_queries_behind_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, noise in (("ridge", 0.8), ("protocols/ridge.dsl", 1.6)):
        write(Path("plots/drawn/m", name), noise)
    names = "metrics/drawn/m/ridge.json", "metrics/drawn/m/protocols/ridge.dsl.json"
    by_folder = run_compare("plots/drawn/m/ridge", "plots/drawn/m/protocols/ridge.dsl")
    assert run_compare(*names).differences == by_folder.differences
    for wrong in ("metrics/drawn/m/mlp.json", "plots/drawn/m/mlp"):
        with pytest.raises(EvaluationError, match="No evaluation at plots/drawn/m/mlp"):
            run_compare(wrong, names[0])
    Path("notes.txt").write_text("no table")
    with pytest.raises(EvaluationError, match=r"notes\.txt isn't a queries\.parquet"):
        run_compare("notes.txt", names[0])


def test_one_metric_is_primary_and_the_others_are_corrected_in_print_and_in_json(tmp_path):
    write(tmp_path / "a", 1.0)
    write(tmp_path / "b", 1.2)
    command = ["compare", str(tmp_path / "a"), str(tmp_path / "b")]
    shown = CliRunner().invoke(main, command).output
    assert "primary metric t2v.MRR: " in shown and "(40 videos)" in shown
    assert shown.count("95 % interval, 40 videos") == 2 and "hold fixed: one split, one fit" in shown
    assert "Holm's correction over the 15 metrics that aren't primary" in shown
    found = json.loads(CliRunner().invoke(main, [*command, "--json", "--primary", "v2t.MAP"]).output)
    assert found["primary"] == "v2t.MAP" and "one split" in found["holds_fixed"]
    every = {(side, name): of for side in found["differences"] for name, of in found["differences"][side].items()}
    assert every["v2t", "MAP"]["p_adjusted"] == every["v2t", "MAP"]["p"]
    assert all(of["n_videos"] == 40 and 0 < of["p"] <= of["p_adjusted"] <= 1 for of in every.values())
    assert len(every) == 16
    unknown = CliRunner().invoke(main, [*command, "--primary", "MRR"])
    assert unknown.exit_code == 1 and "No metric MRR" in unknown.output and "There are: t2v." in unknown.output


def test_queries_that_only_one_has_are_left_out_and_counted(tmp_path):
    write(tmp_path / "a", 1.0)
    write(tmp_path / "b", 1.0, leave_out=3)
    report = run_compare(str(tmp_path / "a"), str(tmp_path / "b"))
    assert report.n_alone == (4, 0)  # three captions, and the video that has none left
    assert "left out: 4 that only the first has" in report.summary()


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A DVC project whose evaluation got worse on a branch and worse again in the workspace."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> None:
        subprocess.run(words, check=True, capture_output=True)

    run("git", "init", "-q", "-b", "main")
    run("git", "config", "user.name", "t")
    run("git", "config", "user.email", "t@t")
    run("dvc", "init", "-q")
    for noise, branch in ((0.5, None), (1.5, "worse")):
        if branch:
            run("git", "checkout", "-q", "-b", branch)
        write(Path("plots/m"), noise)
        run("dvc", "add", "-q", "plots/m")
        run("git", "add", ".")
        run("git", "commit", "-q", "-m", "evaluated")
    write(Path("plots/m"), 3.0)
    return tmp_path


def test_an_output_at_a_revision_is_read_through_dvc(project):
    workspace = run_compare("plots/m", None, revisions=["main"])
    branch = run_compare("plots/m", None, revisions=["main", "worse"])
    assert workspace.names == ("plots/m at main", "plots/m")
    assert workspace.differences["t2v"]["MRR"].first == branch.differences["t2v"]["MRR"].first
    assert workspace.differences["t2v"]["MRR"].difference < branch.differences["t2v"]["MRR"].difference < 0
    with pytest.raises(EvaluationError, match="revision nowhere"):
        run_compare("plots/m", None, revisions=["nowhere"])


def test_a_condition_that_holds_fails_the_command(tmp_path):
    write(tmp_path / "good", 0.8)
    write(tmp_path / "bad", 1.6)
    there, back = [str(tmp_path / "good"), str(tmp_path / "bad")], [str(tmp_path / "bad"), str(tmp_path / "good")]
    options = ["--fail-if", "t2v.R@01 < -0.5pt"]
    worse, better = (CliRunner().invoke(main, ["compare", *way, *options]) for way in (there, back))
    assert (worse.exit_code, better.exit_code) == (1, 0)
    assert "failed: t2v.R@01 < -0.005" in worse.output
    unknown = CliRunner().invoke(main, ["compare", *there, "--fail-if", "t2v.R@02 < 0"])
    assert unknown.exit_code == 1 and "There are: t2v." in unknown.output


@pytest.mark.parametrize(
    ("text", "value", "relative"),
    [("t2v.R@01 < -0.5pt", -0.005, False), ("v2t.MeanR>5%", 0.05, True), ("t2v.MRR <= -1e-2", None, None)],
)
def test_conditions_are_read_in_points_and_per_cent(text, value, relative):
    if value is None:
        with pytest.raises(EvaluationError, match="isn't a condition"):
            Condition.parse(text)
        return
    condition = Condition.parse(text)
    assert (condition.threshold.value, condition.relative) == (value, relative)


def test_what_is_missing_is_said(tmp_path):
    for words, says in (
        ([str(tmp_path / "nothing"), str(tmp_path)], "No evaluation at"),
        ([str(tmp_path)], "compare takes two evaluations"),
    ):
        done = CliRunner().invoke(main, ["compare", *words])
        assert done.exit_code == 1 and says in done.output
    write(tmp_path / "a", 1.0)
    write(tmp_path / "b", 1.0)
    with pytest.raises(EvaluationError, match="holds 2 evaluations"):
        run_compare(str(tmp_path), str(tmp_path / "a"))
