"""Encoders of pictures with a text tower, over the frames of a video: CLIP, SigLIP 2, MetaCLIP 2.

Every frame's embedding is a token of length one; the `mean` pooling is the usual embedding of the video.

Preprocessing: pixels as the checkpoint's preprocessor_config.json says, captions as its tokenizer files say. SigLIP 2's
lower case and whole rows of 64 tokens are those of `Siglip2Tokenizer` and `Siglip2Processor` of transformers.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.nn.functional import normalize

from reelstore.encoders.base import TOKENS
from reelstore.encoders.hub import (
    Checkpoint,
    find_checkpoint,
    half_precision,
    load_network,
    pooled,
)
from reelstore.encoders.preprocess import read_preprocessing
from reelstore.encoders.text_tower import TextRule, TextTower
from reelstore.encoders.tokenizer import closing_token, load_tokenizer, padding_token, table_rows
from reelstore.encoders.video_tower import VideoTower
from reelstore.encoders.weights import resolve_device

VERSION = 1
MODEL_TYPES = {"clip": "clip", "siglip2": "siglip", "metaclip2": "metaclip_2"}
"""Registry name -> model_type in config.json. SigLIP 2 of fixed resolution is published as type siglip; its NaFlex
form, of type siglip2, takes any number of patches and isn't supported."""


class HfFramesVideo(VideoTower):
    """Frames -> `tokens` (n_frames, dim) float32, each of length one.

    Args:
        name: registry name.
        model: a folder, or `owner/name` on the hub.
        revision: commit on the hub, 40 hex digits.
        sampling: policy by name; `uniform` by default.
        n_frames: frames of a video, for `uniform` and `centres`; 8 by default.
        step: for `every_nth`.
        batch_size: videos in a batch; its shape is fixed, missing ones are zeros.
        device: where it runs, in half precision on a GPU.
        threads: CPU threads.
    """

    def __init__(
        self,
        *,
        name: str = "clip",
        model: str | None = None,
        revision: str | None = None,
        sampling: str = "uniform",
        n_frames: int | None = None,
        step: int | None = None,
        batch_size: int = 1,
        device: str = "auto",
        threads: int = 1,
    ) -> None:
        if sampling in ("uniform", "centres"):
            n_frames = 8 if n_frames is None else n_frames
        device = resolve_device(device)
        checkpoint, network = _load(f"video/{name}", name, model, revision, device)
        del network.text_model
        super().__init__(
            name=name,
            version=VERSION,
            checkpoint=checkpoint,
            network=network,
            preprocessing=read_preprocessing(checkpoint.folder, image_size=network.config.vision_config.image_size),
            frames={"policy": sampling, "n_frames": n_frames, "step": step},
            batch_size=batch_size,
            device=device,
            threads=threads,
            words=", unit length",
        )

    def _outputs(self, pixels: Tensor) -> Mapping[str, Tensor]:
        frames = pooled(self._network.get_image_features(pixel_values=pixels.flatten(0, 1)))  # (batch * n_frames, dim)
        return {TOKENS: normalize(frames.float(), dim=-1).view(*pixels.shape[:2], -1)}


class HfFramesText(TextTower):
    """A caption -> `embedding` (dim,) float32, of length one.

    Args:
        name: registry name.
        model: a folder, or `owner/name` on the hub.
        revision: commit on the hub, 40 hex digits.
        batch_size: captions in a batch; its shape is fixed, missing ones are padding.
        device: where it runs, in half precision on a GPU.
        threads: CPU threads.
    """

    def __init__(
        self,
        *,
        name: str = "clip",
        model: str | None = None,
        revision: str | None = None,
        batch_size: int = 32,
        device: str = "auto",
        threads: int = 1,
    ) -> None:
        device = resolve_device(device)
        checkpoint, network = _load(f"text/{name}", name, model, revision, device)
        del network.vision_model
        tokenizer = load_tokenizer(checkpoint, network)
        super().__init__(
            name=name,
            version=VERSION,
            checkpoint=checkpoint,
            network=network,
            tokenizer=tokenizer,
            rule=_rule(checkpoint, network, tokenizer),
            batch_size=batch_size,
            device=device,
            threads=threads,
        )


def _rule(checkpoint: Checkpoint, network: Any, tokenizer: Any) -> TextRule:
    config = network.config.text_config
    max_tokens = config.max_position_embeddings
    if checkpoint.config["model_type"] == "siglip":
        # Trained on lower case and whole rows of 64, of which the last state is taken, padding seen; the tokenizer
        # that published SigLIP 2 checkpoints name doesn't lower.
        return TextRule(
            max_tokens,
            pad_id=padding_token(checkpoint, tokenizer, n_rows=table_rows(network)),
            masked=False,
            whole=True,
            lower=True,
            unit=True,
        )
    # CLIP's old config.json says 2, which the network takes for: the highest id. MetaCLIP 2 means it.
    legacy = checkpoint.config["model_type"] == "clip" and config.eos_token_id == 2
    eos = closing_token(checkpoint, tokenizer, eos=None if legacy else config.eos_token_id)
    return TextRule(max_tokens, pad_id=eos, unit=True)


def _load(key: str, name: str, model: str | None, revision: str | None, device: str) -> tuple[Checkpoint, Any]:
    checkpoint = find_checkpoint(model, revision, encoder=key)
    checkpoint.refuse_other_than(MODEL_TYPES[name])
    return checkpoint, load_network(checkpoint, dtype=half_precision(checkpoint, device))
