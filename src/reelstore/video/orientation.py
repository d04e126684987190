"""How a display matrix turns a stored picture into the picture shown."""

import math
import struct
from typing import NamedTuple

Filter = tuple[str, ...]

_QUARTER_TURNS: list[list[Filter]] = [[], [("transpose", "clock")], [("hflip",), ("vflip",)], [("transpose", "cclock")]]
"""Filters for each number of quarter turns, clockwise."""


class Orientation(NamedTuple):
    """First `flipped`: the top row becomes the bottom row. Then turned clockwise by `degrees`, 0 to 359."""

    flipped: bool = False
    degrees: int = 0

    @property
    def quarter_turns(self) -> int:
        """Clockwise; of the part that is a multiple of 90 degrees."""
        return self.degrees // 90 if self.is_right_angled else 0

    @property
    def is_right_angled(self) -> bool:
        """Whether every stored pixel is shown whole."""
        return self.degrees % 90 == 0

    @property
    def filters(self) -> list[Filter]:
        """FFmpeg's filters. A turn by another than a right angle keeps the picture's size, with black corners."""
        flip: list[Filter] = [("vflip",)] if self.flipped else []
        if self.is_right_angled:
            return flip + _QUARTER_TURNS[self.quarter_turns]
        return [*flip, ("rotate", f"{self.degrees}*PI/180")]


def read_display_matrix(content: bytes) -> Orientation:
    """The orientation that FFmpeg's `autorotate` gives a frame of this display matrix.

    The matrix is the one of ISO/IEC 14496-12 (8.3.2, track header): a stored pixel (x, y) is shown at
    (a * x + c * y, b * x + d * y). Its translation, scale and shear are ignored. The angle is rounded to a degree. A
    matrix whose first two columns aren't both of some length has no angle: the picture stays as stored.

    Args:
        content: nine 32-bit integers of the machine's byte order: a, b, u, c, d, v, x, y, w.
    """
    a, b, _, c, d = struct.unpack("=9i", content[:36])[:5]
    across, down = math.hypot(a, c), math.hypot(b, d)
    if not across or not down:
        return Orientation()
    degrees = round(math.degrees(math.atan2(b / down, a / across)))
    return Orientation(flipped=a * d - b * c < 0, degrees=degrees % 360)
