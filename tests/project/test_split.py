"""Which rows a split has, and that tables and store agree on it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from reelstore.datasets.index import write_index
from reelstore.errors import DatasetError
from reelstore.project.settings import parse_params
from reelstore.project.split import matched_split
from reelstore.records import Caption, Dataset, Video
from reelstore.store.open import open_store

PARAMS = parse_params({"dataset": {"name": "drawn", "kind": "folder"}})


@pytest.fixture
def rows(tmp_path, monkeypatch, write_variant):
    monkeypatch.chdir(tmp_path)
    ids = ["a", "b", "c"]
    write_variant("video", "fake", "mean", ids, np.eye(3, 4))
    write_variant("text", "fake", "mean", [(one, 0) for one in ids], np.eye(3, 4))
    store = open_store(Path("store/drawn"))
    return [store["video/fake/mean"]], [store["text/fake/mean"]]


def tables(**split_of: str) -> Dataset:
    videos = tuple(Video(one, f"{one}.mp4", "0" * 64, split, one) for one, split in split_of.items())
    return Dataset("drawn", Path("clips"), videos, tuple(Caption(one, 0, "text") for one in split_of))


def test_a_stored_test_video_that_the_tables_train_on_is_refused(rows):
    write_index(Path("data/drawn"), tables(a="test", b="train", c="test"), kind="folder")
    with pytest.raises(
        DatasetError, match=r"has 1 videos in the split test that data/drawn has in another one, such as 'b' \(train\)"
    ):
        matched_split(PARAMS, *rows, "test")


@pytest.mark.parametrize("known", [True, False])
def test_tables_that_agree_or_are_not_there_are_no_hindrance(rows, known):
    if known:
        write_index(Path("data/drawn"), tables(a="test", b="test", c="test"), kind="folder")
    assert matched_split(PARAMS, *rows, "test").videos == ["a", "b", "c"]


def test_a_video_that_the_tables_no_longer_have_is_measured_as_stored(rows):
    whole = tables(a="test", b="test", c="test")
    fewer = replace(whole, videos=whole.videos[:2], captions=whole.captions[:2])
    write_index(Path("data/drawn"), fewer, kind="folder")
    assert matched_split(PARAMS, *rows, "test").videos == ["a", "b", "c"]
