"""`reelstore evaluate` on files, from the shell."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from reelstore.cli import main
from reelstore.evaluation import evaluate


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    video = generator.normal(size=(20, 8)).astype(np.float16)
    owner = generator.integers(20, size=50)
    text = (video[owner] + generator.normal(size=(50, 8))).astype(np.float16)
    np.save("t.npy", text)
    np.save("v.npy", video)
    lines = ["caption,video"] + [f"{row},{of}" for row, of in enumerate(owner)]
    Path("pairs.csv").write_text("\n".join(lines) + "\n")
    return text, video, owner


def invoke(*words: str):
    return CliRunner().invoke(main, ["evaluate", *words])


FILES = ["--text", "t.npy", "--video", "v.npy", "--keys", "pairs.csv"]


def test_two_files_and_a_table_give_what_evaluate_gives(files):
    done = invoke(*FILES, "--output", "found")
    assert done.exit_code == 0, done.output
    metrics = evaluate(*files).metrics
    written = json.loads(Path("found/metrics.json").read_text())
    assert written["t2v"] == {name: pytest.approx(value, abs=1e-6) for name, value in metrics["t2v"].items()}
    assert f"R@01       {metrics['t2v']['R@01']:9.4f}" in done.output
    assert Path("found/queries.parquet").is_file()
    again = CliRunner().invoke(main, ["compare", "found", "found"])
    assert again.exit_code == 0 and "+0.0000" in again.output


def test_a_caption_with_several_videos_has_several_lines(files):
    with open("pairs.csv", "a") as table:
        table.write(f"0,{(files[2][0] + 1) % 20}\n")
    done = invoke(*FILES, "-k", "3")
    assert done.exit_code == 0 and "hit@03" in done.output and "recall@03" in done.output


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ("caption,video\n0,99\n", "line 2: video 99, but its rows are 0 to 19"),
        ("caption,video\nx,0\n", "caption must be row numbers"),
        ("a,b\n0,0\n", "columns caption and video"),
    ],
)
def test_a_table_that_does_not_fit_is_an_error_that_says_where(files, table, says):
    Path("pairs.csv").write_text(table)
    done = invoke(*FILES)
    assert done.exit_code == 1 and says in done.output


def test_half_of_the_options_is_a_usage_error(files):
    assert invoke("--text", "t.npy").exit_code == 2
    assert invoke("one", "two").exit_code == 2


def test_pickles_are_refused(files):
    np.save("t.npy", np.array([{}], dtype=object), allow_pickle=True)
    done = invoke(*FILES)
    assert done.exit_code == 1 and "t.npy isn't a .npy file of numbers" in done.output
