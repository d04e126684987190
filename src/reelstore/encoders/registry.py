"""Encoders by side and name, imported when they're loaded."""

from collections.abc import Mapping
from functools import reduce
from inspect import signature
from operator import or_
from pathlib import Path
from typing import Any, get_args

from reelstore.encoders.base import Encoder
from reelstore.errors import DamagedFileError, ParamsError
from reelstore.plain import typed
from reelstore.records import Side
from reelstore.registry import Registry
from reelstore.settings import SEED, Limit, Range, check, shown

_XCLIP = (
    "xclip",
    "xclip-base-patch32",
    "xclip-base-patch32-16-frames",
    "xclip-base-patch16",
    "xclip-base-patch16-16-frames",
    "xclip-base-patch16-zero-shot",
    "xclip-large-patch14",
    "xclip-large-patch14-16-frames",
)
_FRAMES = ("clip", "siglip2", "metaclip2")
_DUAL = ("videoprism-lvt", "hf-dual")

_BUILT_IN = {
    "video/efficientnet-lite0": "reelstore.encoders.efficientnet_lite0:EfficientNetLite0",
    "text/minilm-l6": "reelstore.encoders.minilm_l6:MiniLmL6",
    "video/video-llama-7b": "reelstore.encoders.video_llama_video:VideoLlamaVideo",
    "video/video-llama-13b": "reelstore.encoders.video_llama_video:VideoLlamaVideo",
    "video/video-llama-2-7b": "reelstore.encoders.video_llama_video:VideoLlamaVideo",
    "video/video-llama-2-13b": "reelstore.encoders.video_llama_video:VideoLlamaVideo",
    "text/video-llama-7b": "reelstore.encoders.video_llama_text:VideoLlamaText",
    "text/video-llama-13b": "reelstore.encoders.video_llama_text:VideoLlamaText",
    "text/video-llama-2-7b": "reelstore.encoders.video_llama_text:VideoLlamaText",
    "text/video-llama-2-13b": "reelstore.encoders.video_llama_text:VideoLlamaText",
    **dict.fromkeys([f"video/{name}" for name in _XCLIP], "reelstore.encoders.xclip:XClipVideo"),
    **dict.fromkeys([f"text/{name}" for name in _XCLIP], "reelstore.encoders.xclip:XClipText"),
    **dict.fromkeys([f"video/{name}" for name in _FRAMES], "reelstore.encoders.hf_frames:HfFramesVideo"),
    **dict.fromkeys([f"text/{name}" for name in _FRAMES], "reelstore.encoders.hf_frames:HfFramesText"),
    **dict.fromkeys([f"video/{name}" for name in _DUAL], "reelstore.encoders.hf_dual:HfDualVideo"),
    **dict.fromkeys([f"text/{name}" for name in _DUAL], "reelstore.encoders.hf_dual:HfDualText"),
    "video/llm-like": "reelstore.encoders.llm_like:LlmLikeVideo",
    "text/llm-like": "reelstore.encoders.llm_like:LlmLikeText",
    "text/hf-lm": "reelstore.encoders.hf_lm:HfLm",
}
ENCODERS = Registry("encoder", "encoders", _BUILT_IN, extra="encode")
"""`side/name` -> class of an encoder; others come through entry points of the group `reelstore.encoders`."""

LIMITS: dict[str, Limit] = {
    "batch_size": Range(1, 65_536),
    "max_tokens": Range(1, 1_000_000),
    "n_frames": Range(1, 10_000),
    "seed": SEED,
    "step": Range(1, 1_000_000),
    "width": Range(1, 65_536),
}
"""What encoders' options may be, where it isn't the checkpoint that says so."""


def load_encoder(side: Side, name: str, *, options: Mapping[str, Any], device: str, threads: int) -> Encoder:
    """An encoder with its weights, ready to encode.

    Args:
        side: `video` or `text`.
        name: registry name.
        options: the encoder's own, from params.yaml.
        device: `auto`, `cpu`, `cuda`, `cuda:1`.
        threads: CPU threads; they move the last bits and belong to the fingerprint.

    Raises:
        UnknownNameError: the registry has no such encoder.
        ParamsError: an option isn't the encoder's, or the device isn't there.
        MissingExtraError: the package with its weights isn't installed.
    """
    key = f"{side}/{name}"
    cls = ENCODERS.load(key)
    parameters = signature(cls, eval_str=True).parameters
    known = [option for option in parameters if option not in ("name", "device", "threads")]
    for option in options:
        if option not in known:
            raise ParamsError(f"encoders.{key}: unknown option {option!r}. Known: {', '.join(known)}.")
    batch_size = options.get("batch_size", 1)
    if type(batch_size) is not int or batch_size < 1:
        raise ParamsError(
            f"encoders.{key}: batch_size must be a whole number of at least 1 (in params.yaml: or auto); "
            f"it is {shown(batch_size)}."
        )
    _check_options(f"encoders.{key}", options, {option: parameters[option].annotation for option in options})
    # A family of encoders is one class, which is told the name.
    named = {"name": name} if "name" in parameters else {}
    encoder: Encoder = cls(**named, **options, device=device, threads=threads)
    return encoder


def _check_options(where: str, options: Mapping[str, Any], kinds: Mapping[str, Any]) -> None:
    """Refuse values that aren't of an option's type, or beyond its limit."""
    for option, value in options.items():
        given = [kind for kind in get_args(kinds[option]) if kind is not type(None)]
        is_optional = type(None) in get_args(kinds[option])
        if is_optional and value is None:
            continue
        kind: Any = reduce(or_, given) if is_optional else kinds[option]
        try:
            typed({option: _plain(value)}, dict[str, kind], where)
        except DamagedFileError as error:
            raise ParamsError(str(error), key=f"{where}.{option}") from None
    check({option: _plain(value) for option, value in options.items()}, LIMITS, section=where)


def _plain(value: Any) -> Any:
    """As YAML would have given it; Python's callers have tuples and paths too."""
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value
