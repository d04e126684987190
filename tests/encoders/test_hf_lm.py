"""Hidden states of language models, against the library's without padding."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoints import LANGUAGE, N_BYTES, byte_tokenizer, language_model, made, write
from inputs import CAPTIONS, loaded

from reelstore.encoders.hf_lm import HfLm
from reelstore.errors import ParamsError, WeightsError

TEMPLATE = "Caption: {caption} In one word:"


def encoder(**options: Any) -> HfLm:
    return loaded(HfLm, **{"model": str(made(language_model)), "device": "cpu", **options})


def states(folder: Path, prompt: str) -> tuple[Any, ...]:
    """What the library gives for one prompt by itself, layer by layer."""
    from transformers import AutoModel, AutoTokenizer

    inputs = AutoTokenizer.from_pretrained(folder)(prompt, return_tensors="pt")
    with torch.inference_mode():
        network = AutoModel.from_pretrained(folder).eval()
        return tuple(network(**inputs, output_hidden_states=True).hidden_states)


@pytest.mark.parametrize("template", ["{caption}", TEMPLATE])
def test_every_layer_is_the_library_s_without_padding(template: str) -> None:
    own = encoder(layers=[0, 1, 2, 3], template=template, batch_size=3)
    assert list(own.spec.outputs) == ["layer-0", "layer-1", "layer-2", "layer-3"]
    for caption in CAPTIONS:
        results = own.encode([own.prepare(caption)])[0]
        for layer, expected in enumerate(states(made(language_model), template.replace("{caption}", caption))):
            np.testing.assert_allclose(results[f"layer-{layer}"], expected[0], rtol=1e-5, atol=1e-5)


def test_captions_of_several_lengths_in_one_batch_give_the_same_states() -> None:
    own = encoder(batch_size=4)
    ids = [own.prepare(caption) for caption in ("x", "a dog", "two dogs")]
    assert len({own.bucket(row) for row in ids}) == 1
    for row, together in zip(ids, own.encode(ids), strict=True):
        np.testing.assert_allclose(together["layer-3"], own.encode([row])[0]["layer-3"], rtol=0, atol=1e-6)


def test_the_last_layer_is_the_default_and_ends_in_the_last_token() -> None:
    own = encoder(template=TEMPLATE)
    assert list(own.spec.outputs) == ["layer-3"]
    values = own.encode([own.prepare("a dog")])[0]["layer-3"]
    prompt = TEMPLATE.replace("{caption}", "a dog")
    assert len(values) == len(prompt)  # a token a byte
    np.testing.assert_allclose(values[-1], states(made(language_model), prompt)[-1][0, -1], rtol=1e-5, atol=1e-5)


def test_a_long_caption_is_cut_and_the_end_of_the_template_stays() -> None:
    own = encoder(template=TEMPLATE, max_tokens=40)
    long = own.prepare("abcdefgh" * 20)
    n_kept = 40 - len(TEMPLATE) + len("{caption}")
    assert long.tolist() == own.prepare(("abcdefgh" * 20)[:n_kept]).tolist()
    assert len(long) == 40


def test_a_template_longer_than_all_tokens_is_refused() -> None:
    with pytest.raises(ParamsError, match="the template alone has more than max_tokens, 10"):
        encoder(template=TEMPLATE, max_tokens=10)


@pytest.mark.parametrize("layers", [[4], [-1], [], [1, 1], ["1"], [True], 9])
def test_layers_that_are_not_there_are_refused(layers: Any) -> None:
    with pytest.raises(ParamsError, match=r"layers must be different numbers from 0 \(embeddings\) to 3"):
        encoder(layers=layers)


@pytest.mark.parametrize("template", ["", "no place", "{caption} {caption}", None])
def test_a_template_without_one_place_is_refused(template: Any) -> None:
    with pytest.raises(ParamsError, match="template must hold"):
        encoder(template=template)


@pytest.mark.parametrize("max_tokens", [0, 513, "40"])
def test_a_number_of_tokens_beyond_its_positions_is_refused(max_tokens: Any) -> None:
    with pytest.raises(ParamsError, match="max_tokens must be 1 to 512"):
        encoder(max_tokens=max_tokens)


def test_template_and_layers_are_told_apart_where_they_change_numbers() -> None:
    fingerprints = {encoder(template=template).spec.fingerprint() for template in ("{caption}", TEMPLATE)}
    assert len(fingerprints) == 2
    # A layer is the same whichever others come with it.
    assert encoder(layers=[1]).spec.fingerprint() == encoder(layers=[1, 2]).spec.fingerprint()


def test_a_multimodal_model_s_language_side_takes_captions(tmp_path: Path) -> None:
    vision = {
        "depth": 1, "hidden_size": 32, "intermediate_size": 32, "num_heads": 2, "out_hidden_size": 32,
        "num_position_embeddings": 16, "deepstack_visual_indexes": [0],
    }  # fmt: skip
    text = {**LANGUAGE, "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 1, 1]}}
    folder = write(tmp_path / "qwen3-vl", {"model_type": "qwen3_vl", "text_config": text, "vision_config": vision})
    byte_tokenizer(folder, start=None, end=None, specials=["<|endoftext|>", "<|end|>"], eos_token="<|end|>")
    own = loaded(HfLm, model=str(folder), layers=[1, 3], batch_size=2, device="cpu")
    results = own.encode([own.prepare("a dog")])[0]
    expected = states(folder, "a dog")
    for layer in (1, 3):
        np.testing.assert_allclose(results[f"layer-{layer}"], expected[layer][0], rtol=1e-5, atol=1e-5)


def test_an_encoder_of_text_goes_too_and_sees_no_padding(tmp_path: Path) -> None:
    config = {
        "model_type": "bert", "vocab_size": N_BYTES + 3, "hidden_size": 32, "intermediate_size": 64,
        "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 64,
    }  # fmt: skip
    folder = write(tmp_path / "bert", config)
    byte_tokenizer(folder, start="[CLS]", end="[SEP]", specials=["[PAD]", "[CLS]", "[SEP]"], pad_token="[PAD]")
    own = loaded(HfLm, model=str(folder), max_tokens=64, batch_size=2, device="cpu")
    np.testing.assert_allclose(
        own.encode([own.prepare("a dog")])[0]["layer-2"], states(folder, "a dog")[-1][0], rtol=1e-5, atol=1e-5
    )


def test_an_encoder_with_a_decoder_is_refused(tmp_path: Path) -> None:
    config = {
        "model_type": "t5",
        "vocab_size": 300,
        "d_model": 32,
        "d_kv": 8,
        "d_ff": 64,
        "num_layers": 1,
        "num_heads": 4,
    }
    folder = write(tmp_path / "t5", config)
    with pytest.raises(WeightsError, match="an encoder with a decoder"):
        loaded(HfLm, model=str(folder), device="cpu")


def test_weights_saved_with_a_language_head_are_taken(tmp_path: Path) -> None:
    """As most checkpoints are: the head is left out, the rest is the same."""
    from transformers import AutoModelForCausalLM

    folder = language_model(tmp_path / "lm")
    config = json.loads((folder / "config.json").read_text())
    network = AutoModelForCausalLM.from_pretrained(folder)
    network.save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps({**config, "architectures": ["Qwen3ForCausalLM"]}))
    own, usual = loaded(HfLm, model=str(folder), device="cpu"), encoder()
    ids = own.prepare("a dog")
    assert np.array_equal(own.encode([ids])[0]["layer-3"], usual.encode([ids])[0]["layer-3"])
