"""A video file -> frames at chosen times: Pillow for pictures and animations, PyAV for everything else."""

import io
from pathlib import Path
from typing import BinaryIO

from reelstore.bounds import ItemBounds
from reelstore.errors import UndecodableVideoError
from reelstore.io import open_regular
from reelstore.records import Frames
from reelstore.video import with_pillow, with_pyav
from reelstore.video.frames import Size
from reelstore.video.limits import check_file
from reelstore.video.sampling import Sampling
from reelstore.video.truncated import is_truncated

BACKEND = "pyav+pillow/2"
"""Raised by hand when decoded pixels change; part of a video row's fingerprint."""
_DEFAULT_BOUNDS = ItemBounds()


def decode(
    source: Path | bytes, *, sampling: Sampling, size: Size | None = None, bounds: ItemBounds = _DEFAULT_BOUNDS
) -> Frames:
    """The frames that `sampling` takes of a file, upright RGB, with the time of each in seconds from the first.

    The first bytes say what kind of file it is, not its name. Display matrices and EXIF are applied, flips included.
    What is transparent is laid on white. Colours follow the stated matrix and range, else BT.601 of limited range.
    Times ascend. Frames are counted by decoding.

    A file that was cut short, a damaged frame among the wanted ones, pictures of changing size, more of something than
    the bounds allow: each makes the file undecodable. Safe to call from several threads.

    Args:
        source: a path, or the file's content.
        sampling: which frames.
        size: height and width to squeeze them to; bilinear, by FFmpeg's scaler from the file's own pixel format (by
            Pillow for what Pillow reads). None leaves them as they are.
        bounds: what the file may take; `embed` in params.yaml sets them.

    Raises:
        UndecodableVideoError: the message is the reason, without a path.
        OSError: the path can't be opened, or isn't a regular file.
    """
    with io.BytesIO(source) if isinstance(source, bytes) else open_regular(source) as file:
        return _sampled(file, sampling, size, bounds)


def _sampled(file: BinaryIO, sampling: Sampling, size: Size | None, bounds: ItemBounds) -> Frames:
    check_file(file.seek(0, 2), bounds)
    file.seek(0)
    head = file.read(with_pillow.HEAD_BYTES)
    if not head:
        raise UndecodableVideoError("the file is empty")
    if is_truncated(file):
        raise UndecodableVideoError("the file is truncated")
    file.seek(0)
    if with_pillow.is_picture(head):
        return with_pillow.sampled(file, sampling, size, bounds)
    return with_pyav.sampled(file, sampling, size, bounds)
