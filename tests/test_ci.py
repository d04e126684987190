"""The workflow runs what .ci/run runs, on every Python that the package says it works on; its scripts work."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
# BaseLoader: `on` is a key and 3.10 isn't a number.
WORKFLOW: dict[str, Any] = yaml.load((ROOT / ".github/workflows/ci.yml").read_text(), yaml.BaseLoader)
STEPS = [step for job in WORKFLOW["jobs"].values() for step in job["steps"]]
SCRIPTS = [step["run"] for step in STEPS if "run" in step]


def test_it_runs_ci_run_on_every_python_of_the_classifiers() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    versions = [found[1] for one in project["classifiers"] if (found := re.search(r":: Python :: (3\.\d+)$", one))]
    test = WORKFLOW["jobs"]["test"]
    assert test["strategy"]["matrix"]["python"] == versions
    assert test["steps"][-1]["run"] == ".ci/run"
    assert set(WORKFLOW["on"]) == {"push", "pull_request"}


def test_every_step_runs_a_script_or_a_pinned_action() -> None:
    assert all(("run" in step) != ("uses" in step) for step in STEPS)
    assert all(re.fullmatch(r"actions/[a-z-]+@v\d+", step["uses"]) for step in STEPS if "uses" in step)
    assert all(job["steps"][0]["uses"].startswith("actions/checkout@") for job in WORKFLOW["jobs"].values())


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_is_one_that_bash_reads(script: str) -> None:
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)


def test_the_script_for_the_core_does_what_it_says(tmp_path: Path) -> None:
    script = next(one for one in SCRIPTS if "reelstore.open" in one).replace("python -m pip install .", "true")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "TMPDIR": str(tmp_path)}
    done = subprocess.run(["bash", "-e", "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert "1 variants verified: nothing found." in done.stdout
