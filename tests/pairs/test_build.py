"""Pairs: every caption with its own video, on disk and back, and what splits share."""

from pathlib import Path

import pytest

from reelstore.errors import DatasetError
from reelstore.pairs.build import Pair, positive_pairs, read_pairs, write_pairs
from reelstore.pairs.leakage import leakage
from reelstore.records import Caption, Dataset, Video


def video(video_id: str, split: str, content: str = "") -> Video:
    return Video(video_id, f"{video_id}.gif", content or video_id, split, video_id)


@pytest.fixture
def dataset() -> Dataset:
    videos = (video("a", "train"), video("b", "validation"), video("c", "train"), video("d", "test"))
    texts = {"a": ["a cat", "Dance "], "b": ["a dog"], "c": ["dance"], "d": ["dance", "a  cat", "a bird"]}
    captions = tuple(Caption(key, index, text) for key, told in texts.items() for index, text in enumerate(told))
    return Dataset("drawn", Path("clips"), videos, captions)


def test_every_caption_of_a_split_is_paired_with_its_own_video(dataset: Dataset) -> None:
    pairs = positive_pairs(dataset, "train", seed=0)
    assert sorted((p.video_id, p.caption_index, p.label) for p in pairs) == [("a", 0, 1), ("a", 1, 1), ("c", 0, 1)]


def test_the_seed_orders_the_pairs(dataset: Dataset) -> None:
    assert len({tuple(positive_pairs(dataset, "train", seed=seed)) for seed in range(20)}) > 1
    assert positive_pairs(dataset, "train", seed=3) == positive_pairs(dataset, "train", seed=3)


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    pairs = [Pair("a", 0), Pair('ü\u2028 \n"x"', 12, 0)]
    path = tmp_path / "deep" / "train.jsonl"
    write_pairs(path, pairs)
    assert read_pairs(path) == pairs
    assert path.read_bytes().startswith(b'{"video_id": "a", "caption_index": 0, "label": 1}\n')
    assert list(path.parent.iterdir()) == [path]


def test_a_missing_file_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="dvc repro pairs"):
        read_pairs(tmp_path / "train.jsonl")


@pytest.mark.parametrize("line", ["{", '{"video": "a"}', "[1]"])
def test_a_line_that_is_no_pair_is_refused(tmp_path: Path, line: str) -> None:
    (tmp_path / "train.jsonl").write_text(line + "\n")
    with pytest.raises(DatasetError, match=r"train\.jsonl isn't a list of pairs"):
        read_pairs(tmp_path / "train.jsonl")


def test_leakage_counts_texts_that_two_splits_share_whatever_their_case_and_blanks(dataset: Dataset) -> None:
    found = {pair.splits: (pair.n_captions_shared, pair.n_files_shared) for pair in leakage(dataset)}
    assert found == {("test", "train"): (3, 0), ("test", "validation"): (0, 0), ("train", "validation"): (0, 0)}


def test_leakage_counts_files_that_two_splits_hold() -> None:
    videos = (video("a", "train", "same"), video("b", "test", "same"), video("c", "test"))
    (found,) = leakage(Dataset("drawn", Path("clips"), videos, ()))
    assert found.n_files_shared == 1
