"""A training whose process was killed goes on, and ends as the one that wasn't; checkpoints know what they are of."""

import json
import runpy
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from reelstore.align.training.live_checkpoint import NAME, check_embeddings, load_checkpoint
from reelstore.align.training.module import Training
from reelstore.align.training.own_files import OwnFiles
from reelstore.errors import AlignerError

SCRIPT = Path(__file__).with_name("train_killed.py")
pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec.*")


class Stopped(Exception):
    pass


@pytest.fixture(scope="module")
def train(towers):
    """(folder, settings) -> the aligner's tensors, the rows logged, the lines said."""
    run = runpy.run_path(str(SCRIPT))["train"]

    def train(folder: Path, **settings) -> tuple[dict[str, np.ndarray], list[dict], list[str]]:
        rows: list[dict] = []
        lines: list[str] = []
        folders = towers.videos.folder, towers.captions.folder, folder
        aligner = run(*folders, lambda row: rows.append(dict(row)), lines.append, **settings)
        return aligner.tensors(), rows, lines

    return train


@pytest.fixture(scope="module")
def whole(train, tmp_path_factory):
    return train(tmp_path_factory.mktemp("whole"))


def assert_same(found: tuple, whole: tuple) -> None:
    assert found[1] == whole[1]
    assert set(found[0]) == set(whole[0])
    for name, tensor in whole[0].items():
        assert np.array_equal(found[0][name], tensor), name


def test_after_two_kills_the_weights_and_curves_are_bit_for_bit_those_of_no_kill(
    towers, train, whole, tmp_path
) -> None:
    for step in (11, 20):  # in the middle of the second and of the third epoch, two steps behind a checkpoint
        command = [sys.executable, SCRIPT, towers.videos.folder, towers.captions.folder, tmp_path, str(step)]
        assert subprocess.run(command, check=False, capture_output=True).returncode == -signal.SIGKILL
    found = train(tmp_path)
    assert f"continues from {tmp_path / NAME}, step 18" in found[2][0]
    assert_same(found, whole)
    assert not (tmp_path / NAME).exists()


@pytest.fixture
def stop(monkeypatch):
    """step -> training breaks off behind it, within the process."""
    done = Training.optimizer_step

    def stop(step: int | None) -> None:
        def optimizer_step(module: Training, *args, **kwargs) -> None:
            done(module, *args, **kwargs)
            if module.global_step == step:
                raise Stopped

        monkeypatch.setattr(Training, "optimizer_step", optimizer_step)

    return stop


@pytest.mark.parametrize("every", [1, 7])
@pytest.mark.parametrize("step", [6, 7, 8, 14])
def test_around_an_epochs_end_nothing_is_done_twice_or_left_out(train, whole, stop, tmp_path, step, every) -> None:
    stop(step)
    with pytest.raises(Stopped):
        train(tmp_path, checkpoint_steps=every)
    stop(None)
    found = train(tmp_path, checkpoint_steps=every)
    assert_same(found, whole)


@pytest.fixture
def live(train, stop, tmp_path) -> Path:
    stop(5)
    with pytest.raises(Stopped):
        train(tmp_path)
    stop(None)
    return tmp_path / NAME


def test_a_checkpoint_names_its_data_settings_and_revision(live, towers) -> None:
    kept = load_checkpoint(live)["reelstore"]
    for side, rows in (("video", towers.videos), ("text", towers.captions)):
        assert kept["data"][side] == {"digest": rows.digest, "fingerprint": rows.fingerprint}
    assert (kept["kind"], kept["revision"], kept["settings"]["widths"]) == ("mlp", "abc", [16, 8])


def test_a_checkpoint_refuses_embeddings_of_another_encoder(live, towers) -> None:
    same = {
        side: {"fingerprint": rows.fingerprint} for side, rows in (("video", towers.videos), ("text", towers.captions))
    }
    check_embeddings(load_checkpoint(live), same)
    with pytest.raises(AlignerError, match="another encoder"):
        check_embeddings(load_checkpoint(live), same | {"text": {"fingerprint": "f" * 64}})


@pytest.mark.parametrize("changed", ["fingerprint", "settings", "bytes"])
def test_a_checkpoint_of_something_else_is_left_and_said(live, train, whole, changed) -> None:
    if changed == "bytes":
        live.write_bytes(live.read_bytes()[:1000])
    elif changed == "fingerprint":
        checkpoint = load_checkpoint(live)
        checkpoint["reelstore"]["data"]["video"]["fingerprint"] = "0" * 64
        torch.save(checkpoint, live)
    settings = {"lr": 0.02} if changed == "settings" else {}
    _, rows, lines = train(live.parent, **settings)
    assert "starts from the beginning" in lines[0]
    assert len(rows) == len(whole[1])
    assert (rows == whole[1]) == (changed != "settings")


@pytest.mark.parametrize("name", ["precious", "../precious", "x/../../precious"])
def test_a_checkpoint_cannot_have_other_files_removed(live, train, whole, name) -> None:
    """Lightning removes what a checkpoint names as the best before, with all that is below it."""
    precious = live.parent.parent / "precious" if ".." in name else live.parent / "precious"
    precious.mkdir(exist_ok=True)
    (precious / "thesis.txt").write_text("years")
    checkpoint = load_checkpoint(live)
    state = next(state for key, state in checkpoint["callbacks"].items() if key.startswith("ModelCheckpoint"))
    path = f"{live.parent}/{name}"
    state |= {"best_k_models": {path: torch.tensor(-1.0)}, "kth_best_model_path": path, "best_model_path": path}
    torch.save(checkpoint, live)
    found = train(live.parent)
    assert "names checkpoints elsewhere" in found[2][0] and "starts from the beginning" in found[2][0]
    assert_same(found, whole)
    assert (precious / "thesis.txt").read_text() == "years"


def test_lightning_removes_and_replaces_files_of_its_folder_alone(tmp_path) -> None:
    own, mine = OwnFiles(tmp_path / "own"), tmp_path / "mine.txt"
    (tmp_path / "own").mkdir()
    mine.write_text("mine")
    for path in (mine, tmp_path / "own" / ".." / "mine.txt", tmp_path):
        with pytest.raises(AlignerError, match="isn't a checkpoint in"):
            own.remove_checkpoint(path)
    (tmp_path / "own" / "best.ckpt").symlink_to(mine)
    own.save_checkpoint({"step": 1}, tmp_path / "own" / "best.ckpt")
    assert own.load_checkpoint(tmp_path / "own" / "best.ckpt") == {"step": 1}
    assert mine.read_text() == "mine"


def test_a_flipped_byte_in_a_checkpoint_shows_or_changes_nothing(live) -> None:
    content, kept = live.read_bytes(), repr(load_checkpoint(live))
    refused = 0
    for place in range(100, len(content), len(content) // 40):
        live.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        try:
            assert repr(load_checkpoint(live)) == kept  # in what surrounds the parts
        except AlignerError as error:
            assert "can't be read" in str(error) and len(str(error).splitlines()) == 1
            refused += 1
    assert refused > 20


@pytest.mark.parametrize("changed", ["callbacks", "optimizer_states", "loops", "reelstore", "lr_schedulers"])
def test_a_checkpoint_whose_parts_are_others_ends_in_a_sentence(live, train, changed) -> None:
    checkpoint = load_checkpoint(live)
    checkpoint[changed] = [{"param_groups": 3}] if changed == "optimizer_states" else "text"
    torch.save(checkpoint, live)
    try:
        lines = train(live.parent)[2]
    except AlignerError as error:
        assert str(live) in str(error) and "Remove it" in str(error)
    else:
        assert "starts from the beginning" in lines[0]


def test_a_checkpoint_is_plain_data(live) -> None:
    kept = load_checkpoint(live)["reelstore"]
    assert json.dumps({name: kept[name] for name in ("kind", "settings", "data", "revision", "order")})
