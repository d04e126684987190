"""The pairs stage, from a dataset's tables to the files it writes."""

from pathlib import Path

import pytest

from reelstore.datasets.index import write_index
from reelstore.errors import DatasetError
from reelstore.params import parse_params
from reelstore.pipeline.pairs import run_pairs
from reelstore.records import Caption, Dataset, Video

PARAMS = parse_params(
    {
        "dataset": {"name": "drawn", "kind": "folder"},
        "encoders": {"video/efficientnet-lite0": {}, "text/minilm-l6": {}},
    }
)


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
    report = run_pairs(PARAMS)
    assert sorted(path.name for path in Path("pairs/drawn").iterdir()) == ["train.jsonl", "validation.jsonl"]
    assert report.n_pairs == {"train": 2, "validation": 1}
    assert "2 pairs to train, 1 pairs to validation" in report.summary()


def test_a_text_in_two_splits_is_reported():
    write("train validation test", texts="aab")
    assert "1 captions of validation have a text of train" in run_pairs(PARAMS).summary()


def test_a_file_in_two_splits_fails_the_stage():
    write("train validation test", content={0: "same", 2: "same"})
    with pytest.raises(DatasetError, match="1 files are in both test and train"):
        run_pairs(PARAMS)
    assert not Path("pairs").exists()


def test_nothing_to_validate_on_is_an_error():
    write("train train test")
    with pytest.raises(DatasetError, match="'validation'"):
        run_pairs(PARAMS)
