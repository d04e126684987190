"""Encoders by side and name: made from their options and files, loaded when a row needs their network."""

from collections.abc import Mapping
from inspect import signature
from typing import Any

from reelstore.encoders.base import Encoder
from reelstore.errors import ParamsError
from reelstore.records import Side
from reelstore.registry import Registry
from reelstore.settings import options_of, parsed, plain, shown

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
    "video/video-llama-7b": "reelstore.encoders.video_llama.video:VideoLlamaVideo",
    "video/video-llama-13b": "reelstore.encoders.video_llama.video:VideoLlamaVideo",
    "video/video-llama-2-7b": "reelstore.encoders.video_llama.video:VideoLlamaVideo",
    "video/video-llama-2-13b": "reelstore.encoders.video_llama.video:VideoLlamaVideo",
    "text/video-llama-7b": "reelstore.encoders.video_llama.text:VideoLlamaText",
    "text/video-llama-13b": "reelstore.encoders.video_llama.text:VideoLlamaText",
    "text/video-llama-2-7b": "reelstore.encoders.video_llama.text:VideoLlamaText",
    "text/video-llama-2-13b": "reelstore.encoders.video_llama.text:VideoLlamaText",
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
_NOT_OPTIONS = frozenset({"name", "device", "threads"})
_EXTRAS = {
    "video/efficientnet-lite0": "emoji",
    "text/minilm-l6": "emoji",
    **{name: "video-llama" for name in _BUILT_IN if "/video-llama-" in name},
}
ENCODERS = Registry("encoder", "encoders", _BUILT_IN, extra="encode", extras=_EXTRAS)
"""`side/name` -> class of an encoder; others come through entry points of the group `reelstore.encoders`."""


def load_encoder(side: Side, name: str, *, options: Mapping[str, Any], device: str, threads: int) -> Encoder:
    """An encoder with its weights, ready to encode; arguments and errors as of `make_encoder`.

    Raises:
        WeightsError: the weights aren't the model's, or give other outputs than the spec says.
    """
    encoder = make_encoder(side, name, options=options, device=device, threads=threads)
    load_weights(encoder)
    return encoder


def load_weights(encoder: Encoder) -> None:
    """Read the weights of an encoder that was made; a plug-in may have read them when it was.

    Raises:
        MissingExtraError: torch or another package of the network isn't installed.
        WeightsError: the weights aren't the model's, or give other outputs than the spec says.
    """
    load = getattr(encoder, "load", None)
    if load is not None:
        with ENCODERS.packages(f"{encoder.spec.side}/{encoder.spec.name}"):
            load()


def make_encoder(side: Side, name: str, *, options: Mapping[str, Any], device: str, threads: int) -> Encoder:
    """An encoder without its network: its `spec` is known, its weights are hashed and not read.

    Args:
        side: `video` or `text`.
        name: registry name.
        options: the encoder's own, from params.yaml.
        device: `auto`, `cpu`, `cuda`, `cuda:1`.
        threads: CPU threads; they move the last bits and belong to the fingerprint.

    Raises:
        UnknownNameError: the registry has no such encoder.
        ParamsError: an option isn't the encoder's, or the device isn't there.
        MissingExtraError: a package that its configuration or tokenizer needs isn't installed.
        WeightsError: a file of the model is missing or damaged.

    Example:
        >>> make_encoder("video", "efficientnet-lite0", options={}, device="cpu", threads=1).spec.sampling
        'uniform(8)'
    """
    key = f"{side}/{name}"
    cls = ENCODERS.load(key)
    takes = getattr(cls, "Options", cls)  # a family takes its options as one value
    batch_size = options.get("batch_size", 1)
    if type(batch_size) is not int or batch_size < 1:
        raise ParamsError(
            f"encoders.{key}: batch_size must be a whole number of at least 1 (in params.yaml: or auto); "
            f"it is {shown(batch_size)}."
        )
    parsed(options_of(takes, skip=_NOT_OPTIONS), plain(options), key=f"encoders.{key}")
    # A family of encoders is one class, which is told the name.
    named = {"name": name} if "name" in signature(takes).parameters else {}
    given = {**named, **options, "device": device, "threads": threads}
    with ENCODERS.packages(key):
        encoder: Encoder = cls(**given) if takes is cls else cls(takes(**given))
    return encoder
