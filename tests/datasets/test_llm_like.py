"""The synthetic benchmark: what is drawn, that its truth can be read back, and its Bayes scorer against a slow one."""

import json
from pathlib import Path

import numpy as np
import pytest

import reelstore
from reelstore.datasets import llm_like
from reelstore.datasets.base import DatasetParams
from reelstore.datasets.llm_like import build, log_likelihood, log_prior, read_knobs, strengths_of
from reelstore.errors import DatasetError

KNOBS = Path(llm_like.__file__).with_suffix(".json")
SMALL = {"n_videos": 60, "splits": {"train": 30, "validation": 10, "test": 20}, "captions_per_video": 3}


def source(folder: Path, **changes: object) -> Path:
    path = folder / "knobs.json"
    path.write_text(json.dumps(json.loads(KNOBS.read_text()) | SMALL | changes))
    return path


def params(folder: Path, *, seed: int = 0, **changes: object) -> DatasetParams:
    return DatasetParams(name="drawn", kind="llm-like", source=str(source(folder, **changes)), seed=seed)


def drawn(folder: Path, *, seed: int = 0, **changes: object):
    return build(params(folder, seed=seed, **changes), folder / "data", say=lambda line: None).dataset


def test_splits_have_exactly_the_videos_that_the_knobs_say(tmp_path: Path) -> None:
    dataset = drawn(tmp_path)
    splits = [video.split for video in dataset.videos]
    assert {split: splits.count(split) for split in splits} == SMALL["splits"]
    assert len(dataset.captions) == 60 * 3
    assert len({caption.text for caption in dataset.captions}) == 60 * 3


def test_the_same_seed_draws_the_same_and_another_one_something_else(tmp_path: Path) -> None:
    datasets = [drawn(tmp_path, seed=seed) for seed in (3, 3, 4)]
    assert datasets[0] == datasets[1]
    shown = [[(video.sha256, video.split) for video in dataset.videos] for dataset in datasets]
    assert shown[0] != shown[2]
    assert datasets[0].captions != datasets[2].captions


def test_a_picture_shows_the_strengths_and_captions_name_what_is_shown(tmp_path: Path) -> None:
    dataset = drawn(tmp_path, wrong_share=0.0)
    for video in dataset.videos[:20]:
        strengths = strengths_of(dataset.clips / video.path)
        assert 4 <= (strengths > 0).sum() < 30
        assert strengths.max() == 255
        for caption in dataset.captions:
            if caption.video_id == video.video_id:
                words = [word for word in caption.text.split() if word.startswith("c")]
                assert all(strengths[int(word[1:])] for word in words)


def test_the_likelihood_is_the_product_over_words(tmp_path: Path) -> None:
    knobs = read_knobs(source(tmp_path))
    rng = np.random.default_rng(0)
    strengths = np.stack([llm_like.draw_video(knobs, rng) for _ in range(3)])
    texts = [llm_like.draw_caption(knobs, strengths[0], rng) for _ in range(4)]
    found = log_likelihood(knobs, strengths, texts)
    for row, text in enumerate(texts):
        for column, video in enumerate(strengths.astype(float)):
            p = 1.0
            for word in text.split():
                if word[0] == "c":
                    number = int(word[1:])
                    p *= 0.75 * video[number] / video.sum() + 0.25 * knobs.popularity[number]
            assert found[row, column] == pytest.approx(np.log(p))
    assert log_prior(knobs, ["f1 c0 c0"]) == pytest.approx([2 * np.log(knobs.popularity[0])])


def test_words_come_as_often_as_the_likelihood_has_it(tmp_path: Path) -> None:
    knobs = read_knobs(source(tmp_path))
    rng = np.random.default_rng(1)
    strengths = llm_like.draw_video(knobs, rng)
    words = " ".join(llm_like.draw_caption(knobs, strengths, rng) for _ in range(3000)).split()
    concepts = [int(word[1:]) for word in words if word[0] == "c"]
    seen = np.bincount(concepts, minlength=256) / len(concepts)
    expected = 0.75 * strengths / strengths.sum(dtype=int) + 0.25 * knobs.popularity
    assert np.abs(seen - expected).max() < 0.015
    assert len(concepts) / len(words) == pytest.approx(0.36, abs=0.01)


def test_no_monotone_blur_of_the_truth_ranks_better_than_the_truth(tmp_path: Path) -> None:
    knobs = read_knobs(source(tmp_path))
    rng = np.random.default_rng(2)
    strengths = np.stack([llm_like.draw_video(knobs, rng) for _ in range(200)])
    texts = [llm_like.draw_caption(knobs, video, rng) for video in strengths for _ in range(5)]
    own = np.repeat(np.arange(200), 5)
    exact = log_likelihood(knobs, strengths, texts)

    def mrr(scores: np.ndarray) -> float:
        found = reelstore.evaluate(scores=scores, video_of_caption=own, ks=(1,), directions=("t2v",))
        return float(found.metrics["t2v"]["MRR"])

    counted = log_likelihood(knobs, (strengths > 0).astype(np.uint8), texts)  # strength forgotten
    assert mrr(exact) > mrr(counted) > mrr(exact[np.random.default_rng(0).permutation(1000)])


@pytest.mark.parametrize(
    "changes",
    [
        {"n_videos": 61},
        {"n_concepts": 255},
        {"unheard_of": 1},
        {"splits": 60},
        {"splits": {"train": 61, "test": -1}},
        {"concepts_least": [1]},
        {"intensity_shape": 0},
        {"words_more": 1e9},
        {"wrong_share": "0.5"},
    ],
)
def test_knobs_that_contradict_themselves_are_refused(tmp_path: Path, changes: dict) -> None:
    with pytest.raises(DatasetError, match="|".join(changes)):
        read_knobs(source(tmp_path, **changes))


def test_more_captions_than_there_are_end_with_a_sentence(tmp_path: Path) -> None:
    few = {"words_least": 1, "words_more": 0, "content_share": 0, "n_function_words": 2}
    with pytest.raises(DatasetError, match="after 2 captions no new one is found"):
        drawn(tmp_path, **few)


def test_a_knob_that_is_missing_is_named(tmp_path: Path) -> None:
    path = source(tmp_path)
    knobs = json.loads(path.read_text())
    del knobs["zipf_offset"]
    path.write_text(json.dumps(knobs))
    with pytest.raises(DatasetError, match="zipf_offset"):
        read_knobs(path)
