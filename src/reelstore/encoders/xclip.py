"""X-CLIP (Ni et al. 2022): CLIP whose frames exchange messages, one embedding a video and one a caption.

The model's own scores add to every caption what its prompt generator makes of the video. Here text never sees the
video: that side keeps its prompt tokens, and `reelstore.evaluation.rerank_xclip` computes those scores from the store.

Preprocessing: pixels as the checkpoint's preprocessor_config.json says, captions as its tokenizer files say. Mean and
deviation there are those of the original (`img_norm_cfg` in X-CLIP/datasets/build.py of
https://github.com/microsoft/VideoX), which resizes the shorter edge to 256 before it crops 224; the file says 224.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from reelstore.encoders.base import EMBEDDING, TOKENS, Output
from reelstore.encoders.hub import Checkpoint
from reelstore.encoders.hub_model import HubModel, HubOptions, TextOptions, VideoOptions, open_model
from reelstore.encoders.preprocess import read_preprocessing
from reelstore.encoders.text_tower import TextRule, TextTower
from reelstore.encoders.tokenizer import closing_token, load_tokenizer
from reelstore.encoders.video_tower import VideoTower, wanted_frames
from reelstore.io import write_atomically
from reelstore.records import Side

if TYPE_CHECKING:
    from torch import Tensor

VERSION = 1
PROMPTS = "prompts"
RERANKER_FORMAT = "reelstore-xclip-reranker/1"


class HubCheckpoint(NamedTuple):
    """Where a published checkpoint is; without a revision where we know of none."""

    model: str
    revision: str | None


PUBLISHED = {
    # Commits as pinned by MTEB, mteb/models/model_implementations/xclip_models.py.
    "xclip-base-patch32": HubCheckpoint("microsoft/xclip-base-patch32", "a2e27a78a2b5d802e894b8a1ef14f3a8ce490963"),
    "xclip-base-patch16": HubCheckpoint("microsoft/xclip-base-patch16", "d6184e3fd8780d04c85d0f1eabe5f94bf44d98f6"),
    "xclip-large-patch14": HubCheckpoint("microsoft/xclip-large-patch14", "40f6d177e0a057a50ac69ac1de6b5938fd268601"),
    "xclip-base-patch32-16-frames": HubCheckpoint("microsoft/xclip-base-patch32-16-frames", None),
    "xclip-base-patch16-16-frames": HubCheckpoint("microsoft/xclip-base-patch16-16-frames", None),
    "xclip-large-patch14-16-frames": HubCheckpoint("microsoft/xclip-large-patch14-16-frames", None),
    "xclip-base-patch16-zero-shot": HubCheckpoint("microsoft/xclip-base-patch16-zero-shot", None),
}


class XClipVideo(VideoTower):
    """Frames -> `embedding` (dim,), `tokens` (n_frames, dim) and `prompts` (n_patches, dim), all float32.

    `tokens` are the frames in the joint space; their mean is the embedding. `prompts` are the video's side of the
    conditioned scores. Nothing is normalised. The model is the published one by default; `n_frames` is what the
    checkpoint takes, 8, 16 or 32.
    """

    def __init__(self, options: VideoOptions) -> None:
        model = _open(options, "video")
        vision, dim = model.vision, model.width("video")
        frames = wanted_frames(f"video/{options.name}", options.sampling, options.n_frames, fixed=vision.num_frames)
        super().__init__(
            options,
            version=VERSION,
            model=model,
            preprocessing=read_preprocessing(model.checkpoint.folder, image_size=vision.image_size),
            frames=frames,
            outputs={
                EMBEDDING: Output(dim, 0),
                TOKENS: Output(dim, vision.num_frames),
                PROMPTS: Output(dim, (vision.image_size // vision.patch_size) ** 2),
            },
        )

    def _build(self) -> Any:
        network = _load(self._model)
        self._reranker = _reranker(network, self._model.checkpoint)
        del network.text_model, network.text_projection, network.prompts_generator
        return _in_format(network, self._model.dtype)

    def save_reranker(self, path: Path) -> None:
        """Write what the conditioned scores need beside the store: the prompt generator, as a safetensors file.

        The tensors are float32 and keep their names in the checkpoint; the header says how to read them and which
        weights they belong to.
        """
        from safetensors.numpy import save

        tensors, header = self._reranker
        write_atomically(path, save(tensors, metadata=header))

    def _outputs(self, pixels: "Tensor") -> "Mapping[str, Tensor]":
        batch_size, n_frames = pixels.shape[:2]
        network = self._network
        states = network.vision_model(pixel_values=pixels.flatten(0, 1))  # (batch * n_frames, 1 + n_patches, width)
        frames = network.visual_projection(states.pooler_output)  # (batch * n_frames, dim)
        tokens = network.mit(frames.unflatten(0, (batch_size, n_frames))).last_hidden_state  # (batch, n_frames, dim)
        patches = network.prompts_visual_layernorm(states.last_hidden_state[:, 1:])
        prompts = patches @ network.prompts_visual_projection  # (batch * n_frames, n_patches, dim)
        return {
            EMBEDDING: tokens.mean(dim=1),
            TOKENS: tokens,
            PROMPTS: prompts.unflatten(0, (batch_size, n_frames)).mean(dim=1),
        }


class XClipText(TextTower):
    """A caption -> `embedding` (dim,) float32, not normalised: the conditioned scores need its length.

    The model is the published one by default.
    """

    def __init__(self, options: TextOptions) -> None:
        model = _open(options, "text")
        tokenizer = load_tokenizer(model.checkpoint, model.config)
        # Padding comes after the end token and the attention is causal: it changes nothing, and with the end token
        # itself the highest id is found at its first position.
        rule = TextRule(
            max_tokens=model.text.max_position_embeddings,
            pad_id=closing_token(model.checkpoint, tokenizer, eos=None),
        )
        super().__init__(options, version=VERSION, model=model, tokenizer=tokenizer, rule=rule)

    def _build(self) -> Any:
        network = _load(self._model)
        del network.vision_model, network.mit, network.prompts_generator
        return _in_format(network, self._model.dtype)


def _open(options: HubOptions, side: Side) -> HubModel:
    published = PUBLISHED.get(options.name)
    if published is not None and options.model in (None, published.model):
        revision = options.revision or published.revision
        options = replace(options, model=published.model, revision=revision)
    return open_model(options, side, "xclip")


def _load(model: HubModel) -> Any:
    """In float32, which the prompt generator is kept in."""
    from reelstore.encoders.hub_network import load_network

    return load_network(model.checkpoint, dtype="float32")


def _in_format(network: Any, dtype: str) -> Any:
    import torch

    return network.to(getattr(torch, dtype))


def _reranker(network: Any, checkpoint: Checkpoint) -> tuple[dict[str, Any], dict[str, str]]:
    """Tensors of the prompt generator and the scale of the scores, and the header that goes with them."""
    config = network.config
    tensors = {
        f"prompts_generator.{key}": value.numpy().copy()
        for key, value in network.prompts_generator.state_dict().items()
    }
    tensors["logit_scale"] = network.logit_scale.detach().numpy().copy()
    header = {
        "n_heads": config.prompt_num_attention_heads,
        "n_layers": config.prompt_layers,
        "activation": config.prompt_hidden_act,
        "video_epsilon": config.vision_config.layer_norm_eps,
        "text_epsilon": config.text_config.layer_norm_eps,
        "weights_sha256": checkpoint.sha256,
    }
    # One entry: safetensors writes several in an order that changes from run to run.
    return tensors, {"reranker": json.dumps({"format": RERANKER_FORMAT, **header}, sort_keys=True)}
