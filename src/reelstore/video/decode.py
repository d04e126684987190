"""A video file -> frames at chosen times: Pillow for pictures and animations, PyAV for everything else."""

import io
from pathlib import Path
from typing import BinaryIO

import av

from reelstore.errors import UndecodableVideoError
from reelstore.records import Frames
from reelstore.video import with_pillow, with_pyav
from reelstore.video.sampling import Sampling
from reelstore.video.shown import Size
from reelstore.video.truncated import is_truncated

BACKEND = "pyav+pillow/1"
"""Raised by hand when decoded pixels change; part of a video row's fingerprint."""


def decode(source: Path | bytes, *, sampling: Sampling, size: Size | None = None) -> Frames:
    """The frames that `sampling` takes of a file, upright RGB, with the exact time of each.

    What kind of file it is, its first bytes say, not its name. Transparent pictures are laid on white. Frames are
    counted by decoding. A file that was cut short, a damaged frame among the wanted ones, pictures of changing size:
    each makes the file undecodable. Safe to call from several threads.

    Args:
        source: a path, or the file's content.
        sampling: which frames.
        size: height and width to squeeze them to; bilinear, by FFmpeg's scaler from the file's own pixel format (by
            Pillow for what Pillow reads). None leaves them as they are.

    Raises:
        UndecodableVideoError: the message is the reason, without a path.
        OSError: the path can't be opened.
    """
    with io.BytesIO(source) if isinstance(source, bytes) else open(source, "rb") as file:
        return _sampled(file, sampling, size)


def _sampled(file: BinaryIO, sampling: Sampling, size: Size | None) -> Frames:
    head = file.read(12)
    if not head:
        raise UndecodableVideoError("the file is empty")
    if is_truncated(file):
        raise UndecodableVideoError("the file is truncated")
    file.seek(0)
    try:
        if with_pillow.is_picture(head):
            return with_pillow.sampled(file, sampling, size)
        return with_pyav.sampled(file, sampling, size)
    except UndecodableVideoError:
        raise
    except (av.FFmpegError, *with_pillow.ERRORS) as error:
        raise UndecodableVideoError(f"it can't be decoded: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """The library's words, without the names it gives to files."""
    if isinstance(error, av.FFmpegError):
        return str(error.strerror or type(error).__name__).lower()
    text = str(error).split("<_io.")[0].strip()
    return text or type(error).__name__
