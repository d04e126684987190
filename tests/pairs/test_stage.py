"""The pairs stage, from a dataset's tables to the files it writes."""

import json
from pathlib import Path

import numpy as np
import pytest

from reelstore.datasets.index import write_index
from reelstore.errors import DatasetError, LeakageError, ParamsError
from reelstore.pairs.files import read_pairs
from reelstore.project.pairs import run_leakage, run_pairs
from reelstore.project.settings import parse_params
from reelstore.records import Caption, Dataset, Video

PARAMS = {
    "dataset": {"name": "drawn", "kind": "folder"},
    "pairs": {"captions": {}, "labelled": {"positives": 1, "negatives": 1, "doubled": True}},
    "mined": {"hard": {"negatives": 1, "among": 1, "embedding": "video/drawn/mean"}},
    "leakage": {"variants": ["video/drawn/mean"]},
}


def run(name: str = "captions", *, allow: tuple[str, ...] = ()):
    return run_pairs(parse_params({**PARAMS, "leakage": {"allow": list(allow)}}), name)


def pairs_of(name: str, split: str) -> list[tuple[str, str, int]]:
    path = Path("pairs/drawn", name, f"{split}.parquet")
    return sorted((pair.video_id, pair.caption_video_id, pair.label) for pair in read_pairs(path))


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def write(splits: str, *, content: dict[int, str] | None = None, texts: str = "abcdefgh") -> None:
    videos = tuple(
        Video(f"v{n}", f"v{n}.gif", (content or {}).get(n, f"{n}"), split, f"g{n}")
        for n, split in enumerate(splits.split())
    )
    captions = tuple(Caption(v.video_id, 0, text) for v, text in zip(videos, texts, strict=False))
    write_index(Path("data/drawn"), Dataset("drawn", Path("clips"), videos, captions), kind="folder")


def test_train_and_validation_are_written_and_test_is_not():
    write("train train validation test")
    report = run()
    assert sorted(path.name for path in Path("pairs/drawn/captions").iterdir()) == [
        "train.parquet",
        "validation.parquet",
    ]
    assert pairs_of("captions", "train") == [("v0", "v0", 1), ("v1", "v1", 1)]
    assert "captions: 2 pairs to train, 1 pairs to validation" in report.summary()


def test_positive_and_negative_captions_are_written_twice():
    write("train train validation validation test")
    report = run("labelled")
    want = [("v0", "v0", 1), ("v0", "v1", 0), ("v1", "v0", 0), ("v1", "v1", 1)]
    assert pairs_of("labelled", "train") == sorted(want * 2)
    assert "4 pairs and 4 negative ones to train, 4 pairs and 4 negative ones to validation" in report.summary()


def test_hard_ones_come_from_the_store(write_variant):
    write("train train train train validation validation")
    values = np.array([[1, 0], [1, 0.1], [0, 1], [0.1, 1], [1, 0], [0, 1]], dtype=np.float32)
    write_variant([f"v{n}" for n in range(6)], values, ["train"] * 4 + ["validation"] * 2)
    run("hard")
    negatives = [pair[:2] for pair in pairs_of("hard", "train") if not pair[2]]
    assert negatives == [("v0", "v1"), ("v1", "v0"), ("v2", "v3"), ("v3", "v2")]


def test_a_set_that_params_do_not_have_names_those_they_do():
    with pytest.raises(ParamsError, match=r"no 'easy'\. Known: captions, labelled, hard"):
        run("easy")


@pytest.mark.parametrize(
    ("kind", "shared"), [("caption", {"texts": "aab"}), ("file", {"content": {0: "same", 1: "same"}})]
)
def test_what_splits_share_fails_the_stage_unless_it_is_allowed(kind, shared):
    write("train validation test", **shared)
    with pytest.raises(LeakageError, match=rf"such as v1.* and v0.*allow: \[{kind}\]"):
        run()
    assert not Path("pairs").exists()
    assert "such as v1" in run(allow=(kind,)).summary()


def test_nothing_to_validate_on_is_an_error():
    write("train train test")
    with pytest.raises(DatasetError, match="'validation'"):
        run()
    assert not Path("pairs").exists()


def test_near_duplicates_fail_the_stage_unless_they_are_allowed(write_variant):
    values = np.array([[1, 0], [0, 1], [-1, 0], [0.01, 1]], dtype=np.float32)
    write_variant(["a", "b", "c", "d"], values, ["train", "train", "test", "test"])
    with pytest.raises(LeakageError, match=r"1 videos of train have a near-duplicate in test, such as b and d"):
        run_leakage(parse_params(PARAMS), "video/drawn/mean")
    allowed = {**PARAMS, "leakage": {"allow": ["near-video"]}}
    report = run_leakage(parse_params(allowed), "video/drawn/mean")
    rows = Path("plots/drawn/leakage/video/drawn/mean/near.csv").read_text().splitlines()
    assert rows[0] == "split,key,other_split,other_key,cosine" and rows[1].startswith("train,b,test,d,0.99")
    assert "such as b and d" in report.summary()
    far = {**PARAMS, "leakage": {"near": 1.0}}
    assert "no near-duplicates" in run_leakage(parse_params(far), "video/drawn/mean").summary()


@pytest.mark.parametrize(
    ("section", "settings", "message"),
    [
        ("pairs", {"x": {"positives": -1}}, "positives is -1"),
        ("pairs", {"x": {"hard": 1}}, "pairs.x.hard is unknown"),
        ("pairs", {"a/b": {}}, "letters, digits"),
        ("mined", {"x": {"negatives": 1}}, r"mined\.x\.embedding is missing"),
        ("mined", {"x": {"negatives": 60, "embedding": "text/a/mean"}}, r"1 to `among` \(50\)"),
        ("mined", {"captions": {"negatives": 1, "embedding": "text/a/mean"}}, "under pairs and under mined"),
        ("leakage", {"allow": ["text"]}, "must be file, caption"),
        ("leakage", {"variants": ["../x/y"]}, "must be <side>/<encoder>/<variant>"),
        ("aligners", {"mlp": {"kind": "mlp", "pairs": "none"}}, "trains on the pairs 'none'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(section, settings, message):
    with pytest.raises(ParamsError, match=message):
        parse_params({**PARAMS, section: settings})


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"name": "../../outside"}, "can't name a folder"),
        ({"name": "other"}, "is of the dataset 'other', not of drawn"),
        ({"name": 3}, "name is 3; text is expected"),
        ({"clips": None}, "clips is null"),
        ({"protocols": {"test": {"name": "x", "n_videos": "3", "n_captions": 1}}}, r"protocols.test.n_videos is '3'"),
        ({"missing": {"test": "v1"}}, "missing.test is 'v1'; a list"),
        ({"later": 1}, "'later'; one of name"),
    ],
    ids=str,
)
def test_tables_of_another_dataset_or_shape_are_refused_by_name(change, says):
    write("train validation test")
    path = Path("data/drawn/dataset.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(DatasetError, match=rf"dataset\.json.*{says}"):
        run()


@pytest.mark.parametrize(
    "line", [b"[]", b"{}", b"\xff", b"[" * 100_000, b'{"video_id": "\\ud800"}'], ids=lambda one: repr(one[:9])
)
def test_a_line_that_is_no_row_is_named(line):
    write("train validation test")
    path = Path("data/drawn/captions.jsonl")
    path.write_bytes(path.read_bytes() + line + b"\n")
    number = len(path.read_bytes().splitlines())
    with pytest.raises(DatasetError, match=rf"captions\.jsonl, line {number}\b"):
        run()
