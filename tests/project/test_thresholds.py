"""Thresholds of params.yaml against metrics files."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from reelstore.cli import main
from reelstore.errors import ParamsError
from reelstore.evaluation.files import write_json
from reelstore.project.settings import parse_params


@pytest.fixture
def check(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for aligner, recall in (("ridge", 0.12), ("mlp", 0.3)):
        write_json(Path(f"metrics/emoji/a+b/{aligner}.json"), {"t2v": {"R@01": recall, "MeanR": 9.5}})

    def run(section: str):
        Path("params.yaml").write_text(section)
        return CliRunner().invoke(main, ["metrics", "check"])

    return run


def test_thresholds_that_hold_pass(check):
    done = check("thresholds: {'*/ridge': {t2v.R@01: '>= 0.1', t2v.MeanR: '< 10'}}")
    assert done.exit_code == 0
    assert done.output.splitlines() == [
        "ok     a+b/ridge t2v.R@01 0.12, must be >= 0.1",
        "ok     a+b/ridge t2v.MeanR 9.5, must be < 10",
    ]


def test_one_that_does_not_hold_fails_the_command(check):
    done = check("thresholds: {'a+b/*': {t2v.R@01: '>= 0.2'}}")
    assert done.exit_code == 1
    assert "ok     a+b/mlp" in done.output and "FAILED a+b/ridge t2v.R@01 0.12, must be >= 0.2" in done.output


@pytest.mark.parametrize(
    ("section", "says"),
    [
        ("{}", "has no thresholds"),
        ("thresholds: {'*/ridgy': {t2v.R@01: '>= 0'}}", "names no result"),
        ("thresholds: {'*/ridge': {t2v.R@02: '>= 0'}}", "has no t2v.R@02"),
    ],
)
def test_a_threshold_that_would_guard_nothing_is_an_error(check, section, says):
    done = check(section)
    assert done.exit_code == 1 and says in done.output


@pytest.mark.parametrize("section", [{"a/b": {"t2v.MRR": "about 1"}}, {"a/b": {"MRR": ">= 1"}}])
def test_thresholds_are_read_at_the_border(section):
    with pytest.raises(ParamsError, match="must be"):
        parse_params({"thresholds": section})
