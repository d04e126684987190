"""Hard negatives: the nearest of the negative captions, by either side's embeddings."""

from pathlib import Path

import numpy as np
import pytest

from reelstore.errors import DatasetError
from reelstore.pairs.build import SplitCaptions, labelled_pairs
from reelstore.pairs.hard import HardNegatives
from reelstore.records import Caption, Dataset, Video
from reelstore.store.open import open_variant

N_VIDEOS, PER_VIDEO, AMONG = 30, 3, 7
KEYS = [f"v{n}" for n in range(N_VIDEOS)]
CAPTION_KEYS = [(key, index) for key in KEYS for index in range(PER_VIDEO)]


@pytest.fixture
def captions() -> SplitCaptions:
    videos = tuple(Video(key, f"{key}.gif", key, "train", f"g{n // 2}") for n, key in enumerate(KEYS))
    told = tuple(Caption(*key, f"text {number % 80}") for number, key in enumerate(CAPTION_KEYS))
    return SplitCaptions(Dataset("drawn", Path("clips"), videos, told), "train")


def centred(values: np.ndarray) -> np.ndarray:
    unit = values / np.linalg.norm(values, axis=1, keepdims=True)
    unit = unit - unit.mean(axis=0)
    return unit / np.linalg.norm(unit, axis=1, keepdims=True)


def allowed(video: int, caption: int) -> bool:
    own = {number % 80 for number in range(video * PER_VIDEO, (video + 1) * PER_VIDEO)}
    return caption // PER_VIDEO // 2 != video // 2 and caption % 80 not in own


@pytest.mark.parametrize("side", ["text", "video"])
def test_the_nearest_are_those_a_whole_matrix_of_cosines_shows(captions, write_variant, monkeypatch, side) -> None:
    monkeypatch.setattr("reelstore.pairs.hard._VIDEOS", 8)
    monkeypatch.setattr("reelstore.pairs.hard._CAPTIONS", 11)
    keys = KEYS if side == "video" else CAPTION_KEYS
    values = np.random.default_rng(2).standard_normal((len(keys), 6)).astype(np.float32) + 3
    rows = open_variant(write_variant(keys[::-1], values[::-1], ["train"] * len(keys), side=side, dtype="float32"))
    hard = HardNegatives(captions, rows, among=AMONG)
    unit = centred(values.astype(np.float64))
    own = unit.reshape(N_VIDEOS, PER_VIDEO, -1).mean(axis=1) if side == "text" else unit
    for video in range(N_VIDEOS):
        near = unit if side == "text" else np.repeat(unit, PER_VIDEO, axis=0)
        score = near @ own[video]
        candidates = [number for number in range(len(CAPTION_KEYS)) if allowed(video, number)]
        threshold = np.sort(score[candidates])[-AMONG]
        drawn = hard(video, AMONG, np.random.default_rng(0))
        assert len(set(drawn.tolist())) == AMONG
        assert all(allowed(video, number) and score[number] >= threshold - 1e-6 for number in drawn)


def test_pairs_take_their_negatives_from_them(captions, write_variant) -> None:
    values = np.random.default_rng(3).standard_normal((N_VIDEOS, 6)).astype(np.float32)
    hard = HardNegatives(captions, open_variant(write_variant(KEYS, values, ["train"] * N_VIDEOS)), among=4)
    pairs = labelled_pairs(captions, positives=1, negatives=2, doubled=False, seed=0, sampler=hard)
    assert sum(pair.label for pair in pairs) == N_VIDEOS and len(pairs) == 3 * N_VIDEOS
    for pair in pairs:
        number = CAPTION_KEYS.index((pair.caption_video_id, pair.caption_index))
        video = KEYS.index(pair.video_id)
        assert pair.label == (number // PER_VIDEO == video)
        assert pair.label or number in hard(video, 4, np.random.default_rng(0))


def test_fewer_negatives_than_asked_for_are_all_there_are(captions, write_variant) -> None:
    values = np.random.default_rng(4).standard_normal((N_VIDEOS, 6)).astype(np.float32)
    rows = open_variant(write_variant(KEYS, values, ["train"] * N_VIDEOS))
    hard = HardNegatives(captions, rows, among=1000)
    found = hard(0, 1000, np.random.default_rng(0))
    assert sorted(found.tolist()) == [number for number in range(len(CAPTION_KEYS)) if allowed(0, number)]


def test_a_row_that_the_variant_lacks_is_named(captions, write_variant) -> None:
    values = np.ones((N_VIDEOS - 1, 6), dtype=np.float32)
    folder = write_variant(KEYS[1:], values, ["train"] * (N_VIDEOS - 1), failed=("v9",))
    with pytest.raises(DatasetError, match=r"video/drawn/mean has no embedding of 'v0' and 1 more of 30"):
        HardNegatives(captions, open_variant(folder), among=4)


def test_tokens_are_refused(captions, write_variant) -> None:
    folder = write_variant(["v0"], np.ones((1, 3, 4), dtype=np.float32), ["train"])
    with pytest.raises(DatasetError, match="holds tokens"):
        HardNegatives(captions, open_variant(folder), among=4)
