"""Pairs: every caption with its own video, positive and negative ones with labels, on disk and back."""

from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reelstore.errors import DatasetError
from reelstore.io import write_atomically
from reelstore.pairs.build import Pair, SplitCaptions, labelled_pairs, positive_pairs
from reelstore.pairs.files import pairs_parquet, read_pairs
from reelstore.records import Caption, Dataset, Video

SETTINGS = {"positives": 0, "negatives": 0, "doubled": False, "seed": 0}


def drawn(counts: list[int], *, groups: list[int] | None = None, texts: str = "") -> Dataset:
    """A video for each count, with as many captions, all to train with."""
    of = groups or range(len(counts))
    videos = tuple(Video(f"v{n}", f"v{n}.gif", f"{n}", "train", f"g{group}") for n, group in enumerate(of))
    keys = [(f"v{n}", index) for n, count in enumerate(counts) for index in range(count)]
    told = texts or [f"{video_id} {index}" for video_id, index in keys]
    captions = tuple(Caption(*key, text) for key, text in zip(keys, told, strict=True))
    return Dataset("drawn", Path("clips"), videos, captions)


def test_every_caption_of_a_split_is_paired_with_its_own_video() -> None:
    pairs = positive_pairs(SplitCaptions(drawn([2, 0, 1]), "train"), seed=0)
    assert sorted(pairs, key=str) == [Pair("v0", "v0", 0), Pair("v0", "v0", 1), Pair("v2", "v2", 0)]


def test_the_seed_orders_the_pairs() -> None:
    captions = SplitCaptions(drawn([2, 3]), "train")
    assert len({tuple(positive_pairs(captions, seed=seed)) for seed in range(20)}) > 1
    assert positive_pairs(captions, seed=3) == positive_pairs(captions, seed=3)


def test_a_split_without_captions_is_an_error() -> None:
    with pytest.raises(DatasetError, match="'validation'"):
        SplitCaptions(drawn([2]), "validation")


@given(
    counts=st.lists(st.integers(0, 5), min_size=3, max_size=8).filter(lambda counts: sum(n > 0 for n in counts) > 1),
    positives=st.integers(0, 6),
    negatives=st.integers(0, 6),
    doubled=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_labels_say_which_captions_are_a_video_s_own(counts, positives, negatives, doubled, seed) -> None:
    captions = SplitCaptions(drawn(counts), "train")
    pairs = labelled_pairs(captions, positives=positives, negatives=negatives, doubled=doubled, seed=seed)
    assert all((pair.video_id == pair.caption_video_id) == bool(pair.label) for pair in pairs)
    assert set(Counter(pairs).values()) <= {2 if doubled else 1}
    for n, count in enumerate(counts):
        own = {pair for pair in pairs if pair.video_id == f"v{n}"}
        right = min(count, positives or count)
        others = sum(counts) - count
        wanted = negatives * right / (positives or right or 1)
        assert sum(pair.label for pair in own) == right
        assert abs(sum(not pair.label for pair in own) - min(wanted, others)) < 1 or not count


def test_the_seed_draws_and_orders_labelled_pairs() -> None:
    captions = SplitCaptions(drawn([4] * 6), "train")
    settings = {**SETTINGS, "positives": 1, "negatives": 1}
    assert labelled_pairs(captions, **settings) == labelled_pairs(captions, **settings)
    assert len({tuple(labelled_pairs(captions, **{**settings, "seed": seed})) for seed in range(9)}) == 9


def test_every_negative_caption_is_drawn_about_as_often() -> None:
    captions = SplitCaptions(drawn([1] * 11), "train")
    drawn_ones = [int(captions.random_negatives(0, 1, np.random.default_rng(seed))[0]) for seed in range(4000)]
    counts = np.bincount(drawn_ones, minlength=11)
    assert counts[0] == 0
    assert np.all(abs(counts[1:] - 400) < 4 * 400**0.5 * 1.5)


def test_neither_the_group_nor_the_text_of_a_positive_caption_is_negative() -> None:
    captions = SplitCaptions(drawn([2, 1, 1, 1], groups=[0, 0, 1, 2], texts=["a", "B  b", "c", "b B", "d"]), "train")
    pairs = labelled_pairs(captions, **{**SETTINGS, "negatives": 9})
    text_of = {(c.video_id, c.caption_index): number for number, c in enumerate(captions.captions)}
    negatives = {pair.video_id: set() for pair in pairs}
    for pair in pairs:
        if not pair.label:
            negatives[pair.video_id].add(captions.captions[text_of[pair.caption_video_id, pair.caption_index]].text)
    assert negatives == {"v0": {"d"}, "v1": {"b B", "d"}, "v2": {"a", "c", "d"}, "v3": {"a", "B  b", "c", "b B"}}


def test_a_video_for_which_no_caption_is_negative_is_named() -> None:
    captions = SplitCaptions(drawn([1, 1], texts=["a", "A"]), "train")
    with pytest.raises(DatasetError, match="'v0' has no negative caption"):
        labelled_pairs(captions, **{**SETTINGS, "negatives": 1})


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    pairs = [Pair("a", "a", 0), Pair('ü\u2028 \n"x"', "b", 12, 0)]
    path = tmp_path / "deep" / "train.parquet"
    write_atomically(path, pairs_parquet(pairs))
    assert read_pairs(path) == pairs
    assert pq.read_table(path).to_pylist()[1]["caption_video_id"] == "b"
    assert list(path.parent.iterdir()) == [path]
    first = path.read_bytes()
    write_atomically(path, pairs_parquet(pairs))
    assert path.read_bytes() == first


def test_pairs_are_small_on_disk(tmp_path: Path) -> None:
    captions = SplitCaptions(drawn([20] * 300), "train")
    pairs = labelled_pairs(captions, positives=20, negatives=20, doubled=True, seed=0)
    write_atomically(tmp_path / "train.parquet", pairs_parquet(pairs))
    assert len(pairs) == 24_000
    assert (tmp_path / "train.parquet").stat().st_size < 8 * len(pairs)


def test_a_missing_file_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="dvc repro pairs"):
        read_pairs(tmp_path / "train.parquet")


def test_a_file_that_holds_no_pairs_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "train.parquet"
    path.write_bytes(b"no table")
    with pytest.raises(DatasetError, match=r"train\.parquet isn't a table of pairs"):
        read_pairs(path)
    import pyarrow as pa

    pq.write_table(pa.table({"video_id": ["a"], "caption_index": [0]}), path)
    with pytest.raises(DatasetError, match=r"train\.parquet isn't a table of pairs"):
        read_pairs(path)
