"""W&B, for real and offline: no question, no double, nothing when disabled."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from reelstore.project import tracking
from reelstore.project.settings import TrackingParams

CODE = """
import sys
from reelstore.project import tracking
from reelstore.project.settings import TrackingParams
mode, name, fails = sys.argv[1:4]
with tracking.run(TrackingParams(wandb=mode), job="align", name=name, config={"lr": 1}, tags=["m"]) as log:
    log.row({"train_loss": 0.5})
    log.summary({"t2v": {"R@01": 0.25}})
    log.table("worst captions", ["key", "rank"], [["a", 3.0]])
    if fails == "yes":
        raise KeyboardInterrupt
print("wandb" in sys.modules)
"""


def log(folder: Path, mode: str, name: str = "set/model/mlp", fails: str = "no") -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("WANDB")}
    environment |= {"HOME": str(folder), "NETRC": str(folder / "none")}
    command = [sys.executable, "-c", CODE, mode, name, fails]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL
    )


def runs(folder: Path) -> list[Path]:
    return sorted((folder / "runs" / "wandb").glob("offline-run-*"))


def test_a_run_done_again_takes_its_predecessor_s_place(tmp_path: Path) -> None:
    for _ in range(2):
        done = log(tmp_path, "offline")
        assert done.returncode == 0, done.stderr
        assert done.stdout == "True\n" and done.stderr == ""
    assert len(runs(tmp_path)) == 1
    assert list(runs(tmp_path)[0].glob("run-*.wandb"))
    assert log(tmp_path, "offline", name="set/model/ridge").returncode == 0
    assert len(runs(tmp_path)) == 2


def test_files_of_a_person_in_a_predecessor_s_folder_stay(tmp_path: Path) -> None:
    log(tmp_path, "offline")
    first = runs(tmp_path)[0]
    theirs = tmp_path / "theirs" / "media" / "table"
    theirs.mkdir(parents=True)
    (theirs / "mine.table.json").write_text("{}")
    (first / "notes.txt").write_text("mine")
    (first / "files" / "thesis.tex").write_text("mine")
    linked = first.with_name(first.name.replace("run-2", "run-3"))
    linked.mkdir()
    (linked / "files").symlink_to(tmp_path / "theirs")
    assert log(tmp_path, "offline").returncode == 0
    assert {path.name for path in first.rglob("*")} == {"notes.txt", "files", "thesis.tex"}
    assert (theirs / "mine.table.json").exists() and (linked / "files").is_symlink()


def test_runs_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "runs").symlink_to(tmp_path / "theirs")
    done = log(tmp_path, "offline")
    assert done.returncode != 0 and "runs is a link to" in done.stderr
    assert not list((tmp_path / "theirs").iterdir())


def test_an_interrupted_run_ends_and_is_replaced(tmp_path: Path) -> None:
    assert log(tmp_path, "offline", fails="yes").returncode != 0
    assert log(tmp_path, "offline").returncode == 0
    assert len(runs(tmp_path)) == 1


def test_disabled_imports_and_writes_nothing(tmp_path: Path) -> None:
    done = log(tmp_path, "disabled")
    assert done.stdout == "False\n"
    assert not (tmp_path / "runs").exists()


def test_online_without_an_account_is_an_error_and_asks_nothing(tmp_path: Path) -> None:
    done = log(tmp_path, "online")
    assert done.returncode != 0
    assert "wandb login" in done.stderr and "tracking.wandb: offline" in done.stderr


@pytest.mark.parametrize("text", ["R@01", "set/model", "hit@k "])
def test_names_are_letters_digits_and_underscores(text: str) -> None:
    from reelstore.project.tracking import _name

    assert _name(text).replace("_", "").isalnum()
    assert json.loads(json.dumps(_name(text))) == _name(text)


def test_wandb_mode_of_the_environment_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "disabled")
    with tracking.run(TrackingParams(wandb="online"), job="align", name="set/model/mlp", config={}) as disabled:
        disabled.summary({"t2v": {"R@01": 0.5}})
    assert not list(tmp_path.iterdir())


def test_another_branch_has_a_run_of_its_own(tmp_path: Path) -> None:
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@t"]
    for words in (["init", "-q", "-b", "main"], ["commit", "-q", "--allow-empty", "-m", "start"]):
        subprocess.run([*git, *words], cwd=tmp_path, check=True)
    assert log(tmp_path, "offline").returncode == 0
    subprocess.run([*git, "switch", "-qc", "other"], cwd=tmp_path, check=True)
    assert log(tmp_path, "offline").returncode == 0
    assert len(runs(tmp_path)) == 2


def test_a_run_that_breaks_is_marked_failed_and_holds_config_and_summary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import wandb

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    config = {"video": {"digest": "x"}}
    with (
        pytest.raises(ValueError, match="broken"),
        tracking.run(TrackingParams(wandb="offline"), job="evaluate", name="set/model/mlp", config=config) as run,
    ):
        run.summary({"t2v": {"R@01": 0.5}})
        live = wandb.run
        assert live is not None
        assert live.config["video"] == {"digest": "x"}
        assert "git_revision" in live.config
        assert live.summary["t2v_R_01"] == 0.5
        raise ValueError("broken")
    assert live._exit_code == 1
