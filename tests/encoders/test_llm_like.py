"""States drawn with the geometry of a language model's: what docs/dataset-llm-like.md promises of them."""

import numpy as np
import pytest

from reelstore.encoders.llm_like import LlmLikeText, LlmLikeVideo
from reelstore.errors import ParamsError
from reelstore.records import Frames

WIDTH = 512
RNG = np.random.default_rng(0)
TEXTS = [
    " ".join(f"c{RNG.integers(256)}" if RNG.random() < 0.4 else f"f{RNG.integers(64)}" for _ in range(n))
    for n in RNG.integers(4, 16, size=150)
]


def cosine_of_random_pairs(values: np.ndarray) -> float:
    unit = values / np.linalg.norm(values, axis=1, keepdims=True)
    total = unit.sum(axis=0)
    return float((total @ total - len(unit)) / (len(unit) * (len(unit) - 1)))


def concepts(encoder: LlmLikeVideo | LlmLikeText) -> np.ndarray:
    return encoder._side.concepts


def picture() -> Frames:
    pixels = RNG.integers(256, size=(1, 16, 16, 3), dtype=np.uint8)
    pixels[..., 0] = np.where(RNG.random((16, 16)) < 0.04, pixels[..., 0], 0)
    return Frames(pixels, np.zeros(1))


@pytest.fixture(scope="module")
def captions() -> list[np.ndarray]:
    encoder = LlmLikeText(width=WIDTH)
    return [encoder.encode([encoder.prepare(text)])[0]["tokens"] for text in TEXTS]


@pytest.fixture(scope="module")
def videos() -> list[np.ndarray]:
    encoder = LlmLikeVideo(width=WIDTH)
    return [encoder.encode([encoder.prepare(picture())])[0]["tokens"] for _ in range(150)]


def test_the_first_state_of_every_caption_is_the_same_and_the_second_is_not(captions: list[np.ndarray]) -> None:
    assert len({states[0].tobytes() for states in captions}) == 1
    assert len({states[1].tobytes() for states in captions}) > 100


def test_captions_have_a_state_a_word_and_one_before(captions: list[np.ndarray]) -> None:
    assert [len(states) for states in captions] == [1 + len(text.split()) for text in TEXTS]


def test_states_are_causal() -> None:
    encoder = LlmLikeText(width=64)
    short, long = (encoder.encode([encoder.prepare(text)])[0]["tokens"] for text in ("c1 f2 c3", "c1 f2 c9 f1"))
    np.testing.assert_allclose(short[:3], long[:3], atol=1e-6)  # a longer product rounds otherwise
    assert not np.allclose(short[3], long[3])


def test_the_first_state_is_as_long_as_the_others_but_lies_in_three_dimensions(captions: list[np.ndarray]) -> None:
    first = captions[0][0].astype(float) ** 2
    assert np.sort(first)[-3:].sum() / first.sum() > 0.9
    others = np.concatenate([states[1:] for states in captions])
    assert np.linalg.norm(captions[0][0]) == pytest.approx(np.linalg.norm(others, axis=1).mean(), rel=0.2)


def test_random_pairs_have_the_cosine_that_is_promised(captions: list[np.ndarray], videos: list[np.ndarray]) -> None:
    for tokens in (captions, videos):
        assert cosine_of_random_pairs(np.stack([one.mean(axis=0) for one in tokens])) == pytest.approx(0.93, abs=0.02)


def test_three_dimensions_hold_much_of_the_mean(captions: list[np.ndarray], videos: list[np.ndarray]) -> None:
    for tokens in (captions, videos):
        mean = np.stack([one.mean(axis=0) for one in tokens]).mean(axis=0) ** 2
        assert 0.4 < np.sort(mean)[-3:].sum() / mean.sum() < 0.65


def test_a_video_has_32_tokens(videos: list[np.ndarray]) -> None:
    assert {states.shape for states in videos} == {(32, WIDTH)}


def test_both_sides_of_a_seed_share_directions_and_other_seeds_do_not() -> None:
    video, text, other = LlmLikeVideo(width=WIDTH), LlmLikeText(width=WIDTH), LlmLikeText(width=WIDTH, seed=1)
    for of, expected in ((text, 0.71**2), (other, 0.0)):
        a, b = (of_side / np.linalg.norm(of_side, axis=1, keepdims=True) for of_side in (concepts(video), concepts(of)))
        assert (a * b).sum(axis=1).mean() == pytest.approx(expected, abs=0.03)


def test_angles_are_the_same_for_any_width_from_512() -> None:
    cosines = []
    for width in (512, 1024):
        encoder = LlmLikeText(width=width)
        rows = [encoder.encode([encoder.prepare(text)])[0]["tokens"][1:].mean(axis=0) for text in TEXTS]
        cosines.append(cosine_of_random_pairs(np.stack(rows)))
    assert cosines[0] == pytest.approx(cosines[1], abs=0.01)


def test_one_item_at_width_4096_is_drawn_without_the_others() -> None:
    encoder = LlmLikeVideo(width=4096)
    assert encoder.encode([encoder.prepare(picture())])[0]["tokens"].shape == (32, 4096)


@pytest.mark.parametrize(
    "options",
    [{"width": 8}]
    + [
        {"geometry": {name: value}}
        for name, value in [
            ("unheard_of", 1), ("overlap", 2), ("bos_share", 1.1), ("rank", 2.5), ("rank", 0), ("private_rank", -1),
            ("outliers", 3.0), ("outliers", 1024), ("mean", float("nan")), ("mean", "3"),
        ]
    ],
)  # fmt: skip
def test_knobs_that_make_no_sense_are_refused(options: dict) -> None:
    with pytest.raises(ParamsError):
        LlmLikeText(**options)
