"""Draws the clips that tests decode. Each frame's number is its grey, and its top left quarter is red.

To look at them: python tests/assets/draw.py FOLDER
"""

import io
import sys
import tempfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from PIL import Image

GREY_STEP = 10
"""Frame i is 10 * i grey: wide enough apart to survive a lossy codec, so up to 25 frames can be told from another."""

# (container, codec, pixel format): what decoding must get right, lossy and lossless, 8 bits and 10.
CODECS: dict[str, tuple[str, str, str]] = {
    "mp4": ("mp4", "libx264", "yuv420p"),
    "mov-10-bit": ("mov", "libx264", "yuv420p10le"),
    "webm": ("webm", "libvpx-vp9", "yuv420p"),
    "mkv-grey": ("matroska", "ffv1", "gray"),
    "avi": ("avi", "mpeg4", "yuv420p"),
}


def picture(index: int, *, width: int = 64, height: int = 48) -> npt.NDArray[np.uint8]:
    """(height, width, 3) uint8 of frame `index`."""
    pixels = np.full((height, width, 3), GREY_STEP * index, dtype=np.uint8)
    pixels[: height // 2, : width // 2] = (255, 0, 0)
    return pixels


def number_of(pixels: npt.NDArray[np.uint8]) -> int:
    """The frame's number, read back from the middle of its bottom right quarter."""
    height, width = pixels.shape[:2]
    return round(float(pixels[3 * height // 4, 3 * width // 4].mean()) / GREY_STEP)


def video(
    kind: str = "mp4",
    n_frames: int = 12,
    *,
    width: int = 64,
    height: int = 48,
    frames_per_second: int = 10,
    pts: list[int] | None = None,
    options: dict[str, str] | None = None,
    metadata: dict[str, str] | None = None,
    sound: bool = False,
) -> bytes:
    """A clip of a kind from `CODECS`; `pts` are in units of a frame's time; `options` are the container's."""
    container_name, codec, pixel_format = CODECS[kind]
    file = io.BytesIO()
    with av.open(file, "w", format=container_name, options=options or {}) as container:
        container.metadata.update(metadata or {})
        stream: Any = container.add_stream(codec, rate=frames_per_second)
        stream.width, stream.height, stream.pix_fmt = width, height, pixel_format
        stream.codec_context.gop_size = 5  # several key frames, and frames in between that lean on them
        if codec != "ffv1":
            stream.bit_rate = 4_000_000
        speech: Any = container.add_stream("libopus" if kind == "webm" else "aac", rate=48000) if sound else None
        container.start_encoding()  # so that a file without any frame has its header too
        for index in range(n_frames):
            frame = av.VideoFrame.from_ndarray(picture(index, width=width, height=height), format="rgb24")
            frame.pts = pts[index] if pts else index
            frame.time_base = Fraction(1, frames_per_second)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if speech:
            _hum(container, speech, seconds=2 * n_frames / frames_per_second)
    return file.getvalue()


def sound_only() -> bytes:
    """A file that has sound and no pictures."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        _hum(container, container.add_stream("aac", rate=48000), seconds=0.5)
    return file.getvalue()


def sound_with_cover() -> bytes:
    """Sound with the picture of a record sleeve, which isn't a video."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp3", options={"id3v2_version": "3"}) as container:
        speech = container.add_stream("libmp3lame", rate=48000)
        cover: Any = container.add_stream("png", rate=1)
        cover.width, cover.height, cover.pix_fmt = 64, 48, "rgb24"
        cover.disposition = av.stream.Disposition.attached_pic
        container.mux(cover.encode(av.VideoFrame.from_ndarray(picture(3), format="rgb24")))
        container.mux(cover.encode(None))
        _hum(container, speech, seconds=0.5)
    return file.getvalue()


def _hum(container: Any, stream: Any, *, seconds: float) -> None:
    samples = np.zeros((1, int(48000 * seconds)), dtype=np.float32)
    frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
    frame.sample_rate = 48000
    frame.pts = 0
    resampler = av.AudioResampler(
        format=stream.codec_context.format or "fltp", layout="stereo", rate=48000, frame_size=stream.frame_size or 960
    )
    for piece in [*resampler.resample(frame), *resampler.resample(None)]:
        container.mux(stream.encode(piece))
    container.mux(stream.encode(None))


def index_first() -> bytes:
    """An MP4 whose index comes before its pictures, as the web likes it: cut short, it still opens."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        with av.open(io.BytesIO(video("mp4"))) as source, av.open(path, "w", options={"movflags": "faststart"}) as sink:
            stream = sink.add_stream_from_template(source.streams.video[0])
            for packet in source.demux(source.streams.video[0]):
                if packet.dts is not None:
                    packet.stream = stream
                    sink.mux(packet)
        return path.read_bytes()


def rotated(quarter_turns_clockwise: int) -> bytes:
    """An MP4 that says in its header that it is to be turned before it is shown, as telephones write it."""
    content = bytearray(video("mp4"))
    one = 0x10000
    cosine, sine = [(1, 0), (0, 1), (-1, 0), (0, -1)][quarter_turns_clockwise % 4]
    matrix = [cosine * one, sine * one, 0, -sine * one, cosine * one, 0, 0, 0, 0x40000000]
    start = content.index(b"tkhd") + 4 + 40  # the matrix lies 40 bytes into a track header of version 0
    content[start : start + 36] = b"".join(value.to_bytes(4, "big", signed=True) for value in matrix)
    return bytes(content)


def animation(
    kind: str = "WEBP", n_frames: int = 12, *, milliseconds: int | list[int] = 100, width: int = 64, height: int = 48
) -> bytes:
    """An animated WebP, GIF or PNG."""
    pictures = [Image.fromarray(picture(index, width=width, height=height)) for index in range(n_frames)]
    file = io.BytesIO()
    extra: dict[str, Any] = {"lossless": True} if kind == "WEBP" else {}
    pictures[0].save(file, kind, save_all=True, append_images=pictures[1:], duration=milliseconds, loop=0, **extra)
    return file.getvalue()


def transparent(kind: str = "WEBP") -> bytes:
    """A picture whose right half is fully transparent black, and whose left half is red."""
    pixels = np.zeros((48, 64, 4), dtype=np.uint8)
    pixels[:, :32] = (255, 0, 0, 255)
    return _saved(Image.fromarray(pixels), kind, **({"lossless": True} if kind == "WEBP" else {}))


def still(kind: str = "PNG", mode: str = "RGB") -> bytes:
    """Frame 10 as a still picture in a mode of Pillow's."""
    image = Image.fromarray(picture(10))
    if mode == "I;16":
        grey = np.asarray(image.convert("L")).astype(np.uint16) * 257
        return _saved(Image.fromarray(grey), kind)
    return _saved(image.convert(mode), kind)


def _saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def main(folder: Path) -> None:
    """Draw one of each into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    clips = {f"{kind}.{CODECS[kind][0].replace('matroska', 'mkv')}": video(kind) for kind in CODECS}
    clips |= {f"rotated-{turns}.mp4": rotated(turns) for turns in (1, 2, 3)}
    clips |= {"animation.webp": animation("WEBP"), "animation.gif": animation("GIF"), "animation.png": animation("PNG")}
    clips |= {"transparent.webp": transparent(), "sound.m4a": sound_only(), "sound-with-cover.mp3": sound_with_cover()}
    for name, content in clips.items():
        (folder / name).write_bytes(content)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
