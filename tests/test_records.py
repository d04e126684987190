"""Videos, captions and rows of a store hold only what a store can keep."""

import numpy as np
import pytest

from reelstore.errors import DatasetError, StoreError
from reelstore.records import MAX_CAPTION_INDEX, Caption, Dataset, Video, first_fault, name_fault
from reelstore.store.table import RowTable

FAULTS = {"": "is empty", "a\0": "holds a NUL", "\ud83d": "isn't text", "9" * 5000: "has 5000 bytes", "é" * 513: "1026"}


@pytest.mark.parametrize("name", FAULTS, ids=list(FAULTS.values()))
def test_a_name_that_no_store_keeps_is_refused_everywhere(name: str) -> None:
    says = FAULTS[name]
    assert says in str(name_fault(name))
    assert first_fault(["a", "é", name]) == (2, name_fault(name))
    for video in (
        (name, "a.mp4", "0", "train", "g"),
        ("a", "a.mp4", "0", name, "g"),
        ("a", "a.mp4", "0", "train", name),
    ):
        with pytest.raises(DatasetError, match=says):
            Video(*video)
    with pytest.raises(DatasetError, match=says):
        Caption(name, 0, "a cat")
    for keys, splits in (([name], ["train"]), ([(name, 0)], ["train"]), (["a"], [name])):
        with pytest.raises(StoreError, match=says):
            RowTable(keys, splits, np.zeros((1, 16), np.uint8))


@pytest.mark.parametrize(
    "index", [-1, MAX_CAPTION_INDEX + 1, 1 << 20_000, "1", True, 1.0], ids=lambda one: type(one).__name__
)
def test_an_index_beyond_int32_is_refused(index) -> None:
    with pytest.raises(DatasetError, match="a whole number from 0 to 2147483647"):
        Caption("a", index, "a cat")
    if type(index) is int:
        with pytest.raises(StoreError, match="a store keeps 0 to 2147483647"):
            RowTable([("a", index)], ["train"], np.zeros((1, 16), np.uint8))


def test_256_splits_are_the_most(tmp_path) -> None:
    for n, fits in ((256, True), (257, False)):
        names = [f"s{number}" for number in range(n)]
        videos = tuple(Video(name, "a.mp4", "0", name, name) for name in names)
        if fits:
            Dataset("mine", tmp_path, videos, ())
            RowTable(names, names, np.zeros((n, 16), np.uint8))
            continue
        with pytest.raises(DatasetError, match="mine has 257 splits; a store keeps at most 256"):
            Dataset("mine", tmp_path, videos, ())
        with pytest.raises(StoreError, match="257 splits"):
            RowTable(names, names, np.zeros((n, 16), np.uint8))


def test_text_and_paths_are_valid_unicode() -> None:
    with pytest.raises(DatasetError, match="isn't text that UTF-8 can hold"):
        Caption("a", 0, "a cat \ud83d")
    for path in ("caf\udce9.mp4", "a\0.mp4"):
        with pytest.raises(DatasetError, match="isn't a path"):
            Video("a", path, "0", "train", "g")
    assert Caption("a", 0, "a cat 😺").text == "a cat 😺"
