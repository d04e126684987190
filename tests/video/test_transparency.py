"""What lies below transparent pixels never shows: every kind of file is laid on white."""

import io
from fractions import Fraction
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image
from tests.video.test_decode import ALL, draw

from reelstore.errors import UndecodableVideoError
from reelstore.video import decode

ALPHAS = (0, 64, 128, 255)
COLOUR = (220, 40, 30)
EXPECTED = [[round((c * alpha + 255 * (255 - alpha)) / 255) for c in COLOUR] for alpha in ALPHAS]


def stripes() -> np.ndarray:
    """(48, 64, 4) RGBA: one colour, four stripes of different alpha."""
    rgba = np.empty((48, 64, 4), np.uint8)
    rgba[..., :3], rgba[..., 3] = COLOUR, np.repeat(ALPHAS, 16)
    return rgba


def encoded(container: str, codec: str, pixel_format: str, *, rgba: np.ndarray | None = None, **options: str) -> bytes:
    file = io.BytesIO()
    picture = av.VideoFrame.from_ndarray(stripes() if rgba is None else rgba, format="rgba")
    with av.open(file, "w", format=container) as out:
        stream: Any = out.add_stream(codec, rate=10, options=options)
        stream.width, stream.height, stream.pix_fmt = 64, 48, pixel_format
        stream.bit_rate = 4_000_000
        for index in range(3):
            frame = picture.reformat(format=pixel_format)
            frame.pts, frame.time_base = index, Fraction(1, 10)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return file.getvalue()


def animated(kind: str) -> bytes:
    file = io.BytesIO()
    options: dict[str, Any] = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    first, second, third = (stripes() for _ in range(3))
    second[40:], third[:6] = (0, 0, 0, 255), (0, 0, 0, 255)  # equal pictures would become one
    pictures = [Image.fromarray(rgba) for rgba in (first, second, third)]
    pictures[0].save(file, kind, save_all=True, append_images=pictures[1:], duration=100, **options)
    return file.getvalue()


FILES = {
    "png in mov": lambda: encoded("mov", "png", "rgba"),
    "png of 16 bits in mov": lambda: encoded("mov", "png", "rgba64be"),
    "prores 4444": lambda: encoded("mov", "prores_ks", "yuva444p10le"),
    "qtrle": lambda: encoded("mov", "qtrle", "argb"),
    "jpeg2000 in mov": lambda: encoded("mov", "jpeg2000", "rgba"),
    "raw in mov": lambda: encoded("mov", "rawvideo", "argb"),
    "ffv1 yuva": lambda: encoded("matroska", "ffv1", "yuva420p"),
    "ffv1 bgra": lambda: encoded("matroska", "ffv1", "bgra"),
    "ffv1 of 10 bits": lambda: encoded("matroska", "ffv1", "gbrap10le"),
    "ffv1 of 16 bits": lambda: encoded("matroska", "ffv1", "yuva444p16le"),
    "ut video": lambda: encoded("avi", "utvideo", "gbrap"),
    "magicyuv": lambda: encoded("avi", "magicyuv", "gbrap"),
    "huffyuv": lambda: encoded("avi", "huffyuv", "bgra"),
    "raw in avi": lambda: encoded("avi", "rawvideo", "bgra"),
    "raw yuva": lambda: encoded("nut", "rawvideo", "yuva420p"),
    "vp9 in webm": lambda: encoded("webm", "libvpx-vp9", "yuva420p"),
    "vp9 in matroska": lambda: encoded("matroska", "libvpx-vp9", "yuva420p"),
    "vp8 in webm": lambda: encoded("webm", "libvpx", "yuva420p", **{"auto-alt-ref": "0"}),
    "animated webp": lambda: animated("WEBP"),
    "animated png": lambda: animated("PNG"),
    "animated avif": lambda: animated("AVIF"),
}


@pytest.mark.parametrize("name", FILES)
def test_every_degree_of_transparency_shows_white_through(name: str) -> None:
    content = FILES[name]()
    for size in (None, (24, 32)):
        frames = decode(content, sampling=ALL, size=size)
        assert len(frames) == 3
        np.testing.assert_allclose(frames.pts_seconds, [0, 0.1, 0.2], atol=1e-9)
        width = frames.pixels.shape[2]
        found = frames.pixels[:, 12, width // 8 :: width // 4].astype(int)  # the middle of each stripe
        assert np.abs(found - np.array(EXPECTED)).max() <= 6


@pytest.mark.parametrize(("container", "codec", "grey"), [("matroska", "ffv1", "ya8"), ("mov", "png", "ya8")])
def test_transparent_grey_is_laid_on_white(container: str, codec: str, grey: str) -> None:
    rgba = np.full((48, 64, 4), 90, np.uint8)
    rgba[..., 3] = np.repeat([0, 255], 32)
    pixels = decode(encoded(container, codec, grey, rgba=rgba), sampling=ALL).pixels
    assert pixels[0, 5, [5, -5]].tolist() == [[255] * 3, [90] * 3]


def test_a_gif_hides_what_it_calls_transparent() -> None:
    pixels = decode(draw.transparent("GIF"), sampling=ALL).pixels[0]
    assert pixels[4, [4, -4]].tolist() == [[255, 0, 0], [255, 255, 255]]


def test_a_palette_with_alpha_is_laid_on_white() -> None:
    file = io.BytesIO()
    Image.fromarray(stripes()).quantize(8).save(file, "PNG")
    assert decode(file.getvalue(), sampling=ALL).pixels[0, 5, 5].tolist() == [255, 255, 255]


@pytest.mark.parametrize(("alpha", "expected"), [(0, list(COLOUR)), (255, list(COLOUR)), (128, EXPECTED[2])])
def test_the_unused_byte_of_an_avi_of_bitmaps_is_no_alpha(alpha: int, expected: list[int]) -> None:
    rgba = stripes()
    rgba[..., 3] = alpha
    assert decode(encoded("avi", "rawvideo", "bgra", rgba=rgba), sampling=ALL).pixels[0, 5, 5].tolist() == expected


def test_a_frame_that_is_transparent_everywhere_is_white_in_any_other_file() -> None:
    rgba = stripes()
    rgba[..., 3] = 0
    assert (decode(encoded("mov", "png", "rgba", rgba=rgba), sampling=ALL).pixels == 255).all()


def test_a_webm_that_is_opaque_in_spite_of_its_mark_is_as_without() -> None:
    rgba = stripes()
    rgba[..., 3] = 255
    marked = encoded("webm", "libvpx-vp9", "yuva420p", rgba=rgba, lossless="1")
    plain = encoded("webm", "libvpx-vp9", "yuv420p", rgba=rgba, lossless="1")
    assert np.array_equal(decode(marked, sampling=ALL).pixels, decode(plain, sampling=ALL).pixels)


@pytest.mark.parametrize("container", ["mp4", "mpegts", "hevc"])
def test_hevc_with_alpha_is_refused_as_nothing_decodes_its_alpha(container: str) -> None:
    plain, message = encoded("mp4", "libx265", "yuv420p"), b"\x4e\x01\xa5\x04\x00\x00\x7f\x90\x80"
    file = io.BytesIO()
    with av.open(io.BytesIO(plain)) as source, av.open(file, "w", format=container) as out:
        stream = out.add_stream_from_template(source.streams.video[0])
        for index, packet in enumerate(source.demux(video=0)):
            if packet.dts is None:
                continue
            start = len(message).to_bytes(4, "big")
            with_message = av.Packet(start + message + bytes(packet)) if index == 0 else packet
            with_message.pts, with_message.dts, with_message.time_base = packet.pts, packet.dts, packet.time_base
            with_message.is_keyframe = packet.is_keyframe
            with_message.stream = stream
            out.mux(with_message)
    assert len(decode(plain, sampling=ALL)) == 3
    with pytest.raises(UndecodableVideoError, match="HEVC with alpha"):
        decode(file.getvalue(), sampling=ALL)
