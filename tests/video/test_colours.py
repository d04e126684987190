"""Colours against the formulas of ITU-R BT.601, BT.709, BT.2020, SMPTE 240M and FCC, in full and limited range."""

import io
from fractions import Fraction
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pytest
from tests.video.test_decode import ALL

from reelstore.errors import UndecodableVideoError
from reelstore.video import decode

# Matrix coefficients by their number in ITU-T H.273: the shares of red and blue in luma.
LUMA = {1: (0.2126, 0.0722), 4: (0.30, 0.11), 5: (0.299, 0.114), 6: (0.299, 0.114), 7: (0.212, 0.087)}
LUMA |= {9: (0.2627, 0.0593)}
UNSPECIFIED, LIMITED, FULL = 2, 1, 2
COLOURS = [(200, 30, 40), (20, 180, 60), (30, 60, 220), (128, 128, 128), (240, 220, 30), (255, 255, 255), (0, 0, 0)]
SIZES = (None, (48, 64), (24, 30))


def components(colour: tuple[int, int, int], matrix: int, colour_range: int, n_bits: int) -> list[int]:
    """Y', Cb, Cr of an R'G'B' colour of 8 bits."""
    of_red, of_blue = LUMA[matrix]
    red, green, blue = (value / 255 for value in colour)
    luma = of_red * red + (1 - of_red - of_blue) * green + of_blue * blue
    chroma = np.array([(blue - luma) / (2 * (1 - of_blue)), (red - luma) / (2 * (1 - of_red))])
    most, unit = 2**n_bits - 1, 2 ** (n_bits - 8)
    if colour_range == FULL:
        values = [luma * most, *(chroma * most + 128 * unit)]
    else:
        values = [(219 * luma + 16) * unit, *((224 * chroma + 128) * unit)]
    return [min(round(value), most) for value in values]


def flat(
    values: list[int],
    pixel_format: str,
    *,
    matrix: int = UNSPECIFIED,
    colour_range: int = 0,
    width: int = 64,
    height: int = 48,
    codec: str = "ffv1",
    container: str = "matroska",
) -> bytes:
    """A clip of one picture whose planes each have one value."""
    frame = av.VideoFrame(width, height, pixel_format)
    for plane, value in zip(frame.planes, values, strict=True):
        dtype: npt.DTypeLike = "<u2" if "le" in pixel_format else np.uint8
        plane.update(np.full(plane.buffer_size // np.dtype(dtype).itemsize, value, dtype).tobytes())
    frame.colorspace, frame.color_range = matrix, colour_range
    file = io.BytesIO()
    with av.open(file, "w", format=container) as out:
        stream: Any = out.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = width, height, pixel_format
        stream.codec_context.colorspace, stream.codec_context.color_range = matrix, colour_range
        out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return file.getvalue()


def is_everywhere(content: bytes, colour: tuple[int, int, int], tolerance: int = 3) -> bool:
    pixels = [decode(content, sampling=ALL, size=size).pixels.astype(int) for size in SIZES]
    return all(int(np.abs(found - colour).max()) <= tolerance for found in pixels)


@pytest.mark.parametrize("colour_range", [LIMITED, FULL], ids=["limited", "full"])
@pytest.mark.parametrize("matrix", LUMA)
@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv444p12le"])
def test_the_stated_matrix_and_range_are_used(pixel_format: str, matrix: int, colour_range: int) -> None:
    n_bits = 12 if "12" in pixel_format else 10 if "10" in pixel_format else 8
    for colour in COLOURS:
        values = components(colour, matrix, colour_range, n_bits)
        assert is_everywhere(flat(values, pixel_format, matrix=matrix, colour_range=colour_range), colour), colour


@pytest.mark.parametrize(("width", "height"), [(64, 48), (720, 576), (1280, 720)])
def test_an_unstated_matrix_is_bt601_of_limited_range_at_any_size(width: int, height: int) -> None:
    for colour in COLOURS[:1]:
        content = flat(components(colour, 6, LIMITED, 8), "yuv420p", width=width, height=height)
        assert is_everywhere(content, colour)


@pytest.mark.parametrize(("matrix", "colour_range"), [(1, LIMITED), (1, FULL), (9, LIMITED), (6, FULL)])
def test_a_codec_that_states_its_colours_is_followed(matrix: int, colour_range: int) -> None:
    for colour in COLOURS[:3]:
        values = components(colour, matrix, colour_range, 8)
        content = flat(values, "yuv420p", matrix=matrix, colour_range=colour_range, codec="libx264", container="mp4")
        assert is_everywhere(content, colour, tolerance=5)


def test_motion_jpeg_is_bt601_of_full_range() -> None:
    for colour in COLOURS[:3]:
        content = flat(components(colour, 6, FULL, 8), "yuvj420p", colour_range=FULL, codec="mjpeg", container="avi")
        assert is_everywhere(content, colour, tolerance=5)


@pytest.mark.parametrize(("pixel_format", "n_bits"), [("gray", 8), ("gray10le", 10), ("gray12le", 12)])
def test_grey_is_of_full_range_unless_the_file_says_limited(pixel_format: str, n_bits: int) -> None:
    unit = 2 ** (n_bits - 8)
    for level in (0, 77, 255):
        full, limited = round(level / 255 * (2**n_bits - 1)), round((219 * level / 255 + 16) * unit)
        assert is_everywhere(flat([full], pixel_format, colour_range=FULL), (level,) * 3, tolerance=1)
        assert is_everywhere(flat([full], pixel_format), (level,) * 3, tolerance=1)
        assert is_everywhere(flat([limited], pixel_format, colour_range=LIMITED), (level,) * 3, tolerance=2)


@pytest.mark.parametrize(("codec", "container", "pixel_format"), [
    ("ffv1", "matroska", "bgr0"), ("ffv1", "matroska", "gbrp10le"), ("libx264rgb", "matroska", "bgr24"),
    ("png", "mov", "rgb24"), ("png", "mov", "rgb48be"), ("qtrle", "mov", "rgb24"), ("rawvideo", "avi", "bgr24"),
    ("rawvideo", "mov", "rgb24"), ("utvideo", "avi", "gbrp"),
])  # fmt: skip
def test_rgb_passes_through(codec: str, container: str, pixel_format: str) -> None:
    for colour in COLOURS[:3]:
        assert is_everywhere(rgb(colour, codec, container, pixel_format), colour, tolerance=2)


@pytest.mark.parametrize(("codec", "container", "pixel_format"), [
    ("rawvideo", "mov", "rgb555be"), ("rawvideo", "avi", "rgb555le"), ("qtrle", "mov", "rgb555be"),
    ("rpza", "mov", "rgb555"),
])  # fmt: skip
def test_rgb_of_five_bits_is_within_a_step(codec: str, container: str, pixel_format: str) -> None:
    for colour in COLOURS[:3]:
        assert is_everywhere(rgb(colour, codec, container, pixel_format), colour, tolerance=12)


def rgb(colour: tuple[int, int, int], codec: str, container: str, pixel_format: str) -> bytes:
    file = io.BytesIO()
    picture = av.VideoFrame.from_ndarray(np.full((48, 64, 3), colour, np.uint8), format="rgb24")
    with av.open(file, "w", format=container) as out:
        stream: Any = out.add_stream(codec, rate=10, options={"qp": "0"} if codec == "libx264rgb" else {})
        stream.width, stream.height, stream.pix_fmt = 64, 48, pixel_format
        out.mux(stream.encode(picture.reformat(format=pixel_format)))
        out.mux(stream.encode())
    return file.getvalue()


@pytest.mark.parametrize(("matrix", "name"), [(8, "YCgCo"), (10, "constant luminance"), (14, "ICtCp")])
def test_a_matrix_that_nothing_converts_is_a_reason(matrix: int, name: str) -> None:
    for size in SIZES:
        with pytest.raises(UndecodableVideoError, match=name):
            decode(flat([100, 100, 100], "yuv444p", matrix=matrix, colour_range=LIMITED), sampling=ALL, size=size)


@pytest.mark.parametrize("transfer", [16, 18], ids=["PQ", "HLG"])
def test_hdr_keeps_its_code_values(transfer: int) -> None:
    frame = av.VideoFrame(64, 48, "yuv420p10le")
    for plane, value in zip(frame.planes, components((200, 30, 40), 9, LIMITED, 10), strict=True):
        plane.update(np.full(plane.buffer_size // 2, value, "<u2").tobytes())
    frame.colorspace, frame.color_range, frame.color_trc, frame.color_primaries = 9, LIMITED, transfer, 9
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as out:
        stream: Any = out.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p10le"
        context = stream.codec_context
        context.colorspace, context.color_range, context.color_trc, context.color_primaries = 9, LIMITED, transfer, 9
        out.mux(stream.encode(frame))
        out.mux(stream.encode())
    assert is_everywhere(file.getvalue(), (200, 30, 40))


@pytest.mark.parametrize(("width", "height"), [(63, 47), (1, 1), (3, 2)])
def test_odd_sizes_keep_their_colours(width: int, height: int) -> None:
    content = flat(
        components((200, 30, 40), 1, LIMITED, 8), "yuv420p", matrix=1, colour_range=1, width=width, height=height
    )
    assert decode(content, sampling=ALL).pixels.shape == (1, height, width, 3)
    assert is_everywhere(content, (200, 30, 40))


def test_pixels_that_are_not_square_are_kept_as_stored() -> None:
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as out:
        stream: Any = out.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 72, 58, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(16, 11)
        out.mux(stream.encode(av.VideoFrame(72, 58, "yuv420p")))
        out.mux(stream.encode())
    assert decode(file.getvalue(), sampling=ALL).pixels.shape == (1, 58, 72, 3)
