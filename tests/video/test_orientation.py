"""Turned and mirrored files come upright, as their matrix, their codec or their EXIF says."""

import gc
import io
import math
import struct
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image
from tests.video.test_decode import ALL

from reelstore.video import Sampling, decode
from reelstore.video.orientation import Orientation, read_display_matrix

ONE = Sampling("uniform", n_frames=1)
EIGHT = {
    "as stored": (1, 0, 0, 1),
    "mirrored": (-1, 0, 0, 1),
    "upside down and mirrored": (1, 0, 0, -1),
    "half a turn": (-1, 0, 0, -1),
    "a quarter clockwise": (0, 1, -1, 0),
    "a quarter counter-clockwise": (0, -1, 1, 0),
    "transposed": (0, 1, 1, 0),
    "transposed along the other diagonal": (0, -1, -1, 0),
}
"""a, b, c, d of ISO/IEC 14496-12: stored (x, y) is shown at (a * x + c * y, b * x + d * y)."""
EXIF = {1: "as stored", 2: "mirrored", 3: "half a turn", 4: "upside down and mirrored", 5: "transposed"}
EXIF |= {6: "a quarter clockwise", 7: "transposed along the other diagonal", 8: "a quarter counter-clockwise"}


def corners() -> np.ndarray:
    """(48, 64, 3): each quarter of another colour, so that any turn or flip shows."""
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[:24, :32], picture[:24, 32:], picture[24:, :32] = (230, 20, 20), (20, 200, 20), (20, 20, 230)
    picture[24:, 32:] = 250
    return picture


def shown(stored: np.ndarray, matrix: tuple[float, ...]) -> np.ndarray:
    """Where a right-angled matrix puts each pixel."""
    a, b, c, d = (int(np.sign(value)) for value in matrix)
    y, x = np.mgrid[: stored.shape[0], : stored.shape[1]]
    across, down = a * x + c * y, b * x + d * y
    across, down = across - across.min(), down - down.min()
    picture = np.zeros((down.max() + 1, across.max() + 1, 3), np.uint8)
    picture[down, across] = stored
    return picture


def encoded(container: str = "mp4", codec: str = "mpeg4", **stream_options: str) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format=container) as out:
        stream: Any = out.add_stream(codec, rate=10, options=stream_options)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.bit_rate = 4_000_000
        for index in range(2):
            frame = av.VideoFrame.from_ndarray(corners(), format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 10)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return file.getvalue()


def with_matrix(content: bytes, a: float, b: float, c: float, d: float) -> bytes:
    start, one = content.index(b"tkhd") + 44, 1 << 16
    numbers = [round(a * one), round(b * one), 0, round(c * one), round(d * one), 0, 0, 0, 1 << 30]
    return content[:start] + struct.pack(">9i", *numbers) + content[start + 36 :]


def difference(content: bytes, expected: np.ndarray, size: tuple[int, int] | None = None) -> float:
    pixels = decode(content, sampling=ONE, size=size).pixels[0]
    assert pixels.shape == expected.shape
    return float(np.abs(pixels.astype(int) - expected).mean())


@pytest.mark.parametrize("scale", [(1, 1), (2, 2), (0.5, 3)], ids=str)
@pytest.mark.parametrize("name", EIGHT)
def test_every_right_angled_matrix_is_applied_with_and_without_a_size(name: str, scale: tuple[float, float]) -> None:
    a, b, c, d = EIGHT[name]
    content = with_matrix(encoded(), a * scale[0], b * scale[1], c * scale[0], d * scale[1])
    expected = shown(corners(), EIGHT[name])
    assert difference(content, expected) < 4
    squeezed = np.asarray(Image.fromarray(expected).resize((40, 30), Image.Resampling.BILINEAR))
    assert difference(content, squeezed, size=(30, 40)) < 6


@pytest.mark.parametrize("flipped", [False, True])
@pytest.mark.parametrize("degrees", [1, 30, 45, 135, 200, 300])
def test_another_angle_turns_about_the_middle_and_leaves_black_corners(degrees: int, flipped: bool) -> None:
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    down = -1 if flipped else 1
    content = with_matrix(encoded(), cosine, sine, -sine * down, cosine * down)
    y, x = np.mgrid[:48, :64] - np.array([23.5, 31.5])[:, None, None]
    stored_x, stored_y = (
        cosine * x + sine * y,
        down * (cosine * y - sine * x),
    )  # the matrix is its own inverse, transposed
    column, row = np.round(stored_x + 31.5).astype(int), np.round(stored_y + 23.5).astype(int)
    inside = (column >= 0) & (column < 64) & (row >= 0) & (row < 48)
    expected = corners()[row.clip(0, 47), column.clip(0, 63)] * inside[..., None]
    assert difference(content, expected) < 12
    squeezed = np.asarray(Image.fromarray(expected).resize((40, 30), Image.Resampling.BILINEAR))
    assert difference(content, squeezed, size=(30, 40)) < 12


@pytest.mark.parametrize(
    "matrix",
    [(0, 0, 0, 0), (1, 0, 0, 0), (0, 0, 0, 1), (0, 1, 0, 0), (0, 0, 1, 0), (1, 0, 1, 0), (0, 1, 0, 1)],
    ids=str,
)
def test_a_matrix_without_an_angle_leaves_the_picture_as_stored(matrix: tuple[float, ...]) -> None:
    assert difference(with_matrix(encoded(), *matrix), corners()) < 4


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        ((1, 0.005, -0.005, 1), Orientation()),
        ((0.01, 1, -1, 0.01), Orientation(degrees=89)),
        ((0.004, 1, -1, 0.004), Orientation(degrees=90)),
        ((1, 0, 0.5, 1), Orientation()),  # a shear
        ((-3, 0, 0, 0.1), Orientation(flipped=True, degrees=180)),
    ],
)
def test_an_angle_is_rounded_to_a_degree_and_scale_and_shear_are_ignored(
    matrix: tuple[float, ...], expected: Orientation
) -> None:
    a, b, c, d = (round(value * 65536) for value in matrix)
    assert read_display_matrix(struct.pack("=9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)) == expected


def remuxed(content: bytes, container: str, turn: Callable[[Any], None]) -> bytes:
    file = io.BytesIO()
    with av.open(io.BytesIO(content)) as source, av.open(file, "w", format=container) as out:
        stream = out.add_stream_from_template(source.streams.video[0])
        turn(stream)
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                out.mux(packet)
    return file.getvalue()


WRITTEN = [
    (0, False, "as stored"),
    (90, False, "a quarter counter-clockwise"),
    (180, False, "half a turn"),
    (-90, False, "a quarter clockwise"),
    (0, True, "mirrored"),
]


@pytest.mark.parametrize(("degrees", "hflip", "name"), WRITTEN)
@pytest.mark.parametrize("container", ["mp4", "matroska", "webm"])
def test_what_a_muxer_writes_of_a_rotation_is_applied(container: str, degrees: int, hflip: bool, name: str) -> None:
    plain = encoded("webm", "libvpx-vp9")
    content = remuxed(plain, container, lambda stream: stream.set_display_rotation(degrees, hflip=hflip))
    assert difference(content, shown(corners(), EIGHT[name])) < 4


def test_a_transparent_webm_is_turned_too() -> None:
    rgba = np.dstack([corners(), np.full((48, 64), 255, np.uint8)])
    rgba[:24, :32, 3] = 0
    file = io.BytesIO()
    with av.open(file, "w", format="webm") as out:
        stream: Any = out.add_stream("libvpx-vp9", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuva420p"
        stream.set_display_rotation(-90)
        out.mux(stream.encode(av.VideoFrame.from_ndarray(rgba, format="rgba")))
        out.mux(stream.encode())
    on_white = corners()
    on_white[:24, :32] = 255
    assert difference(file.getvalue(), shown(on_white, EIGHT["a quarter clockwise"])) < 8


@pytest.mark.parametrize(
    ("inserted", "name"),
    [
        ("rotate=90", "a quarter counter-clockwise"),
        ("rotate=270", "a quarter clockwise"),
        ("rotate=180", "half a turn"),
        ("flip=horizontal", "mirrored"),
        ("flip=vertical", "upside down and mirrored"),
        ("rotate=90:flip=horizontal", "transposed"),
        ("rotate=270:flip=horizontal", "transposed along the other diagonal"),
    ],
)
def test_the_display_orientation_message_of_h264_is_applied(inserted: str, name: str) -> None:
    """ITU-T H.264, D.2.27: flips come first, the rotation is counter-clockwise."""
    file = io.BytesIO()
    with av.open(io.BytesIO(encoded("mpegts", "libx264"))) as source, av.open(file, "w", format="mpegts") as out:
        stream = out.add_stream_from_template(source.streams.video[0])
        options = f"h264_metadata=display_orientation=insert:{inserted}"
        messages = av.bitstream.BitStreamFilterContext(options, source.streams.video[0])
        for packet in source.demux(video=0):
            for one in messages.filter(packet if packet.dts is not None else None):
                one.stream = stream
                out.mux(one)
    assert difference(file.getvalue(), shown(corners(), EIGHT[name])) < 4


@pytest.mark.parametrize("orientation", EXIF)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF"])
def test_the_orientation_of_a_picture_is_applied(kind: str, orientation: int) -> None:
    exif, file = Image.Exif(), io.BytesIO()
    exif[0x112] = orientation
    options: dict[str, Any] = {"WEBP": {"lossless": True}, "JPEG": {"quality": 95}, "AVIF": {"quality": 95}}.get(
        kind, {}
    )
    Image.fromarray(corners()).save(file, kind, exif=exif, **options)
    assert difference(file.getvalue(), shown(corners(), EIGHT[EXIF[orientation]])) < 6


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_the_orientation_of_an_animation_holds_for_each_frame(kind: str) -> None:
    exif, file = Image.Exif(), io.BytesIO()
    exif[0x112] = 6
    pictures = [corners(), np.ascontiguousarray(corners()[::-1])]
    first, second = (Image.fromarray(picture) for picture in pictures)
    options: dict[str, Any] = {"lossless": True} if kind == "WEBP" else {}
    first.save(file, kind, save_all=True, append_images=[second], duration=100, exif=exif, **options)
    for found, stored in zip(decode(file.getvalue(), sampling=ALL).pixels, pictures, strict=True):
        assert np.array_equal(found, shown(stored, EIGHT["a quarter clockwise"]))


def test_no_decoded_frame_stays_in_memory() -> None:
    gc.collect()
    gc.disable()
    try:
        decode(with_matrix(encoded(), 0, 1, -1, 0), sampling=ALL)
        left = [frame for frame in gc.get_objects() if isinstance(frame, av.VideoFrame) and frame.width > 16]
    finally:
        gc.enable()
    assert not left
