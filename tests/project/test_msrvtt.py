"""docs/msrvtt-xclip-video-llama.md on stand-ins: both presets, from published shapes to the report's tables."""

import importlib.util
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from reelstore.cli import main

TESTS = Path(__file__).parents[1]
sys.path.append(str(TESTS / "encoders"))


def _asset(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"{name}_for_pages", TESTS / "assets" / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


draw, drawn_msrvtt = _asset("draw"), _asset("msrvtt")
TINY = TESTS / "encoders" / "tiny_video_llama"
N_TEST = 8
POOLINGS = ["first", "max", "mean", "sum"]


def clip(number: int) -> bytes:
    """Clips of many lengths, and so of other frames."""
    content: bytes = draw.video("mp4", 9 + number % 13)
    return content


@contextmanager
def project(folder: Path, preset: str, changes: Callable[[str], str], *, missing: int = 0) -> Iterator[Path]:
    """The project's params.yaml with a preset, its paths those of the stand-ins; some test clips missing."""
    source = folder / "data/raw/msrvtt"
    drawn_msrvtt.write(source, n_train=3, n_validate=1, n_test=N_TEST, n_1k=N_TEST, n_miech=(3, 3), clip=clip)
    for path in sorted((source / "TestVideo").iterdir())[:missing]:
        path.unlink()
    (folder / "params.yaml").write_bytes((TESTS.parent / "params.yaml").read_bytes())
    before = Path.cwd()
    os.chdir(folder)
    try:
        run("preset", "apply", preset)
        Path("params.yaml").write_text(changes(Path("params.yaml").read_text()).replace("offline", "disabled"))
        yield folder
    finally:
        os.chdir(before)


def run(*command: str) -> str:
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 0, done.output
    return done.output


def read(path: str) -> Any:
    return json.loads(Path(path).read_text())


def replaced(text: str, old: str, new: str) -> str:
    assert old in text
    return text.replace(old, new)


def with_tiny_xclip(text: str) -> str:
    from checkpoints import made, xclip

    for batch in ("{batch_size: 1,", "{batch_size: 32,"):
        text = replaced(text, batch, f"{{model: {made(xclip)}, batch_size: 2,")
    return replaced(text, "dtype: float16", "dtype: float32")


def with_tiny_video_llama(text: str) -> str:
    for published, tiny in [("weights/vicuna-7b-v0", f"{TINY}/llama"), ("weights/", f"{TINY}/")]:
        text = replaced(text, f": {published}", f": {tiny}")
    for old, new in [("layer-32", "layer-3"), ("layers: [32]", "layers: [3]")]:
        text = replaced(text, old, new)
    sizes = "sizes: {vit_blocks: 3, vit_heads: 4, qformer_heads: 4}"
    return replaced(text, "    spans: [video, sequence]", f"    {sizes}\n    spans: [video, sequence]")


def test_the_xclip_preset_leads_to_both_scores_in_both_directions(tmp_path: Path) -> None:
    model = "xclip-base-patch32"
    with project(tmp_path, "msrvtt-xclip", with_tiny_xclip):
        said = run("dataset")
        assert f"test: {N_TEST} videos, {N_TEST} captions" in said
        for side in ("video", "text"):
            run("embed", f"{side}/{model}")
        run("grid", model, model)
        found = {name: run("evaluate", model, model, name) for name in ("both-towers", "conditioned")}
        for name, said in found.items():
            assert f"what is there of msrvtt/1k-a/test ({N_TEST} of 1000 videos, {N_TEST} of 1000 captions)" in said
            metrics = read(f"metrics/msrvtt/{model}+{model}/{name}.json")
            assert {"R@01", "R@02", "R@05", "R@10", "MRR"} <= set(metrics["t2v"])
            assert {"hit@01", "hit@02", "hit@05", "hit@10", "MRR", "MAP"} <= set(metrics["v2t"])
            assert metrics["health"]["missing_videos"] == metrics["health"]["missing_captions"] == 1000 - N_TEST
        assert read(f"metrics/msrvtt/{model}+{model}/grid.json")["t2v_MRR"].keys() == {"embedding"}
        shown = run("show")
        assert f"msrvtt/1k-a/test split: {N_TEST} of 1000 videos, {N_TEST} of 1000 captions, not whole" in shown
        assert f"info store/msrvtt/video/{model}/embedding" in shown and "mlp" not in shown
        run("report")
        page = Path("report/msrvtt/index.html").read_text()
        assert f"msrvtt/1k-a/test split, {N_TEST} of 1000 videos" in page and "not whole" in page
        assert "conditioned" in page


def test_the_video_llama_preset_leads_to_both_grids(tmp_path: Path) -> None:
    model = "video-llama-7b"
    with project(tmp_path, "msrvtt-video-llama", with_tiny_video_llama, missing=1):
        assert "7 of 1000 videos" in run("dataset")
        for side in ("video", "text"):
            run("embed", f"{side}/{model}")
        chance = sum(1 / rank for rank in range(1, N_TEST)) / (N_TEST - 1)
        for name in ("grid", "after-llama"):
            assert "what is there of msrvtt/1k-a/test (7 of 1000 videos" in run(
                "grid", model, model, *([name] * (name != "grid"))
            )
            grid = read(f"metrics/msrvtt/{model}+{model}/{name}.json")
            assert list(grid["t2v_MRR"]) == POOLINGS
            for cells in grid["t2v_MRR"].values():
                assert list(cells) == POOLINGS
                # BOS is the same for every caption, and a cosine knows no length.
                assert cells["first"] == pytest.approx(chance, abs=1e-6)
                assert cells["sum"] == pytest.approx(cells["mean"], abs=0.2)
            assert grid["health"]["missing_videos"] == 993
        for name in ("before-llama", "after-llama-mean"):
            run("evaluate", model, model, name)
            assert read(f"metrics/msrvtt/{model}+{model}/{name}.json")["health"]["videos"] == N_TEST - 1


def test_a_full_name_of_a_split_is_measured_and_another_cut_s_refused(tmp_path: Path) -> None:
    model = "xclip-base-patch32"
    with project(tmp_path, "msrvtt-xclip", with_tiny_xclip):
        run("dataset")
        for side in ("video", "text"):
            run("embed", f"{side}/{model}")
        text = Path("params.yaml").read_text()
        evaluate_split = text[text.index("evaluate:") :]
        for name, code in (("msrvtt/1k-a/test", 0), ("msrvtt/full/test", 1)):
            changed = replaced(evaluate_split, "split: test", f"split: {name}")
            Path("params.yaml").write_text(text.replace(evaluate_split, changed))
            done = CliRunner().invoke(main, ["evaluate", model, model, "both-towers"])
            assert done.exit_code == code, done.output
        assert "don't have the split msrvtt/full/test. They have: msrvtt/1k-a/test" in done.output
        details = read(f"plots/msrvtt/{model}+{model}/both-towers/evaluation/details.json")
        assert details["split"] == "msrvtt/1k-a/test" and details["protocol"]["whole"] is False
