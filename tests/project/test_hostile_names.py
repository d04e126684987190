"""Names in params.yaml that a shell would run, through `dvc repro`: nothing runs, every stage says why."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from reelstore.cli import main

ROOT = Path(__file__).parents[2]
SHELL = "a'; touch RAN; ' \"; touch RAN; \" $(touch RAN) `touch RAN`; touch RAN & touch RAN | touch RAN"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "dvc.yaml").write_bytes((ROOT / "dvc.yaml").read_bytes())
    (tmp_path / "src").symlink_to(ROOT / "src")
    dvc(tmp_path, "init", "-q", "--no-scm")
    return tmp_path


def dvc(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "DVC_NO_ANALYTICS": "1"}
    return subprocess.run([sys.executable, "-m", "dvc", *words], cwd=folder, env=env, capture_output=True, text=True)


def write_params(folder: Path, name: str) -> None:
    """Params that have the name wherever they take one, so that every stage of dvc.yaml is there."""
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["encoders"] = {f"video/{name}": {}, f"text/{name}": {}}
    params["streams"] = {f"text/{name} s": {"keep": ["mean"]}}
    params["model"] = {"video": [name], "text": [name]}
    params["grids"], params["pairs"] = {f"{name} g": {}}, {name: {}}
    params["mined"] = {f"{name} m": {"negatives": 1, "embedding": "text/a/mean"}}
    params["leakage"]["variants"] = [f"video/{name}/mean"]
    params["aligners"], params["scorers"] = {name: {"kind": "ridge"}}, {f"{name} s": {"rerank": "none"}}
    params["apply"], params["protocols"] = {name: {}}, {name: {}}
    (folder / "params.yaml").write_text(yaml.safe_dump(params))


def make_dependencies(folder: Path) -> list[str]:
    """Names of all stages, each of which finds what it depends on: DVC would stop before the command otherwise."""
    from dvc.repo import Repo

    with Repo(str(folder)) as repo:
        stages = list(repo.index.stages)
        for path in (Path(dependency.fs_path) for stage in stages for dependency in stage.deps):
            if not path.exists():
                path.mkdir(parents=True)
                (path / "x").touch()
        return [stage.name for stage in stages]


def test_no_name_is_run_by_any_stage(project: Path) -> None:
    write_params(project, SHELL)
    stages = make_dependencies(project)
    kinds = {stage.partition("@")[0] for stage in stages}
    assert kinds == set(yaml.safe_load((project / "dvc.yaml").read_text())["stages"])
    done = dvc(project, "repro", "-k", "--single-item", "--force", "--", *stages)
    assert done.returncode != 0
    assert done.stderr.count("Error: params.yaml, line ") == len(stages), done.stderr
    assert not list(project.rglob("RAN"))


@pytest.mark.parametrize(
    "command",
    ["embed --encoder", "pool --encoder", "pairs --set", "leakage --variant", "doctor --text --help --video",
     "grid --video --help --text --help --grid", "align --video --help --text --help --aligner",
     "apply --video --help --text --help --aligner", "evaluate --video --help --text --help --aligner",
     "protocol --video --help --text --help --aligner --help --protocol"],
)  # fmt: skip
def test_a_name_that_looks_like_an_option_is_a_name(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, [*command.split(), "--help"])
    assert done.exit_code == 1 and "No params.yaml here" in done.output


def test_names_are_given_in_order_or_as_options_and_each_once() -> None:
    for words in ["align a b", "align a b c d", "align a b --video c --text d", "doctor", "doctor a+b --video c"]:
        done = CliRunner().invoke(main, words.split())
        assert done.exit_code == 2, words


def test_keeping_on_after_the_first_stage_runs_nothing_and_says_why(project: Path) -> None:
    """Of a name of several lines too: DVC gives a shell each line by itself."""
    write_params(project, f"a\ntouch RAN\n{SHELL}\n touch RAN")
    make_dependencies(project)
    done = dvc(project, "repro", "-k")
    assert done.returncode != 0 and "Error: params.yaml, line " in done.stderr
    assert not list(project.rglob("RAN"))


def test_a_list_of_mappings_has_no_way_into_a_command_either(project: Path) -> None:
    write_params(project, "a")
    params = yaml.safe_load((project / "params.yaml").read_text())
    hostile = [{"x; touch RAN; #": "y"}]
    params |= {"model": {"video": hostile, "text": hostile}, "leakage": {"variants": hostile}}
    (project / "params.yaml").write_text(yaml.safe_dump(params))
    done = dvc(project, "repro", "-k")
    assert done.returncode != 0 and "Cannot interpolate data of type 'dict'" in done.stderr
    assert not list(project.rglob("RAN"))
