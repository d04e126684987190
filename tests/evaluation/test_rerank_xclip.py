"""The conditioned scorer by itself, against transformers' prompt generator: tiles, ties, files, refusals."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from reelstore.errors import EvaluationError, NonFiniteError
from reelstore.evaluation import evaluate
from reelstore.evaluation.prompt_generator import FORMAT, PromptGenerator
from reelstore.evaluation.rerank import Stored
from reelstore.evaluation.rerank_xclip import Conditioned, XClipReranker, conditioned_scores
from reelstore.store.format import VariantSpec
from reelstore.store.open import open_variant
from reelstore.store.table import RowTable
from reelstore.store.update import VariantUpdate
from reelstore.store.write import row_fingerprints

DIM, HEADS, LAYERS, PATCHES = 48, 6, 3, 7


@pytest.fixture(scope="module", params=["quick_gelu", "gelu"])
def activation(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def oracle(activation: str) -> Any:
    """The library's generator with weights that do something everywhere."""
    from transformers import XCLIPConfig
    from transformers.models.x_clip.modeling_x_clip import XCLIPPromptGenerator

    config = XCLIPConfig(
        projection_dim=DIM,
        prompt_layers=LAYERS,
        prompt_num_attention_heads=HEADS,
        prompt_hidden_act=activation,
        text_config={"layer_norm_eps": 1e-3},
        vision_config={"layer_norm_eps": 1e-2},
    )
    config._attn_implementation = "eager"
    network = XCLIPPromptGenerator(config).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return network


def ours(network: Any, activation: str) -> PromptGenerator:
    tensors = {f"prompts_generator.{name}": value.numpy() for name, value in network.state_dict().items()}
    tensors["logit_scale"] = np.array(2.5, dtype=np.float32)
    return PromptGenerator(tensors, HEADS, LAYERS, activation, 1e-2, 1e-3, "a" * 64)


@pytest.fixture(scope="module")
def generator() -> PromptGenerator:
    return ours(oracle("quick_gelu"), "quick_gelu")


def drawn(n_captions: int = 11, n_videos: int = 5, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    shapes = (n_captions, DIM), (n_videos, DIM), (n_videos, PATCHES, DIM)
    text, video, prompts = (rng.normal(size=shape).astype(np.float32) for shape in shapes)
    return text, video, prompts


def named(text: np.ndarray, video: np.ndarray, prompts: np.ndarray) -> dict[str, np.ndarray]:
    return {"text": text, "video": video, "prompts": prompts}


def test_scores_are_those_of_the_library_s_generator(activation: str) -> None:
    network = oracle(activation)
    text, video, prompts = map(torch.from_numpy, drawn())
    with torch.inference_mode():
        rows = text.expand(len(video), -1, -1)  # (videos, captions, dim)
        moved = rows + network(rows, prompts)
        expected = torch.einsum(
            "vcd,vd->cv", torch.nn.functional.normalize(moved, dim=-1), torch.nn.functional.normalize(video, dim=-1)
        )
    scores = conditioned_scores(ours(network, activation), **named(*drawn()))
    assert scores.shape == (11, 5)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, expected.numpy(), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("tile_captions", "tile_videos"), [(1, 1), (4, 2), (11, 5), (100, 100)])
def test_tiles_change_no_score_beyond_its_last_bits(
    generator: PromptGenerator, tile_captions: int, tile_videos: int
) -> None:
    whole = conditioned_scores(generator, **named(*drawn()))
    tiled = conditioned_scores(generator, **named(*drawn()), tile_captions=tile_captions, tile_videos=tile_videos)
    np.testing.assert_allclose(tiled, whole, rtol=0, atol=1e-6)


def test_equal_captions_and_equal_videos_tie_whatever_the_tile(generator: PromptGenerator) -> None:
    text, video, prompts = drawn()
    text[7], video[4], prompts[4] = text[0], video[1], prompts[1]
    scores = conditioned_scores(generator, text=text, video=video, prompts=prompts, tile_captions=3, tile_videos=2)
    assert np.array_equal(scores[0], scores[7])
    assert np.array_equal(scores[:, 1], scores[:, 4])
    assert not np.array_equal(scores[:, 0], scores[:, 1])


def test_videos_of_equal_embedding_and_other_prompts_do_not_tie(generator: PromptGenerator) -> None:
    text, video, prompts = drawn()
    video[1] = video[0]
    scores = conditioned_scores(generator, text=text, video=video, prompts=prompts)
    assert not np.array_equal(scores[:, 0], scores[:, 1])


def test_prompts_are_read_from_a_mapped_file_in_half_precision(generator: PromptGenerator, tmp_path: Path) -> None:
    text, video, prompts = drawn()
    np.save(tmp_path / "prompts.npy", prompts.astype(np.float16))
    mapped = np.load(tmp_path / "prompts.npy", mmap_mode="r")
    scores = conditioned_scores(generator, text=text, video=video, prompts=mapped, tile_videos=2)
    np.testing.assert_allclose(
        scores, conditioned_scores(generator, text=text, video=video, prompts=prompts), rtol=0, atol=5e-3
    )


def test_a_zero_video_scores_zero(generator: PromptGenerator) -> None:
    text, video, prompts = drawn()
    video[2] = 0
    assert not conditioned_scores(generator, text=text, video=video, prompts=prompts)[:, 2].any()


def test_ranks_come_from_evaluate_with_one_axis_a_video(generator: PromptGenerator) -> None:
    text, video, prompts = drawn(n_captions=30, n_videos=6)
    owner = np.arange(30) % 6
    scores = conditioned_scores(generator, text=text, video=video, prompts=prompts)
    found = evaluate(text=scores, video=np.eye(6), video_of_caption=owner, similarity="dot")
    expected = (scores > scores[np.arange(30), owner][:, None]).sum(axis=1) + 1
    assert found.t2v.rank.tolist() == expected.tolist()


@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_value_that_is_not_finite_is_refused(generator: PromptGenerator, which: int) -> None:
    arrays = drawn()
    arrays[which].reshape(-1)[3] = np.nan
    with pytest.raises(NonFiniteError):
        conditioned_scores(generator, **named(*arrays))


def test_shapes_that_do_not_fit_are_refused_with_what_is_wanted(generator: PromptGenerator) -> None:
    text, video, prompts = drawn()
    with pytest.raises(EvaluationError, match=r"text must be \(n, 48\).*\(11, 40\)"):
        conditioned_scores(generator, text=text[:, :40], video=video, prompts=prompts)
    with pytest.raises(EvaluationError, match=r"prompts must be \(5, n_patches, 48\).*\(4, 7, 48\)"):
        conditioned_scores(generator, text=text, video=video, prompts=prompts[:4])


class TestFile:
    def write(self, path: Path, generator: PromptGenerator, **changes: Any) -> Path:
        header = {
            "format": FORMAT,
            "n_heads": HEADS,
            "n_layers": LAYERS,
            "activation": "quick_gelu",
            "video_epsilon": 1e-2,
            "text_epsilon": 1e-3,
            "weights_sha256": "a" * 64,
            **changes,
        }
        save_file(dict(generator.tensors), path, metadata={"reranker": json.dumps(header)})
        return path

    def test_what_was_written_is_read(self, generator: PromptGenerator, tmp_path: Path) -> None:
        read = PromptGenerator.load(self.write(tmp_path / "a", generator), weights_sha256="a" * 64)
        assert np.array_equal(
            conditioned_scores(read, **named(*drawn())), conditioned_scores(generator, **named(*drawn()))
        )
        assert read.logit_scale == pytest.approx(np.exp(2.5))

    def test_another_format_is_refused(self, generator: PromptGenerator, tmp_path: Path) -> None:
        with pytest.raises(EvaluationError, match="isn't a reranker of the format"):
            PromptGenerator.load(self.write(tmp_path / "a", generator, format="other/2"))

    def test_other_weights_are_refused(self, generator: PromptGenerator, tmp_path: Path) -> None:
        with pytest.raises(
            EvaluationError, match="belongs to the weights aaaaaaaaaaaa, the embeddings to bbbbbbbbbbbb"
        ):
            PromptGenerator.load(self.write(tmp_path / "a", generator), weights_sha256="b" * 64)

    @pytest.mark.parametrize("content", [b"", b"no safetensors at all"])
    def test_a_file_of_another_kind_is_refused(self, content: bytes, tmp_path: Path) -> None:
        (tmp_path / "a").write_bytes(content)
        with pytest.raises(EvaluationError, match="can't be read"):
            PromptGenerator.load(tmp_path / "a")

    def test_a_missing_file_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(EvaluationError, match="save_reranker writes it"):
            PromptGenerator.load(tmp_path / "none")

    def test_a_missing_tensor_is_named(self, generator: PromptGenerator, tmp_path: Path) -> None:
        with pytest.raises(EvaluationError, match=r"decoder\.3\..* is missing|decoder\.3\..*; it is missing"):
            PromptGenerator.load(self.write(tmp_path / "a", generator, n_layers=LAYERS + 1))

    @pytest.mark.parametrize(
        ("header", "says"),
        [
            *[({"n_heads": value}, "n_heads") for value in (0, -1, 5, 2.0, "6", None, True, 10**9)],
            *[({"n_layers": value}, "n_layers") for value in (0, -1, 2.0, "3", None, 10**9)],
            *[({"video_epsilon": value}, "video_epsilon") for value in ("x", -1, None, 1e9, [1])],
            *[({"weights_sha256": value}, "weights_sha256") for value in (3, "", "a" * 63, "a" * 64 + "\n", None)],
            *[({"activation": value}, "activation") for value in (3, None, ["gelu"])],
            ({"more": 1}, "more"),
            ({"tensors": {}}, "tensors"),
        ],
    )
    def test_an_odd_header_is_refused_by_its_entry(
        self, generator: PromptGenerator, tmp_path: Path, header: dict[str, Any], says: str
    ) -> None:
        with pytest.raises(EvaluationError, match=says):
            PromptGenerator.load(self.write(tmp_path / "a", generator, **header))

    @pytest.mark.parametrize("text", ["", "{", "[1]", "null", "3", '{"a": NaN}', "[" * 100_000])
    def test_a_header_that_is_none_is_refused(self, generator: PromptGenerator, tmp_path: Path, text: str) -> None:
        save_file(dict(generator.tensors), tmp_path / "a", metadata={"reranker": text})
        with pytest.raises(EvaluationError, match=str(tmp_path / "a")):
            PromptGenerator.load(tmp_path / "a")

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("prompts_generator.alpha", np.zeros((), np.float32)),
            ("prompts_generator.alpha", np.zeros(0, np.float32)),
            ("prompts_generator.alpha", np.zeros((1, DIM), np.float32)),
            ("prompts_generator.alpha", np.full(DIM, np.nan, np.float32)),
            ("prompts_generator.alpha", np.zeros(DIM, np.int8)),
            ("prompts_generator.alpha", np.zeros(DIM, np.float64)),
            ("prompts_generator.layernorm.weight", np.zeros(1, np.float32)),
            ("prompts_generator.decoder.0.mlp.0.weight", np.zeros((1, DIM), np.float32)),
            ("logit_scale", np.zeros(1, np.float32)),
            ("logit_scale", np.array(np.inf, np.float32)),
        ],
    )
    def test_an_odd_tensor_is_refused_by_its_name(
        self, generator: PromptGenerator, tmp_path: Path, name: str, value: np.ndarray
    ) -> None:
        other = replace(generator)
        object.__setattr__(other, "tensors", {**generator.tensors, name: value})
        with pytest.raises(EvaluationError, match=name.rpartition(".")[2] if "alpha" not in name else "must be|NaN"):
            PromptGenerator.load(self.write(tmp_path / "a", other))

    def test_a_pipe_is_refused(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "a")
        with pytest.raises(EvaluationError, match="is a pipe"):
            PromptGenerator.load(tmp_path / "a")

    def test_an_unknown_activation_is_refused(self, generator: PromptGenerator, tmp_path: Path) -> None:
        with pytest.raises(EvaluationError, match="'silu' isn't known"):
            PromptGenerator.load(self.write(tmp_path / "a", generator, activation="silu"))


def test_a_pair_has_the_same_bits_in_whatever_block_and_memory(generator: PromptGenerator) -> None:
    text, video, prompts = drawn(90, 25)
    text[[40, 70]], video[20], prompts[20] = text[3], video[2], prompts[2]
    scorer = Conditioned(generator, text=text, video=video, prompts=prompts, tile_captions=16, tile_videos=4)
    whole = conditioned_scores(generator, text=text, video=video, prompts=prompts, tile_captions=16, tile_videos=4)
    for captions, videos in (
        (slice(0, 90), slice(0, 25)),
        (slice(5, 71), slice(3, 22)),
        (slice(89, 90), slice(24, 25)),
    ):
        assert np.array_equal(scorer.block(captions, videos), whole[captions, videos])
    assert np.array_equal(whole[40], whole[3]) and np.array_equal(whole[:, 20], whole[:, 2])
    owner = np.arange(90) % 25
    found = [
        evaluate(scores=scorer, video_of_caption=owner, return_hard_negatives=True, memory=memory)
        for memory in (2**14, 2**30)
    ]
    ready = evaluate(scores=whole, video_of_caption=owner, return_hard_negatives=True)
    assert found[0].metrics == found[1].metrics == ready.metrics
    assert found[0].t2v.hardest_negative.tolist() == ready.t2v.hardest_negative.tolist()


@pytest.mark.parametrize(
    "recipe", [{}, {"encoder": "x"}, {"encoder": {}}, {"encoder": {"weights_sha256": 7}}], ids=repr
)
def test_embeddings_that_name_no_weights_are_refused(generator: PromptGenerator, tmp_path: Path, recipe: Any) -> None:
    """Imported ones, or somebody's store."""
    reranker = XClipReranker(generator=str(TestFile().write(tmp_path / "generator.safetensors", generator)))
    spec = VariantSpec("video", "x", "embedding", generator.dim, 0, "float32", recipe)
    table = RowTable(["a"], ["test"], row_fingerprints(spec.fingerprint, ["0"]))
    with VariantUpdate(tmp_path / "video" / "x" / "embedding", spec, table) as update:
        update.put(0, np.ones(generator.dim, np.float32))
        update.finish()
    rows = open_variant(tmp_path / "video" / "x" / "embedding")
    stored = Stored({"embedding": rows, "prompts": rows}, {"embedding": rows}, lambda: None, "cpu")
    with pytest.raises(EvaluationError, match="doesn't say which weights embedded it"):
        reranker.scored(stored)
