"""A frame as a decoder gives it, and the choice of those that are wanted."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from reelstore.errors import UndecodableVideoError
from reelstore.records import Frames

Picture = npt.NDArray[np.uint8]
"""(height, width, 3) RGB, upright."""

Size = tuple[int, int]
"""Height and width."""


class Shown(NamedTuple):
    """When a frame is shown, in seconds from the first, and its pixels, made only when asked for.

    `picture` must be called before the next frame is taken.
    """

    seconds: float
    picture: Callable[[], Picture]


def pick(shown: Iterable[Shown], wanted: npt.NDArray[np.int64]) -> Frames:
    """The wanted frames, ascending and perhaps repeated, of a file's frames in turn; stops after the last.

    Raises:
        UndecodableVideoError: there are fewer, or pictures of several sizes are wanted.
    """
    counts = np.bincount(wanted)
    pixels: list[Picture] = []
    times: list[float] = []
    for index, (seconds, picture) in enumerate(shown):
        if counts[index]:
            taken = picture()
            if pixels and taken.shape != pixels[0].shape:
                raise UndecodableVideoError(
                    f"its pictures change size, from {_size(pixels[0])} to {_size(taken)} at frame {index}"
                )
            pixels += [taken] * int(counts[index])
            times += [seconds] * int(counts[index])
        if index + 1 == len(counts):
            break
    if len(pixels) != len(wanted):
        raise UndecodableVideoError(f"only {len(pixels)} of {len(wanted)} frames could be decoded")
    return Frames(np.stack(pixels), np.array(times, dtype=np.float64), indices=wanted)


def _size(picture: Picture) -> str:
    return f"{picture.shape[1]} x {picture.shape[0]}"
