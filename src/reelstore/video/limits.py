"""Limits of decoding: a decoder's errors become reasons, and a file beyond the bounds is refused."""

from collections.abc import Iterator
from contextlib import contextmanager

import av

from reelstore.bounds import ItemBounds
from reelstore.errors import UndecodableVideoError

MAX_SIDE = 65_535
"""Pixels of a picture's width or height: what JPEG and GIF can have. Resizing longer ones takes gigabytes."""
_REASON_CHARACTERS = 300


@contextmanager
def decoder_errors() -> Iterator[None]:
    """Turn any error of a decoding library into the reason why a video can't be decoded.

    Only calls of a library belong within: damaged files make libraries raise errors of any class, also those that
    would be a mistake in code of ours.
    """
    try:
        yield
    except UndecodableVideoError:
        raise
    except MemoryError as error:
        raise UndecodableVideoError("it can't be decoded: it takes more memory than there is") from error
    except Exception as error:
        raise UndecodableVideoError(f"it can't be decoded: {_reason(error)}") from error


def check_picture(width: int, height: int, bounds: ItemBounds) -> None:
    """Raise UndecodableVideoError where a picture is too large."""
    if width * height > bounds.max_frame_pixels:
        raise UndecodableVideoError(
            f"its pictures are {width} x {height}; embed.max_frame_pixels allows {bounds.max_frame_pixels:,} pixels"
        )
    if max(width, height) > MAX_SIDE:
        raise UndecodableVideoError(f"its pictures are {width} x {height}; a side has at most {MAX_SIDE:,} pixels")


def check_frames(n_frames: int, bounds: ItemBounds) -> None:
    """Raise UndecodableVideoError where a file has too many frames, or says so."""
    if n_frames > bounds.max_frames:
        raise UndecodableVideoError(f"it has more frames than the {bounds.max_frames:,} that embed.max_frames allows")


def check_seconds(seconds: float, index: int, bounds: ItemBounds) -> None:
    """Raise UndecodableVideoError where a frame is shown too late."""
    if not seconds <= bounds.max_seconds:
        raise UndecodableVideoError(
            f"frame {index} is shown after {seconds:,.0f} s; embed.max_seconds allows {bounds.max_seconds:,.0f} s"
        )


def check_sampled(n_frames: int, frame_bytes: int, bounds: ItemBounds) -> None:
    """Raise UndecodableVideoError where the wanted frames take too much memory."""
    if n_frames * frame_bytes > bounds.max_sampled_bytes:
        raise UndecodableVideoError(
            f"{n_frames:,} of its frames are wanted, {n_frames * frame_bytes:,} bytes; "
            f"embed.max_sampled_bytes allows {bounds.max_sampled_bytes:,}"
        )


def check_file(n_bytes: int, bounds: ItemBounds) -> None:
    """Raise UndecodableVideoError where a file is too large."""
    if n_bytes > bounds.max_file_bytes:
        raise UndecodableVideoError(
            f"the file has {n_bytes:,} bytes; embed.max_file_bytes allows {bounds.max_file_bytes:,}"
        )


def _reason(error: Exception) -> str:
    """The library's words, without the names it gives to files."""
    if isinstance(error, av.FFmpegError):
        return str(error.strerror or type(error).__name__).lower()
    text = str(error).split("<_io.")[0].strip()
    return text[:_REASON_CHARACTERS] or type(error).__name__
