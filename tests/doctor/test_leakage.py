"""What splits share: files, texts, near-duplicate embeddings."""

from pathlib import Path

import numpy as np
import pytest

from reelstore.doctor.leakage import leakage, near_duplicates
from reelstore.errors import DatasetError
from reelstore.records import Caption, Dataset, Video
from reelstore.store.open import open_variant


def video(video_id: str, split: str, content: str = "") -> Video:
    return Video(video_id, f"{video_id}.gif", content or video_id, split, video_id)


def test_texts_of_two_splits_are_found_whatever_their_case_and_blanks() -> None:
    videos = (video("a", "train"), video("b", "validation"), video("c", "train"), video("d", "test"))
    texts = {"a": ["a cat", "Dance "], "b": ["a dog"], "c": ["dance"], "d": ["dance", "a  cat", "a bird"]}
    captions = tuple(Caption(key, index, text) for key, told in texts.items() for index, text in enumerate(told))
    (found,) = leakage(Dataset("drawn", Path("clips"), videos, captions))
    assert (found.kind, found.splits) == ("caption", ("test", "train"))
    assert found.rows == [(("a", 0), ("d", 1), 1.0), (("a", 1), ("d", 0), 1.0), (("c", 0), ("d", 0), 1.0)]
    assert str(found) == "3 captions of train have a text of test, such as a/0 and d/1"


def test_files_that_two_splits_hold_are_found() -> None:
    videos = (video("a", "train", "same"), video("b", "test", "same"), video("c", "test"))
    (found,) = leakage(Dataset("drawn", Path("clips"), videos, ()))
    assert (found.kind, found.rows) == ("file", [("a", "b", 1.0)])


def test_near_duplicates_are_those_a_whole_matrix_of_cosines_shows(tmp_path, write_variant, monkeypatch) -> None:
    monkeypatch.setattr("reelstore.doctor.leakage._ROWS", 16)
    rng = np.random.default_rng(0)
    values = rng.standard_normal((90, 8)) + 30
    values[70] = values[3] * 2 + rng.standard_normal(8) * 0.01
    values[41] = values[88]
    splits = ["train"] * 40 + ["test"] * 30 + ["validation"] * 20
    keys = [f"v{n}" for n in range(90)]
    folder = write_variant(keys, values.astype(np.float32), splits)
    found = near_duplicates(open_variant(folder), near=0.9)

    stored = open_variant(folder).array().astype(np.float64)
    unit = stored / np.linalg.norm(stored, axis=1, keepdims=True)
    centred = unit - unit.mean(axis=0)
    cosine = np.corrcoef(centred) * 0 + (centred @ centred.T) / np.outer(*[np.linalg.norm(centred, axis=1)] * 2)
    want = {
        (first, second): {
            (keys[a], keys[max((b for b in range(90) if splits[b] == first), key=lambda b: cosine[a, b])])
            for a in range(90)
            if splits[a] == second and any(cosine[a, b] >= 0.9 for b in range(90) if splits[b] == first)
        }
        for first, second in [("test", "train"), ("test", "validation"), ("train", "validation")]
    }
    assert {one.splits: {(a, b) for a, b, _ in one.rows} for one in found} == {k: v for k, v in want.items() if v}
    assert ("v70", "v3") in want["train", "validation"] and ("v88", "v41") in want["test", "validation"]
    assert {one.kind for one in found} == {"near-video"}


def test_a_common_mean_makes_nothing_near(write_variant) -> None:
    values = np.random.default_rng(1).standard_normal((60, 32)).astype(np.float32) + 100
    folder = write_variant([f"v{n}" for n in range(60)], values, ["train", "test"] * 30, dtype="float32")
    assert near_duplicates(open_variant(folder), near=0.9) == []


def test_tokens_are_refused(write_variant) -> None:
    folder = write_variant(["a"], np.ones((1, 3, 4), dtype=np.float32), ["train"])
    with pytest.raises(DatasetError, match="holds tokens"):
        near_duplicates(open_variant(folder), near=0.9)
