"""Fixed inputs of the golden outputs: pure arithmetic, the same everywhere."""

from typing import Any

import checkpoints
import numpy as np

from reelstore.records import Frames

CAPTIONS = [
    "grinning face",
    "a man is slicing a tomato on a wooden board while a dog looks on",
    "Ça alors, naïve café! 1,000 %",
    "x",
]


def frames(n_frames: int = 8, *, height: int = 90, width: int = 120) -> Frames:
    """A disc that crosses a coloured ground."""
    y, x = np.mgrid[:height, :width]
    ground = np.stack([x * 255 // width, y * 255 // height, (x + y) % 256], axis=-1).astype(np.uint8)
    pixels = np.stack([ground] * n_frames)
    for index in range(n_frames):
        centre = width * (index + 1) // (n_frames + 1)
        pixels[index][(x - centre) ** 2 + (y - height // 2) ** 2 < (height // 4) ** 2] = (250, 220, 40)
    return Frames(pixels, np.arange(n_frames) / 10)


def item(side: str, number: int, *, n_frames: int = 8) -> Frames | str:
    """Input `number` of a side; neighbours differ."""
    return CAPTIONS[number % len(CAPTIONS)] if side == "text" else frames(n_frames, width=120 + 10 * number)


def options(key: str) -> dict[str, Any]:
    """What an encoder needs to be told here: weights of its kind that are small and random, where it brings none."""
    return checkpoints.options(key) if key in checkpoints.MAKERS else {}
