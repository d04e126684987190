"""What a checkpoint's configuration says of its network, held against the network itself."""

from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoints import clip, made
from families import family
from transformers import CLIPModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from reelstore.encoders.hub import find_checkpoint
from reelstore.encoders.hub_model import _ATTENTION, class_of, half_precision, read_model_config, usable_positions
from reelstore.encoders.hub_network import load_network, positions_of
from reelstore.encoders.registry import load_weights, make_encoder
from reelstore.errors import WeightsError


def checkpoint(folder: Path) -> Any:
    return find_checkpoint(str(folder), None, encoder="text/test")


@pytest.mark.parametrize("model_type", sorted(_ATTENTION))
def test_attention_without_torch_is_the_default_of_the_network_s_class(model_type: str) -> None:
    network_class = class_of(CONFIG_MAPPING[model_type]())
    assert ("sdpa" if network_class._supports_sdpa else "eager") == _ATTENTION[model_type]


@pytest.mark.parametrize("name", ["bert", "roberta", "xlm-roberta"])
def test_usable_positions_are_those_of_the_network(name: str, tmp_path: Path) -> None:
    one = checkpoint(family(name, tmp_path / name))
    config = read_model_config(one)
    assert usable_positions(config) == positions_of(load_network(one, dtype="float32"), config.max_position_embeddings)


@pytest.mark.parametrize(("device", "dtype"), [("cpu", "float32"), ("cuda", "float16"), ("cuda:1", "float16")])
def test_a_gpu_takes_half_precision(device: str, dtype: str) -> None:
    assert half_precision(checkpoint(made(clip)), device) == dtype


def test_a_network_that_computes_otherwise_than_its_spec_says_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = make_encoder("text", "clip", options={"model": str(made(clip))}, device="cpu", threads=1)
    monkeypatch.setattr(CLIPModel, "_supports_sdpa", False)
    with pytest.raises(WeightsError, match=r"loaded with float32, eager attention, .* says float32, sdpa attention"):
        load_weights(encoder)


@pytest.mark.parametrize("side", ["video", "text"])
def test_a_network_of_another_width_than_its_spec_says_is_refused(side: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = make_encoder(side, "clip", options={"model": str(made(clip))}, device="cpu", threads=1)
    narrower = staticmethod(lambda output: torch.as_tensor(output.pooler_output)[:, :16])
    monkeypatch.setattr("reelstore.encoders.hub_network.pooled", narrower)
    with pytest.raises(WeightsError, match=r"gives .*16.* and its config\.json says .*32"):
        load_weights(encoder)
