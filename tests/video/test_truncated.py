"""Files that were cut short are refused wherever that can be told; whole ones never are."""

import functools
import io
import struct
from collections.abc import Callable
from typing import Any

import av
import numpy as np
import pytest
from tests.video.test_decode import ALL, draw
from tests.video.test_times import clip

from reelstore.errors import UndecodableVideoError
from reelstore.video import decode


def boxes(content: bytes) -> list[tuple[bytes, int, int]]:
    """Kind, start and stop of each outer box."""
    found, start = [], 0
    while start < len(content):
        stop = start + int.from_bytes(content[start : start + 4], "big")
        found.append((content[start + 4 : start + 8], start, stop))
        start = stop
    return found


def moved(content: bytes, by: int) -> bytes:
    """An MP4's or MOV's boxes with the places of its samples moved."""
    start = content.index(b"stco") + 8
    n_places = int.from_bytes(content[start : start + 4], "big")
    places = struct.unpack(f">{n_places}I", content[start + 4 : start + 4 + 4 * n_places])
    new = struct.pack(f">{n_places}I", *(place + by for place in places))
    return content[: start + 4] + new + content[start + 4 + 4 * n_places :]


def mov(*, index_first: bool, before: bytes = b"", mdat: str = "") -> bytes:
    """A QuickTime file of pictures that each stand alone, without `ftyp`, as they were written before 2001."""
    plain = clip("mov", "mjpeg", 0)
    parts = {kind: plain[start:stop] for kind, start, stop in boxes(plain)}
    data, index = parts[b"mdat"][8:], parts[b"moov"]
    size = {"": struct.pack(">I", len(data) + 8) + b"mdat", "to the end": bytes(4) + b"mdat"}
    size["64 bits"] = struct.pack(">I4sQ", 1, b"mdat", len(data) + 16)
    head = before + (index if index_first else b"") + size[mdat]
    was_at = plain.index(b"mdat") + 4
    return moved(head + data + (b"" if index_first else index), len(head) - was_at)


def avi(size: int, *, of_data: int | None = None) -> bytes:
    content = bytearray(clip("avi", "mpeg4", 0))
    content[4:8] = struct.pack("<I", size)
    if of_data is not None:
        at = content.index(b"movi")
        content[at - 4 : at] = struct.pack("<I", of_data)
    return bytes(content)


def avi_of_two() -> bytes:
    """The second part of an AVI beyond 1 GiB has its own RIFF."""
    return clip("avi", "mpeg4", 0) + b"RIFF" + struct.pack("<I", 3000) + b"AVIX" + bytes(2996)


def with_sound(container: str, codec: str, sound: str) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format=container) as out:
        video: Any = out.add_stream(codec, rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuvj420p" if codec == "mjpeg" else "yuv420p"
        audio: Any = out.add_stream(sound, rate=48000)
        for index in range(24):
            frame = av.VideoFrame.from_ndarray(draw.picture(index), format="rgb24")
            frame.pts, frame.time_base = index, 1 / video.codec_context.framerate
            out.mux(video.encode(frame))
        out.mux(video.encode())
        draw._hum(out, audio, seconds=1)
    return file.getvalue()


FRAGMENTS = "frag_keyframe+empty_moov"
FILES: dict[str, Callable[[], bytes]] = {
    "mov, mdat first": lambda: mov(index_first=False),
    "mov, moov first": lambda: mov(index_first=True),
    "mov, wide first": lambda: mov(index_first=False, before=b"\0\0\0\x08wide"),
    "mov, free first": lambda: mov(index_first=True, before=b"\0\0\0\x10free" + bytes(8)),
    "mov, skip first": lambda: mov(index_first=True, before=b"\0\0\0\x10skip" + bytes(8)),
    "mov, uuid first": lambda: mov(index_first=True, before=b"\0\0\0\x20uuid" + bytes(24)),
    "mov, pnot first": lambda: mov(index_first=True, before=b"\0\0\0\x14pnot" + bytes(12)),
    "mov, mdat of 64 bits": lambda: mov(index_first=True, mdat="64 bits"),
    "mov, mdat to the end": lambda: mov(index_first=True, mdat="to the end"),
    "mp4, mdat to the end": lambda: mov(index_first=True, mdat="to the end", before=b"\0\0\0\x14ftypisom\0\0\0\0mp41"),
    "mp4 in fragments": lambda: clip("mp4", "libx264", 0, movflags=FRAGMENTS),
    "mp4 in fragments with indices": lambda: clip("mp4", "libx264", 0, movflags=f"dash+{FRAGMENTS}"),
    "matroska, live": lambda: clip("matroska", "mpeg4", 0, live="1"),
    "webm, live": lambda: clip("webm", "libvpx-vp9", 0, live="1"),
    "webm, live in small clusters": lambda: clip("webm", "libvpx-vp9", 0, live="1", cluster_time_limit="100"),
    "avi without its size": lambda: avi(0),
    "avi of the largest size": lambda: avi(0xFFFFFFFF),
    "avi with a size too small": lambda: avi(3000),
    "avi without any size": lambda: avi(0, of_data=0),
    "avi in two parts": avi_of_two,
    "asf": lambda: clip("asf", "mpeg4", 0),
    "wmv": lambda: clip("asf", "wmv2", 0),
    "ogg": lambda: clip("ogg", "libvpx", 0),
    "flv": lambda: clip("flv", "flv", 0),
    "mpeg-1": lambda: clip("mpeg", "mpeg1video", 0),
    "vob": lambda: clip("vob", "mpeg2video", 2),
    "transport stream": lambda: clip("mpegts", "mpeg2video", 0),
    "m2ts": lambda: clip("mpegts", "mpeg2video", 0, mpegts_m2ts_mode="1"),
    "avif": lambda: draw.animation("AVIF", 4),
}
SOUND = {"mp4": "aac", "mov": "pcm_s16le", "webm": "libopus", "avi": "mp3", "asf": "mp3", "ogg": "libopus"}
SOUND |= {"flv": "mp3", "vob": "ac3", "mpegts": "aac"}
CODECS = {"webm": "libvpx-vp9", "ogg": "libvpx", "flv": "flv", "vob": "mpeg2video", "asf": "wmv2", "mov": "mjpeg"}
FILES |= {
    f"{kind} with sound": lambda kind=kind, codec=codec: with_sound(kind, CODECS.get(kind, "mpeg4"), codec)  # type: ignore[misc]
    for kind, codec in SOUND.items()
}


def between_flv_tags(content: bytes) -> set[int]:
    """Where an FLV may end without a trace: behind a tag, or behind the length that follows it."""
    ends, start = set(), 13
    while content.startswith(b"FLV") and start < len(content):
        start += 11 + int.from_bytes(content[start + 1 : start + 4], "big")
        ends |= {start, start + 4}
        start += 4
    return ends


@pytest.mark.parametrize("name", FILES)
def test_a_file_cut_within_any_part_is_refused_and_a_whole_one_is_not(name: str) -> None:
    content = FILES[name]()
    whole = decode(content, sampling=ALL).pixels
    assert len(whole) == (4 if name == "avif" else 24)
    for stop in [*range(len(content) // 20, len(content), len(content) // 12), len(content) - 1]:
        stop -= not stop % 2  # packets are of even length: between two of them a cut can't be told
        if stop in between_flv_tags(content):
            continue
        try:
            pixels = decode(content[:stop], sampling=ALL).pixels
        except UndecodableVideoError:
            continue
        assert np.array_equal(pixels, whole), f"{stop} of {len(content)} bytes gave {len(pixels)} frames"


def test_a_mov_without_ftyp_says_that_it_is_truncated() -> None:
    for content in (mov(index_first=True), mov(index_first=True, mdat="to the end")):
        for stop in (len(content) // 2, len(content) - 1):
            with pytest.raises(UndecodableVideoError, match=r"^the file is truncated$"):
                decode(content[:stop], sampling=ALL)


@functools.cache
def whole_file(kind: str) -> bytes:
    return clip(kind, CODECS.get(kind, "mpeg4"), 0)


@pytest.mark.parametrize(
    "rest", [b"\0" * 5, b"\0" * 512, b"TAG" + bytes(125), b"junk at the end"], ids=["few zeros", "zeros", "tag", "text"]
)
@pytest.mark.parametrize("kind", ["mp4", "mov", "webm", "avi", "asf", "ogg", "flv", "vob"])
def test_what_follows_a_whole_file_does_not_matter(kind: str, rest: bytes) -> None:
    assert len(decode(whole_file(kind) + rest, sampling=ALL)) == 24
