"""`reelstore oracle`: the truth's own score, from the dataset's files alone."""

import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from reelstore.cli import main
from reelstore.datasets import llm_like


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    knobs = json.loads(Path(llm_like.__file__).with_suffix(".json").read_text())
    knobs |= {"n_videos": 90, "splits": {"train": 10, "validation": 10, "test": 70}}
    Path("knobs.json").write_text(json.dumps(knobs))
    Path("params.yaml").write_text(
        yaml.safe_dump({"dataset": {"name": "drawn", "kind": "llm-like", "source": "knobs.json"}})
    )
    return tmp_path


def run(*words: str, code: int = 0) -> str:
    done = CliRunner().invoke(main, words)
    assert done.exit_code == code, done.output
    return done.output


def test_the_truth_is_far_above_chance_in_both_directions(project: Path) -> None:
    run("dataset")
    assert "oracle on test (70 videos, 350 captions)" in run("oracle")
    found = json.loads(Path("metrics/drawn/oracle.json").read_text())
    for direction in ("t2v", "v2t"):
        assert 0.6 < found[direction]["MRR"] < 0.98
        assert found[direction]["chance_MRR"] < 0.1


def test_another_kind_of_dataset_has_no_known_truth(project: Path) -> None:
    Path("params.yaml").write_text("dataset: {kind: folder}")
    assert "known for llm-like alone" in run("oracle", code=1)
