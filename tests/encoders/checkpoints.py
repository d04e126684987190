"""Tiny checkpoints with random weights, written to disk as the hub has them.

The weights are whole numbers from a seeded generator, scaled: the same to the bit on every machine. config.json is
written here, so that a library's new default doesn't change what the weights hash to.
"""

import json
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import AutoConfig, AutoModel, CLIPTokenizer, PreTrainedTokenizerFast

IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
HALF = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
CROPPED = {
    "do_resize": True,
    "do_center_crop": True,
    "do_normalize": True,
    "size": {"shortest_edge": 32},
    "crop_size": {"height": 32, "width": 32},
}
SQUEEZED = {"do_resize": True, "do_normalize": True, "size": {"height": 32, "width": 32}}
SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
TEXT = {**SMALL, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 0}
VISION = {**SMALL, "hidden_size": 48, "intermediate_size": 96, "image_size": 32, "patch_size": 16}
ALPHABET = sorted(pre_tokenizers.ByteLevel.alphabet())
N_BYTES = len(ALPHABET)


def write(folder: Path, config: dict[str, Any], *, seed: int = 0, preprocessor: dict[str, Any] | None = None) -> Path:
    """config.json, model.safetensors and preprocessor_config.json of a model."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    network = AutoModel.from_config(AutoConfig.from_pretrained(folder)).eval()
    rng = np.random.default_rng(seed)
    with torch.no_grad():
        for name, parameter in sorted(network.named_parameters()):
            values = torch.from_numpy(rng.integers(-1000, 1001, tuple(parameter.shape) or (1,)))
            is_norm_weight = "norm" in name and name.endswith("weight")
            parameter.copy_(values.view(parameter.shape).float() / 5000 + float(is_norm_weight))  # within .2
    network.save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps(config))
    if preprocessor is not None:
        (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    return folder


def clip_tokenizer(folder: Path, *, n_pieces: int | None = None) -> None:
    """CLIP's own: bytes, bytes that end a word, a few merges, start and end; the end is the highest id."""
    pieces = [*ALPHABET, *(f"{letter}</w>" for letter in ALPHABET)][:n_pieces]
    merges = [] if n_pieces else [("a", "n</w>"), ("o", "g</w>"), ("d", "og</w>"), ("i", "n"), ("in", "g</w>")]
    pieces += ["".join(merge) for merge in merges]
    pieces += ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    CLIPTokenizer(vocabulary, merges, model_max_length=24).save_pretrained(folder)


CLIP_EOS = 2 * N_BYTES + 6
CLIP_VOCABULARY = CLIP_EOS + 1


def byte_tokenizer(folder: Path, *, start: str | None, end: str | None, specials: list[str], **config: Any) -> None:
    """A token a byte, after the special ones, between `start` and `end`."""
    pieces = [*specials, *ALPHABET]
    tokenizer = Tokenizer(models.BPE({piece: number for number, piece in enumerate(pieces)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    around = [token for token in (start, end) if token]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=" ".join([*([start] if start else []), "$A", *([end] if end else [])]),
        special_tokens=[(token, specials.index(token)) for token in around],
    )
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **config).save_pretrained(folder)


XCLIP_VISION = {
    **VISION,
    "mit_hidden_size": 32,
    "mit_intermediate_size": 64,
    "mit_num_hidden_layers": 1,
    "mit_num_attention_heads": 4,
    "num_frames": 4,
}


def xclip(folder: Path, **vision: Any) -> Path:
    config = {
        "model_type": "xclip",
        "projection_dim": 32,
        "prompt_num_attention_heads": 4,
        "text_config": {**TEXT, "eos_token_id": 2, "vocab_size": CLIP_VOCABULARY, "max_position_embeddings": 24},
        "vision_config": {**XCLIP_VISION, **vision},
    }
    write(folder, config, preprocessor={"image_processor_type": "VideoMAEImageProcessor", **CROPPED, **IMAGENET})
    clip_tokenizer(folder)
    return folder


def xclip_reference(folder: Path) -> Path:
    """The checkpoint behind xclip_reference/outputs.npz."""
    given = Path(__file__).parent / "xclip_reference"
    folder.mkdir(parents=True)
    config = {"model_type": "xclip", **json.loads((given / "outputs.json").read_text())["config"]}
    (folder / "config.json").write_text(json.dumps(config))
    with np.load(given / "outputs.npz") as values:
        weights = {name.removeprefix("sd/"): values[name] for name in values.files if name.startswith("sd/")}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    settings = {"image_processor_type": "VideoMAEImageProcessor", **CROPPED, **IMAGENET}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    clip_tokenizer(folder, n_pieces=118)
    return folder


def clip(folder: Path, *, eos_token_id: int = CLIP_EOS) -> Path:
    text = {**TEXT, "vocab_size": CLIP_VOCABULARY, "max_position_embeddings": 24, "eos_token_id": eos_token_id}
    config = {"model_type": "clip", "projection_dim": 32, "text_config": text, "vision_config": VISION}
    # As CLIP's own file, which doesn't say do_rescale.
    settings = {"feature_extractor_type": "CLIPFeatureExtractor", **CROPPED, **IMAGENET, "size": 32, "crop_size": 32}
    write(folder, config, preprocessor={**settings, "resample": 3})
    clip_tokenizer(folder)
    return folder


def siglip2(folder: Path) -> Path:
    text = {**TEXT, "vocab_size": N_BYTES + 4, "max_position_embeddings": 64}
    vision = {**SMALL, "image_size": 32, "patch_size": 16}
    config = {"model_type": "siglip", "text_config": text, "vision_config": vision}
    settings = {"image_processor_type": "SiglipImageProcessor", **SQUEEZED, **HALF, "resample": 2}
    write(folder, config, preprocessor=settings)
    byte_tokenizer(
        folder,
        start=None,
        end="<eos>",
        specials=["<pad>", "<eos>", "<bos>", "<unk>"],
        pad_token="<pad>",
        eos_token="<eos>",
        padding_side="left",
    )
    return folder


def metaclip2(folder: Path) -> Path:
    text = {**TEXT, "vocab_size": N_BYTES + 4, "max_position_embeddings": 24, "eos_token_id": 2}
    config = {"model_type": "metaclip_2", "projection_dim": 32, "text_config": text, "vision_config": VISION}
    settings = {"image_processor_type": "CLIPImageProcessor", **CROPPED, **IMAGENET, "do_rescale": True}
    write(folder, config, preprocessor=settings)
    byte_tokenizer(
        folder,
        start="<s>",
        end="</s>",
        specials=["<s>", "<pad>", "</s>", "<unk>"],
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
    )
    return folder


def videoprism(folder: Path) -> Path:
    vision = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_attention_heads": 4,
        "num_spatial_layers": 2,
        "num_temporal_layers": 1,
        "num_auxiliary_layers": 1,
        "image_size": 36,
        "tubelet_size": [1, 18, 18],
        "num_frames": 4,
    }
    text = {**TEXT, "vocab_size": N_BYTES + 3, "max_position_embeddings": 24}
    write(folder, {"model_type": "videoprism", "text_config": text, "vision_config": vision})
    # What the class it borrows would do; the model takes pixels in [0, 1] of its own size.
    settings = {"video_processor_type": "LlavaOnevisionVideoProcessor", **IMAGENET, "size": {"height": 36, "width": 36}}
    (folder / "video_preprocessor_config.json").write_text(json.dumps(settings))
    byte_tokenizer(
        folder, start=None, end=None, specials=["<pad>", "</s>", "<unk>"], pad_token="<pad>", eos_token="</s>"
    )
    return folder


LANGUAGE = {
    **SMALL,
    "vocab_size": N_BYTES + 2,
    "num_hidden_layers": 3,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 512,
}


def language_model(folder: Path) -> Path:
    write(folder, {"model_type": "qwen3", **LANGUAGE})
    byte_tokenizer(folder, start=None, end=None, specials=["<|endoftext|>", "<|end|>"], eos_token="<|end|>")
    return folder


MAKERS: dict[str, tuple[Callable[[Path], Path], dict[str, Any]]] = {
    "video/xclip": (xclip, {}),
    "text/xclip": (xclip, {}),
    "video/clip": (clip, {"n_frames": 3}),
    "text/clip": (clip, {}),
    "video/siglip2": (siglip2, {"n_frames": 3}),
    "text/siglip2": (siglip2, {}),
    "video/metaclip2": (metaclip2, {"n_frames": 3}),
    "text/metaclip2": (metaclip2, {}),
    "video/videoprism-lvt": (videoprism, {}),
    "text/videoprism-lvt": (videoprism, {}),
    "video/hf-dual": (xclip, {}),
    "text/hf-dual": (xclip, {}),
    "text/hf-lm": (language_model, {"layers": [0, 2, 3], "template": "Caption: {caption} In one word:"}),
}
"""Encoders that are tested on a checkpoint from here, and their other options."""


def options(key: str) -> dict[str, Any]:
    """Options that give an encoder its tiny checkpoint."""
    maker, others = MAKERS[key]
    return {"model": str(made(maker)), **others}


@cache
def made(maker: Callable[[Path], Path]) -> Path:
    """The checkpoint of a maker, written once in a process."""
    return maker(Path(_folder().name) / maker.__name__)


@cache
def _folder() -> "tempfile.TemporaryDirectory[str]":
    return tempfile.TemporaryDirectory(prefix="checkpoints-")
