"""Choose frames from those that a decoder gives."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from reelstore.arrays import IntArray, UInt8Array
from reelstore.bounds import ItemBounds
from reelstore.errors import UndecodableVideoError
from reelstore.records import Frames
from reelstore.video.limits import check_sampled, decoder_errors

Size = tuple[int, int]
"""Height and width."""


class Shown(NamedTuple):
    """When a frame is shown, in seconds from the first, and its pixels, made only when asked for.

    `picture` must be called before the next frame is taken.
    """

    seconds: float
    picture: Callable[[], UInt8Array]


def pick(shown: Iterable[Shown], wanted: IntArray, bounds: ItemBounds) -> Frames:
    """The wanted frames, ascending and perhaps repeated, of a file's frames in turn; stops after the last.

    A single frame is repeated without copies, in an array that is read-only.

    Raises:
        UndecodableVideoError: there are fewer, pictures of several sizes are wanted, or they take too much memory.
    """
    indices, counts = (found.tolist() for found in np.unique(wanted, return_counts=True))
    pixels: UInt8Array = np.empty((0, 0, 0, 3), np.uint8)
    times: list[float] = []
    taken = 0
    for index, (seconds, picture) in enumerate(shown):
        if index != indices[taken]:
            continue
        found, start, count = picture(), len(times), counts[taken]
        if not taken:
            check_sampled(len(wanted) if len(indices) > 1 else 1, found.nbytes, bounds)
            with decoder_errors():
                pixels = _room(found, len(wanted), is_one=len(indices) == 1)
        if found.shape != pixels.shape[1:]:
            raise UndecodableVideoError(
                f"its pictures change size, from {_size(pixels[0])} to {_size(found)} at frame {index}"
            )
        if len(indices) > 1:
            pixels[start : start + count] = found
        times += [seconds] * count
        taken += 1
        if taken == len(indices):
            return Frames(pixels, np.array(times, dtype=np.float64), indices=wanted)
    raise UndecodableVideoError(f"only {len(times)} of {len(wanted)} frames could be decoded")


def _room(picture: UInt8Array, n_frames: int, *, is_one: bool) -> UInt8Array:
    """(n_frames, height, width, 3): of one picture that is repeated, or to be filled."""
    shape = (n_frames, *picture.shape)
    return np.broadcast_to(picture, shape) if is_one else np.empty(shape, np.uint8)


def _size(picture: UInt8Array) -> str:
    return f"{picture.shape[1]} x {picture.shape[0]}"
