"""The benchmarks run, compare what they read, and say what isn't there."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks/reading.py"


@pytest.mark.parametrize("workload", ["P", "T", "R"])
def test_reading_measures_every_contender_that_is_installed(tmp_path: Path, workload: str) -> None:
    command = [sys.executable, SCRIPT, "--workloads", workload, "--repeats", "1", "--folder", tmp_path]
    command += ["--pooled", "300", "--videos", "33", "--captions", "70", "--out", tmp_path / "reading.json"]
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
