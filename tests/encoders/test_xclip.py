"""X-CLIP against the reference's outputs, and its conditioned scores from a store."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoints import made, xclip, xclip_reference
from inputs import loaded

from reelstore.encoders.registry import ENCODERS, load_encoder
from reelstore.encoders.xclip import PUBLISHED, XClipText, XClipVideo
from reelstore.errors import EvaluationError, ParamsError, WeightsError
from reelstore.evaluation.prompt_generator import PromptGenerator
from reelstore.evaluation.rerank_xclip import conditioned_scores
from reelstore.records import Frames
from reelstore.store.format import VariantSpec
from reelstore.store.open import open_variant
from reelstore.store.table import RowTable
from reelstore.store.update import VariantUpdate
from reelstore.store.write import row_fingerprints

REFERENCE = Path(__file__).parent / "xclip_reference" / "outputs.npz"
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def reference() -> Iterator[Any]:
    with np.load(REFERENCE) as values:
        yield values


@pytest.fixture(scope="module")
def video() -> XClipVideo:
    return loaded(XClipVideo, model=str(made(xclip_reference)), batch_size=2, device="cpu")


@pytest.fixture(scope="module")
def text() -> XClipText:
    return loaded(XClipText, model=str(made(xclip_reference)), batch_size=3, device="cpu")


@pytest.fixture(scope="module")
def videos(video: XClipVideo, reference: Any) -> list[dict[str, np.ndarray]]:
    prepared = [video.prepare(frames(pixels)) for pixels in reference["raw_frames_uint8"]]
    return [*video.encode(prepared[:2]), *video.encode(prepared[2:])]


@pytest.fixture(scope="module")
def captions(text: XClipText, reference: Any) -> np.ndarray:
    ids = [row[: mask.sum()] for row, mask in zip(reference["input_ids"], reference["attention_mask"], strict=True)]
    return np.stack([text.encode([caption])[0]["embedding"] for caption in ids])


def frames(pixels: np.ndarray) -> Frames:
    return Frames(pixels, np.arange(len(pixels)) / 10)


def test_pixels_are_the_reference_s(video: XClipVideo, reference: Any) -> None:
    for pixels, expected in zip(reference["raw_frames_uint8"], reference["pixel_values"], strict=True):
        np.testing.assert_allclose(video.prepare(frames(pixels)), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("output", "name"),
    [("embedding", "video_features"), ("tokens", "video_frame_tokens_mit"), ("prompts", "video_prompt_tokens")],
)
def test_outputs_of_a_video_are_the_reference_s(videos: Any, reference: Any, output: str, name: str) -> None:
    np.testing.assert_allclose([v[output] for v in videos], reference[name], rtol=0, atol=TOLERANCE)


def test_embeddings_of_captions_are_the_reference_s(captions: np.ndarray, reference: Any) -> None:
    np.testing.assert_allclose(captions, reference["text_features"], rtol=0, atol=TOLERANCE)


def test_the_mean_of_a_video_s_tokens_is_its_embedding(videos: Any) -> None:
    for v in videos:
        np.testing.assert_allclose(v["tokens"].mean(axis=0), v["embedding"], rtol=0, atol=1e-6)


def test_cosines_of_both_towers_are_the_unconditioned_scores(videos: Any, captions: np.ndarray, reference: Any) -> None:
    def unit(rows: np.ndarray) -> np.ndarray:
        return rows / np.linalg.norm(rows, axis=-1, keepdims=True)

    scores = unit(np.stack([v["embedding"] for v in videos])) @ unit(captions).T
    scale = np.exp(reference["sd/logit_scale"])
    np.testing.assert_allclose(scale * scores, reference["logits_unconditioned"], rtol=0, atol=TOLERANCE)


class TestConditionedScores:
    def stored(self, folder: Path, side: Any, variant: str, rows: list[np.ndarray]) -> np.ndarray:
        """Rows through a float32 store on disk."""
        dim, n_tokens = rows[0].shape[-1], len(rows[0]) if rows[0].ndim == 2 else 0
        spec = VariantSpec(side, "xclip", variant, dim, n_tokens, "float32", {})
        ids = [f"v{row}" for row in range(len(rows))]
        keys: Any = ids if side == "video" else [(video_id, 0) for video_id in ids]
        fingerprints = row_fingerprints(spec.fingerprint, [f"{row:064x}" for row in range(len(rows))])
        update = VariantUpdate(folder / side / variant, spec, RowTable(keys, ["test"] * len(rows), fingerprints))
        for row in update.todo:
            update.put(int(row), rows[row])
        update.finish()
        return np.asarray(open_variant(folder / side / variant)[keys])

    def test_from_a_float32_store_they_are_the_model_s_own(
        self, tmp_path: Path, video: XClipVideo, videos: Any, captions: np.ndarray, reference: Any
    ) -> None:
        video.save_reranker(tmp_path / "reranker.safetensors")
        generator = PromptGenerator.load(tmp_path / "reranker.safetensors", weights_sha256=video.spec.weights_sha256)
        scores = conditioned_scores(
            generator,
            text=self.stored(tmp_path, "text", "embedding", list(captions)),
            video=self.stored(tmp_path, "video", "embedding", [v["embedding"] for v in videos]),
            prompts=self.stored(tmp_path, "video", "prompts", [v["prompts"] for v in videos]),
        )
        own = reference["logits_per_video"].T
        assert np.abs(own - reference["logits_unconditioned"].T).max() > 0.1  # they are another score
        np.testing.assert_allclose(generator.logit_scale * scores, own, rtol=0, atol=TOLERANCE)

    def test_on_other_weights_and_captions_they_are_what_forward_gives(self, tmp_path: Path) -> None:
        from transformers import AutoModel

        folder = str(made(xclip))
        video = loaded(XClipVideo, model=folder, batch_size=2, device="cpu")
        text = loaded(XClipText, model=folder, batch_size=4, device="cpu")
        drawn = np.random.default_rng(0).integers(0, 256, (5, 4, 40, 60, 3), dtype=np.uint8)
        sentences = [
            "a dog",
            "a man is slicing a tomato",
            "x",
            "a dog",
            "Ça alors, naïve café! 1,000 %",
            "an ox running",
        ]
        pixels = [video.prepare(frames(pictures)) for pictures in drawn]
        ids = [text.prepare(sentence) for sentence in sentences]
        rows = [video.encode([item])[0] for item in pixels]
        video.save_reranker(tmp_path / "reranker.safetensors")
        generator = PromptGenerator.load(tmp_path / "reranker.safetensors")
        scores = conditioned_scores(
            generator,
            text=np.stack([text.encode([item])[0]["embedding"] for item in ids]),
            video=np.stack([row["embedding"] for row in rows]),
            prompts=np.stack([row["prompts"] for row in rows]),
        )
        length = max(map(len, ids))
        padded = np.stack([np.pad(item, (0, length - len(item)), constant_values=item[-1]) for item in ids])
        with torch.inference_mode():
            own = AutoModel.from_pretrained(folder).eval()(
                input_ids=torch.from_numpy(padded), pixel_values=torch.from_numpy(np.stack(pixels))
            )
        np.testing.assert_allclose(generator.logit_scale * scores, own.logits_per_text.numpy(), rtol=0, atol=TOLERANCE)
        assert np.array_equal(scores[0], scores[3])

    def test_a_reranker_of_other_weights_is_refused(self, tmp_path: Path, video: XClipVideo) -> None:
        loaded(XClipVideo, model=str(made(xclip)), device="cpu").save_reranker(tmp_path / "reranker.safetensors")
        with pytest.raises(EvaluationError, match="belongs to the weights"):
            PromptGenerator.load(tmp_path / "reranker.safetensors", weights_sha256=video.spec.weights_sha256)

    def test_the_file_is_the_same_to_the_byte_every_time(self, tmp_path: Path, video: XClipVideo) -> None:
        for name in ("one", "two"):
            video.save_reranker(tmp_path / name)
        assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


class TestFrames:
    def test_the_checkpoint_says_how_many(self, video: XClipVideo) -> None:
        assert video.frames == {"policy": "uniform", "n_frames": 4, "step": None}
        assert video.spec.sampling == "uniform(4)"
        assert (
            loaded(XClipVideo, model=str(made(xclip)), n_frames=4, sampling="centres", device="cpu").spec.sampling
            == "centres(4)"
        )

    @pytest.mark.parametrize("n_frames", [1, 3, 5, 8])
    def test_another_number_of_frames_is_refused(self, video: XClipVideo, n_frames: int) -> None:
        pixels = np.zeros((n_frames, 32, 32, 3), dtype=np.uint8)
        with pytest.raises(ParamsError, match=rf"takes 4 frames of a video, not {n_frames}"):
            video.prepare(frames(pixels))
        with pytest.raises(ParamsError, match=rf"video/xclip: this checkpoint takes 4 frames; n_frames is {n_frames}"):
            loaded(XClipVideo, model=str(made(xclip)), n_frames=n_frames, device="cpu")

    @pytest.mark.parametrize("sampling", ["all", "every_nth"])
    def test_a_sampling_without_a_number_is_refused(self, sampling: str) -> None:
        with pytest.raises(ParamsError, match="doesn't give a fixed number"):
            loaded(XClipVideo, model=str(made(xclip)), sampling=sampling, device="cpu")

    def test_a_checkpoint_of_one_frame_does_not_mix_videos(self, tmp_path: Path) -> None:
        encoder = loaded(XClipVideo, model=str(xclip(tmp_path / "xclip", num_frames=1)), batch_size=2, device="cpu")
        rng = np.random.default_rng(0)
        first, second = (encoder.prepare(frames(rng.integers(0, 256, (1, 32, 32, 3), dtype=np.uint8))) for _ in "ab")
        alone, together = encoder.encode([first])[0], encoder.encode([first, second])[0]
        np.testing.assert_allclose(alone["embedding"], together["embedding"], rtol=0, atol=1e-6)


class TestText:
    def test_a_caption_stands_between_start_and_end(self) -> None:
        encoder = loaded(XClipText, model=str(made(xclip)), device="cpu")
        assert encoder.prepare("dog").tolist()[0] == encoder.prepare("")[0]
        long = encoder.prepare("a dog " * 50)
        assert len(long) == 24
        assert long[-1] == encoder.prepare("")[-1] == long.max()

    def test_padding_changes_nothing(self, text: XClipText) -> None:
        ids = text.prepare("cat")
        longer = np.concatenate([ids, np.full(20 - len(ids), ids[-1])])
        short, padded = (text.encode([row])[0]["embedding"] for row in (ids, longer))
        np.testing.assert_allclose(short, padded, rtol=0, atol=1e-6)

    def test_a_token_added_after_the_end_token_is_refused(self, tmp_path: Path) -> None:
        from transformers import AutoTokenizer

        folder = xclip(tmp_path / "xclip")
        tokenizer = AutoTokenizer.from_pretrained(folder)
        tokenizer.add_tokens(["<new>"])
        tokenizer.save_pretrained(folder)
        with pytest.raises(WeightsError, match="takes the highest id of a caption for its end"):
            loaded(XClipText, model=str(folder), device="cpu")


class TestPublished:
    def test_every_published_name_is_registered_for_both_sides(self) -> None:
        for name in PUBLISHED:
            assert {f"video/{name}", f"text/{name}"} <= ENCODERS.keys()

    def test_a_published_name_goes_with_a_folder_too(self) -> None:
        encoder = load_encoder(
            "video", "xclip-base-patch32", options={"model": str(made(xclip))}, device="cpu", threads=1
        )
        assert encoder.spec.name == "xclip-base-patch32"

    def test_one_whose_commit_is_unknown_needs_a_revision(self) -> None:
        with pytest.raises(ParamsError, match=r"microsoft/xclip-base-patch16-zero-shot.*needs `revision`"):
            load_encoder("text", "xclip-base-patch16-zero-shot", options={}, device="cpu", threads=1)
