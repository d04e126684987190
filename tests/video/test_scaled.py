"""Frames at an encoder's own size: bytes, indices and rate are decord's, which fed the published models."""

import importlib.util
import io
import sys
from fractions import Fraction
from pathlib import Path
from types import ModuleType

import av
import numpy as np
import pytest

from reelstore.video import Sampling, decode

_spec = importlib.util.spec_from_file_location("draw_scaled", Path(__file__).parents[1] / "assets" / "draw.py")
assert _spec
assert _spec.loader
draw = importlib.util.module_from_spec(_spec)
sys.modules["draw_scaled"] = draw
_spec.loader.exec_module(draw)

SIZE = (56, 70)
FOUR = Sampling("uniform_distinct", n_frames=4)


@pytest.fixture(scope="module")
def decord() -> ModuleType:
    return pytest.importorskip("decord", reason="decord has wheels for x86-64 only")


def blocks(*, width: int = 322, height: int = 178, rate: Fraction = Fraction(30000, 1001), kind: str = "mp4") -> bytes:
    """A clip of coloured blocks that move: edges everywhere, where scalers differ."""
    container_name, codec, pixel_format = draw.CODECS[kind]
    colours = np.random.default_rng(0).integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    picture = colours.repeat(8, axis=0).repeat(8, axis=1)[:height, :width]
    file = io.BytesIO()
    with av.open(file, "w", format=container_name) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = width, height, pixel_format
        for index in range(11):
            frame = av.VideoFrame.from_ndarray(np.roll(picture, 5 * index, axis=1), format="rgb24")
            frame.pts, frame.time_base = index, 1 / rate
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


CLIPS = {
    "mp4": lambda: blocks(),
    "mp4, 10 frames a second": lambda: blocks(rate=Fraction(10)),
    "mp4, smaller than asked for": lambda: blocks(width=48, height=64),
    "10 bits": lambda: blocks(kind="mov-10-bit"),
    "webm": lambda: blocks(kind="webm"),
    "grey": lambda: blocks(kind="mkv-grey"),
    "avi": lambda: blocks(kind="avi"),
    **{f"turned {turns}": lambda turns=turns: draw.rotated(turns) for turns in (1, 2, 3)},
}


@pytest.mark.parametrize("clip", CLIPS)
def test_bytes_indices_and_rate_are_decords(decord: ModuleType, tmp_path: Path, clip: str) -> None:
    content = CLIPS[clip]()
    (tmp_path / "clip").write_bytes(content)
    theirs = decord.VideoReader(str(tmp_path / "clip"), height=SIZE[0], width=SIZE[1])
    ours = decode(content, sampling=FOUR, size=SIZE)
    assert ours.indices is not None
    # How Video-LLaMA's code chooses them.
    assert ours.indices.tolist() == np.arange(0, len(theirs), len(theirs) / 4).astype(int).tolist()
    assert ours.average_fps == theirs.get_avg_fps()
    assert np.array_equal(ours.pixels, theirs.get_batch(ours.indices.tolist()).asnumpy())


@pytest.mark.parametrize("kind", ["WEBP", "GIF", "PNG"])
def test_animations_are_squeezed_whole_and_state_no_rate(kind: str) -> None:
    frames = decode(draw.animation(kind), sampling=FOUR, size=SIZE)
    assert frames.pixels.shape == (4, *SIZE, 3)
    assert [draw.number_of(pixels) for pixels in frames.pixels] == [0, 3, 6, 9]
    assert frames.indices is not None
    assert frames.indices.tolist() == [0, 3, 6, 9]
    assert frames.average_fps is None


def test_a_file_of_few_frames_gives_each_once() -> None:
    frames = decode(draw.video("mp4", 3), sampling=Sampling("uniform_distinct", n_frames=8), size=SIZE)
    assert frames.pixels.shape == (3, *SIZE, 3)
    assert frames.indices is not None
    assert frames.indices.tolist() == [0, 1, 2]


def test_a_file_too_large_to_keep_is_scaled_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    content = blocks()
    kept = decode(content, sampling=FOUR, size=SIZE)
    monkeypatch.setattr("reelstore.video.with_pyav.KEPT_BYTES", 1)
    assert np.array_equal(decode(content, sampling=FOUR, size=SIZE).pixels, kept.pixels)
