"""Scorers: what is stored, measured as it is; X-CLIP's own scores from the store are those of the model's forward."""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from click.testing import CliRunner
from PIL import Image

from reelstore.cli import main
from reelstore.encoders.registry import load_encoder
from reelstore.errors import EvaluationError, ParamsError, UnknownNameError
from reelstore.evaluation.rerank import make_reranker
from reelstore.project.evaluate.stage import run_evaluate
from reelstore.project.settings import load_params, parse_params
from reelstore.store.open import open_store
from reelstore.video import Sampling, decode

sys.path.insert(0, str(Path(__file__).parents[1] / "encoders"))
from checkpoints import made, xclip  # beside the tests of encoders

N_VIDEOS = 6
CONDITIONED = {"rerank": "xclip"}
TOWERS = {"rerank": "none", "video": "embedding", "text": "embedding"}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Six drawn clips of two captions each through a tiny X-CLIP, stored in float32."""
    folder, before = tmp_path_factory.mktemp("scored"), Path.cwd()
    (folder / "clips").mkdir()
    rng = np.random.default_rng(0)
    captions = ["video_id,caption,split"]
    for number in range(N_VIDEOS):
        pictures = [Image.fromarray(rng.integers(0, 256, (40, 48, 3), np.uint8)) for _ in range(12)]
        pictures[0].save(folder / f"clips/v{number}.png", save_all=True, append_images=pictures[1:], duration=100)
        captions += [f"v{number},a dog in picture {number},test", f"v{number},{'sing ' * number}along,test"]
    (folder / "clips/captions.csv").write_text("\n".join(captions) + "\n")
    model = {"model": str(made(xclip))}
    params = {
        "dataset": {"name": "drawn", "kind": "folder", "source": "clips"},
        "streams": {
            "video/xclip": {**model, "keep": ["embedding", "prompts"]},
            "text/xclip": {**model, "keep": ["embedding"]},
        },
        "model": {"video": ["xclip"], "text": ["xclip"]},
        "embed": {"dtype": "float32", "device": "cpu"},
        "scorers": {"conditioned": CONDITIONED, "towers": TOWERS},
        "tracking": {"wandb": "disabled"},
    }
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    os.chdir(folder)
    for command in (["dataset"], ["embed", "video/xclip"], ["embed", "text/xclip"]):
        done = CliRunner().invoke(main, command)
        assert done.exit_code == 0, done.output
    yield folder
    os.chdir(before)


@pytest.fixture(scope="module")
def forward(project: Path) -> Any:
    """What the model itself makes of the clips and captions: its output, and whose caption each is."""
    from transformers import AutoModel, AutoTokenizer

    checkpoint = made(xclip)
    network = AutoModel.from_pretrained(checkpoint).eval()
    encoder = load_encoder("video", "xclip", options={"model": str(checkpoint)}, device="cpu", threads=1)
    sampling = Sampling(**encoder.frames)
    clips = [decode(project / f"clips/v{number}.png", sampling=sampling) for number in range(N_VIDEOS)]
    pixels = torch.from_numpy(np.stack([encoder.prepare(frames) for frames in clips]))
    texts = [json.loads(line)["text"] for line in (project / "data/drawn/captions.jsonl").read_text().splitlines()]
    tokens = AutoTokenizer.from_pretrained(checkpoint)(
        texts, padding="max_length", max_length=24, truncation=True, return_tensors="pt"
    )
    with torch.inference_mode():
        return network(pixel_values=pixels, **tokens), network.logit_scale.exp().item()


def evaluated(name: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    done = CliRunner().invoke(main, ["evaluate", "xclip", "xclip", name])
    assert done.exit_code == 0, done.output
    queries = pq.read_table(f"plots/drawn/xclip+xclip/{name}/evaluation/queries.parquet").to_pylist()
    return json.loads(Path(f"metrics/drawn/xclip+xclip/{name}.json").read_text()), queries


def test_conditioned_scores_are_the_model_s_own_from_frames_to_metrics(project: Path, forward: Any) -> None:
    output, scale = forward
    scores = output.logits_per_text.numpy() / scale  # (n_captions, n_videos)
    owner = np.arange(2 * N_VIDEOS) // 2
    right = scores[np.arange(len(scores)), owner]
    wrong = np.where(owner[:, None] == np.arange(N_VIDEOS), -np.inf, scores).max(axis=1)
    ranks = 1 + (scores > right[:, None]).sum(axis=1)
    metrics, queries = evaluated("conditioned")
    t2v = [query for query in queries if query["direction"] == "t2v"]
    assert [query["rank"] for query in t2v] == ranks.tolist()
    np.testing.assert_allclose([query["gap"] for query in t2v], right - wrong, rtol=0, atol=1e-5)
    assert metrics["t2v"]["MRR"] == pytest.approx((1 / ranks).mean(), abs=1e-6)
    best_own = np.array([scores[owner == video, video].max() for video in range(N_VIDEOS)])
    above = [(scores[owner != video, video] > best_own[video]).sum() for video in range(N_VIDEOS)]
    assert metrics["v2t"]["hit@01"] == pytest.approx(np.mean(np.array(above) == 0), abs=1e-6)


def test_both_towers_alone_are_the_cosine_and_another_result(project: Path, forward: Any) -> None:
    output, _ = forward
    video, text = (torch.nn.functional.normalize(e, dim=-1) for e in (output.video_embeds, network_text(forward)))
    metrics, queries = evaluated("towers")
    scores = (text @ video.T).numpy()
    owner = np.arange(2 * N_VIDEOS) // 2
    right = scores[np.arange(len(scores)), owner]
    assert [q["rank"] for q in queries if q["direction"] == "t2v"] == (
        1 + (scores > right[:, None]).sum(axis=1)
    ).tolist()
    assert metrics["t2v"] != evaluated("conditioned")[0]["t2v"]


def network_text(forward: Any) -> torch.Tensor:
    """The caption embeddings before they are conditioned, from the store: other tests hold these to the model."""
    return torch.from_numpy(open_store("store/drawn")["text/xclip/embedding"].array().copy())


def test_details_say_how_it_was_scored_and_from_what(project: Path) -> None:
    evaluated("conditioned")
    details = json.loads(Path("plots/drawn/xclip+xclip/conditioned/evaluation/details.json").read_text())
    store = open_store("store/drawn")
    assert details["scorer"] == CONDITIONED and "conditioned on the video" in details["similarity"]
    assert details["read"] == {
        f"{side}/xclip/{variant}": store[f"{side}/xclip/{variant}"].digest
        for side, variant in [("video", "embedding"), ("video", "prompts"), ("text", "embedding")]
    }


def test_a_generator_s_file_does_without_the_checkpoint(project: Path) -> None:
    encoder = load_encoder("video", "xclip", options={"model": str(made(xclip))}, device="cpu", threads=1)
    encoder.save_reranker(Path("models/generator.safetensors"))
    raw = yaml.safe_load(Path("params.yaml").read_text())
    raw["streams"]["video/xclip"]["model"] = "gone"
    raw["scorers"]["conditioned"] = {**CONDITIONED, "generator": "models/generator.safetensors"}
    found = run_evaluate(parse_params(raw), video="xclip", text="xclip", aligner="conditioned")
    expected = run_evaluate(load_params(), video="xclip", text="xclip", aligner="conditioned")
    assert found.evaluation.metrics == expected.evaluation.metrics


def test_other_weights_than_those_that_embedded_are_refused(project: Path, tmp_path: Path) -> None:
    raw = yaml.safe_load(Path("params.yaml").read_text())
    raw["streams"]["video/xclip"]["model"] = str(xclip(tmp_path / "other", drop_path_rate=0.5))
    with pytest.raises(EvaluationError, match="belongs to the weights"):
        run_evaluate(parse_params(raw), video="xclip", text="xclip", aligner="conditioned")


def test_settings_that_are_not_a_scorer_s_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="Known: maxsim, none, xclip"):
        make_reranker("mine", {"rerank": "magic"})
    with pytest.raises(ParamsError, match=r"scorers\.mine\.patches is unknown\..*prompts"):
        make_reranker("mine", {"rerank": "xclip", "patches": "x"})
    with pytest.raises(ParamsError, match=r"scorers\.mine\.video is 3; a text is expected"):
        make_reranker("mine", {"rerank": "none", "video": 3})
    with pytest.raises(ParamsError, match=r"scorers\.mine\.over is 'words'; it must be text, video or both"):
        make_reranker("mine", {"rerank": "maxsim", "over": "words"})
    with pytest.raises(ParamsError, match=r"scorers\.mine has no `rerank`"):
        parse_params({"scorers": {"mine": {}}})
    with pytest.raises(ParamsError, match="under aligners and under scorers"):
        parse_params({"scorers": {"mine": {"rerank": "none"}}, "aligners": {"mine": {"kind": "ridge"}}})
