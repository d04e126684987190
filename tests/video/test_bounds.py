"""What one clip may take: files that claim or hold too much give a reason at once, in little memory."""

import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.video.test_decode import ALL, FOUR, draw

from reelstore.bounds import ItemBounds
from reelstore.errors import IrregularFileError, UndecodableVideoError
from reelstore.video import Sampling, decode


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, *, before: bytes = b"", pixels: bytes | None = None) -> bytes:
    if pixels is None:
        pack, row = zlib.compressobj(9), bytes(1 + 3 * width)
        pixels = b"".join(pack.compress(row) for _ in range(height)) + pack.flush()
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + before + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def apng(n_claimed: int) -> bytes:
    """One picture that says it is the first of many."""
    first = struct.pack(">IIIIIHHBB", 0, 1, 1, 0, 0, 1, 10, 0, 0)
    return png(1, 1, before=chunk(b"acTL", struct.pack(">II", n_claimed, 0)) + chunk(b"fcTL", first))


def gif(canvas: int, n_frames: int, *, frame: int | None = None, place: int = 0, before: bytes = b"") -> bytes:
    one = b"!\xf9\x04\x08\x01\0\0\0," + struct.pack("<HHHHB", place, place, frame or canvas, frame or canvas, 0)
    head = b"GIF89a" + struct.pack("<HHBBB", canvas, canvas, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    return head + before + (one + b"\x02\x02\x4c\x01\x00") * n_frames + b";"


def webp(width: int, height: int, n_frames: int) -> bytes:
    small = BytesIO()
    Image.new("RGB", (16, 16)).save(small, "WEBP")
    picture = small.getvalue()[12:]
    canvas = b"\x02\0\0\0" + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    one = bytes(6) + b"\x0f\0\0" * 2 + b"\x0a\0\0\0" + picture
    frames = (b"ANMF" + struct.pack("<I", len(one)) + one) * n_frames
    content = b"WEBPVP8X" + struct.pack("<I", 10) + canvas + b"ANIM" + struct.pack("<I", 6) + bytes(6) + frames
    return b"RIFF" + struct.pack("<I", len(content)) + content


def jpeg(width: int, height: int, n_scans: int = 0) -> bytes:
    drawn = BytesIO()
    Image.new("L", (512, 512), 77).save(drawn, "JPEG", progressive=True)
    content = drawn.getvalue()
    last, end = content.rindex(b"\xff\xda"), content.rindex(b"\xff\xd9")
    content = bytearray(content[:end] + content[last:end] * n_scans + content[end:])
    frame = content.index(b"\xff\xc2") + 5
    content[frame : frame + 4] = struct.pack(">HH", height, width)
    return bytes(content)


def y4m(n_frames: int, *, width: int = 2, height: int = 2, frame: bytes = b"FRAME\n" + bytes(6)) -> bytes:
    return f"YUV4MPEG2 W{width} H{height} F30:1 Ip A1:1 C420jpeg\n".encode() + frame * n_frames


def mp4_that_claims(n_samples: int) -> bytes:
    content = bytearray(draw.video("mp4"))
    for box, at, values in [("stsz", 8, (1, n_samples)), ("stsc", 12, (1, n_samples)), ("stts", 12, (n_samples, 1))]:
        start = content.index(box.encode()) + at
        content[start : start + 8] = struct.pack(">II", *values)
    return bytes(content)


HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "apng of 2^31 frames": (lambda: apng(2**31 - 1), "more frames than the 1,000,000"),
    "apng of 900,000 frames": (lambda: apng(900_000), "max_picture_work"),
    "apng that lies a little": (lambda: apng(50_000), "can't be decoded"),
    "png of 13,000 x 13,000": (lambda: png(13_000, 13_000), "13000 x 13000; embed.max_frame_pixels"),
    "png of 2^31 x 1": (lambda: png(2**31 - 1, 1, pixels=b""), "embed.max_frame_pixels"),
    "png of 10^6 x 1": (lambda: png(10**6, 1), "a side has at most"),
    "png of 0 x 0": (lambda: png(0, 0, pixels=b""), "can't be decoded"),
    "png with a text that unpacks": (
        lambda: png(4, 4, before=chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(10**8), 9))),
        "MAX_TEXT_CHUNK",
    ),
    "png with many texts": (
        lambda: png(4, 4, before=chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(10**6), 9)) * 100),
        "MAX_TEXT_MEMORY",
    ),
    "png of 3 million chunks": (lambda: png(4, 4, before=chunk(b"prIv", b"") * 3_000_000), "too many chunks"),
    "gif of 9,000 x 9,000 x 2,000": (lambda: gif(9_000, 2_000), "9000 x 9000; embed.max_frame_pixels"),
    "gif of 5,000 x 5,000 x 2,000": (lambda: gif(5_000, 2_000), "max_picture_work"),
    "gif that grows": (lambda: gif(1, 3, frame=9_000), "9000 x 9000"),
    "gif with pictures far out": (lambda: gif(1, 3, frame=65_535, place=65_535), "131070 x 131070"),
    "gif of 200,000 small frames": (lambda: gif(1, 200_000), "max_picture_work"),
    "gif of small blocks": (lambda: gif(1, 2, before=b"!\xfe" + b"\x01c" * 3_000_000 + b"\0"), "too many blocks"),
    "gif of zeros": (lambda: gif(1, 2, before=bytes(3_000_000)), "too many blocks"),
    "webp of 16,384 x 16,384": (lambda: webp(16_384, 16_384, 1), "can't be decoded|max_frame_pixels"),
    "webp of 8,000 x 8,000 x 100": (lambda: webp(8_000, 8_000, 100), "max_picture_work"),
    "webp of 100,000 small frames": (lambda: webp(16, 16, 100_000), "max_picture_work"),
    "jpeg of 65,500 x 65,500": (lambda: jpeg(65_500, 65_500), "65500 x 65500"),
    "jpeg of 5,000 scans": (lambda: jpeg(4_000, 4_000, 5_000), "max_picture_work"),
    "y4m of 65,535 x 65,535": (lambda: y4m(1, width=65_535, height=65_535), "can't be decoded"),
    "y4m of 20,000 x 20,000": (lambda: y4m(1, width=20_000, height=20_000), "can't be decoded|max_frame_pixels"),
    "mp4 of 2^32 samples": (lambda: mp4_that_claims(2**32 - 1), "truncated"),
    "mp4 of 80 million samples": (lambda: mp4_that_claims(80_000_000), "truncated"),
    "mp4 of 3 million boxes": (
        lambda: b"\0\0\0\x10ftypisom\0\0\0\0" + b"\0\0\0\x08free" * 3_000_000,
        "too many boxes",
    ),
    "matroska of 1.2 million elements": (
        lambda: b"\x1a\x45\xdf\xa3\x80\x18\x53\x80\x67\xff" + b"\xec\x80" * 1_200_000,
        "can't be decoded|no video stream",
    ),
    "video of 11 days": (lambda: draw.video("webm", 4, pts=[0, 1, 5, 10**7]), "1,000,000 s; embed.max_seconds"),
}

_PROBE = """
import resource, sys
sys.path[:0] = [sys.argv[1]]
from tests.video.test_bounds import ALL, FOUR, HOSTILE, decode
from reelstore.errors import UndecodableVideoError
for name, (make, _) in HOSTILE.items():
    content = make()
    for sampling in (FOUR, ALL):
        before = resource.getrusage(resource.RUSAGE_SELF)
        try:
            decode(content, sampling=sampling)
            reason = "DECODED"
        except UndecodableVideoError as error:
            reason = str(error)
        after = resource.getrusage(resource.RUSAGE_SELF)
        mib = (after.ru_maxrss - before.ru_maxrss) // 1024
        print(name, mib, round(after.ru_utime - before.ru_utime, 1), reason, sep="\\t")
"""


def test_hostile_clips_give_a_reason_in_little_memory_and_time() -> None:
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", _PROBE, str(root)], capture_output=True, text=True, check=True)
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert {name for name, *_ in lines} == set(HOSTILE) and len(lines) == 2 * len(HOSTILE)
    for name, mib, seconds, reason in lines:
        assert any(part in reason for part in HOSTILE[name][1].split("|")), (name, reason)
        assert int(mib) < 200, (name, mib)
        assert float(seconds) < 10, (name, seconds)


@pytest.mark.parametrize(
    ("bounds", "content", "words"),
    [
        (ItemBounds(max_file_bytes=100), draw.video("mp4"), "max_file_bytes allows 100"),
        (ItemBounds(max_frame_pixels=64 * 48 - 1), draw.video("mp4"), "64 x 48; embed.max_frame_pixels"),
        (ItemBounds(max_frame_pixels=64 * 48 - 1), draw.animation("WEBP"), "64 x 48; embed.max_frame_pixels"),
        (ItemBounds(max_frames=11), draw.video("webm"), "more frames than the 11"),
        (ItemBounds(max_frames=11), draw.animation("GIF"), "more frames than the 11"),
        (ItemBounds(max_frames=5), draw.video("mp4"), "more frames than the 5"),
        (ItemBounds(max_seconds=1.15), draw.video("avi"), ""),
        (ItemBounds(max_seconds=1), draw.video("avi"), "frame 11 is shown after 1 s"),
        (ItemBounds(max_seconds=1), draw.animation("PNG"), "frame 11 is shown after 1 s"),
        (ItemBounds(max_decoded_pixels=12 * 64 * 48 - 1), draw.video("mkv-grey"), "first 12 frames"),
        (ItemBounds(max_picture_work=12 * 64 * 48), draw.animation("PNG"), "12 times 64 x 48"),
        (ItemBounds(max_sampled_bytes=12 * 64 * 48 * 3), draw.video("mp4"), ""),
        (ItemBounds(max_sampled_bytes=12 * 64 * 48 * 3 - 1), draw.video("mp4"), "12 of its frames are wanted"),
    ],
)
def test_each_bound_is_kept_to_the_last_unit(bounds: ItemBounds, content: bytes, words: str) -> None:
    if not words:
        assert len(decode(content, sampling=ALL, bounds=bounds)) == 12
        return
    with pytest.raises(UndecodableVideoError, match=words.replace("(", r"\(")):
        decode(content, sampling=ALL, bounds=bounds)


@pytest.mark.parametrize("content", [draw.still("PNG"), draw.video("mp4", 1), png(4_000, 4_000)])
def test_one_frame_wanted_a_hundred_thousand_times_is_kept_once(content: bytes) -> None:
    frames = decode(content, sampling=Sampling("uniform", n_frames=100_000))
    assert len(frames) == 100_000
    assert frames.pixels.strides[0] == 0, "one picture, not a copy for each"
    assert np.array_equal(frames.pixels[-1], decode(content, sampling=ALL).pixels[0])


def test_repeated_frames_are_those_of_the_policy() -> None:
    frames = decode(draw.animation("GIF", 3), sampling=Sampling("uniform", n_frames=8))
    assert [draw.number_of(pixels) for pixels in frames.pixels] == [0, 0, 0, 1, 1, 1, 2, 2]
    with pytest.raises(UndecodableVideoError, match="max_sampled_bytes"):
        decode(draw.animation("GIF", 3), sampling=Sampling("uniform", n_frames=10_000_000))


def test_a_large_picture_within_the_bounds_draws_no_warning(recwarn: pytest.WarningsRecorder) -> None:
    bounds = ItemBounds(max_frame_pixels=2**28)
    with pytest.raises(UndecodableVideoError, match="can't be decoded"):
        decode(png(10_000, 10_000, pixels=b""), sampling=FOUR, bounds=bounds)
    assert not recwarn.list, "Pillow would warn of 100 million pixels"


def test_what_is_no_regular_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "zero.mp4").symlink_to("/dev/zero")
    for path in (tmp_path / "pipe.mp4", tmp_path / "zero.mp4", tmp_path):
        with pytest.raises(IrregularFileError):
            decode(path, sampling=FOUR)
