"""A video file -> frames at chosen times: Pillow for pictures and animations, PyAV for everything else."""

import io
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, ImageSequence

from reelstore.errors import UndecodableVideoError
from reelstore.records import Frames
from reelstore.video.sampling import Sampling

BACKEND = "pyav+pillow/1"
"""Raised by hand when decoded pixels change; part of a video row's fingerprint."""

Picture = npt.NDArray[np.uint8]
Shown = tuple[float, Picture]
"""When a frame is shown, in seconds from the first, and its pixels, (height, width, 3)."""

# PyAV can't decode animated WebP; Pillow can.
_PILLOW_MAGIC = (b"GIF87a", b"GIF89a", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")


def decode(source: Path | bytes, *, sampling: Sampling) -> Frames:
    """The frames that `sampling` takes of a file, upright RGB, with the exact time of each.

    Transparent pictures are laid on white. Frames are counted by decoding, for headers lie; what the file announces and
    doesn't deliver makes it undecodable, as do pictures of changing size.

    Args:
        source: a path, or the file's content.
        sampling: which frames.

    Raises:
        UndecodableVideoError: the message is the reason, without a path.
    """
    content = source if isinstance(source, bytes) else source.read_bytes()
    if not content:
        raise UndecodableVideoError("the file is empty")
    try:
        if _is_picture(content):
            return _sampled_pillow(content, sampling)
        return _sampled_pyav(content, sampling)
    except UndecodableVideoError:
        raise
    except (av.FFmpegError, OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise UndecodableVideoError(f"it can't be decoded: {_reason(error)}") from error


def _is_picture(content: bytes) -> bool:
    return content.startswith(_PILLOW_MAGIC) or (content[:4] == b"RIFF" and content[8:12] == b"WEBP")


def _sampled_pillow(content: bytes, sampling: Sampling) -> Frames:
    if content[:4] == b"RIFF" and int.from_bytes(content[4:8], "little") + 8 > len(content):
        raise UndecodableVideoError("the file is truncated")
    with Image.open(io.BytesIO(content)) as image:
        wanted = sampling.indices(getattr(image, "n_frames", 1))
        return _pick(_pillow_frames(image), wanted)


def _pillow_frames(image: Image.Image) -> Iterator[Shown]:
    """Every frame in turn; animations store differences, so there is no skipping."""
    milliseconds = 0.0
    for frame in ImageSequence.Iterator(image):
        upright = ImageOps.exif_transpose(frame)
        shown = upright.convert("RGBA" if upright.has_transparency_data else "RGB")
        if shown.mode == "RGBA":
            white = Image.new("RGBA", shown.size, "white")
            shown = Image.alpha_composite(white, shown).convert("RGB")
        yield milliseconds / 1000, np.asarray(shown)
        milliseconds += frame.info.get("duration", 0)


def _sampled_pyav(content: bytes, sampling: Sampling) -> Frames:
    n_frames = sum(1 for _ in _pyav_frames(content, pixels=False))
    if not n_frames:
        raise UndecodableVideoError("it has a video stream without frames")
    return _pick(_pyav_frames(content, pixels=True), sampling.indices(n_frames))


def _pyav_frames(content: bytes, *, pixels: bool) -> Iterator[Shown]:
    """Every frame in turn; without `pixels` just their times, for counting."""
    with av.open(io.BytesIO(content)) as container:
        if not container.streams.video:
            raise UndecodableVideoError("it has no video stream")
        stream = container.streams.video[0]
        stream.thread_type = "NONE"  # decoding ahead runs files in parallel; threads within one would only compete
        n_packets = n_shown = 0
        start: float | None = None
        for packet in container.demux(stream):
            n_packets += packet.size > 0
            for frame in packet.decode():
                assert isinstance(frame, av.VideoFrame)
                time = float(frame.time) if frame.time is not None else n_shown / float(stream.average_rate or 1)
                start = time if start is None else start
                n_shown += 1
                yield time - start, _upright(frame) if pixels else np.empty(0, dtype=np.uint8)
        if stream.frames and n_packets < stream.frames:
            raise UndecodableVideoError(f"the file is truncated: {n_packets} of {stream.frames} frames are there")


def _upright(frame: av.VideoFrame) -> Picture:
    picture = frame.to_ndarray(format="rgb24")
    # `rotation` is counter-clockwise, as np.rot90 turns.
    return np.ascontiguousarray(np.rot90(picture, k=round(frame.rotation / 90) % 4))


def _pick(frames: Iterator[Shown], wanted: npt.NDArray[np.int64]) -> Frames:
    """The wanted frames, ascending and perhaps repeated, of a file's frames in turn; stops after the last."""
    counts = np.bincount(wanted)
    pixels: list[Picture] = []
    times: list[float] = []
    for index, (seconds, picture) in enumerate(frames):
        if counts[index]:
            if pixels and picture.shape != pixels[0].shape:
                raise UndecodableVideoError(
                    f"its pictures change size, from {_size(pixels[0])} to {_size(picture)} at frame {index}"
                )
            pixels += [picture] * int(counts[index])
            times += [seconds] * int(counts[index])
        if index + 1 == len(counts):
            break
    if len(pixels) != len(wanted):
        raise UndecodableVideoError(f"only {len(pixels)} of {len(wanted)} frames could be decoded")
    return Frames(np.stack(pixels), np.array(times, dtype=np.float64))


def _size(picture: Picture) -> str:
    return f"{picture.shape[1]} x {picture.shape[0]}"


def _reason(error: Exception) -> str:
    """The library's words, without the names it gives to our buffers."""
    if isinstance(error, av.FFmpegError):
        return str(error.strerror or type(error).__name__).lower()
    text = str(error).split("<_io.BytesIO")[0].strip()
    return text or type(error).__name__
