"""`reelstore doctor MODEL`: each fault by its own check, from outside; a healthy model raises none."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import yaml
from click.testing import CliRunner

from reelstore.cli import main
from reelstore.datasets import llm_like
from reelstore.datasets.index import write_index
from reelstore.project.doctor import run_doctor
from reelstore.project.settings import load_params
from reelstore.records import Caption, Dataset, Video
from reelstore.store.format import VariantSpec
from reelstore.store.table import RowTable
from reelstore.store.update import VariantUpdate
from reelstore.store.write import row_fingerprints

SPLITS = {"train": 240, "validation": 80, "test": 80}
MODEL = "drawn+drawn"


def run(*words: str, code: int = 0) -> str:
    done = CliRunner().invoke(main, words)
    assert done.exit_code == code, done.output
    return done.output


class Drawn:
    """400 videos and their 800 captions over shared latents, healthy unless changed; `write` stores them."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        latents = rng.normal(size=(400, 12))
        self.video = latents @ rng.normal(size=(12, 64)) + 0.5 * rng.normal(size=(400, 64))
        self.text = np.repeat(latents, 2, axis=0) @ rng.normal(size=(12, 48)) + 0.5 * rng.normal(size=(800, 48))
        self.contents = [f"{number:064x}" for number in range(400)]
        self.texts = [f"caption {number}" for number in range(800)]

    def write(self, variants: Sequence[str] = ("mean",)) -> None:
        names = [split for split, count in SPLITS.items() for _ in range(count)]
        ids = [f"v{number}" for number in range(400)]
        videos = tuple(Video(i, f"{i}.png", c, s, i) for i, c, s in zip(ids, self.contents, names, strict=True))
        captions = tuple(Caption(ids[n // 2], n % 2, text) for n, text in enumerate(self.texts))
        write_index(Path("data/drawn"), Dataset("drawn", Path("clips"), videos, captions), kind="folder")
        keys = {"video": ids, "text": [(caption.video_id, caption.caption_index) for caption in captions]}
        for variant in variants:
            for side, values in (("video", self.video), ("text", self.text)):
                _store(side, variant, keys[side], names if side == "video" else np.repeat(names, 2).tolist(), values)


def _store(side: str, variant: str, keys: list, splits: list[str], values: np.ndarray) -> None:
    spec = VariantSpec(side, "drawn", variant, values.shape[1], 0, "float32", {})
    table = RowTable(keys, splits, row_fingerprints(spec.fingerprint, [f"{n:064x}" for n in range(len(keys))]))
    update = VariantUpdate(Path("store/drawn") / side / "drawn" / variant, spec, table)
    for row in update.todo:
        update.put(int(row), values[row].astype(np.float32))
    update.finish()


@pytest.fixture
def drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Drawn:
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text("dataset: {name: drawn, kind: folder}")
    return Drawn()


def raised() -> set[str]:
    diagnosis = run_doctor(load_params(), MODEL).diagnosis
    return {f"{check.level} {check.name} {check.about}".strip() for check in diagnosis.checks if check.level != "ok"}


def test_a_healthy_model_raises_nothing_but_that_it_is_unaligned(drawn: Drawn) -> None:
    drawn.write()
    assert raised() == {"note chance"}
    assert "1 note" in run("doctor", MODEL)


def test_each_fault_is_named_by_its_own_check(drawn: Drawn) -> None:
    drawn.video += 40 * np.random.default_rng(1).normal(size=64)  # a common mean
    drawn.text[:, 5] *= 60  # an outlier dimension
    drawn.write()
    assert raised() == {"note chance", "warning common-mean video/mean", "warning outliers text/mean"}


def test_a_constant_variant_fails_it_and_can_be_allowed(drawn: Drawn) -> None:
    drawn.write()
    drawn.text[:] = drawn.text[0]
    drawn.write(["first"])
    assert "fatal  constant text/first: 1" in run("doctor", MODEL, code=1)
    run("doctor", MODEL, "--no-fail")
    Path("params.yaml").write_text("dataset: {name: drawn, kind: folder}\ndoctor: {allow: [constant]}")
    run("doctor", MODEL)


def test_variants_that_are_one_under_cosine_are_named(drawn: Drawn) -> None:
    drawn.write()
    drawn.video *= 7
    drawn.text *= np.random.default_rng(0).uniform(1, 5, size=(800, 1))
    drawn.write(["sum"])
    assert raised() == {"note chance", "note equal-variants video/mean = sum", "note equal-variants text/mean = sum"}


def test_pairs_that_say_nothing_are_named(drawn: Drawn) -> None:
    drawn.text = drawn.text[np.random.default_rng(0).permutation(800)]
    drawn.write()
    assert raised() >= {"fatal probe", "warning agreement CKA"}
    run("doctor", MODEL, code=1)


def test_what_splits_share_fails_it(drawn: Drawn) -> None:
    drawn.contents[399] = drawn.contents[0]
    drawn.texts[799] = drawn.texts[0]
    drawn.write()
    assert raised() == {"note chance", "fatal leakage file", "fatal leakage caption"}
    assert "such as v399 and v0" in run("doctor", MODEL, code=1).replace("v0 and v399", "v399 and v0")


def test_numbers_are_small_and_plain(drawn: Drawn) -> None:
    drawn.write(["mean", "max"])
    run("doctor", MODEL)
    path = Path("metrics/drawn") / MODEL / "doctor.json"
    assert path.stat().st_size < 4000

    def leaves(value: object) -> list[object]:
        return [leaf for inner in value.values() for leaf in leaves(inner)] if isinstance(value, dict) else [value]

    found = leaves(json.loads(path.read_text()))
    assert len(found) > 10
    assert all(type(leaf) in (int, float) for leaf in found)
    plots = Path("plots/drawn") / MODEL / "doctor"
    assert {file.name for file in plots.iterdir()} >= {"findings.txt", "spectrum.svg", "cosines.csv"}
    checks = json.loads((plots / "findings.json").read_text())
    assert all(check["meaning"] and check["threshold"] for check in checks)


def test_a_model_that_is_none_is_refused(drawn: Drawn) -> None:
    assert "<video encoder>+<text encoder>" in run("doctor", "drawn", code=1)
    drawn.write()
    assert "no pooled variant of video/other" in run("doctor", "other+drawn", code=1)


def test_keys_off_by_one_fail_it_and_are_named(drawn: Drawn) -> None:
    drawn.video = np.roll(drawn.video, 1, axis=0)
    drawn.write()
    assert "Keys are off by one: probe MRR 0." in (said := run("doctor", MODEL, code=1))
    assert "at shift -1 against 0.0" in said


def test_captions_of_one_embedding_are_named_unless_the_tables_have_one_text(drawn: Drawn) -> None:
    drawn.text[:240] = drawn.text[0]
    drawn.write()
    assert "fatal repeats text/mean" in raised()
    drawn.texts[:240] = ["dance"] * 240
    drawn.write()
    assert not {one for one in raised() if "repeats" in one}


STORE = ("doctor", "--store", "store/drawn", "--video", "drawn", "--text")


def test_a_store_is_looked_at_without_a_project(drawn: Drawn) -> None:
    drawn.write(["mean", "max"])
    Path("params.yaml").unlink()
    said = run(*STORE, "drawn/max")
    assert "store/drawn: drawn+drawn/max" in said and "Not checked: a store alone doesn't have files or texts." in said
    assert not Path("plots").exists() and not Path("metrics").exists()
    drawn.video[320:] *= 3
    drawn.write()
    assert "drift video/mean test" in run(*STORE, "drawn")
    assert "no pooled variant of text/other" in run(*STORE, "other", code=1)
    assert "doctor.text is 'last'; the store has: mean, max" in run(*STORE, "drawn/last", code=1).replace(
        "max, mean", "mean, max"
    )
    run("doctor", MODEL, "--store", "store/drawn", code=2)


def test_a_store_of_tokens_is_pooled_by_the_mean(drawn: Drawn, write_variant: Callable[..., None]) -> None:
    rng = np.random.default_rng(0)
    for side in ("video", "text"):
        values = getattr(drawn, side)
        keys = [f"v{n}" for n in range(400)] if side == "video" else [(f"v{n // 2}", n % 2) for n in range(800)]
        counts = rng.integers(1, 4, size=len(values))
        write_variant(
            side, "drawn", "tokens", keys, [np.repeat(row[None], n, 0) for row, n in zip(values, counts, strict=True)]
        )
    said = run(*STORE, "drawn")
    assert "ok  " in said and "near-video: 0" in said and "tokens isn't pooled" in said
    assert "probe: 0." in said


def test_a_store_without_captions_of_its_videos_is_refused(drawn: Drawn, write_variant: Callable[..., None]) -> None:
    write_variant("video", "drawn", "mean", ["a"], np.ones((1, 4)))
    write_variant("text", "drawn", "mean", [("b", 0)], np.ones((1, 4)))
    assert "no video with captions in common" in run(*STORE, "drawn", code=1)


def test_on_llm_like_the_constant_first_column_the_equal_sums_and_the_common_mean_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    knobs = json.loads(Path(llm_like.__file__).with_suffix(".json").read_text())
    knobs |= {"n_videos": 240, "splits": {"train": 160, "validation": 40, "test": 40}, "captions_per_video": 2}
    Path("knobs.json").write_text(json.dumps(knobs))
    keep = {"seed": 0, "width": 128, "keep": ["first", "mean", "sum"]}
    params = {
        "dataset": {"name": "drawn", "kind": "llm-like", "source": "knobs.json"},
        "streams": {"video/llm-like": keep, "text/llm-like": keep},
        "tracking": {"wandb": "disabled"},
    }
    Path("params.yaml").write_text(yaml.safe_dump(params))
    run("dataset")
    run("embed", "video/llm-like")
    run("embed", "text/llm-like")
    found = {
        f"{check.level} {check.name} {check.about}"
        for check in run_doctor(load_params(), "llm-like+llm-like").diagnosis.checks
    }
    assert found >= {
        "fatal constant text/first",
        "ok constant video/first",
        "note equal-variants text/mean = sum",
        "note equal-variants video/mean = sum",
        "warning common-mean video/mean",
        "warning common-mean text/mean",
    }
