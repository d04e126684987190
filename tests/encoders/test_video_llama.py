"""Video-LLaMA: every stage against its own code's output, and what is refused when files aren't what they should be."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Regex, Tokenizer, models, pre_tokenizers

import reelstore
from reelstore.encoders.registry import load_encoder
from reelstore.encoders.use import ReadyEncoder
from reelstore.encoders.video_llama.files import MODELS
from reelstore.encoders.video_llama.language import Llama
from reelstore.encoders.video_llama.vision import VisionBranch, build_vision, normalised, open_vision
from reelstore.errors import ParamsError, WeightsError
from reelstore.records import Frames

TINY = Path(__file__).parent / "tiny_video_llama"
SIZES = {"vit_blocks": 3, "vit_heads": 4, "qformer_heads": 4}
FILES = {
    "eva_vit": "eva_vit_g.pth",
    "qformer": "blip2_pretrained_flant5xxl.pth",
    "finetune": "finetune-vicuna7b-v2.pth",
    "llama": "llama",
}
ABOVE_ROUNDING = 1e-5
STAGES = ["vit", "vit_ln", "qformer", "frame_pos_added", "video_qformer", "llama_proj"]
with np.load(TINY / "stages.npz") as _stages:
    GOLDEN = dict(_stages)
ABOUT = json.loads((TINY / "stages.json").read_text())


@pytest.fixture
def weights(tmp_path: Path) -> dict[str, str]:
    """Copies of the tiny files, to be spoilt."""
    for file in FILES.values():
        if (TINY / file).is_dir():
            shutil.copytree(TINY / file, tmp_path / file)
        else:
            shutil.copy(TINY / file, tmp_path / file)
    return {role: str(tmp_path / file) for role, file in FILES.items()}


def tiny(**changed: str) -> dict[str, str]:
    return {role: str(TINY / file) for role, file in FILES.items()} | changed


def video(name: str = "video-llama-7b", **options: Any) -> ReadyEncoder:
    return reelstore.encoder(name, device="cpu", **{"weights": tiny(), "sizes": SIZES, **options})


def text(name: str = "video-llama-7b", **options: Any) -> ReadyEncoder:
    return reelstore.encoder(name, side="text", device="cpu", **{"weights": tiny(), **options})


def change(file: str, changing: Callable[[dict[str, Any]], object]) -> None:
    """Rewrite a .pth file, the state of the model changed in place."""
    content = torch.load(file, weights_only=True)
    changing(content.get("model", content))
    torch.save(content, file)


def use_words(folder: str | Path, pattern: str, ids: dict[str, int]) -> None:
    """Give a LLaMA's folder a tokenizer that knows these pieces only: another text gives other ids."""
    tokenizer = Tokenizer(models.WordLevel({"<unk>": 0, **ids}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(pattern), behavior="removed", invert=True)
    tokenizer.save(str(Path(folder) / "tokenizer.json"))


def seconds_of_golden() -> np.ndarray:
    return np.arange(8)[None] * 1.25


def frames_of(count: int) -> Frames:
    return Frames(np.zeros((count, 42, 42, 3), np.uint8), np.arange(count, dtype=float))


def worst(ours: np.ndarray, theirs: np.ndarray) -> float:
    assert ours.shape == theirs.shape
    return float(np.abs(ours - theirs).max())


@pytest.fixture(scope="module")
def vision() -> VisionBranch:
    files = {role: TINY / FILES[role] for role in ("eva_vit", "qformer", "finetune")}
    return build_vision(open_vision(files, SIZES), device="cpu", dtype=torch.float32)


class TestBeforeTheLlama:
    def test_frames_are_normalised_to_the_bit(self) -> None:
        ours = normalised(torch.from_numpy(GOLDEN["raw_frames_uint8"])).numpy()
        assert np.array_equal(ours.transpose(0, 2, 1, 3, 4), GOLDEN["frames"])

    @pytest.mark.parametrize("stage", STAGES)
    @torch.inference_mode()
    def test_a_stage_is_that_of_the_published_code(self, vision: VisionBranch, stage: str) -> None:
        stages = vision.stages(normalised(torch.from_numpy(GOLDEN["raw_frames_uint8"])))
        assert [*stages] == STAGES
        assert worst(stages[stage].numpy(), GOLDEN[f"stage_{stage}"]) < ABOVE_ROUNDING

    @torch.inference_mode()
    def test_the_original_s_float16_on_a_gpu_is_as_near_as_the_docs_say(self, vision: VisionBranch) -> None:
        """ViT, Q-Formers and projection under float16 autocast; ours keeps Q-Formers and projection in float32."""
        pixels = normalised(torch.from_numpy(GOLDEN["raw_frames_uint8"]))
        with torch.autocast("cpu", dtype=torch.float16):
            theirs = vision.stages(pixels)
        assert theirs["llama_proj"].dtype == torch.float16
        assert {theirs[stage].dtype for stage in ("vit", "vit_ln", "qformer", "video_qformer")} == {torch.float32}
        files = {role: TINY / FILES[role] for role in ("eva_vit", "qformer", "finetune")}
        ours = build_vision(open_vision(files, SIZES), device="cpu", dtype=torch.float16).stages(pixels)
        assert {ours[stage].dtype for stage in STAGES if stage != "vit"} == {torch.float32}
        exact = GOLDEN["stage_llama_proj"]
        for tokens in (theirs["llama_proj"].float().numpy(), ours["llama_proj"].numpy()):
            assert 1e-5 < worst(tokens, exact) / np.abs(exact).max() < 0.0015

    def test_bytes_in_tokens_out(self) -> None:
        tokens = video().encode_frames(GOLDEN["raw_frames_uint8"])["tokens"]
        assert tokens.dtype == np.float32
        assert worst(tokens, GOLDEN["stage_llama_proj"]) < ABOVE_ROUNDING

    def test_the_llama_is_not_opened_for_them(self) -> None:
        without = {role: path for role, path in tiny().items() if role != "llama"}
        found = video(weights=without)
        assert [*found.spec.outputs] == ["tokens"]
        assert found.spec == video().spec

    def test_more_frames_than_go_through_the_vit_at_once_change_nothing(self, vision: VisionBranch) -> None:
        pixels = np.random.default_rng(0).integers(0, 256, (3, 20, 42, 42, 3), dtype=np.uint8)
        together = vision(normalised(torch.from_numpy(pixels)))
        for number, alone in enumerate(pixels):
            one = vision(normalised(torch.from_numpy(alone[None])))
            torch.testing.assert_close(together[number : number + 1], one, rtol=1e-4, atol=1e-4)

    def test_the_order_of_frames_matters(self) -> None:
        pixels = GOLDEN["raw_frames_uint8"]
        straight, backwards = (video().encode_frames(given)["tokens"] for given in (pixels, pixels[:, ::-1]))
        assert np.abs(straight - backwards).max() > 0.01

    def test_a_video_of_fewer_frames_is_as_good(self) -> None:
        assert video().encode_frames(GOLDEN["raw_frames_uint8"][:, :3])["tokens"].shape == (1, 6, 80)

    def test_more_frames_than_have_a_position_are_refused(self) -> None:
        pixels = np.zeros((1, 33, 42, 42, 3), dtype=np.uint8)
        assert video().encode_frames(pixels[:, :32])["tokens"].shape == (1, 6, 80)
        with pytest.raises(ParamsError, match="33 frames; at most 32"):
            video().encode_frames(pixels)
        with pytest.raises(ParamsError, match="n_frames is 33; it must be 1 to 32"):
            video(n_frames=33)

    def test_a_frame_of_another_size_is_squeezed_whole(self) -> None:
        halves = np.zeros((1, 2, 50, 90, 3), dtype=np.uint8)
        halves[:, :, :, 45:] = 255
        prepared = video().encoder.prepare(Frames(halves[0], np.zeros(2)))
        assert prepared["pixels"].shape == (2, 42, 42, 3)
        assert (prepared["pixels"][:, :, :19] == 0).all()
        assert (prepared["pixels"][:, :, 23:] == 255).all()


class TestAfterTheLlama:
    def golden_words(self, folder: str) -> None:
        """The golden prompt's pieces and their ids; four of its times are one piece, to make as many pieces as ids."""
        segments = [segment["text"] for segment in ABOUT["segments"]]
        pattern = r"###Human: |0\.0, 1\.2, 2\.5, 3\.8,|[^ ]+"
        pieces = ["###Human: ", "<Video>", "</Video>", "The", "video", "contains", "8", "frames", "sampled", "at"]
        pieces += ["0.0, 1.2, 2.5, 3.8,", "5.0,", "6.2,", "7.5,", "8.8", "seconds.", "###Assistant:"]
        assert "".join(segments).replace(" ", "") == "".join(pieces).replace(" ", "")
        ids = [*GOLDEN["prefix_ids"][1:].tolist(), *GOLDEN["suffix_ids"].tolist()]
        use_words(folder, pattern, dict(zip(pieces, ids, strict=True)))

    @pytest.mark.parametrize("layers", [[0, 1, 2, 3], [3], [1], [0]])
    def test_every_layer_and_span_is_that_of_the_published_code(
        self, weights: dict[str, str], layers: list[int]
    ) -> None:
        """From bytes, through prompt and splitting, to the states: fewer layers come from a shallower network."""
        self.golden_words(weights["llama"])
        found = video(weights=weights, layers=layers, spans=["sequence", "video", "last"])
        outputs = found.encode_frames(GOLDEN["raw_frames_uint8"], seconds=seconds_of_golden())
        assert outputs.keys() == {"tokens", *(f"layer-{k}.{s}" for k in layers for s in ("sequence", "video", "last"))}
        start, stop = GOLDEN["video_slice"]
        for layer in layers:
            states = GOLDEN["llama_hidden_states"][layer]
            assert worst(outputs[f"layer-{layer}.sequence"], states) < ABOVE_ROUNDING
            assert worst(outputs[f"layer-{layer}.video"], states[:, start:stop]) < ABOVE_ROUNDING
            assert worst(outputs[f"layer-{layer}.last"], states[:, -1]) < ABOVE_ROUNDING

    def test_what_goes_in_is_prompt_and_video(self) -> None:
        llama = Llama(TINY / "llama", layers=[0], device="cpu", dtype=torch.float32)
        before, after = (llama.embed(torch.from_numpy(GOLDEN[name])[None]) for name in ("prefix_ids", "suffix_ids"))
        embedded = torch.cat([before, torch.from_numpy(GOLDEN["stage_llama_proj"]), after], dim=1)
        assert worst(llama.states(embedded)[0].detach().numpy(), GOLDEN["llama_inputs_embeds"]) < ABOVE_ROUNDING

    def test_a_llama_2_is_asked_in_its_own_words(self, weights: dict[str, str]) -> None:
        as_llama_2(weights["llama"])
        found: Any = video("video-llama-2-7b", weights=as_second(weights), layers=[1], spans=["last"]).encoder
        assert found._prompt == (
            "[INST] <<SYS>>\nYou are a helpful language and vision assistant. You are able to understand the visual "
            "content that the user provides, and assist the user with a variety of tasks using natural language.\n"
            "<</SYS>>\n\n<Video><ImageHere></Video> The video contains {n_frames} frames sampled at {seconds} seconds. "
            " [/INST]"
        )

    def test_times_are_counted_by_index_and_average_rate(self) -> None:
        """Not by the frames' own times, which a file of uneven ones has elsewhere."""
        pixels = np.zeros((3, 42, 42, 3), dtype=np.uint8)
        found = video(layers=[1], spans=["last"], prompt="<ImageHere> {n_frames} at {seconds}").encoder
        of_file = Frames(pixels, np.array([0, 7.0, 9.0]), indices=np.array([0, 5, 10]), average_fps=4.0)
        of_array = Frames(pixels, np.array([0, 1.25, 2.5]))
        others = Frames(pixels, np.array([0, 7.0, 9.0]))
        assert found.prepare(of_file).tobytes() == found.prepare(of_array).tobytes()
        assert found.prepare(of_file).tobytes() != found.prepare(others).tobytes()

    DEMO = (
        "You are able to understand the visual content that the user provides. Follow the instructions carefully and "
        "explain your answers in detail."
    )
    MESSAGE = "<Video><ImageHere></Video> The video contains {n_frames} frames sampled at {seconds} seconds. "

    @pytest.mark.parametrize("name", ["video-llama-7b", "video-llama-13b"])
    def test_vicuna_s_prompts_are_those_of_the_original_programs(self, name: str) -> None:
        """As `Conversation.get_prompt` of the original gives them after an upload, no question asked."""
        assert MODELS[name].prompts == {
            "template": f"###Human: {self.MESSAGE}###Assistant:",
            "demo": f"{self.DEMO}###Human: {self.MESSAGE}###Assistant:",
            "demo-audiovideo": f"###Human: {self.MESSAGE}###Assistant:",
        }

    @pytest.mark.parametrize("name", ["video-llama-2-7b", "video-llama-2-13b"])
    def test_llama_2_s_prompts_are_those_of_the_original_programs(self, name: str) -> None:
        own = (
            "You are a helpful language and vision assistant. You are able to understand the visual content that the "
            "user provides, and assist the user with a variety of tasks using natural language."
        )
        assert MODELS[name].prompts == {
            prompt: f"[INST] <<SYS>>\n{system}\n<</SYS>>\n\n{self.MESSAGE} [/INST]"
            for prompt, system in {"template": own, "demo": self.DEMO, "demo-audiovideo": ""}.items()
        }

    @pytest.mark.parametrize("prompt", ["template", "demo", "demo-audiovideo"])
    def test_a_prompt_by_name_is_the_prompt_written_out(self, prompt: str) -> None:
        options: dict[str, Any] = {"layers": [2], "spans": ["sequence", "video", "last"]}
        named = video(prompt=prompt, **options)
        written = video(prompt=MODELS["video-llama-7b"].prompts[prompt], **options)
        assert named.spec == written.spec
        frames, seconds = GOLDEN["raw_frames_uint8"], seconds_of_golden()
        ours, theirs = (found.encode_frames(frames, seconds=seconds) for found in (named, written))
        assert ours.keys() == theirs.keys()
        assert all(np.array_equal(ours[output], theirs[output]) for output in ours)
        by_default = video(**options)
        assert (named.spec == by_default.spec) == (prompt != "demo")  # Vicuna's template has no system text
        if prompt == "demo":  # the system text comes first, so the video's places see it
            default = by_default.encode_frames(frames, seconds=seconds)
            assert len(ours["layer-2.sequence"][0]) > len(default["layer-2.sequence"][0])
            assert worst(ours["layer-2.video"], default["layer-2.video"]) > 0.01
            assert np.array_equal(ours["tokens"], default["tokens"])

    def test_a_name_that_is_no_prompt_s_is_refused(self) -> None:
        with pytest.raises(ParamsError, match=r"prompt is 'Demo'; .* or one of template, demo, demo-audiovideo, is"):
            video(layers=[1], prompt="Demo")

    def test_frames_without_times_are_refused_where_the_prompt_tells_them(self) -> None:
        with pytest.raises(ParamsError, match=r"these frames have no times. Give encode_frames\(…, seconds=…\)"):
            video(layers=[1], spans=["last"]).encode_frames(GOLDEN["raw_frames_uint8"])
        outputs = video(layers=[1], spans=["last"], prompt="<ImageHere> is").encode_frames(GOLDEN["raw_frames_uint8"])
        assert outputs["layer-1.last"].shape == (1, 80)

    def test_the_videos_places_do_not_see_what_comes_after_them(self, weights: dict[str, str]) -> None:
        self.golden_words(weights["llama"])
        states = video(weights=weights, layers=[2]).encode_frames(GOLDEN["raw_frames_uint8"])["layer-2.video"]
        start, stop = GOLDEN["video_slice"]
        assert worst(states, GOLDEN["llama_hidden_states"][2][:, start:stop]) < ABOVE_ROUNDING

    def test_prompts_of_several_lengths_share_no_array(self) -> None:
        pixels = np.repeat(GOLDEN["raw_frames_uint8"], 2, axis=0)
        times = np.concatenate([seconds_of_golden(), 1000 * seconds_of_golden()])
        both = video(layers=[2], spans=["last"], batch_size=2).encode_frames(pixels, seconds=times)["layer-2.last"]
        assert both.shape == (2, 80)
        assert not np.allclose(both[0], both[1])
        with pytest.raises(ValueError, match=r"layer-2\.sequence has \d+ to \d+ tokens"):
            video(layers=[2], spans=["sequence"]).encode_frames(pixels, seconds=times)

    def test_a_prompt_longer_than_the_llama_reads_is_refused(self) -> None:
        with pytest.raises(ParamsError, match=r"are \d+ tokens; the LLaMA has places for 2048"):
            video(layers=[1], prompt="x!" * 2000 + "<ImageHere>").encode_frames(GOLDEN["raw_frames_uint8"])

    @pytest.mark.parametrize("prompt", ["no place for it", "<ImageHere> and <ImageHere>", ""])
    def test_a_prompt_has_one_place_for_the_video(self, prompt: Any) -> None:
        with pytest.raises(ParamsError, match=r"video/video-llama-7b: prompt is .*<ImageHere> in it, once"):
            video(layers=[1], prompt=prompt)

    @pytest.mark.parametrize(
        ("options", "reason"),
        [
            ({"layers": [4]}, r"layers has 4; this LLaMA's are 0 \(what goes in\) to 3"),
            ({"layers": [-1]}, "layers has -1"),
            ({"layers": [1.0]}, r"layers\[0\] is 1\.0"),
            ({"layers": "all"}, "layers is 'all'; a list"),
            ({"layers": [1], "spans": ["mean"]}, "spans has 'mean'. Known: sequence, video, last"),
            ({"layers": [1], "spans": []}, "spans is .*at least one"),
            ({"dtype": "int8"}, "dtype is 'int8'"),
            ({"prompt": 3}, "prompt is 3; a text is expected"),
            ({"sizes": {"vit_heads": 4}}, "64 wide, not 1408 .*doesn't say its vit_blocks"),
            ({"sizes": {**SIZES, "depth": 3}}, "sizes: unknown 'depth'"),
            ({"sizes": {**SIZES, "vit_heads": 5}}, r"sizes.vit_heads is 5; it must divide the width, 64"),
            ({"sizes": {**SIZES, "vit_blocks": 0}}, "sizes.vit_blocks must be a whole number"),
        ],
    )
    def test_options_that_mean_nothing_are_refused(self, options: dict[str, Any], reason: str) -> None:
        with pytest.raises(ParamsError, match=reason):
            video(**options)


class TestText:
    WORDS: ClassVar = [" ".join(f"w{number}" for number in ids[1:]) for ids in ABOUT["captions"]]

    def use_golden_words(self, folder: str) -> None:
        use_words(folder, "[^ ]+", {f"w{number}": number for number in range(3, 160)})

    def test_states_are_those_of_the_published_code(self, weights: dict[str, str]) -> None:
        self.use_golden_words(weights["llama"])
        for batch_size in (1, 3):
            states = text(weights=weights, batch_size=batch_size).encode_texts(self.WORDS)["layer-3"]
            for number, (ours, ids) in enumerate(zip(states, ABOUT["captions"], strict=True)):
                assert worst(ours, GOLDEN[f"text_single_{number}"]) < ABOVE_ROUNDING
                assert worst(ours, GOLDEN["text_hidden_right"][number, : len(ids)]) < ABOVE_ROUNDING

    def test_the_first_state_is_the_same_for_every_caption(self) -> None:
        first, second = text().encode_texts(["a dog runs", "six cats"])["layer-3"]
        np.testing.assert_allclose(first[0], second[0], atol=1e-5)
        assert np.abs(first[-1] - second[-1]).max() > 0.1

    def test_several_layers_come_with_and_without_the_prompt(self) -> None:
        spans = ["caption", "prompted", "prompted-last"]
        found = text(layers=[2, 0], spans=spans)
        outputs = found.encode_texts(["a man is slicing", "x"])
        assert [*outputs] == [*found.spec.outputs]
        assert {*outputs} == {f"layer-{k}{s}" for k in (0, 2) for s in ("", ".prompted", ".prompted-last")}
        plain, prompted, last = (outputs[f"layer-2{s}"] for s in ("", ".prompted", ".prompted-last"))
        for number in range(2):
            assert len(prompted[number]) > len(plain[number])
            assert last[number].shape == (80,)
            assert np.array_equal(last[number], prompted[number][-1])

    def test_a_prompted_caption_is_the_whole_text(self) -> None:
        """One tokenisation of the filled template, as if the caption had been written that way."""
        caption = "a man is slicing"
        prompted = text(spans=["prompted"], prompt="say {caption} twice").encode_texts([caption])["layer-3.prompted"][0]
        written = text().encode_texts([f"say {caption} twice"])["layer-3"][0]
        assert np.array_equal(prompted, written)

    def test_a_caption_that_is_too_long_loses_its_end_and_the_prompt_stays(self) -> None:
        options: dict[str, Any] = {"spans": ["caption", "prompted"], "max_tokens": 40, "prompt": "short: {caption} in:"}
        found: Any = text(**options).encoder
        prepared = found.prepare("a dog " * 500)
        assert 30 < len(prepared["prompted"]) <= 40
        assert 30 < len(prepared["caption"]) <= 40
        pieces = Tokenizer.from_file(str(TINY / "llama" / "tokenizer.json"))
        written = "".join(pieces.id_to_token(int(number)) for number in prepared["prompted"])
        assert written.startswith("<s>▁short:▁a▁dog▁a▁dog")
        assert written.endswith("▁in:")

    @pytest.mark.parametrize("max_tokens", [0, 5, 2049, 10.5])
    def test_a_limit_without_room_is_refused(self, max_tokens: Any) -> None:
        with pytest.raises(ParamsError, match=r"max_tokens is .*( to 2048|whole number|at least 1)"):
            text(spans=["prompted"], max_tokens=max_tokens)

    def test_an_empty_caption_is_one_token(self) -> None:
        assert text().encode_texts([""])["layer-3"][0].shape == (1, 80)

    @pytest.mark.parametrize(
        ("options", "reason"),
        [
            ({"layers": []}, "layers is empty"),
            ({"layers": [9]}, "text/video-llama-7b: layers has 9"),
            ({"spans": ["last"]}, "spans has 'last'. Known: caption, prompted, prompted-last"),
            ({"prompt": "means in one word:"}, r"\{caption\} in it, once"),
        ],
    )
    def test_options_that_mean_nothing_are_refused(self, options: dict[str, Any], reason: str) -> None:
        with pytest.raises(ParamsError, match=reason):
            text(**options)


def as_llama_2(folder: str) -> None:
    path = Path(folder) / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"max_position_embeddings": 4096}))


def as_second(weights: dict[str, str]) -> dict[str, str]:
    """The tiny file under the name of a Video-LLaMA-2's."""
    path = Path(weights["finetune"])
    return weights | {"finetune": str(path.rename(path.with_name("VL_LLaMA_2_7B_Finetuned.pth")))}


class TestPublishedFiles:
    @pytest.mark.parametrize(
        ("role", "key"),
        [
            ("eva_vit", "cls_token"),
            ("eva_vit", "pos_embed"),
            ("eva_vit", "blocks.2.attn.v_bias"),
            ("eva_vit", "blocks.1.mlp.fc2.weight"),
            ("qformer", "query_tokens"),
            ("qformer", "ln_vision.weight"),
            ("qformer", "Qformer.bert.embeddings.LayerNorm.bias"),
            ("qformer", "Qformer.bert.encoder.layer.3.output_query.dense.weight"),
            ("qformer", "Qformer.bert.encoder.layer.2.crossattention.self.key.bias"),
            ("finetune", "video_query_tokens"),
            ("finetune", "video_frame_position_embedding.weight"),
            ("finetune", "video_Qformer.bert.encoder.layer.1.attention.self.value.weight"),
            ("finetune", "llama_proj.bias"),
        ],
    )
    def test_a_missing_key_is_named_with_its_file(self, weights: dict[str, str], role: str, key: str) -> None:
        change(weights[role], lambda state: state.pop(key))
        with pytest.raises(WeightsError, match=f"{FILES[role]} has no key '{key}'") as raised:
            video(weights=weights)
        assert str(raised.value).startswith("encoders.video/video-llama-7b: ")
        assert f"Published as {'' if role == 'finetune' else 'https://'}" in str(raised.value)

    @pytest.mark.parametrize(
        ("role", "key"),
        [
            ("eva_vit", "blocks.0.gamma_1"),
            ("eva_vit", "patch_embed.norm.weight"),
            ("qformer", "Qformer.bert.encoder.layer.0.attention.self.adapter"),
            ("finetune", "video_Qformer.bert.encoder.layer.1.gate"),
            ("finetune", "llama_model.model.layers.0.self_attn.q_proj.weight"),
        ],
    )
    def test_an_unknown_key_in_the_model_is_named(self, weights: dict[str, str], role: str, key: str) -> None:
        change(weights[role], lambda state: state.update({key: torch.zeros(2)}))
        with pytest.raises(WeightsError, match=f"{FILES[role]} holds '{key}'"):
            video(weights=weights)

    @pytest.mark.parametrize(
        ("role", "key"),
        [
            ("eva_vit", "blocks.3.gamma_1"),
            ("eva_vit", "fc_norm.weight"),
            ("qformer", "Qformer.cls.predictions.bias"),
            ("qformer", "Qformer.bert.embeddings.word_embeddings.weight"),
            ("qformer", "Qformer.bert.encoder.layer.0.intermediate.dense.weight"),
            ("finetune", "audio_Qformer.bert.encoder.layer.0.attention.self.query.weight"),
        ],
    )
    def test_what_the_model_does_not_read_is_left_alone(self, weights: dict[str, str], role: str, key: str) -> None:
        change(weights[role], lambda state: state.update({key: torch.full((2,), 9.0)}))
        tokens = video(weights=weights).encode_frames(GOLDEN["raw_frames_uint8"])["tokens"]
        assert worst(tokens, GOLDEN["stage_llama_proj"]) < ABOVE_ROUNDING

    def test_a_shape_that_is_not_the_models_is_named(self, weights: dict[str, str]) -> None:
        change(weights["finetune"], lambda state: state.update({"llama_proj.weight": torch.zeros(80, 47)}))
        with pytest.raises(WeightsError, match=r"llama_proj.weight is \(80, 47\), expected \(80, 48\)"):
            video(weights=weights)

    def test_a_later_file_loads_over_an_earlier_one(self, weights: dict[str, str]) -> None:
        """As the original does it; a fine-tuned Q-Former would otherwise be the pretrained one without a word."""
        change(weights["finetune"], lambda state: state.update({"ln_vision.bias": torch.ones(64)}))
        tuned = video(weights=weights).encode_frames(GOLDEN["raw_frames_uint8"])["tokens"]
        assert worst(tuned, GOLDEN["stage_llama_proj"]) > 0.01
        change(weights["finetune"], lambda state: state.pop("ln_vision.bias"))
        change(weights["qformer"], lambda state: state.update({"ln_vision.bias": torch.ones(64)}))
        pretrained = video(weights=weights).encode_frames(GOLDEN["raw_frames_uint8"])["tokens"]
        assert np.array_equal(tuned, pretrained)

    def test_a_vit_in_a_later_file_loads_over_its_own(self, weights: dict[str, str]) -> None:
        change(weights["eva_vit"], lambda state: state["cls_token"].add_(1))
        changed = video(weights=weights).encode_frames(GOLDEN["raw_frames_uint8"])["tokens"]
        tuned = tiny()
        whole = torch.load(weights["eva_vit"], weights_only=True)["cls_token"]
        change(weights["finetune"], lambda state: state.update({"visual_encoder.cls_token": whole}))
        tuned["finetune"] = weights["finetune"]
        assert np.array_equal(video(weights=tuned).encode_frames(GOLDEN["raw_frames_uint8"])["tokens"], changed)

    def test_half_precision_files_are_read_as_what_they_say(self, weights: dict[str, str]) -> None:
        for role in ("eva_vit", "qformer", "finetune"):
            change(weights[role], lambda state: state.update({k: v.half() for k, v in state.items()}))
        tokens = video(weights=weights).encode_frames(GOLDEN["raw_frames_uint8"])["tokens"]
        assert 1e-5 < worst(tokens, GOLDEN["stage_llama_proj"]) < 0.05

    def test_other_sizes_are_read_from_the_files(self, tmp_path: Path) -> None:
        weights = random_files(tmp_path)
        found = video(weights=weights, sizes={"vit_blocks": 2, "vit_heads": 2, "qformer_heads": 3}, n_frames=5)
        assert found.spec.outputs["tokens"].dim == 20
        assert found.spec.outputs["tokens"].n_tokens == 4
        assert found.encoder.frame_size == (32, 32)  # type: ignore[attr-defined]
        assert found.encode_frames(np.zeros((2, 5, 32, 32, 3), np.uint8))["tokens"].shape == (2, 4, 20)
        with pytest.raises(ParamsError, match="n_frames is 6; it must be 1 to 5"):
            video(weights=weights, sizes={"vit_blocks": 2, "vit_heads": 2, "qformer_heads": 3}, n_frames=6)

    def test_blocks_that_are_not_in_the_file_are_missed(self) -> None:
        with pytest.raises(WeightsError, match=r"eva_vit_g.pth has no key 'blocks\.4\."):
            video(sizes={**SIZES, "vit_blocks": 5})

    @pytest.mark.parametrize(
        ("role", "source"),
        [
            ("eva_vit", "https://storage.googleapis.com/.*/eva_vit_g.pth"),
            ("qformer", "https://storage.googleapis.com/.*/blip2_pretrained_flant5xxl.pth"),
            ("finetune", "finetune-vicuna7b-v2.pth in DAMO-NLP-SG/Video-LLaMA-Series"),
        ],
    )
    def test_a_file_that_is_not_there_says_where_it_is_published(self, role: str, source: str) -> None:
        with pytest.raises(WeightsError, match=f"weights.{role} is '/nowhere.pth', no file here.*{source}"):
            video(weights=tiny(**{role: "/nowhere.pth"}))
        lacking = {name: path for name, path in tiny().items() if name != role}
        with pytest.raises(ParamsError, match=f"weights lacks {role}.*{source}"):
            video(weights=lacking)

    def test_a_second_model_has_files_of_its_own(self) -> None:
        with pytest.raises(
            ParamsError, match=r"VL_LLaMA_2_13B_Finetuned\.pth in DAMO-NLP-SG/Video-LLaMA-2-13B-Finetuned"
        ):
            video("video-llama-2-13b", weights={"eva_vit": tiny()["eva_vit"], "qformer": tiny()["qformer"]})

    @pytest.mark.parametrize("weights", [None, {}, {"vit": "x"}, "folder", {"eva_vit": 3}])
    def test_weights_that_are_no_paths_are_refused(self, weights: Any) -> None:
        with pytest.raises(ParamsError, match=r"video/video-llama-7b(: |\.)weights"):
            video(weights=weights)

    def test_code_in_a_file_is_not_run(self, tmp_path: Path) -> None:
        bad = tmp_path / "eva_vit_g.pth"
        torch.save({"cls_token": Path("pickled")}, bad)
        with pytest.raises(WeightsError, match="can't be read as tensors"):
            video(weights=tiny(eva_vit=str(bad)))

    @pytest.mark.parametrize("content", [b"", b"<html>404</html>", b"PK\x03\x04 cut"])
    def test_a_file_that_is_none_of_tensors_is_refused(self, tmp_path: Path, content: bytes) -> None:
        bad = tmp_path / "eva_vit_g.pth"
        bad.write_bytes(content)
        with pytest.raises(WeightsError, match=r"eva_vit_g.pth can't be read as tensors"):
            video(weights=tiny(eva_vit=str(bad)))

    def test_a_file_from_before_archives_is_read(self, weights: dict[str, str]) -> None:
        content = torch.load(weights["eva_vit"], weights_only=True)
        torch.save(content, weights["eva_vit"], _use_new_zipfile_serialization=False)
        tokens = video(weights=weights).encode_frames(GOLDEN["raw_frames_uint8"])["tokens"]
        assert worst(tokens, GOLDEN["stage_llama_proj"]) < ABOVE_ROUNDING


def random_files(folder: Path) -> dict[str, str]:
    """Another architecture of the same kind: no block too many, cross-attention in layers 0 and 3 of 5."""
    rng = torch.Generator().manual_seed(3)

    def of(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=rng)

    def linear(key: str, out: int, into: int) -> dict[str, torch.Tensor]:
        return {f"{key}.weight": of(out, into), f"{key}.bias": of(out)}

    def norm(key: str, width: int) -> dict[str, torch.Tensor]:
        return {f"{key}.weight": of(width), f"{key}.bias": of(width)}

    eva = {"cls_token": of(1, 1, 16), "pos_embed": of(1, 17, 16)}
    eva |= {"patch_embed.proj.weight": of(16, 3, 8, 8), "patch_embed.proj.bias": of(16)}
    for block in ("blocks.0", "blocks.1"):
        eva |= norm(f"{block}.norm1", 16) | norm(f"{block}.norm2", 16)
        eva |= {f"{block}.attn.qkv.weight": of(48, 16), f"{block}.attn.q_bias": of(16), f"{block}.attn.v_bias": of(16)}
        eva |= linear(f"{block}.attn.proj", 16, 16)
        eva |= linear(f"{block}.mlp.fc1", 40, 16) | linear(f"{block}.mlp.fc2", 16, 40)

    def qformer(prefix: str, *, n_layers: int, every: int, encoder: int) -> dict[str, torch.Tensor]:
        state = norm(f"{prefix}.embeddings.LayerNorm", 12)
        for number in range(n_layers):
            layer = f"{prefix}.encoder.layer.{number}"
            kinds = {"attention": 12} | ({"crossattention": encoder} if number % every == 0 else {})
            for kind, width in kinds.items():
                state |= linear(f"{layer}.{kind}.self.query", 12, 12)
                state |= linear(f"{layer}.{kind}.self.key", 12, width) | linear(f"{layer}.{kind}.self.value", 12, width)
                state |= linear(f"{layer}.{kind}.output.dense", 12, 12) | norm(f"{layer}.{kind}.output.LayerNorm", 12)
            state |= linear(f"{layer}.intermediate_query.dense", 30, 12)
            state |= linear(f"{layer}.output_query.dense", 12, 30) | norm(f"{layer}.output_query.LayerNorm", 12)
        return state

    blip = {"query_tokens": of(1, 3, 12), **norm("ln_vision", 16)}
    blip |= qformer("Qformer.bert", n_layers=5, every=3, encoder=16)
    tuned = {"video_query_tokens": of(1, 4, 12), "video_frame_position_embedding.weight": of(5, 12)}
    tuned |= qformer("video_Qformer.bert", n_layers=1, every=1, encoder=12) | linear("llama_proj", 20, 12)
    for name, state in [("eva", eva), ("blip", {"model": blip}), ("tuned", {"model": tuned})]:
        torch.save(state, folder / f"{name}.pth")
    return {
        "eva_vit": str(folder / "eva.pth"),
        "qformer": str(folder / "blip.pth"),
        "finetune": str(folder / "tuned.pth"),
    }


class TestPairing:
    """Files of different models load into each other without a sound."""

    def test_a_first_llama_under_a_second_models_name_is_warned_of(self, weights: dict[str, str]) -> None:
        with pytest.warns(UserWarning, match="llama .*with 2048 places it is the other generation's.*Llama-2-chat, 7B"):
            video("video-llama-2-7b", weights=as_second(weights), layers=[1])
        with pytest.warns(UserWarning, match="text/video-llama-2-7b: llama"):
            text("video-llama-2-7b")

    def test_a_second_llama_under_a_first_models_name_is_warned_of(self, weights: dict[str, str]) -> None:
        as_llama_2(weights["llama"])
        with pytest.warns(UserWarning, match="with 4096 places.*lmsys/vicuna-7b-delta-v0"):
            text(weights=weights)

    def test_a_file_named_after_the_other_generation_is_warned_of(self, weights: dict[str, str]) -> None:
        with pytest.warns(UserWarning, match=r"finetune .*vicuna7b-v2.pth\) may not belong here"):
            video("video-llama-2-7b")
        with pytest.warns(UserWarning, match=r"finetune .*VL_LLaMA_2_7B_Finetuned.pth\) may not belong here"):
            video(weights=as_second(weights))

    def test_the_right_pairs_pass_without_a_word(self, weights: dict[str, str], recwarn: Any) -> None:
        video(layers=[1])
        text()
        as_llama_2(weights["llama"])
        second = as_second(weights)
        video("video-llama-2-7b", weights=second, layers=[1])
        text("video-llama-2-7b", weights=second)
        assert not recwarn.list

    @pytest.mark.parametrize(("name", "dim"), [("video-llama-7b", 5120), ("video-llama-13b", 4096)])
    def test_weights_of_the_other_size_are_refused(self, weights: dict[str, str], name: str, dim: int) -> None:
        proj = {"llama_proj.weight": torch.zeros(dim, 48), "llama_proj.bias": torch.zeros(dim)}
        change(weights["finetune"], lambda state: state.update(proj))
        with pytest.raises(WeightsError, match=f"{dim} wide.*of the other size"):
            video(name, weights=weights)

    def test_a_llama_of_another_width_is_refused(self, weights: dict[str, str]) -> None:
        proj = {"llama_proj.weight": torch.zeros(64, 48), "llama_proj.bias": torch.zeros(64)}
        change(weights["finetune"], lambda state: state.update(proj))
        with pytest.raises(WeightsError, match=r"gives tokens 64 wide, .* reads 80: they don't belong together"):
            video(weights=weights, layers=[1])

    def test_a_qformer_for_another_vit_is_refused(self, weights: dict[str, str], tmp_path: Path) -> None:
        (tmp_path / "other").mkdir()
        other = random_files(tmp_path / "other")
        with pytest.raises(WeightsError, match=r"eva_vit .* gives states 16 wide, and qformer .* reads 64"):
            video(weights=weights | {"eva_vit": other["eva_vit"]}, sizes={**SIZES, "vit_heads": 2})


class TestLlamaFolder:
    def rewritten(self, weights: dict[str, str], layout: str) -> None:
        folder = Path(weights["llama"])
        state = load_file(folder / "model.safetensors")
        (folder / "model.safetensors").unlink()
        halves = [dict(list(state.items())[::2]), dict(list(state.items())[1::2])]
        if layout == "base model":
            save_file({key.removeprefix("model."): value for key, value in state.items()}, folder / "model.safetensors")
        elif layout == "old buffers":
            buffers = {f"model.layers.{n}.self_attn.rotary_emb.inv_freq": torch.ones(10) for n in range(3)}
            save_file(state | buffers, folder / "model.safetensors")
        elif layout == "pickled":
            torch.save(state, folder / "pytorch_model.bin")
        else:
            ending = "safetensors" if layout == "sharded" else "bin"
            stem = "model" if layout == "sharded" else "pytorch_model"
            names = [f"{stem}-{n:05d}-of-00002.{ending}" for n in (1, 2)]
            for name, half in zip(names, halves, strict=True):
                save_file(half, folder / name) if layout == "sharded" else torch.save(half, folder / name)
            where = {key: name for name, half in zip(names, halves, strict=True) for key in half}
            (folder / f"{stem}.{ending}.index.json").write_text(json.dumps({"weight_map": where}))

    @pytest.mark.parametrize("layout", ["base model", "old buffers", "pickled", "sharded", "sharded pickled"])
    def test_every_layout_gives_the_same_states(self, weights: dict[str, str], layout: str) -> None:
        expected = text().encode_texts(["a dog runs"])["layer-3"][0]
        self.rewritten(weights, layout)
        assert np.array_equal(text(weights=weights).encode_texts(["a dog runs"])["layer-3"][0], expected)

    def changed(self, weights: dict[str, str], changing: Callable[[dict[str, Any]], object]) -> None:
        path = Path(weights["llama"]) / "model.safetensors"
        state = load_file(path)
        changing(state)
        save_file(state, path)

    def test_a_missing_key_is_named(self, weights: dict[str, str]) -> None:
        self.changed(weights, lambda state: state.pop("model.layers.1.mlp.up_proj.weight"))
        with pytest.raises(WeightsError, match=r"llama has no model\.layers\.1\.mlp\.up_proj\.weight.*Vicuna v0, 7B"):
            text(weights=weights)

    def test_an_unknown_key_is_named(self, weights: dict[str, str]) -> None:
        self.changed(weights, lambda state: state.update({"model.layers.3.mlp.up_proj.weight": torch.zeros(1)}))
        with pytest.raises(WeightsError, match=r"layers\.3\.mlp\.up_proj.*a LLaMA of 3 layers has no such key"):
            text(weights=weights)

    def test_a_shape_that_is_not_the_configurations_is_named(self, weights: dict[str, str]) -> None:
        self.changed(weights, lambda state: state.update({"model.norm.weight": torch.zeros(81)}))
        with pytest.raises(WeightsError, match=r"model\.norm\.weight is \(81,\), expected \(80,\)"):
            text(weights=weights)

    def test_layers_deeper_than_asked_for_are_not_read(self, weights: dict[str, str]) -> None:
        expected = text(layers=[1]).encode_texts(["a dog"])["layer-1"][0]
        self.changed(weights, lambda state: [state.pop(key) for key in [*state] if "layers.2." in key])
        assert np.array_equal(text(weights=weights, layers=[1]).encode_texts(["a dog"])["layer-1"][0], expected)
        with pytest.raises(WeightsError, match=r"has no model\.layers\.2\."):
            text(weights=weights, layers=[3])

    @pytest.mark.parametrize(
        ("config", "reason"),
        [
            ({"model_type": "mistral"}, "is of a 'mistral'; model_type 'llama'"),
            ({"quantization_config": {"bits": 4}}, "quantised"),
        ],
    )
    def test_a_configuration_of_something_else_is_refused(
        self, weights: dict[str, str], config: dict[str, Any], reason: str
    ) -> None:
        path = Path(weights["llama"]) / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | config))
        with pytest.raises(WeightsError, match=reason):
            text(weights=weights)

    @pytest.mark.parametrize(
        ("file", "reason"),
        [
            ("config.json", "has no config.json"),
            ("model.safetensors", r"has no weights: one of model\.safetensors.*it holds config\.json, tokenizer\.json"),
            ("tokenizer.json", r"has neither tokenizer\.model nor tokenizer\.json"),
        ],
    )
    def test_a_folder_that_lacks_something_says_what(self, weights: dict[str, str], file: str, reason: str) -> None:
        (Path(weights["llama"]) / file).unlink()
        for load in (text, lambda **options: video(layers=[1], **options)):
            with pytest.raises(WeightsError, match=reason):
                load(weights=weights)

    @pytest.mark.parametrize(
        ("file", "content", "reason"),
        [
            ("config.json", b"{", "isn't JSON"),
            ("model.safetensors", b"<html>", r"model\.safetensors can't be read"),
            ("model.safetensors.index.json", b'{"metadata": {}}', "no index of weights"),
            ("tokenizer.json", b"{}", r"tokenizer\.json is no tokenizer"),
            ("tokenizer.model", b"<html>", r"tokenizer\.model is no model of sentencepiece"),
        ],
    )
    def test_a_spoilt_file_is_named(self, weights: dict[str, str], file: str, content: bytes, reason: str) -> None:
        if file == "tokenizer.model":
            pytest.importorskip("sentencepiece", reason="needs pip install 'reelstore[video-llama]'")
        (Path(weights["llama"]) / file).write_bytes(content)
        with pytest.raises(WeightsError, match=f"text/video-llama-7b: .*{reason}.*It is the folder of Vicuna v0"):
            text(weights=weights)

    def test_a_shard_that_is_not_there_is_named(self, weights: dict[str, str]) -> None:
        self.rewritten(weights, "sharded")
        (Path(weights["llama"]) / "model-00002-of-00002.safetensors").unlink()
        with pytest.raises(WeightsError, match=r"names model-00002-of-00002\.safetensors, which isn't there"):
            text(weights=weights)

    def test_a_tokenizer_with_pieces_beyond_the_table_is_refused(self, weights: dict[str, str]) -> None:
        use_words(weights["llama"], "[^ ]+", {"dog": 5, "cat": 160})
        for side in (text, video):
            with pytest.raises(
                WeightsError, match=r"tokenizer\.json gives ids up to 160, and the network has 160 rows"
            ):
                side(weights=weights, layers=[1])

    def test_a_tokenizer_of_much_fewer_tokens_is_refused(self, weights: dict[str, str]) -> None:
        path = Path(weights["llama"]) / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"vocab_size": 32000}))
        with pytest.raises(WeightsError, match=r"tokenizer\.json knows \d+ tokens, and the network has 32000 rows"):
            text(weights=weights)

    def test_a_tokenizer_that_tells_nothing_apart_is_refused(self, weights: dict[str, str]) -> None:
        use_words(weights["llama"], "nothing at all", {"dog": 5, "cat": 6, "<s>": 1})
        with pytest.raises(WeightsError, match=r"tokenizer\.json gives one and the same tokens for every letter"):
            text(weights=weights)

    def test_a_tokenizer_whose_merges_were_cut_is_refused(self, weights: dict[str, str]) -> None:
        path = Path(weights["llama"]) / "tokenizer.json"
        content = json.loads(path.read_text())
        content["model"]["merges"] = content["model"]["merges"][:3]
        path.write_text(json.dumps(content))
        with pytest.raises(WeightsError, match=r"tokenizer\.json has merges for \d+ of its \d+ pieces"):
            text(weights=weights)

    @pytest.mark.parametrize("special", ["<s>", "</s>", "<unk>", "<ImageHere>", "<pad>"])
    def test_a_special_token_in_a_caption_or_prompt_is_text(self, weights: dict[str, str], special: str) -> None:
        """`<ImageHere>` as the original adds it, with an id that the table doesn't have."""
        plain = text(weights=weights)
        tokenizer = Tokenizer.from_file(str(Path(weights["llama"]) / "tokenizer.json"))
        tokenizer.add_special_tokens([token for token in (special, "<ImageHere>") if not tokenizer.token_to_id(token)])
        tokenizer.save(str(Path(weights["llama"]) / "tokenizer.json"))
        found = text(weights=weights, spans=["caption", "prompted"], prompt=special + " means {caption}:")
        numbers = {tokenizer.token_to_id(token) for token in ("<s>", "</s>", "<unk>", "<ImageHere>", special)}
        for caption in (special, f"a dog{special} and {special}{special}", f"{special}a dog"):
            prepared = found.encoder.prepare(caption)
            for field in ("caption", "prompted"):
                ids = prepared[field].tolist()
                assert ids[0] == 1
                # characters that aren't among the tiny tokenizer's pieces are its bytes or nothing; none is special
                assert not numbers & set(ids[1:]) - {0}
                assert len(ids) > 2
        for caption in ("a dog", "  two  spaces", "Ça é"):
            assert np.array_equal(
                found.encoder.prepare(caption)["caption"], plain.encoder.prepare(caption)["caption"]
            )  # other text has the ids it had
        if special != "<ImageHere>":  # which is the video's place in a prompt of that side
            after = video(weights=weights, layers=[1], spans=["last"], prompt=f"<ImageHere> {special} x").encoder
            assert not numbers & set(after.prepare(frames_of(2))["after"].tolist()) - {0}

    def test_sequences_begin_with_the_tokenizers_own_token(self, weights: dict[str, str]) -> None:
        """Not with the configuration's, which early conversions of the first LLaMA have wrong."""
        expected = text().encoder.prepare("a dog")["caption"].tolist()
        path = Path(weights["llama"]) / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"bos_token_id": 0}))
        assert text(weights=weights).encoder.prepare("a dog")["caption"].tolist() == expected
        assert expected[0] == 1

    @pytest.mark.parametrize("bos", [None, 160])
    def test_without_a_token_to_begin_with_nothing_is_encoded(self, weights: dict[str, str], bos: int | None) -> None:
        use_words(weights["llama"], "[^ ]+", {"dog": 5})
        path = Path(weights["llama"]) / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"bos_token_id": bos}))
        with pytest.raises(WeightsError, match=f"has no <s>, and bos_token_id in config.json is {bos}"):
            text(weights=weights)

    def test_a_padding_token_beyond_the_table_harms_nobody(self, weights: dict[str, str]) -> None:
        expected = text().encode_texts(["a dog"])["layer-3"][0]
        path = Path(weights["llama"]) / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"pad_token_id": 160}))
        assert np.array_equal(text(weights=weights).encode_texts(["a dog"])["layer-3"][0], expected)


class TestSentencePiece:
    """`tokenizer.model`, which the original reads; a LLaMA's is BPE with bytes for what it doesn't know."""

    @pytest.fixture
    def folder(self, tmp_path_factory: pytest.TempPathFactory) -> Path:
        sentencepiece = pytest.importorskip("sentencepiece", reason="needs pip install 'reelstore[video-llama]'")
        folder = tmp_path_factory.mktemp("llama")
        shutil.copytree(TINY / "llama", folder, dirs_exist_ok=True)
        sentences = ["a man is slicing a tomato on a wooden board while a dog looks on", "the video contains 8 frames"]
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(sentences * 50),
            model_prefix=str(folder / "tokenizer"),
            vocab_size=320,
            model_type="bpe",
            byte_fallback=True,
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            pad_id=-1,
            minloglevel=2,
        )
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"vocab_size": 320}))
        state = load_file(folder / "model.safetensors")
        rows = torch.randn(320, 80, generator=torch.Generator().manual_seed(0))
        save_file(
            state | {"model.embed_tokens.weight": rows, "lm_head.weight": rows.clone()}, folder / "model.safetensors"
        )
        return folder

    @pytest.mark.parametrize(
        "caption",
        [
            "a man",
            "  two  spaces",
            "Ça é 🙂",
            "x<s>y",
            "line\nbreak",
            " ",
            "</s>",
            "a </s> b",
            "<unk>",
            "<ImageHere>",
            "<0x41>",
        ],
    )
    def test_ids_are_sentencepieces_own_after_bos(self, folder: Path, caption: str) -> None:
        import sentencepiece

        pieces = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
        found = text(weights={"llama": str(folder)})
        ids = found.encoder.prepare(caption)["caption"].tolist()
        assert ids == [1, *pieces.encode(caption)]
        assert not {0, 1, 2} & set(ids[1:])  # special tokens in a caption are text
        assert "tokenizer.model" in found.spec.preprocessing  # it comes before the tokenizer.json beside it

    def test_each_side_of_a_prompt_begins_with_a_space_of_its_own(self, folder: Path) -> None:
        import sentencepiece

        pieces = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
        prompt = "a man <ImageHere>is slicing"
        found = video(weights=tiny(llama=str(folder)), layers=[1], spans=["last"], prompt=prompt)
        prepared = found.encoder.prepare(Frames(np.zeros((2, 42, 42, 3), np.uint8), np.zeros(2)))
        assert prepared["before"].tolist() == [1, *pieces.encode("a man ")]
        assert prepared["after"].tolist() == pieces.encode("is slicing")


class TestFingerprint:
    def of(self, **options: Any) -> str:
        return video(**options).spec.fingerprint()

    @pytest.mark.parametrize("role", ["eva_vit", "qformer", "finetune"])
    def test_a_changed_file_changes_it(self, weights: dict[str, str], role: str) -> None:
        before = self.of(weights=weights)
        assert before == self.of()  # where the files lie plays no part
        change(weights[role], lambda state: next(iter(state.values())).add_(1))
        assert self.of(weights=weights) != before

    @pytest.mark.parametrize("file", ["config.json", "tokenizer.json", "model.safetensors"])
    def test_a_changed_file_of_the_llama_changes_it(self, weights: dict[str, str], file: str) -> None:
        before = text(weights=weights).spec
        path = Path(weights["llama"]) / file
        if file == "model.safetensors":
            state = load_file(path)
            save_file(state | {"model.norm.weight": state["model.norm.weight"] + 1}, path)
        else:
            path.write_text(path.read_text() + "\n")
        after = text(weights=weights).spec
        assert before.weights_sha256 != after.weights_sha256
        assert before.fingerprint() != after.fingerprint()

    def test_the_parts_are_recorded_each_by_itself(self, weights: dict[str, str]) -> None:
        def digests(found: ReadyEncoder) -> dict[str, str]:
            return dict(part.split() for part in found.spec.preprocessing.split("; ")[-1].split(", "))

        before = digests(video(weights=weights, layers=[1]))
        assert [*before] == ["eva_vit", "qformer", "finetune", "llama"]
        change(weights["finetune"], lambda state: state["llama_proj.bias"].add_(1))
        after = digests(video(weights=weights, layers=[1]))
        assert [role for role in before if before[role] != after[role]] == ["finetune"]

    def test_prompt_and_precision_change_it_and_other_layers_do_not(self) -> None:
        base = self.of(layers=[1])
        assert self.of(layers=[2, 3]) == base
        assert self.of(layers=[1], spans=["last"]) == self.of(layers=[2], spans=["sequence", "video"]) != base
        assert self.of(layers=[1], prompt="<ImageHere>") != base
        assert self.of(layers=[1], dtype="bfloat16") != base
        assert self.of(layers=[1], sampling="uniform") != base
        assert text(spans=["prompted"]).spec.fingerprint() != text().spec.fingerprint()


class TestPrecision:
    @pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
    def test_half_precision_gives_nearly_the_same(self, dtype: str) -> None:
        """On a CPU, which can do it slowly; what a GPU rounds is for a GPU to show."""
        options: dict[str, Any] = {"layers": [3], "prompt": "see <ImageHere>"}
        full = video(**options).encode_frames(GOLDEN["raw_frames_uint8"])
        half = video(**options, dtype=dtype).encode_frames(GOLDEN["raw_frames_uint8"])
        for name, values in full.items():
            assert half[name].dtype == np.float32
            cosines = (
                (values * half[name]).sum(-1) / np.linalg.norm(values, axis=-1) / np.linalg.norm(half[name], axis=-1)
            )
            assert 0.99 < cosines.min() < 1
        states = text(dtype=dtype).encode_texts(["a dog"])["layer-3"][0]
        np.testing.assert_allclose(states, text().encode_texts(["a dog"])["layer-3"][0], atol=0.2)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_weights_of_the_right_dtype_are_mapped_and_not_copied(weights: dict[str, str]) -> None:
    """A LLaMA whose embedding table alone takes 128 MB adds a fraction of that to the process."""
    folder = Path(weights["llama"])
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"vocab_size": 400_000}))
    state = load_file(folder / "model.safetensors") | {"model.embed_tokens.weight": torch.zeros(400_000, 80)}
    save_file(state, folder / "model.safetensors")
    code = """
import sys, torch, transformers
from pathlib import Path
from reelstore.encoders.video_llama.files import MODELS
from reelstore.encoders.video_llama.language import Llama

def anonymous_kb():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))

Llama(Path(sys.argv[2]), layers=[1], device="cpu", dtype=torch.float32)  # imports and pools
before = anonymous_kb()
kept = Llama(Path(sys.argv[1]), layers=[1], device="cpu", dtype=torch.float32)
print(anonymous_kb() - before)
"""
    arguments = [sys.executable, "-c", code, str(folder), str(TINY / "llama")]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 32_000


class TestHub:
    COMMIT = "0123456789abcdef0123456789abcdef01234567"

    @pytest.mark.parametrize("name", ["lmsys/vicuna", "lmsys/vicuna@main", "/nowhere/at/all"])
    def test_a_repository_needs_its_commit(self, name: str) -> None:
        with pytest.raises(WeightsError, match=r"weights.llama is .*owner/name@<40 digits>"):
            text(weights={"llama": name})

    def offline(self, cache: Path, code: str) -> subprocess.CompletedProcess[str]:
        import os

        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(cache)}
        return subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
        )

    def test_offline_a_cached_snapshot_is_used_and_another_is_an_error(self, tmp_path: Path) -> None:
        repository = tmp_path / "hub/models--someone--llama"
        shutil.copytree(TINY / "llama", repository / "snapshots" / self.COMMIT)
        code = (
            "import reelstore, sys\n"
            "from reelstore.errors import WeightsError\n"
            "def load(commit):\n"
            "    weights = {'llama': f'someone/llama@{commit}'}\n"
            "    return reelstore.encoder('video-llama-7b', side='text', weights=weights, device='cpu')\n"
            f"print(load('{self.COMMIT}').encode_texts(['a dog'])['layer-3'][0].shape[1])\n"
            "try:\n"
            f"    load('{self.COMMIT[::-1]}')\n"
            "except WeightsError as error:\n"
            "    print(error)\n"
        )
        done = self.offline(tmp_path, code)
        assert done.returncode == 0, done.stderr
        width, reason = done.stdout.splitlines()
        assert width == "80"
        assert "isn't in the local cache and can't be downloaded" in reason


def test_the_registry_knows_both_sides_of_all_four() -> None:
    from reelstore.encoders.registry import ENCODERS

    names = {"video-llama-7b", "video-llama-13b", "video-llama-2-7b", "video-llama-2-13b"}
    assert {key for key in ENCODERS if "llama" in key} == {
        f"{side}/{name}" for side in ("video", "text") for name in names
    }


def test_its_name_is_no_option() -> None:
    with pytest.raises(ParamsError, match="name is unknown"):
        load_encoder("video", "video-llama-7b", options={"name": "x"}, device="cpu", threads=1)
