"""Encoders by side and name, imported when they're loaded."""

from collections.abc import Mapping
from importlib import import_module
from inspect import signature
from typing import Any

from reelstore.encoders.base import Encoder
from reelstore.errors import ParamsError, UnknownNameError
from reelstore.records import Side

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

ENCODERS: dict[str, str] = {
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
    if key not in ENCODERS:
        raise UnknownNameError("encoder", key, ENCODERS)
    module, _, attribute = ENCODERS[key].partition(":")
    cls = getattr(import_module(module), attribute)
    parameters = signature(cls).parameters
    known = [option for option in parameters if option not in ("name", "device", "threads")]
    for option in options:
        if option not in known:
            raise ParamsError(f"encoders.{key}: unknown option {option!r}. Known: {', '.join(known)}.")
    batch_size = options.get("batch_size", 1)
    if type(batch_size) is not int or batch_size < 1:
        raise ParamsError(
            f"encoders.{key}: batch_size must be a whole number of at least 1 (in params.yaml: or auto); "
            f"it is {batch_size!r}."
        )
    # A family of encoders is one class, which is told the name.
    named = {"name": name} if "name" in parameters else {}
    encoder: Encoder = cls(**named, **options, device=device, threads=threads)
    return encoder
