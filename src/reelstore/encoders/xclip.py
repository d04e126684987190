"""X-CLIP (Ni et al. 2022): CLIP whose frames exchange messages, one embedding a video and one a caption.

The model's own scores add to every caption what its prompt generator makes of the video. Here text never sees the
video: that side keeps its prompt tokens, and `reelstore.evaluation.rerank_xclip` computes those scores from the store.

Preprocessing: pixels as the checkpoint's preprocessor_config.json says, captions as its tokenizer files say. Mean and
deviation there are those of the original (`img_norm_cfg` in X-CLIP/datasets/build.py of
https://github.com/microsoft/VideoX), which resizes the shorter edge to 256 before it crops 224; the file says 224.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from reelstore.encoders.base import EMBEDDING, TOKENS
from reelstore.encoders.hub import Checkpoint, find_checkpoint, half_precision, load_network
from reelstore.encoders.preprocess import read_preprocessing
from reelstore.encoders.text_tower import TextRule, TextTower
from reelstore.encoders.tokenizer import closing_token, load_tokenizer
from reelstore.encoders.video_tower import VideoTower, wanted_frames
from reelstore.encoders.weights import resolve_device
from reelstore.io import write_atomically

VERSION = 1
PROMPTS = "prompts"
RERANKER_FORMAT = "reelstore-xclip-reranker/1"


class Published(NamedTuple):
    """Where a published checkpoint lies; without a revision where we know of none."""

    model: str
    revision: str | None


PUBLISHED = {
    # Commits as pinned by MTEB, mteb/models/model_implementations/xclip_models.py.
    "xclip-base-patch32": Published("microsoft/xclip-base-patch32", "a2e27a78a2b5d802e894b8a1ef14f3a8ce490963"),
    "xclip-base-patch16": Published("microsoft/xclip-base-patch16", "d6184e3fd8780d04c85d0f1eabe5f94bf44d98f6"),
    "xclip-large-patch14": Published("microsoft/xclip-large-patch14", "40f6d177e0a057a50ac69ac1de6b5938fd268601"),
    "xclip-base-patch32-16-frames": Published("microsoft/xclip-base-patch32-16-frames", None),
    "xclip-base-patch16-16-frames": Published("microsoft/xclip-base-patch16-16-frames", None),
    "xclip-large-patch14-16-frames": Published("microsoft/xclip-large-patch14-16-frames", None),
    "xclip-base-patch16-zero-shot": Published("microsoft/xclip-base-patch16-zero-shot", None),
}


class XClipVideo(VideoTower):
    """Frames -> `embedding` (dim,), `tokens` (n_frames, dim) and `prompts` (n_patches, dim), all float32.

    `tokens` are the frames in the joint space; their mean is the embedding. `prompts` are the video's side of the
    conditioned scores. Nothing is normalised.

    Args:
        name: registry name.
        model: a folder, or `owner/name` on the hub; the published one by default.
        revision: commit on the hub, 40 hex digits.
        sampling: `uniform` or `centres`.
        n_frames: what the checkpoint takes, 8, 16 or 32; another number is refused.
        batch_size: videos in a batch; its shape is fixed, missing ones are zeros.
        device: where it runs, in half precision on a GPU.
        threads: CPU threads.
    """

    def __init__(
        self,
        *,
        name: str = "xclip",
        model: str | None = None,
        revision: str | None = None,
        sampling: str = "uniform",
        n_frames: int | None = None,
        batch_size: int = 1,
        device: str = "auto",
        threads: int = 1,
    ) -> None:
        checkpoint, network = _load(f"video/{name}", name, model, revision)
        vision = network.config.vision_config
        frames = wanted_frames(f"video/{name}", sampling, n_frames, fixed=vision.num_frames)
        self._reranker = _reranker(network, checkpoint)
        del network.text_model, network.text_projection, network.prompts_generator
        device = resolve_device(device)
        super().__init__(
            name=name,
            version=VERSION,
            checkpoint=checkpoint,
            network=network.to(half_precision(checkpoint, device)),
            preprocessing=read_preprocessing(checkpoint.folder, image_size=vision.image_size),
            frames=frames,
            batch_size=batch_size,
            device=device,
            threads=threads,
        )

    def save_reranker(self, path: Path) -> None:
        """Write what the conditioned scores need beside the store: the prompt generator, as a safetensors file.

        The tensors are float32 and keep their names in the checkpoint; the header says how to read them and which
        weights they belong to.
        """
        from safetensors.numpy import save

        tensors, header = self._reranker
        write_atomically(path, save(tensors, metadata=header))

    def _outputs(self, pixels: Tensor) -> Mapping[str, Tensor]:
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

    Args:
        name: registry name.
        model: a folder, or `owner/name` on the hub; the published one by default.
        revision: commit on the hub, 40 hex digits.
        batch_size: captions in a batch; its shape is fixed, missing ones are padding.
        device: where it runs, in half precision on a GPU.
        threads: CPU threads.
    """

    def __init__(
        self,
        *,
        name: str = "xclip",
        model: str | None = None,
        revision: str | None = None,
        batch_size: int = 32,
        device: str = "auto",
        threads: int = 1,
    ) -> None:
        checkpoint, network = _load(f"text/{name}", name, model, revision)
        del network.vision_model, network.mit, network.prompts_generator
        device = resolve_device(device)
        tokenizer = load_tokenizer(checkpoint, network)
        # Padding comes after the end token and the attention is causal: it changes nothing, and with the end token
        # itself the highest id is found where it first stands.
        rule = TextRule(
            max_tokens=network.config.text_config.max_position_embeddings,
            pad_id=closing_token(checkpoint, tokenizer, eos=None),
        )
        super().__init__(
            name=name,
            version=VERSION,
            checkpoint=checkpoint,
            network=network.to(half_precision(checkpoint, device)),
            tokenizer=tokenizer,
            rule=rule,
            batch_size=batch_size,
            device=device,
            threads=threads,
        )


def _load(key: str, name: str, model: str | None, revision: str | None) -> tuple[Checkpoint, Any]:
    import torch

    published = PUBLISHED.get(name)
    if published is not None and model in (None, published.model):
        model, revision = published.model, revision or published.revision
    checkpoint = find_checkpoint(model, revision, encoder=key)
    checkpoint.refuse_other_than("xclip")
    return checkpoint, load_network(checkpoint, dtype=torch.float32)


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
