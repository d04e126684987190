"""Decoding drawn clips: the right frames at the right times, upright; or a reason."""

import importlib.util
import io
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reelstore.errors import UndecodableVideoError
from reelstore.video import Sampling, decode, with_pyav

_spec = importlib.util.spec_from_file_location("draw", Path(__file__).parents[1] / "assets" / "draw.py")
assert _spec
assert _spec.loader
draw = importlib.util.module_from_spec(_spec)
sys.modules["draw"] = draw
_spec.loader.exec_module(draw)

ALL = Sampling("all")
FOUR = Sampling("uniform", n_frames=4)
ANIMATIONS = ("WEBP", "GIF", "PNG")
RED = (255, 0, 0)


def numbers(content: bytes | Path, sampling: Sampling = ALL) -> list[int]:
    return [draw.number_of(pixels) for pixels in decode(content, sampling=sampling).pixels]


def reason(content: bytes | Path) -> str:
    with pytest.raises(UndecodableVideoError) as raised:
        decode(content, sampling=ALL)
    return str(raised.value)


def is_near(pixel: np.ndarray, colour: tuple[int, int, int]) -> bool:
    return bool((np.abs(pixel.astype(int) - colour) < 12).all())


@pytest.fixture(scope="module")
def every_kind() -> dict[str, bytes]:
    drawn = {kind: draw.video(kind) for kind in draw.CODECS} | {kind: draw.animation(kind) for kind in ANIMATIONS}
    return drawn | {"mp4, index first": draw.index_first()}


def test_every_kind_of_file_gives_all_its_frames_in_order(every_kind: dict[str, bytes]) -> None:
    assert {k: numbers(content) for k, content in every_kind.items()} == {k: [*range(12)] for k in every_kind}


def test_every_kind_of_file_gives_the_frames_sampled(every_kind: dict[str, bytes]) -> None:
    assert {k: numbers(content, FOUR) for k, content in every_kind.items()} == {k: [0, 3, 6, 9] for k in every_kind}


def test_every_kind_of_file_tells_when_its_frames_are_shown(every_kind: dict[str, bytes]) -> None:
    for kind, content in every_kind.items():
        times = decode(content, sampling=FOUR).pts_seconds
        np.testing.assert_allclose(times, [0, 0.3, 0.6, 0.9], atol=1e-9, err_msg=kind)


def test_pixels_are_rgb_bytes_with_the_first_row_on_top(every_kind: dict[str, bytes]) -> None:
    for kind, content in every_kind.items():
        pixels = decode(content, sampling=FOUR).pixels
        assert (pixels.shape, pixels.dtype) == ((4, 48, 64, 3), np.uint8), kind
        assert is_near(pixels[2, 4, 4], (76, 76, 76) if kind == "mkv-grey" else RED), kind
        assert is_near(pixels[2, -4, 4], (60, 60, 60)), kind


def test_uneven_times_are_exact() -> None:
    content = draw.video("webm", 4, pts=[0, 1, 5, 6])
    assert decode(content, sampling=ALL).pts_seconds.tolist() == [0, 0.1, 0.5, 0.6]


@pytest.mark.parametrize("kind", ["WEBP", "GIF"])
def test_an_animation_adds_up_the_times_of_its_frames(kind: str) -> None:
    content = draw.animation(kind, 4, milliseconds=[50, 200, 30, 100])
    assert decode(content, sampling=ALL).pts_seconds.tolist() == [0, 0.05, 0.25, 0.28]


def test_a_video_that_starts_late_counts_from_its_first_frame() -> None:
    assert decode(draw.video("webm", 3, pts=[30, 31, 32]), sampling=ALL).pts_seconds[0] == 0


def test_sound_beside_the_pictures_changes_nothing() -> None:
    assert numbers(draw.video("mp4", sound=True)) == [*range(12)]


@pytest.mark.parametrize("kind", ["mp4", "webm", "WEBP", "GIF"])
def test_one_frame_is_repeated_to_the_number_asked(kind: str) -> None:
    content = draw.animation(kind, 1) if kind in ANIMATIONS else draw.video(kind, 1)
    frames = decode(content, sampling=FOUR)
    assert frames.pixels.shape == (4, 48, 64, 3)
    assert frames.pts_seconds.tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("kind", ["webm", "mkv-grey", "WEBP", "GIF"])
def test_odd_sizes_keep_every_row_and_column(kind: str) -> None:
    drawing = draw.animation if kind in ANIMATIONS else draw.video
    content = drawing(kind, 3, width=63, height=47)
    assert decode(content, sampling=ALL).pixels.shape == (3, 47, 63, 3)
    assert numbers(content) == [0, 1, 2]


@pytest.mark.parametrize(("turns", "corner"), [(0, (4, 4)), (1, (4, -4)), (2, (-4, -4)), (3, (-4, 4))])
def test_a_rotated_video_comes_upright(turns: int, corner: tuple[int, int]) -> None:
    pixels = decode(draw.rotated(turns), sampling=ALL).pixels
    assert pixels.shape[1:3] == ((48, 64) if turns % 2 == 0 else (64, 48))
    assert is_near(pixels[5, corner[0], corner[1]], RED)


@pytest.mark.parametrize("kind", ANIMATIONS)
def test_what_is_transparent_is_white(kind: str) -> None:
    pixels = decode(draw.transparent(kind), sampling=ALL).pixels[0]
    assert pixels[4, 4].tolist() == [255, 0, 0]
    assert pixels[4, -4].tolist() == [255, 255, 255]


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "LA", "I;16", "RGBA"])
def test_a_still_picture_is_one_frame_in_any_mode(mode: str) -> None:
    frames = decode(draw.still("PNG", mode), sampling=ALL)
    assert frames.pixels.shape == (1, 48, 64, 3)
    assert is_near(frames.pixels[0, -4, -4], (100, 100, 100))


@pytest.mark.parametrize("mode", ["RGB", "CMYK"])
def test_a_jpeg_is_one_frame(mode: str) -> None:
    assert numbers(draw.still("JPEG", mode)) == [10]


def test_a_path_is_read_like_bytes_and_its_ending_means_nothing(tmp_path: Path) -> None:
    path = tmp_path / "clip.gif"
    path.write_bytes(draw.video("webm"))
    assert numbers(path, FOUR) == [0, 3, 6, 9]


def test_a_missing_path_is_no_undecodable_video(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        decode(tmp_path / "gone.mp4", sampling=ALL)


@pytest.mark.parametrize("room", [1, 10_000, 20_000, 10**9])
@pytest.mark.parametrize("n_packets", [12, 11, 30, 0], ids=["right", "fewer", "more", "unknown"])
def test_what_is_kept_and_what_packets_say_change_no_frame(
    room: int, n_packets: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = draw.video("mp4")
    expected = decode(content, sampling=FOUR)
    monkeypatch.setattr(with_pyav, "KEPT_BYTES", room)
    monkeypatch.setattr(with_pyav, "_packets", lambda file: (n_packets, 10.0))
    found = decode(content, sampling=FOUR)
    assert np.array_equal(expected.pixels, found.pixels)
    assert np.array_equal(expected.pts_seconds, found.pts_seconds)
    assert np.array_equal(expected.indices, found.indices)


def test_a_video_too_long_to_keep_is_decoded_once_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    content = draw.video("mp4")
    decoded, walks = with_pyav._decoded, []
    monkeypatch.setattr(with_pyav, "_decoded", lambda *of: walks.append(1) or decoded(*of))
    monkeypatch.setattr(with_pyav, "KEPT_BYTES", 4 * 64 * 48 * 3)  # the four that are wanted, of twelve
    decode(content, sampling=FOUR)
    assert len(walks) == 1
    decode(content, sampling=Sampling("every_nth", step=1))  # all of them: more than may be kept
    assert len(walks) == 3


def test_metadata_in_another_encoding_does_not_spoil_a_file() -> None:
    content = draw.video("avi", metadata={"title": "caf"}).replace(b"caf", b"ca\xe9")
    assert numbers(content) == [*range(12)]


def test_threads_decode_what_one_decodes(every_kind: dict[str, bytes]) -> None:
    contents = list(every_kind.values()) * 4
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda content: decode(content, sampling=FOUR).pixels.tobytes(), contents))
    assert together == [decode(content, sampling=FOUR).pixels.tobytes() for content in contents]


def test_an_empty_file_says_so() -> None:
    assert reason(b"") == "the file is empty"


@pytest.mark.parametrize(
    "content", [b"\0" * 5000, b"<html>not found</html>" * 50, b"1,2\n" * 500], ids=["0", "html", "csv"]
)
def test_what_is_no_video_says_so(content: bytes) -> None:
    assert "invalid data" in reason(content)


def test_sound_alone_says_that_there_is_no_picture() -> None:
    assert reason(draw.sound_only()) == "it has no video stream"


def test_the_cover_of_a_record_is_no_video() -> None:
    assert reason(draw.sound_with_cover()) == "it has no video stream"


@pytest.mark.parametrize(
    ("kind", "words"), [("avi", "without frames"), ("mp4", "no video stream"), ("webm", "end of file")]
)
def test_a_video_without_frames_says_what_is_missing(kind: str, words: str) -> None:
    assert words in reason(draw.video(kind, 0))


def test_a_list_of_other_files_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "other.mp4").write_bytes(draw.video("mp4"))
    monkeypatch.chdir(tmp_path)
    assert reason(b"ffconcat version 1.0\nfile other.mp4\n")


def test_a_damaged_frame_is_refused_and_those_before_it_are_not() -> None:
    content = bytearray(draw.video("mp4", 12))
    with av.open(io.BytesIO(bytes(content))) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    last_key = [packet for packet in packets if packet.is_keyframe][-1]
    assert last_key.pos is not None
    start = last_key.pos + last_key.size // 3
    content[start : start + 8] = b"\xff" * 8
    assert reason(bytes(content))


@pytest.mark.parametrize("kind", [*draw.CODECS, *ANIMATIONS, "mp4, index first"])
def test_a_file_cut_anywhere_never_gives_fewer_frames_quietly(kind: str, every_kind: dict[str, bytes]) -> None:
    content = every_kind[kind]
    whole = decode(content, sampling=ALL).pixels
    for stop in [*range(1, len(content), max(1, len(content) // 40)), len(content) - 2, len(content) - 1]:
        try:
            pixels = decode(content[:stop], sampling=ALL).pixels
        except UndecodableVideoError as error:
            assert str(error)
            continue
        assert np.array_equal(pixels, whole), f"{stop} of {len(content)} bytes gave {len(pixels)} frames"


def test_an_mp4_in_fragments_cut_within_one_is_refused() -> None:
    content = draw.video("mp4", options={"movflags": "frag_keyframe+empty_moov"})
    assert numbers(content) == [*range(12)]
    assert reason(content[: content.rindex(b"mdat") + 10]) == "the file is truncated"


@settings(max_examples=150, deadline=None)
@given(
    kind=st.sampled_from(["mp4", "webm", "avi", "WEBP", "GIF", "PNG"]),
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=4),
)
def test_changed_bytes_give_frames_or_a_reason_and_nothing_else(kind: str, changes: list[tuple[float, int]]) -> None:
    content = bytearray(_drawn_once(kind))
    for place, value in changes:
        content[int(place * len(content))] = value
    try:
        assert len(decode(bytes(content), sampling=FOUR)) == 4
    except UndecodableVideoError as error:
        assert str(error)
        assert "BytesIO" not in str(error)


_DRAWN: dict[str, bytes] = {}


def _drawn_once(kind: str) -> bytes:
    if kind not in _DRAWN:
        _DRAWN[kind] = draw.animation(kind, 4) if kind in ANIMATIONS else draw.video(kind, 4)
    return _DRAWN[kind]


def test_no_reason_holds_a_path(tmp_path: Path) -> None:
    for name, content in {"a.png": b"\x89PNG\r\n\x1a\n junk", "b.mp4": b"junk" * 100, "c.gif": b"GIF89a"}.items():
        (tmp_path / name).write_bytes(content)
        assert str(tmp_path) not in reason(tmp_path / name)
