"""Frames -> a network's pixels, as a checkpoint's own preprocessor settings say, in Pillow and numpy.

The arithmetic is that of the `…Pil` image processors of transformers, to the bit. Ours, because theirs is swapped for
another backend wherever torchvision is installed, and its video processors don't work without it.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from reelstore.arrays import Float32Array, UInt8Array
from reelstore.encoders.folder import read_settings
from reelstore.errors import UndecodableVideoError, WeightsError

_FILES = ("video_preprocessor_config.json", "preprocessor_config.json", "processor_config.json")
_TYPES = ("video_processor_type", "image_processor_type", "feature_extractor_type")
_DEFAULTS: dict[str, dict[str, Any]] = {
    "CLIP": {"resample": 3, "do_center_crop": True},
    "VideoMAE": {"resample": 2, "do_center_crop": True},
    "Siglip": {"resample": 3, "do_center_crop": False},
}
"""What old files leave out, by kind of processor. Mean and spread aren't here: a wrong one would show nowhere."""
MAX_RESIZED_PIXELS = 2**26
"""Limit for a picture whose shorter edge is given: the longer one follows from the picture."""
_LARGEST_EDGE = 4096
_SMALLEST = 1e-6
_FLAGS = ("do_normalize", "do_center_crop", "do_resize", "do_rescale")
_UNKNOWN = (
    "crop_pct",
    "do_align_long_axis",
    "do_flip_channel_order",
    "do_pad",
    "do_reduce_labels",
    "do_thumbnail",
    "max_num_patches",
    "offset",
    "rescale_offset",
    "size_divisor",
)
_OTHERWISE = ("ConvNext", "EfficientNet", "Levit", "Perceiver", "PoolFormer", "Siglip2", "TextNet", "Vivit")
"""Kinds of processors that do something else than resize, crop, rescale and normalise, even where their file doesn't
say so: they resize to more than is cropped, crop first, normalise twice, centre on zero, or cut into patches. Compared
with every `…Pil` processor of transformers 5.23 that takes one picture to one of its size."""


@dataclass(frozen=True)
class Preprocessing:
    """Resize, crop, rescale, normalise.

    Attributes:
        size: (height, width) the whole frame is squeezed to, or the length its shorter edge gets.
        crop: (height, width) cut from the middle, or None.
        resample: Pillow's filter.
        scale: factor on the bytes, 1/255.
        mean: of each channel, or None where nothing is subtracted.
        std: of each channel.
    """

    size: tuple[int, int] | int
    crop: tuple[int, int] | None
    resample: Image.Resampling
    scale: float
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) of what comes out."""
        if self.crop is not None:
            return self.crop
        assert isinstance(self.size, tuple)  # read_preprocessing refuses the rest
        return self.size

    def __call__(self, frames: UInt8Array) -> Float32Array:
        """(n_frames, height, width, 3) RGB -> (n_frames, 3, *shape)."""
        height, width = self._resized(*frames.shape[1:3])
        resized = np.stack([np.asarray(Image.fromarray(f).resize((width, height), self.resample)) for f in frames])
        if self.crop is not None:
            top, left = (height - self.crop[0]) // 2, (width - self.crop[1]) // 2
            resized = resized[:, top : top + self.crop[0], left : left + self.crop[1]]
        values = (resized.astype(np.float64) * self.scale).astype(np.float32)
        if self.mean is not None:
            values -= np.array(self.mean, np.float32)
            values /= np.array(self.std, np.float32)
        return np.ascontiguousarray(values.transpose(0, 3, 1, 2))

    def __str__(self) -> str:
        """In words, for the fingerprint."""
        size = f"shorter edge {self.size}" if isinstance(self.size, int) else f"{self.size[0]}x{self.size[1]}"
        steps = [f"pillow {self.resample.name.lower()} {size}"]
        steps += [f"centre crop {self.crop[0]}x{self.crop[1]}"] if self.crop else []
        steps += [f"* {self.scale!r}"]
        steps += [f"mean {list(self.mean)}, std {list(self.std or ())}"] if self.mean else []
        return ", ".join(steps)

    def _resized(self, height: int, width: int) -> tuple[int, int]:
        if isinstance(self.size, tuple):
            return self.size
        short, long = sorted((height, width))
        stretched = int(self.size * long / short)
        if self.size * stretched > MAX_RESIZED_PIXELS:
            raise UndecodableVideoError(
                f"its pictures are {width} x {height}, too narrow: with {self.size} pixels at the shorter edge, the "
                f"longer one has {stretched:,}"
            )
        return (stretched, self.size) if width <= height else (self.size, stretched)


def read_preprocessing(folder: Path, *, image_size: int | tuple[int, int]) -> Preprocessing:
    """The settings a checkpoint comes with.

    Args:
        folder: holds `preprocessor_config.json`, or one of the names newer versions write.
        image_size: what the network takes, from config.json.

    Raises:
        WeightsError: there are none, a setting is missing or isn't known here, or the sizes don't fit the network.
    """
    file, settings = _read(folder)
    kind = next((str(settings[name]) for name in _TYPES if settings.get(name)), "")
    defaults = next((values for family, values in _DEFAULTS.items() if kind.startswith(family)), {})
    if kind.startswith(_OTHERWISE):
        raise WeightsError(f"{file} is of a {kind}, whose arithmetic isn't resize, crop, rescale and normalise.")
    settings = {**defaults, **{name: value for name, value in settings.items() if value is not None}}

    def setting(name: str) -> Any:
        if name not in settings:
            raise WeightsError(f"{file} doesn't say {name} ({kind or 'no type'}); add it as the model was trained.")
        return settings[name]

    unknown = [name for name in _UNKNOWN if settings.get(name)]
    unknown += [name for name in ("do_resize", "do_rescale") if settings.get(name) is False]
    if unknown:
        raise WeightsError(f"{file}: {unknown[0]} is {settings[unknown[0]]}, which isn't supported here.")
    for name in _FLAGS:
        if not isinstance(settings.get(name, True), bool):
            raise WeightsError(f"{file}: {name} is {settings[name]!r}; true or false is expected.")
    normalise = settings.get("do_normalize", True)
    found = Preprocessing(
        size=_size(setting("size"), file=file),
        crop=_height_width("crop_size", setting("crop_size"), file=file) if setting("do_center_crop") else None,
        resample=_resample(setting("resample"), file=file),
        scale=_number(
            "rescale_factor", settings.get("rescale_factor", 1 / 255), file=file, is_good=lambda x: 1e-6 < x <= 1
        ),
        mean=_channels("image_mean", setting("image_mean"), file=file, is_good=_is_mean) if normalise else None,
        std=_channels("image_std", setting("image_std"), file=file, is_good=_is_spread) if normalise else None,
    )
    expected = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
    if found.crop is None and isinstance(found.size, int):
        raise WeightsError(
            f"{file} resizes the shorter edge to {found.size} and crops nothing: frames differ in shape."
        )
    resized = (found.size, found.size) if isinstance(found.size, int) else found.size
    if found.crop is not None and (found.crop[0] > resized[0] or found.crop[1] > resized[1]):
        raise WeightsError(f"{file} crops {found.crop} from frames resized to {found.size}: they don't fill it.")
    if found.shape != expected:
        raise WeightsError(
            f"{file} makes pictures of {found.shape}, but config.json says the network takes {expected}."
        )
    return found


def _read(folder: Path) -> tuple[Path, Mapping[str, Any]]:
    for name in _FILES:
        file = folder / name
        if not file.is_file():
            continue
        settings: Mapping[str, Any] = read_settings(file)
        if name == "processor_config.json":
            settings = settings.get("video_processor") or settings.get("image_processor") or {}
            if not isinstance(settings, Mapping):
                raise WeightsError(f"{file}: the settings of the processor are {settings!r}, not settings by name.")
        if settings:
            return file, settings
    raise WeightsError(f"{folder} has no preprocessor settings: {', '.join(_FILES)}. They come with the checkpoint.")


def _size(value: Any, *, file: Path) -> tuple[int, int] | int:
    if isinstance(value, Mapping) and value.get("shortest_edge") is not None and not value.get("longest_edge"):
        return _edge("size", value["shortest_edge"], file=file)
    if not isinstance(value, Mapping):
        return _edge("size", value, file=file)
    return _height_width("size", value, file=file)


def _height_width(name: str, value: Any, *, file: Path) -> tuple[int, int]:
    if isinstance(value, Mapping):
        if value.get("height") is None or value.get("width") is None:
            raise WeightsError(
                f"{file}: {name}, the size {value!r}, isn't known here; a number, height and width, or shortest_edge."
            )
        return _edge(name, value["height"], file=file), _edge(name, value["width"], file=file)
    edge = _edge(name, value, file=file)
    return edge, edge


def _edge(name: str, value: Any, *, file: Path) -> int:
    if type(value) is not int or not 1 <= value <= _LARGEST_EDGE:
        raise WeightsError(f"{file}: {name} has {value!r}; a whole number of pixels up to {_LARGEST_EDGE} is expected.")
    return value


def _resample(value: Any, *, file: Path) -> Image.Resampling:
    known = {int(filter): filter for filter in Image.Resampling}
    if type(value) is not int or value not in known:
        raise WeightsError(f"{file}: resample is {value!r}; one of Pillow's is expected, {min(known)} to {max(known)}.")
    return known[value]


def _is_mean(number: float) -> bool:
    return abs(number) < 2**16


def _is_spread(number: float) -> bool:
    return _SMALLEST < number < 2**16


def _channels(name: str, values: Any, *, file: Path, is_good: Callable[[float], bool]) -> tuple[float, ...]:
    """A number for each of three channels, or one for all."""
    several = values if isinstance(values, list) else [values] * 3
    if len(several) != 3:
        raise WeightsError(f"{file}: {name} has {len(several)} numbers; one for each of 3 channels is expected.")
    return tuple(_number(name, value, file=file, is_good=is_good) for value in several)


def _number(name: str, value: Any, *, file: Path, is_good: Callable[[float], bool]) -> float:
    if type(value) not in (int, float) or abs(value) > 2**64 or not math.isfinite(value) or not is_good(float(value)):
        raise WeightsError(f"{file}: {name} has {str(value)[:40]}; that isn't a number pixels can be scaled by.")
    return float(value)
