"""`reelstore reproduce report`: the experiments from one command, at a size that a test can afford."""

import json
import re
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from reelstore.cli import main
from reelstore.datasets import llm_like
from reelstore.errors import DamagedFileError
from reelstore.plain import typed
from reelstore.project.presets.catalogue import load_preset
from reelstore.project.reproduce.experiments import RECIPES, REPORT, Scale, experiments
from reelstore.project.reproduce.run import Kept, _done, params_on

SMALL = ("--width", "128", "--token-width", "16", "--epochs", "8", "--steps", "25")


def run(*words: str, code: int = 0) -> str:
    done = CliRunner().invoke(main, words)
    assert done.exit_code == code, done.output
    return done.output


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("report")
    knobs = json.loads(Path(llm_like.__file__).with_suffix(".json").read_text())
    knobs |= {"n_videos": 260, "splits": {"train": 160, "validation": 50, "test": 50}, "captions_per_video": 2}
    (folder / "knobs.json").write_text(json.dumps(knobs))
    keep = {"seed": 0, "width": 128, "keep": ["first", "mean", "sum", "tokens"]}
    params = {
        "dataset": {"name": "drawn", "kind": "llm-like", "source": "knobs.json"},
        "streams": {"video/llm-like": keep, "text/llm-like": keep},
        "model": {"video": ["llm-like"], "text": ["llm-like"]},
        "tracking": {"wandb": "disabled"},
    }
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield run("reproduce", "report", *SMALL, "--only", "report-01", "--only", "report-10", "--only", "recipe-ridge")


def found(name: str) -> dict[str, str]:
    kept = json.loads(Path("runs/reproduce/drawn", f"{name}.json").read_text())
    return {check["name"]: check["level"] for check in kept["checks"] if check["level"] != "ok"}


def test_one_command_embeds_trains_measures_and_writes_a_page(project: str) -> None:
    assert [line.split(" | ")[0] for line in project.splitlines() if line.startswith("| re")] == [
        "| report-01",
        "| report-10",
        "| recipe-ridge",
    ]
    page = Path("report/reproduce-drawn/index.html").read_text()
    assert "256 wide" not in page and "128 wide where the report has 4,096" in page
    assert page.count("<h2>report-01") == 1
    assert "Training loss" in page and "constant text/first" in page
    assert len(re.findall("<svg", page)) == 8  # four curves of each training


def test_with_the_reports_recipe_collapse_and_the_constants_loss_are_named_each_by_its_check(project: str) -> None:
    raised = found("report-01")
    assert raised["constant-loss"] == "fatal"
    assert {"collapse-video", "collapse-text"} & raised.keys()
    assert "collapsed" in next(line for line in project.splitlines() if line.startswith("| report-01"))


def test_a_closed_form_on_the_same_embeddings_does_not_collapse(project: str) -> None:
    assert not {"collapse-video", "collapse-text"} & found("recipe-ridge").keys()
    assert "learned" in next(line for line in project.splitlines() if line.startswith("| recipe-ridge"))


def test_what_is_done_stays_done(project: str) -> None:
    kept = Path("runs/reproduce/drawn/report-01.json")
    before = kept.stat().st_mtime_ns
    again = run("reproduce", "report", *SMALL, "--only", "report-01")
    assert "before training" not in again
    assert kept.stat().st_mtime_ns == before


def test_an_experiment_that_is_none_is_refused(project: str) -> None:
    assert "No experiment is named report-11" in run("reproduce", "report", "--only", "report-11", code=1)


def test_at_full_size_the_experiments_are_the_presets() -> None:
    full = {one.name: one.settings for one in experiments(None)}
    assert [name for name in full if name in REPORT] == list(REPORT)
    assert full["report-04"]["widths"] == [4096, 2048, 1024, 1024, 512, 512]
    assert full["report-04"]["max_epochs"] == 500 == full["report-04"]["patience"]
    assert {full[name]["loss"] for name in REPORT[:7]} == {"mse"}
    assert {full[name]["loss"] for name in REPORT[7:]} == {"margin"}
    assert full["report-10"]["video"] == "layer-32.sequence"
    assert {one.name for one in experiments(Scale())} <= {*REPORT, *RECIPES}


def test_smaller_experiments_that_differ_in_their_length_still_do() -> None:
    epochs = {one.name: one.settings["max_epochs"] for one in experiments(Scale(epochs=5)) if one.name in REPORT}
    assert [epochs[f"report-{number:02d}"] for number in range(1, 11)] == [5, 5, 10, 50, 5, 5, 10, 5, 5, 5]


def test_a_preset_brings_its_pairs() -> None:
    assert {key for key in load_preset("report-02").values} == {"pairs.report-20", "aligners.report-02"}


def test_another_dataset_is_that_of_its_preset() -> None:
    raw = {"dataset": {"name": "emoji"}, "tracking": {"wandb": "disabled"}}
    params = params_on(raw, "llm-like")
    assert (params.dataset.kind, params.model.video, params.tracking.wandb) == ("llm-like", ("llm-like",), "disabled")
    assert params_on(raw, "emoji").dataset.name == "emoji"


def test_what_is_the_same_experiment_by_another_name_is_not_trained_again(tmp_path: Path) -> None:
    (tmp_path / "report-03.json").write_text(json.dumps({"key": "a", "seconds": 1}))
    assert _done(tmp_path / "report-03.json", "a") == ({"key": "a", "seconds": 1}, "")
    found, note = _done(tmp_path / "report-04.json", "a")
    assert found["seconds"] == 1
    assert "report-03 again" in note
    assert _done(tmp_path / "report-04.json", "b") == ({}, "")


KEPT = {
    "key": "k",
    "t2v": {"MRR": 0.5},
    "v2t": {"MRR": 0.5},
    "chance": {"t2v": 0.1, "v2t": 0.1},
    "n_videos": 3,
    "n_captions": 3,
    "seconds": 0.0,
    "checks": [
        {"name": "finite", "about": "", "value": 0, "threshold": "0", "level": "ok", "meaning": "", "advice": ""}
    ],
    "looks": [{"epoch": 0, "n_videos": 3}],
}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"checks": [{"name": "finite"}]}, r"checks\[0\].about is missing"),
        ({"checks": [{**KEPT["checks"][0], "name": "x"}]}, r"checks\[0\]: Unknown check 'x'"),
        ({"t2v": {}}, "t2v has no MRR"),
        ({"chance": {"t2v": 0, "v2t": 0.1}}, "t2v has no MRR, or none at chance"),
        ({"looks": [{"epoch": 0}]}, "looks: one lacks its epoch, or n_videos"),
        ({"looks": [{"epoch": 0, "n_videos": 2**62}]}, "looks: one lacks its epoch, or n_videos"),
        ({"looks": [{"epoch": None, "n_videos": 3}]}, r"looks\[0\].epoch is null"),
        ({"looks": [{"epoch": 0, "n_videos": 3, "train_loss": 1}]}, "no constant_loss"),
    ],
)
def test_what_was_kept_of_an_experiment_is_read_strictly(changes, says):
    assert typed(KEPT, Kept, "kept").n_videos == 3
    with pytest.raises(DamagedFileError, match=says):
        typed({**KEPT, **changes}, Kept, "kept")
