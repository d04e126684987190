"""Encoders of pictures with a text tower, over the frames of a video: CLIP, SigLIP 2, MetaCLIP 2.

Every frame's embedding is a token of length one; the `mean` pooling is the usual embedding of the video.

Preprocessing: pixels as the checkpoint's preprocessor_config.json says, captions as its tokenizer files say. SigLIP 2's
lower case and whole rows of 64 tokens are those of `Siglip2Tokenizer` and `Siglip2Processor` of transformers.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from reelstore.encoders.base import TOKENS, Output
from reelstore.encoders.hub_model import FramesOptions, HubModel, TextOptions, open_model
from reelstore.encoders.preprocess import read_preprocessing
from reelstore.encoders.text_tower import TextRule, TextTower
from reelstore.encoders.tokenizer import closing_token, load_tokenizer, padding_token, table_rows
from reelstore.encoders.video_tower import VideoTower

if TYPE_CHECKING:
    from torch import Tensor

VERSION = 1
MODEL_TYPES = {"clip": "clip", "siglip2": "siglip", "metaclip2": "metaclip_2"}
"""Registry name -> model_type in config.json. SigLIP 2 of fixed resolution is published as type siglip; its NaFlex
form, of type siglip2, takes any number of patches and isn't supported."""


class HfFramesVideo(VideoTower):
    """Frames -> `tokens` (n_frames, dim) float32, each of length one."""

    Options = FramesOptions

    def __init__(self, options: FramesOptions) -> None:
        n_frames = options.n_frames
        if options.sampling in ("uniform", "centres"):
            n_frames = 8 if n_frames is None else n_frames
        model = open_model(options, "video", MODEL_TYPES[options.name])
        super().__init__(
            options,
            version=VERSION,
            model=model,
            preprocessing=read_preprocessing(model.checkpoint.folder, image_size=model.vision.image_size),
            frames={"policy": options.sampling, "n_frames": n_frames, "step": options.step},
            outputs={TOKENS: Output(model.width("video"), n_frames)},
            words=", unit length",
        )

    def _build(self) -> Any:
        network = super()._build()
        del network.text_model
        return network

    def _outputs(self, pixels: "Tensor") -> "Mapping[str, Tensor]":
        from torch.nn.functional import normalize

        from reelstore.encoders.hub_network import pooled

        frames = pooled(self._network.get_image_features(pixel_values=pixels.flatten(0, 1)))  # (batch * n_frames, dim)
        return {TOKENS: normalize(frames.float(), dim=-1).view(*pixels.shape[:2], -1)}


class HfFramesText(TextTower):
    """A caption -> `embedding` (dim,) float32, of length one."""

    def __init__(self, options: TextOptions) -> None:
        model = open_model(options, "text", MODEL_TYPES[options.name])
        tokenizer = load_tokenizer(model.checkpoint, model.config)
        super().__init__(options, version=VERSION, model=model, tokenizer=tokenizer, rule=_rule(model, tokenizer))

    def _build(self) -> Any:
        network = super()._build()
        del network.vision_model
        return network


def _rule(model: HubModel, tokenizer: Any) -> TextRule:
    checkpoint, config = model.checkpoint, model.text
    max_tokens = config.max_position_embeddings
    if model.model_type == "siglip":
        # Trained on lower case and whole rows of 64, of which the last state is taken, padding seen; the tokenizer
        # that published SigLIP 2 checkpoints name doesn't lower.
        return TextRule(
            max_tokens,
            pad_id=padding_token(checkpoint, tokenizer, n_rows=table_rows(model.config)),
            masked=False,
            whole=True,
            lower=True,
            unit=True,
        )
    # CLIP's old config.json says 2, which the network takes for: the highest id. MetaCLIP 2 means it.
    legacy = model.model_type == "clip" and config.eos_token_id == 2
    eos = closing_token(checkpoint, tokenizer, eos=None if legacy else config.eos_token_id)
    return TextRule(max_tokens, pad_id=eos, unit=True)
