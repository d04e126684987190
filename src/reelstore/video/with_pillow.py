"""Frames of pictures and animations: GIF, WebP, PNG, JPEG, AVIF."""

from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps, ImageSequence
from PIL.AvifImagePlugin import AvifImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from reelstore.arrays import UInt8Array
from reelstore.bounds import ItemBounds
from reelstore.errors import UndecodableVideoError
from reelstore.records import Frames
from reelstore.video.frames import Shown, Size, pick
from reelstore.video.layout import GIF_MAGIC, JPEG_MAGIC, PNG_MAGIC, check_png, n_jpeg_scans, read_gif
from reelstore.video.limits import check_frames, check_picture, check_seconds, decoder_errors
from reelstore.video.sampling import Sampling

HEAD_BYTES = 64
FRAME_WORK = 2**15
"""Pixels in whose time Pillow does what a frame of any size takes."""


def is_picture(head: bytes) -> bool:
    """Whether a file whose first `HEAD_BYTES` these are is Pillow's.

    Of an animated WebP or AVIF PyAV decodes the first picture only, of AVIF without its alpha.
    """
    return head.startswith((*GIF_MAGIC, PNG_MAGIC, JPEG_MAGIC)) or _is_webp(head) or _is_avif(head)


def sampled(file: BinaryIO, sampling: Sampling, size: Size | None, bounds: ItemBounds) -> Frames:
    """The frames that `sampling` takes of a picture or an animation."""
    with _opened(file, bounds) as image:
        check_picture(*image.size, bounds)
        with decoder_errors():
            # A JPEG's further pictures are previews and depth maps, not frames.
            n_frames = getattr(image, "n_frames", 1)
        check_frames(n_frames, bounds)
        n_scans = n_jpeg_scans(file) if isinstance(image, JpegImageFile) else n_frames
        _check_work(n_scans, *image.size, bounds)
        return pick(_shown(image, size, bounds), sampling.indices(n_frames), bounds)


def _is_webp(head: bytes) -> bool:
    return head[:4] == b"RIFF" and head[8:12] == b"WEBP"


def _is_avif(head: bytes) -> bool:
    """By the brands of its first box; the major one may be that of any picture."""
    size = min(int.from_bytes(head[:4], "big"), len(head))
    brands = {head[8:12], *(head[at : at + 4] for at in range(16, size - 3, 4))}
    return head[4:8] == b"ftyp" and not brands.isdisjoint((b"avif", b"avis"))


def _opened(file: BinaryIO, bounds: ItemBounds) -> ImageFile:
    """The file as its first bytes say, nothing of it decoded.

    Not by `Image.open`: its bounds on pixels are Pillow's, and the same for all of a process.
    """
    file.seek(0)
    head = file.read(HEAD_BYTES)
    if head.startswith(GIF_MAGIC):  # Pillow looks for a GIF's frames without end, and decodes to see its size
        layout = read_gif(file, bounds)
        if not layout.is_whole:
            raise UndecodableVideoError("the file is truncated")
        check_picture(layout.width, layout.height, bounds)
        _check_work(layout.n_pictures, layout.width, layout.height, bounds)
    if head.startswith(PNG_MAGIC):
        check_png(file)
    file.seek(0)
    with decoder_errors():
        if head.startswith(GIF_MAGIC):
            return GifImageFile(file)
        if head.startswith(PNG_MAGIC):
            return PngImageFile(file)
        if _is_avif(head):
            return AvifImageFile(file)
        return WebPImageFile(file) if _is_webp(head) else JpegImageFile(file)


def _check_work(n_frames: int, width: int, height: int, bounds: ItemBounds) -> None:
    if n_frames * (width * height + FRAME_WORK) > bounds.max_picture_work:
        raise UndecodableVideoError(
            f"{n_frames:,} times {width} x {height} pixels are more than embed.max_picture_work allows, "
            f"{bounds.max_picture_work:,}"
        )


def _shown(image: ImageFile, size: Size | None, bounds: ItemBounds) -> Iterator[Shown]:
    """Every frame in turn; animations store differences, so there is no skipping."""
    milliseconds = 0.0
    with decoder_errors():
        for index, frame in enumerate(ImageSequence.Iterator(image)):
            check_seconds(milliseconds / 1000, index, bounds)
            frame.load()
            yield Shown(milliseconds / 1000, lambda frame=frame: _picture(frame, size))  # type: ignore[misc]
            milliseconds += frame.info.get("duration", 0)


def _picture(frame: Image.Image, size: Size | None) -> UInt8Array:
    with decoder_errors():
        picture = _rgb(frame)
        if size is None:
            return picture
        return np.asarray(Image.fromarray(picture).resize((size[1], size[0]), Image.Resampling.BILINEAR))


def _rgb(frame: Image.Image) -> UInt8Array:
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
