"""Models with `get_video_features`: VideoPrism against the library, any other, and those that have none."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoints import ALPHABET, clip, made, videoprism, xclip
from inputs import CAPTIONS, frames, loaded
from PIL import Image

from reelstore.encoders.hf_dual import HfDualText, HfDualVideo
from reelstore.encoders.xclip import XClipText, XClipVideo
from reelstore.errors import ParamsError, WeightsError

CANONICAL = [
    "grinning face.",
    "a man is slicing a tomato on a wooden board while a dog looks on.",
    "ça alors naïve café 1 000.",
    "x.",
]
"""CAPTIONS as VideoPrism was trained on them."""


class TestVideoPrism:
    def video(self, **options: Any) -> HfDualVideo:
        return loaded(HfDualVideo, name="videoprism-lvt", model=str(made(videoprism)), device="cpu", **options)

    def text(self) -> HfDualText:
        return loaded(HfDualText, name="videoprism-lvt", model=str(made(videoprism)), batch_size=3, device="cpu")

    def library(self) -> Any:
        from transformers import VideoPrismClipModel

        return VideoPrismClipModel.from_pretrained(made(videoprism)).eval()

    def test_pixels_lie_between_0_and_1_whatever_mean_its_file_names(self) -> None:
        prepared = self.video().prepare(frames(4))
        squeezed = [np.asarray(Image.fromarray(f).resize((36, 36), Image.Resampling.BICUBIC)) for f in frames(4).pixels]
        np.testing.assert_allclose(prepared, np.stack(squeezed).transpose(0, 3, 1, 2) / 255, rtol=0, atol=1e-7)
        assert prepared.min() >= 0
        assert prepared.max() <= 1

    def test_embeddings_are_the_library_s_of_length_one(self) -> None:
        from transformers import AutoTokenizer

        video, text = self.video(batch_size=2), self.text()
        prepared = [video.prepare(frames(4, width=width)) for width in (120, 150)]
        tokens = AutoTokenizer.from_pretrained(made(videoprism))(
            CANONICAL, padding="max_length", truncation=True, max_length=24, return_tensors="pt"
        )
        with torch.inference_mode():
            own = self.library()(
                pixel_values_videos=torch.from_numpy(np.stack(prepared)),
                input_ids=tokens["input_ids"],
                attention_mask=tokens["attention_mask"],
            )
        videos = [row["embedding"] for row in video.encode(prepared)]
        captions = [text.encode([text.prepare(caption)])[0]["embedding"] for caption in CAPTIONS]
        np.testing.assert_allclose(videos, own.video_embeds, rtol=0, atol=1e-6)
        np.testing.assert_allclose(captions, own.text_embeds, rtol=0, atol=1e-6)
        np.testing.assert_allclose(np.linalg.norm(videos, axis=1), 1, rtol=0, atol=1e-3)

    @pytest.mark.parametrize(
        ("caption", "canonical"),
        [("Hello, World!", "hello world."), ("Hello,World..", "hello world."), ("  Hello   WORLD\n", "hello world.")],
    )
    def test_captions_lose_case_and_punctuation_and_end_in_a_full_stop(self, caption: str, canonical: str) -> None:
        """The examples of the original's canonicalize_text."""
        specials = 3  # a token a byte follows
        ids = [specials + sorted(ALPHABET).index("Ġ" if letter == " " else letter) for letter in canonical]
        assert self.text().prepare(caption).tolist() == ids

    def test_another_number_of_frames_is_refused(self) -> None:
        with pytest.raises(ParamsError, match="takes 4 frames; n_frames is 8"):
            self.video(n_frames=8)
        with pytest.raises(ParamsError, match="takes 4 frames of a video, not 3"):
            self.video().prepare(frames(3))

    def test_its_name_takes_nothing_else(self) -> None:
        with pytest.raises(WeightsError, match="of type 'xclip'; this encoder takes videoprism"):
            loaded(HfDualVideo, name="videoprism-lvt", model=str(made(xclip)), device="cpu")


def test_an_x_clip_gives_what_its_own_encoder_gives() -> None:
    folder = str(made(xclip))
    video, text = loaded(HfDualVideo, model=folder, device="cpu"), loaded(HfDualText, model=folder, device="cpu")
    own_video, own_text = loaded(XClipVideo, model=folder, device="cpu"), loaded(XClipText, model=folder, device="cpu")
    pairs = [
        (of.encode([of.prepare(item)])[0]["embedding"], own.encode([own.prepare(item)])[0]["embedding"])
        for of, own, items in [(video, own_video, [frames(4)]), (text, own_text, CAPTIONS)]
        for item in items  # type: ignore[attr-defined]
    ]
    for ours, expected in pairs:
        np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("side", [HfDualVideo, HfDualText])
def test_a_model_without_video_features_is_refused(side: Any) -> None:
    with pytest.raises(WeightsError, match="is a CLIPModel, which has no get_video_features"):
        loaded(side, model=str(made(clip)), device="cpu")


def test_a_tokenizer_without_padding_is_refused(tmp_path: Path) -> None:
    folder = videoprism(tmp_path / "videoprism")
    config = json.loads((folder / "tokenizer_config.json").read_text())
    del config["pad_token"]
    (folder / "tokenizer_config.json").write_text(json.dumps({**config, "tokenizer_class": "PreTrainedTokenizerFast"}))
    with pytest.raises(WeightsError, match="no padding token"):
        loaded(HfDualText, model=str(folder), device="cpu")
