"""Frames of pictures and animations: GIF, WebP, PNG, JPEG."""

from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps, ImageSequence

from reelstore.records import Frames
from reelstore.video.sampling import Sampling
from reelstore.video.shown import Picture, Shown, Size, pick

ERRORS = (OSError, SyntaxError, ValueError, EOFError, IndexError, Image.DecompressionBombError)
"""What Pillow raises for a file that isn't as it should be; an IndexError for a GIF with a broken palette."""

_MAGIC = (b"GIF87a", b"GIF89a", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")


def is_picture(head: bytes) -> bool:
    """Whether a file that begins so is Pillow's: PyAV can't decode animated WebP."""
    return head.startswith(_MAGIC) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")


def sampled(file: BinaryIO, sampling: Sampling, size: Size | None) -> Frames:
    """The frames that `sampling` takes of a picture or an animation."""
    with Image.open(file) as image:
        # A JPEG's further pictures are previews and depth maps, not frames.
        n_frames = 1 if image.format in ("JPEG", "MPO") else getattr(image, "n_frames", 1)
        return pick(_shown(image, size), sampling.indices(n_frames))


def _shown(image: Image.Image, size: Size | None) -> Iterator[Shown]:
    """Every frame in turn; animations store differences, so there is no skipping."""
    milliseconds = 0.0
    for frame in ImageSequence.Iterator(image):
        frame.load()
        yield Shown(milliseconds / 1000, lambda frame=frame: _sized(_rgb(frame), size))  # type: ignore[misc]
        milliseconds += frame.info.get("duration", 0)


def _sized(picture: Picture, size: Size | None) -> Picture:
    if size is None:
        return picture
    return np.asarray(Image.fromarray(picture).resize((size[1], size[0]), Image.Resampling.BILINEAR))


def _rgb(frame: Image.Image) -> Picture:
    """Upright, on white where it is transparent."""
    upright = ImageOps.exif_transpose(frame)
    if upright.mode.startswith("I;16"):  # Pillow would clip 16 bits at 255
        grey = (np.asarray(upright) >> 8).astype(np.uint8)
        return np.stack([grey] * 3, axis=-1)
    if not upright.has_transparency_data:
        return np.asarray(upright.convert("RGB"))
    shown = upright.convert("RGBA")
    white = Image.new("RGBA", shown.size, "white")
    return np.asarray(Image.alpha_composite(white, shown).convert("RGB"))
