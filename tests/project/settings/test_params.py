"""params.yaml is checked once, at the border."""

from pathlib import Path

import pytest

from reelstore.errors import ParamsError
from reelstore.project.settings import load_params, parse_params

ROOT = Path(__file__).parents[3]


def test_the_repository_s_params_are_valid() -> None:
    params = load_params(ROOT / "params.yaml")
    assert params.dataset.name == "emoji"
    assert list(params.aligners) == ["unaligned", "ridge", "cca", "kernel-ridge", "mlp"]
    assert params.encoder_options("video/efficientnet-lite0")["n_frames"] == 8


def test_an_empty_file_gives_the_defaults() -> None:
    assert parse_params({}).embed.dtype == "float16"


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ({"embde": {}}, "embde is unknown. Did you mean embed"),
        ({"embed": {"dtpye": "float16"}}, "embed.dtpye is unknown"),
        ({"embed": {"dtype": "int8"}}, "must be float16 or float32"),
        ({"embed": {"threads": "two"}}, "embed.threads is 'two'; a whole number is expected"),
        ({"embed": {"threads": True}}, "a whole number is expected"),
        ({"embed": {"max_failures": -1}}, "must not be negative"),
        ({"embed": []}, r"embed is \[\]; a mapping is expected"),
        ({"dataset": {"name": "../up"}}, "must be letters, digits"),
        ({"dataset": {"name": "values"}}, "'values' is reserved: every variant of a store has an array"),
        ({"dataset": {"name": "Status"}}, "'Status' is reserved"),
        ({"encoders": {"video/offsets": {}}}, "'video/offsets' is reserved"),
        ({"streams": {"text/c": {"keep": ["mean"]}}}, "'text/c' is reserved"),
        ({"dataset": {"splits": {"train": 0.5}}}, "add up to 1"),
        ({"model": {"video": ["clip"]}}, "encoders has no line video/clip"),
        ({"encoders": {"audio/x": {}}}, "must be video/<name> or text/<name>"),
        ({"aligners": {"mlp": {"lr": 1}}}, "aligners.mlp has no `kind`"),
        ({"evaluate": {"ks": [0]}}, "must be at least 1"),
        ({"tracking": {"wandb": "maybe"}}, "offline, online or disabled"),
    ],
)
def test_what_is_wrong_is_named(raw: dict, words: str) -> None:
    with pytest.raises(ParamsError, match=words):
        parse_params(raw)


def test_a_missing_or_broken_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match=r"with dvc\.yaml"):
        load_params(tmp_path / "params.yaml")
    (tmp_path / "params.yaml").write_text("a: [")
    with pytest.raises(ParamsError, match="isn't valid YAML"):
        load_params(tmp_path / "params.yaml")
