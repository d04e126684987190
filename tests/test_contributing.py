"""The package that CONTRIBUTING.md shows: built, installed as a second wheel, and used by name."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "CONTRIBUTING.md").read_text()


def block(language: str, containing: str) -> str:
    found = [one for one in re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL) if containing in one]
    assert len(found) == 1, containing
    return found[0]


@pytest.fixture(scope="module")
def plugins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to put on Python's path, with the package installed in it."""
    tree, target = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("target")
    (tree / "reelstore_mine").mkdir()
    (tree / "reelstore_mine" / "__init__.py").touch()
    (tree / "pyproject.toml").write_text(block("toml", "entry-points"))
    for name, marker in (("aligner", "class LeastSquares"), ("encoder", "class Letters"), ("dataset", "def build")):
        (tree / "reelstore_mine" / f"{name}.py").write_text(block("python", marker))
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "--target", str(target), "."], cwd=tree, check=True)
    return target


def run(plugins: Path, folder: Path, *command: str, code: int = 0) -> str:
    environment = {**os.environ, "PYTHONPATH": str(plugins)}
    done = subprocess.run(
        [sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


def test_its_dataset_and_encoder_are_found_by_the_command_line(plugins: Path, tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    for number in range(12):
        (tmp_path / "clips" / f"clip{number}.mp4").write_bytes(bytes([number]))
        (tmp_path / "clips" / f"clip{number}.txt").write_text(f"a clip with {'abcdefghijkl'[number] * 3}")
    params = {
        "dataset": {"name": "mine", "kind": "notes", "source": "clips"},
        "encoders": {"text/letters": {"batch_size": 4}},
        "tracking": {"wandb": "disabled"},
    }
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    run(plugins, tmp_path, "-m", "reelstore", "dataset")
    run(plugins, tmp_path, "-m", "reelstore", "embed", "text/letters")
    code = "import reelstore; rows = reelstore.open('store/mine')['text/letters/tokens']; print(len(rows), rows.dim)"
    assert run(plugins, tmp_path, "-c", code) == "12 26\n"
    assert "nothing found" in run(plugins, tmp_path, "-m", "reelstore", "verify", "store")


FITTED = """
import numpy as np
import reelstore

rng = np.random.default_rng(0)
video = rng.normal(size=(80, 6))
aligner = reelstore.fit("least-squares", text=video @ rng.normal(size=(6, 4)), video=video)
aligner.save("model")
again = reelstore.load_aligner("model")
print(aligner.kind, np.array_equal(again.transform(video=video), aligner.transform(video=video)), aligner.history[-1])
"""


def test_its_aligner_is_fitted_saved_and_loaded(plugins: Path, tmp_path: Path) -> None:
    assert run(plugins, tmp_path, "-c", FITTED).startswith("least-squares True {'validation_MRR': 1.0")


def test_a_name_that_nobody_has_lists_plug_ins_too(plugins: Path, tmp_path: Path) -> None:
    fitted = FITTED.replace('"least-squares"', '"least-square"')
    assert "Did you mean least-squares?" in run(plugins, tmp_path, "-c", fitted, code=1)
