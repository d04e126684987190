"""Fixed inputs of the golden outputs: pure arithmetic, the same everywhere."""

from pathlib import Path
from typing import Any

import checkpoints
import numpy as np

from reelstore.records import Frames

TINY_VIDEO_LLAMA = Path(__file__).parent / "tiny_video_llama"
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


def loaded(cls: Any, **options: Any) -> Any:
    """An encoder of a class with its weights; of a family, one of the usual name."""
    takes = getattr(cls, "Options", None)
    name = {"HfDual": "hf-dual", "HfFrames": "clip", "XClip": "xclip", "HfLm": "hf-lm"}
    if takes is None:
        encoder = cls(**options)
    else:
        family = cls.__name__.removesuffix("Video").removesuffix("Text")
        encoder = cls(takes(**{"name": name[family], **options}))
    encoder.load()
    return encoder


def options(key: str) -> dict[str, Any]:
    """What an encoder needs to be told here: weights of its kind that are small and random, where it brings none."""
    if key in checkpoints.MAKERS:
        return checkpoints.options(key)
    if "llm-like" in key:
        return {"width": 48}
    if "video-llama" not in key:
        return {}
    files = {
        "eva_vit": "eva_vit_g.pth",
        "qformer": "blip2_pretrained_flant5xxl.pth",
        "finetune": "finetune-vicuna7b-v2.pth",
        "llama": "llama",
    }
    weights = {role: str(TINY_VIDEO_LLAMA / file) for role, file in files.items()}
    if key.startswith("text/"):
        spans = ["caption", "prompted", "prompted-last"]
        return {"weights": weights, "layers": [1, 3], "spans": spans, "prompt": "{caption} in short:"}
    sizes = {"vit_blocks": 3, "vit_heads": 4, "qformer_heads": 4}
    return {"weights": weights, "sizes": sizes, "layers": [1, 3], "spans": ["sequence", "video", "last"]}
