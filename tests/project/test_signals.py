"""Signals to every kind of stage, from outside: 128 + number, a line, nothing half-written, nobody left working."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from click.testing import CliRunner

from reelstore.cli import main
from reelstore.datasets import llm_like

ENCODER = "llm-like"
CURVES = Path("runs/align/drawn/llm-like+llm-like")
WORK = "from reelstore.cli import main; main()"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Enough captions for two tasks, and all that comes before a training."""
    folder = tmp_path_factory.mktemp("project")
    splits = {"train": 250, "validation": 50, "test": 100}
    knobs = json.loads(Path(llm_like.__file__).with_suffix(".json").read_text())
    knobs |= {"n_videos": 400, "splits": splits, "captions_per_video": 3}
    (folder / "knobs.json").write_text(json.dumps(knobs))
    endless = {"kind": "mlp", "widths": [8, 4], "max_epochs": 10**6, "patience": 10**6, "checkpoint_steps": 1}
    params = {
        "dataset": {"name": "drawn", "kind": "llm-like", "source": "knobs.json"},
        "encoders": {f"{side}/{ENCODER}": {"width": 256} for side in ("video", "text")},
        "model": {"video": [ENCODER], "text": [ENCODER]},
        "aligners": {"mlp": endless, "kernel": {"kind": "kernel-ridge"}, "unaligned": {"kind": "unaligned"}},
        "tracking": {"wandb": "disabled"},
    }
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    np.save(folder / "many.npy", np.random.default_rng(0).normal(size=(60_000, 256)).astype("f4"))
    (folder / "keys.csv").write_text("video_id\n" + "".join(f"v{number}\n" for number in range(60_000)))
    before = Path.cwd()
    os.chdir(folder)
    try:
        for words in (
            "dataset",
            *(f"{stage} {side}/{ENCODER}" for stage in ("embed", "pool") for side in ("video", "text")),
            "pairs",
            f"align {ENCODER} {ENCODER} unaligned",
        ):
            done = CliRunner().invoke(main, words.split())
            assert done.exit_code == 0, done.output
    finally:
        os.chdir(before)
    return folder


def there(path: str | Path) -> Callable[[subprocess.Popen[bytes]], bool]:
    return lambda process: Path(path).exists()


def says(words: bytes) -> Callable[[subprocess.Popen[bytes]], bool]:
    return lambda process: words in Path("stderr").read_bytes()


def has_loaded(library: str) -> Callable[[subprocess.Popen[bytes]], bool]:
    return lambda process: library in Path(f"/proc/{process.pid}/maps").read_text()


def has_workers(process: subprocess.Popen[bytes]) -> bool:
    return len(children(process.pid)) >= 2


def children(process: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = path.read_text().rpartition(")")[2].split()[:2]
        except OSError:  # it has ended
            continue
        if int(parent) == process and state != "Z":
            found.append(int(path.parent.name))
    return found


MODEL = f"{ENCODER} {ENCODER}"
IMPORT = "import array many.npy store/mine/video/many/mean --keys keys.csv"
CASES = [
    (f"align {MODEL} mlp", there(CURVES / "mlp" / "curves" / "metrics.json"), "SIGHUP"),
    (f"align {MODEL} kernel", there(CURVES / "kernel" / "curves"), "SIGTERM"),
    (f"evaluate {MODEL} unaligned", has_loaded("libarrow"), "SIGINT"),
    (f"embed text/{ENCODER} --workers 2", has_workers, "SIGTERM"),
    (f"embed text/{ENCODER} --workers 2", says(b"0/1200"), "SIGINT"),
    (f"embed text/{ENCODER}", says(b"0/1200"), "SIGHUP"),
    (f"pool text/{ENCODER}", says(b"0/"), "SIGTERM"),
    (IMPORT, says(b"0/60000"), "SIGINT"),
]


@pytest.fixture
def untouched(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "project"
    shutil.copytree(project, folder, copy_function=os.link)
    monkeypatch.chdir(folder)


@pytest.mark.parametrize(("words", "ready", "name"), CASES)
def test_a_stage_that_is_stopped_says_so(untouched, words: str, ready: Callable, name: str) -> None:
    for variant in {"embed": ["tokens"], "pool": ["first", "last", "max", "mean", "sum"]}.get(words.split()[0], []):
        shutil.rmtree(f"store/drawn/text/{ENCODER}/{variant}")
    stopped(words, ready, name)


def test_a_training_that_was_stopped_goes_on_and_leaves_no_model_before_its_end(untouched) -> None:
    live = CURVES / "mlp" / "live.ckpt"
    stopped(f"align {MODEL} mlp", there(live), "SIGTERM")
    assert live.exists()
    said = stopped(f"align {MODEL} mlp", says(f"continues from {live}".encode()), "SIGINT")
    assert "starts from the beginning" not in said


def stopped(words: str, ready: Callable, name: str) -> str:
    """What a command says that gets this signal as soon as it is ready."""
    before, number = files(), signal.Signals[name]
    with open("stderr", "wb") as stderr:
        process = subprocess.Popen([sys.executable, "-c", WORK, *words.split()], stderr=stderr, start_new_session=True)
    while not ready(process):
        assert process.poll() is None, Path("stderr").read_text()
        time.sleep(0.005)
    workers = children(process.pid)
    if name == "SIGINT":
        os.killpg(process.pid, number)  # Ctrl-C reaches all processes of a terminal
    else:
        process.send_signal(number)
    assert process.wait(timeout=60) == 128 + number
    said = Path("stderr").read_text()
    assert said.splitlines()[-1] == f"Stopped by {name}. Nothing half-written was published; run it again."
    assert "Traceback" not in said and "Error" not in said
    assert files() == before
    ends = time.monotonic() + 10
    while any(Path(f"/proc/{worker}").exists() for worker in workers):
        assert time.monotonic() < ends, "a worker outlives its parent"
        time.sleep(0.05)
    return said


def files() -> set[str]:
    """What has been published, and what is on its way there."""
    tops = ("metrics", "models", "pairs", "plots", "store")
    return {path.as_posix() for top in tops for path in Path(top).rglob("*") if path.is_file()}
