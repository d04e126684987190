"""Times ascend from zero in every container, be the file's own of decoding, missing, begun again or out of order."""

import io
from fractions import Fraction
from typing import Any

import av
import numpy as np
import pytest
from tests.video.test_decode import ALL, FOUR, draw

from reelstore.video import decode

# (container, codec, B-frames): all that state times in ways of their own.
CONTAINERS = [
    ("avi", "mpeg4", 2), ("avi", "libx264", 3), ("avi", "mpeg2video", 2), ("asf", "libx264", 3), ("asf", "mpeg4", 2),
    ("mpeg", "mpeg2video", 2), ("mpeg", "mpeg1video", 2), ("vob", "mpeg2video", 2), ("mpegts", "libx264", 3),
    ("mpegts", "mpeg2video", 2), ("mpegts", "libx265", 3), ("h264", "libx264", 3), ("hevc", "libx265", 3),
    ("m4v", "mpeg4", 2), ("mpeg2video", "mpeg2video", 2), ("matroska", "libx264", 3), ("matroska", "mpeg4", 2),
    ("mp4", "libx264", 3), ("mov", "mpeg4", 2), ("flv", "libx264", 3), ("nut", "libx264", 3), ("ogg", "libvpx", 0),
    ("mxf", "mpeg2video", 2), ("swf", "flv", 0), ("ivf", "libvpx-vp9", 0), ("yuv4mpegpipe", "rawvideo", 0),
]  # fmt: skip


def clip(
    container: str,
    codec: str,
    n_b_frames: int,
    *,
    pts: list[int] | None = None,
    rate: Fraction = Fraction(25),
    **options: str,
) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format=container, options=options) as out:
        stream: Any = out.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.bit_rate, stream.codec_context.gop_size = 4_000_000, 12
        stream.codec_context.max_b_frames = n_b_frames
        for index, time in enumerate(pts or range(24)):
            frame = av.VideoFrame.from_ndarray(draw.picture(index), format="rgb24")
            frame.pts, frame.time_base = time, 1 / rate
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return file.getvalue()


def expect(content: bytes, seconds: list[float], tolerance: float = 0.0011) -> None:
    """24 frames in order at these times; and those of a sample are the same frames at the same times."""
    frames = decode(content, sampling=ALL)
    assert [draw.number_of(pixels) for pixels in frames.pixels] == [index % 24 for index in range(len(seconds))]
    assert frames.pts_seconds[0] == 0
    assert (np.diff(frames.pts_seconds) > 0).all()
    np.testing.assert_allclose(frames.pts_seconds, seconds, atol=tolerance)
    sampled = decode(content, sampling=FOUR)
    assert sampled.indices is not None
    np.testing.assert_array_equal(sampled.pts_seconds, frames.pts_seconds[sampled.indices])
    np.testing.assert_array_equal(sampled.pixels, frames.pixels[sampled.indices])


@pytest.mark.parametrize(("container", "codec", "n_b_frames"), CONTAINERS)
def test_times_ascend_by_the_frame_rate(container: str, codec: str, n_b_frames: int) -> None:
    expect(clip(container, codec, n_b_frames), [index / 25 for index in range(24)])


@pytest.mark.parametrize("rate", [Fraction(30000, 1001), Fraction(24000, 1001), Fraction(12), Fraction(60)], ids=str)
def test_an_avi_of_b_frames_has_the_times_of_its_rate(rate: Fraction) -> None:
    expect(clip("avi", "libx264", 3, rate=rate), [float(index / rate) for index in range(24)], tolerance=1e-9)


@pytest.mark.parametrize("container", ["matroska", "mp4", "mpegts"])
def test_uneven_times_stay_uneven(container: str) -> None:
    expect(clip(container, "libx264", 3, pts=[index**2 for index in range(24)]), [i**2 / 25 for i in range(24)])


@pytest.mark.parametrize("seconds", [20, 2**33 / 90_000 - 2])
def test_a_transport_stream_may_start_late_and_its_clock_may_wrap(seconds: float) -> None:
    start = int(25 * seconds)
    content = clip("mpegts", "libx264", 3, pts=[start + index for index in range(24)], mpegts_copyts="1")
    expect(content, [index / 25 for index in range(24)])


@pytest.mark.parametrize(
    ("container", "codec"), [("mpegts", "libx264"), ("mpegts", "mpeg2video"), ("mpeg", "mpeg2video")]
)
def test_times_go_on_where_joined_files_begin_again(container: str, codec: str) -> None:
    frames = decode(clip(container, codec, 2) * 3, sampling=ALL)
    assert [draw.number_of(pixels) for pixels in frames.pixels] == [*range(24)] * 3
    steps = np.diff(frames.pts_seconds)
    assert (steps > 0).all()
    assert steps.max() < 0.2
    assert np.median(steps) == pytest.approx(1 / 25, abs=0.0011)


def test_block_times_out_of_order_are_put_in_order() -> None:
    content = bytearray(clip("matroska", "ffv1", 0))
    with av.open(io.BytesIO(bytes(content))) as container:
        starts = [packet.pos for packet in container.demux(video=0) if packet.size]
    for index, other in [(5, 7), (7, 5)]:
        track_and_time = b"\x81" + (40 * index).to_bytes(2, "big")
        place = content.index(track_and_time, starts[index]) + 1
        content[place : place + 2] = (40 * other).to_bytes(2, "big")
    times = decode(bytes(content), sampling=ALL).pts_seconds
    np.testing.assert_allclose(times, [index / 25 for index in range(24)], atol=0.0011)


def test_an_edit_list_starts_at_its_first_frame() -> None:
    content = clip("mp4", "libx264", 3, pts=[index - 5 for index in range(24)])
    frames = decode(content, sampling=ALL)
    assert [draw.number_of(pixels) for pixels in frames.pixels] == [*range(5, 24)]
    np.testing.assert_allclose(frames.pts_seconds, [index / 25 for index in range(19)], atol=0.0011)
