"""Counts, metrics and neighbours are the same to the last bit where torch isn't installed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from .problems import KINDS, results

pytest.importorskip("torch", reason="compares with what torch gives")
N_PROBLEMS = 3000 if "REELSTORE_SOAK" in os.environ else 4 * (len(KINDS) + 1)


def test_counts_without_torch_are_those_with_torch_bit_for_bit() -> None:
    import torch  # noqa: F401

    command = [sys.executable, str(Path(__file__).parent / "problems.py"), "0", str(N_PROBLEMS), "--without-torch"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == N_PROBLEMS
    for seed, line in enumerate(lines):
        want = json.loads(json.dumps(results(seed)))
        assert json.loads(line) == want, seed


def test_a_problem_so_large_that_bfloat16_would_pay_is_counted_without_torch() -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from problems import WithoutTorch; sys.meta_path.insert(0, WithoutTorch())\n"
        "from reelstore.ranking.products import bfloat16_pays\n"
        "print(bfloat16_pays(1e15))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(Path(__file__).parent)], capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr


def test_a_device_without_torch_is_an_error_that_says_what_to_install() -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from problems import WithoutTorch; sys.meta_path.insert(0, WithoutTorch())\n"
        "import numpy as np, reelstore\n"
        "reelstore.evaluate(text=np.eye(2), video=np.eye(2), video_of_caption=[0, 1], device='cpu')"
    )
    done = subprocess.run([sys.executable, "-c", code, str(Path(__file__).parent)], capture_output=True, text=True)
    assert "MissingExtraError: device= needs torch" in done.stderr
    assert "pip install 'reelstore[" in done.stderr
