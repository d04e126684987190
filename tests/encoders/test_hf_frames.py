"""CLIP, SigLIP 2 and MetaCLIP 2 over frames, against the library's own models and tokenizers."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoints import CLIP_EOS, clip, made, metaclip2, siglip2
from inputs import CAPTIONS, frames, loaded

from reelstore.encoders.hf_frames import HfFramesText, HfFramesVideo
from reelstore.errors import ParamsError, WeightsError
from reelstore.pooling import pool

FAMILIES = {"clip": clip, "siglip2": siglip2, "metaclip2": metaclip2}


@pytest.fixture(params=sorted(FAMILIES))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def library(name: str) -> Any:
    from transformers import AutoModel

    return AutoModel.from_pretrained(made(FAMILIES[name])).eval()


def unit(values: Any) -> np.ndarray:
    return torch.nn.functional.normalize(values, dim=-1).numpy()


def test_tokens_are_the_frames_embeddings_of_length_one(name: str) -> None:
    encoder = loaded(HfFramesVideo, name=name, model=str(made(FAMILIES[name])), n_frames=5, batch_size=2, device="cpu")
    prepared = encoder.prepare(frames(5))
    tokens = encoder.encode([prepared])[0]["tokens"]
    with torch.inference_mode():
        expected = unit(library(name).get_image_features(pixel_values=torch.from_numpy(prepared)).pooler_output)
    np.testing.assert_allclose(tokens, expected, rtol=0, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(tokens, axis=1), 1, rtol=0, atol=1e-6)
    np.testing.assert_allclose(pool(tokens, "mean"), expected.mean(axis=0), rtol=0, atol=1e-6)


def test_captions_are_embedded_as_the_library_does_with_whole_rows(name: str) -> None:
    from transformers import AutoTokenizer

    folder = made(FAMILIES[name])
    encoder = loaded(HfFramesText, name=name, model=str(folder), batch_size=3, device="cpu")
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="right")
    network = library(name)
    texts = [caption.lower() for caption in CAPTIONS] if name == "siglip2" else CAPTIONS
    length = network.config.text_config.max_position_embeddings
    inputs = tokenizer(texts, padding="max_length", truncation=True, max_length=length, return_tensors="pt")
    if name == "siglip2":
        del inputs["attention_mask"]  # as its processor: trained without
    with torch.inference_mode():
        expected = unit(network.get_text_features(**inputs).pooler_output)
    ours = [encoder.encode([encoder.prepare(caption)])[0]["embedding"] for caption in CAPTIONS]
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-6)


def test_frames_are_eight_unless_said_otherwise(name: str) -> None:
    folder = str(made(FAMILIES[name]))
    assert loaded(HfFramesVideo, name=name, model=folder, device="cpu").frames["n_frames"] == 8
    every = loaded(HfFramesVideo, name=name, model=folder, sampling="every_nth", step=4, device="cpu")
    assert every.spec.outputs["tokens"].n_tokens is None
    assert every.encode([every.prepare(frames(3))])[0]["tokens"].shape == (3, 32)
    with pytest.raises(ParamsError, match="takes 8 frames of a video, not 3"):
        loaded(HfFramesVideo, name=name, model=folder, device="cpu").prepare(frames(3))


class TestClipsEndToken:
    @pytest.mark.parametrize("eos_token_id", [2, CLIP_EOS])
    def test_old_and_new_configs_take_the_same_state(self, eos_token_id: int, tmp_path: Path) -> None:
        encoder = loaded(HfFramesText, model=str(clip(tmp_path / "clip", eos_token_id=eos_token_id)), device="cpu")
        usual = loaded(HfFramesText, model=str(made(clip)), device="cpu")
        for caption in CAPTIONS:
            ids = encoder.prepare(caption)
            assert ids[-1] == CLIP_EOS
            one, other = (of.encode([ids])[0]["embedding"] for of in (encoder, usual))
            assert np.array_equal(one, other)

    def test_a_config_that_names_another_token_than_the_tokenizer_is_refused(self, tmp_path: Path) -> None:
        folder = clip(tmp_path / "clip", eos_token_id=7)
        with pytest.raises(WeightsError, match=rf"end token is 7, the tokenizer's is {CLIP_EOS}"):
            loaded(HfFramesText, model=str(folder), device="cpu")

    def test_with_an_old_config_a_token_added_later_is_refused(self, tmp_path: Path) -> None:
        from transformers import AutoTokenizer

        folder = clip(tmp_path / "clip", eos_token_id=2)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        tokenizer.add_special_tokens({"pad_token": "[PAD]"})
        tokenizer.save_pretrained(folder)
        with pytest.raises(WeightsError, match="takes the highest id"):
            loaded(HfFramesText, model=str(folder), device="cpu")

    def test_metaclip_2_means_the_2_of_its_config(self) -> None:
        encoder = loaded(HfFramesText, name="metaclip2", model=str(made(metaclip2)), device="cpu")
        ids = encoder.prepare("dog")
        assert ids.tolist().index(2) == len(ids) - 1
        assert ids.max() > 2

    def test_a_tokenizer_that_closes_nothing_is_refused(self, tmp_path: Path) -> None:
        from checkpoints import byte_tokenizer

        folder = metaclip2(tmp_path / "metaclip2")
        byte_tokenizer(folder, start="<s>", end=None, specials=["<s>", "<pad>", "</s>", "<unk>"], eos_token="</s>")
        with pytest.raises(WeightsError, match="doesn't end a caption with its end token"):
            loaded(HfFramesText, name="metaclip2", model=str(folder), device="cpu")


class TestSiglip2:
    def encoder(self) -> HfFramesText:
        return loaded(HfFramesText, name="siglip2", model=str(made(siglip2)), device="cpu")

    def test_upper_case_says_nothing(self) -> None:
        assert self.encoder().prepare("A Dog").tolist() == self.encoder().prepare("a dog").tolist()

    def test_rows_are_always_64_long(self) -> None:
        encoder = self.encoder()
        assert {encoder.bucket(encoder.prepare(caption)) for caption in [*CAPTIONS, "long " * 60]} == {64}

    def test_its_form_of_any_resolution_is_refused(self, tmp_path: Path) -> None:
        import json

        folder = siglip2(tmp_path / "naflex")
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, "model_type": "siglip2"}))
        with pytest.raises(WeightsError, match="of type 'siglip2'; this encoder takes siglip"):
            loaded(HfFramesVideo, name="siglip2", model=str(folder), device="cpu")
