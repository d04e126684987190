"""A tokenizer that isn't the network's is refused before anything is embedded; a sound one never."""

import json
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from checkpoints import clip, made, siglip2, xclip
from families import FAMILIES, family

from reelstore.encoders.registry import load_encoder
from reelstore.errors import ParamsError, WeightsError

Spoil = Callable[[Path], object]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return cache(lambda name: family(name, tmp_path_factory.mktemp("families") / name))


def load(folder: Path, key: str = "text/hf-lm", **options: Any) -> Any:
    side, name = key.split("/")
    options = {"model": str(folder), **({"max_tokens": 32} if name == "hf-lm" else {}), **options}
    return load_encoder(side, name, options=options, device="cpu", threads=1)  # type: ignore[arg-type]


def without_tokenizer(folder: Path) -> None:
    for path in folder.iterdir():
        if path.name not in ("config.json", "model.safetensors"):
            path.unlink()


def vocabulary(change: Callable[[dict[str, Any]], object]) -> Spoil:
    def spoil(folder: Path) -> None:
        content = json.loads((folder / "tokenizer.json").read_text())
        change(content)
        (folder / "tokenizer.json").write_text(json.dumps(content))

    return spoil


def special_tokens_alone(content: dict[str, Any]) -> None:
    special = {token["content"] for token in content["added_tokens"]}
    model = content["model"]
    if isinstance(model["vocab"], dict):
        model["vocab"] = {piece: number for piece, number in model["vocab"].items() if piece in special}
        model["merges"] = []
    else:
        model["vocab"] = [[piece, score] for piece, score in model["vocab"] if piece in special]


def larger(content: dict[str, Any]) -> None:
    words = content["model"]["vocab"]
    if isinstance(words, dict):
        words["another"] = max(words.values()) + 1
    else:
        words.append(["another", -5.0])


def smaller(content: dict[str, Any]) -> None:
    model = content["model"]
    n_kept = int(0.4 * len(model["vocab"]))
    if not isinstance(model["vocab"], dict):
        model["vocab"] = model["vocab"][:n_kept]
        return
    model["vocab"] = kept = {piece: number for piece, number in model["vocab"].items() if number < n_kept}
    if "merges" in model:
        model["merges"] = [
            (left, right) for left, right in model["merges"] if {left, right, left + right} <= kept.keys()
        ]


def cut(folder: Path) -> None:
    content = (folder / "tokenizer.json").read_bytes()
    (folder / "tokenizer.json").write_bytes(content[: len(content) // 2])


SPOILT: dict[str, Spoil] = {
    "no tokenizer": without_tokenizer,
    "special tokens alone": vocabulary(special_tokens_alone),
    "one id more than the table": vocabulary(larger),
    "smaller than the table": vocabulary(smaller),
    "cut": cut,
}


@pytest.mark.parametrize("spoil", SPOILT)
@pytest.mark.parametrize("name", FAMILIES)
def test_a_tokenizer_that_is_not_the_network_s_is_refused(name: str, spoil: str, folders: Any, tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    shutil.copytree(folders(name), folder)
    SPOILT[spoil](folder)
    with pytest.raises(WeightsError, match="tokenizer") as raised:
        load(folder)
    assert "tokenizer.json" in str(raised.value)


@pytest.mark.parametrize(
    ("key", "maker"), [("text/clip", clip), ("text/xclip", xclip), ("text/hf-dual", xclip), ("text/siglip2", siglip2)]
)
def test_a_dual_encoder_s_folder_without_its_tokenizer_is_refused(key: str, maker: Any, tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    shutil.copytree(made(maker), folder)
    without_tokenizer(folder)
    with pytest.raises(WeightsError, match=r"tokenizer\.json"):
        load(folder, key)


@pytest.mark.parametrize("name", ["roberta", "gpt2"])
@pytest.mark.parametrize("n_kept", [0, 0.5, None])
def test_merges_that_are_missing_or_cut_are_refused(
    name: str, n_kept: float | None, folders: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "checkpoint"
    shutil.copytree(folders(name), folder)
    model = json.loads((folder / "tokenizer.json").read_text())["model"]
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.json").write_text(json.dumps(model["vocab"]))
    merges = [" ".join(pair) for pair in model["merges"]]
    if n_kept is not None:
        (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges[: int(n_kept * len(merges))], ""]))
    with pytest.raises(WeightsError, match=r"merges\.txt"):
        load(folder)
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]))
    load(folder)


@pytest.mark.parametrize("name", [name for name in FAMILIES if name != "electra"])  # its words are few
@pytest.mark.parametrize("spare_rows", [1, 63, 127])
def test_a_table_padded_to_a_multiple_is_sound(name: str, spare_rows: int, tmp_path: Path) -> None:
    load(family(name, tmp_path / name, spare_rows=spare_rows))


@pytest.mark.parametrize("name", FAMILIES)
def test_the_longest_caption_has_positions(name: str, folders: Any) -> None:
    """RoBERTa's 66 positions begin at 2: 64 tokens have one."""
    with pytest.raises(ParamsError, match="max_tokens must be 1 to 64"):
        load(folders(name), max_tokens=66)
    encoder = load(folders(name), max_tokens=64)
    ids = encoder.prepare("a dog " * 100)
    assert len(ids) == 64
    assert encoder.encode([ids])[0]["layer-2"].shape == (64, 32)
