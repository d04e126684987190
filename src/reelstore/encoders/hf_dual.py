"""Any Hugging Face model with `get_video_features` and `get_text_features`; VideoPrism's LvT models among them.

Preprocessing: pixels as the checkpoint's preprocessor_config.json says, captions as its tokenizer files say.
VideoPrism: https://github.com/google-deepmind/videoprism, values in [0, 1] (README.md) and captions as
`canonicalize_text` in videoprism/utils.py makes them.
"""

from collections.abc import Mapping
from inspect import signature
from typing import Any

from PIL import Image
from torch import Tensor

from reelstore.encoders.base import EMBEDDING
from reelstore.encoders.hub import (
    Checkpoint,
    find_checkpoint,
    half_precision,
    load_network,
    pooled,
)
from reelstore.encoders.preprocess import Preprocessing, read_preprocessing
from reelstore.encoders.text_tower import TextRule, TextTower
from reelstore.encoders.tokenizer import load_tokenizer, padding_token, table_rows, usable_positions
from reelstore.encoders.video_tower import VideoTower, wanted_frames
from reelstore.encoders.weights import resolve_device
from reelstore.errors import ParamsError, WeightsError

VERSION = 1
TEXT_VERSION = {"videoprism": 2}
"""By model_type, 1 where it isn't named. VideoPrism's version 1 gave captions to the tokenizer as they are."""
_PIXELS = ("pixel_values_videos", "pixel_values")


class HfDualVideo(VideoTower):
    """Frames -> `embedding` (dim,) float32, as the model gives it.

    Args:
        name: registry name; `videoprism-lvt` takes nothing but VideoPrism.
        model: a folder, or `owner/name` on the hub.
        revision: commit on the hub, 40 hex digits.
        sampling: `uniform` or `centres`.
        n_frames: frames of a video. Where config.json says it, another number is refused; else it must be given.
        batch_size: videos in a batch; its shape is fixed, missing ones are zeros.
        device: where it runs, in half precision on a GPU.
        threads: CPU threads.
    """

    def __init__(
        self,
        *,
        name: str = "hf-dual",
        model: str | None = None,
        revision: str | None = None,
        sampling: str = "uniform",
        n_frames: int | None = None,
        batch_size: int = 1,
        device: str = "auto",
        threads: int = 1,
    ) -> None:
        device = resolve_device(device)
        checkpoint, network = _load(f"video/{name}", name, model, revision, device)
        vision = getattr(network.config, "vision_config", network.config)
        fixed = getattr(vision, "num_frames", None) or n_frames
        if fixed is None:
            raise ParamsError(
                f"encoders.video/{name} needs n_frames: {checkpoint.source} doesn't say how many it takes."
            )
        takes = signature(network.get_video_features).parameters
        self._pixels = next((pixels for pixels in _PIXELS if pixels in takes), "")
        if not self._pixels:
            raise WeightsError(
                f"{checkpoint.source}: get_video_features of {type(network).__name__} takes {', '.join(takes)}, "
                f"none of {', '.join(_PIXELS)}."
            )
        super().__init__(
            name=name,
            version=VERSION,
            checkpoint=checkpoint,
            network=network,
            preprocessing=_preprocessing(checkpoint, vision.image_size),
            frames=wanted_frames(f"video/{name}", sampling, n_frames, fixed=fixed),
            batch_size=batch_size,
            device=device,
            threads=threads,
        )

    def _outputs(self, pixels: Tensor) -> Mapping[str, Tensor]:
        return {EMBEDDING: pooled(self._network.get_video_features(**{self._pixels: pixels}))}


class HfDualText(TextTower):
    """A caption -> `embedding` (dim,) float32, as the model gives it.

    Args:
        name: registry name; `videoprism-lvt` takes nothing but VideoPrism.
        model: a folder, or `owner/name` on the hub.
        revision: commit on the hub, 40 hex digits.
        batch_size: captions in a batch; its shape is fixed, missing ones are padding.
        device: where it runs, in half precision on a GPU.
        threads: CPU threads.
    """

    def __init__(
        self,
        *,
        name: str = "hf-dual",
        model: str | None = None,
        revision: str | None = None,
        batch_size: int = 32,
        device: str = "auto",
        threads: int = 1,
    ) -> None:
        device = resolve_device(device)
        checkpoint, network = _load(f"text/{name}", name, model, revision, device)
        tokenizer = load_tokenizer(checkpoint, network)
        text = getattr(network.config, "text_config", network.config)
        # Whole rows, as processors pad with `max_length`: a model that takes the state of the last place is right too.
        rule = TextRule(
            usable_positions(network, text.max_position_embeddings),
            pad_id=padding_token(checkpoint, tokenizer, n_rows=table_rows(network)),
            whole=True,
            canonical=checkpoint.config["model_type"] == "videoprism",
        )
        super().__init__(
            name=name,
            version=TEXT_VERSION.get(checkpoint.config["model_type"], VERSION),
            checkpoint=checkpoint,
            network=network,
            tokenizer=tokenizer,
            rule=rule,
            batch_size=batch_size,
            device=device,
            threads=threads,
        )


def _load(key: str, name: str, model: str | None, revision: str | None, device: str) -> tuple[Checkpoint, Any]:
    checkpoint = find_checkpoint(model, revision, encoder=key)
    if name == "videoprism-lvt":
        checkpoint.refuse_other_than("videoprism")
    network = load_network(checkpoint, dtype=half_precision(checkpoint, device))
    for method in ("get_video_features", "get_text_features"):
        if not hasattr(network, method):
            raise WeightsError(f"{checkpoint.source} is a {type(network).__name__}, which has no {method}.")
    return checkpoint, network


def _preprocessing(checkpoint: Checkpoint, image_size: Any) -> Preprocessing:
    if checkpoint.config["model_type"] != "videoprism":
        return read_preprocessing(checkpoint.folder, image_size=image_size)
    # VideoPrism takes pixels in [0, 1]. Its processor says so when called; the file it is read from may name the mean
    # and spread of the class it borrows.
    square = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
    return Preprocessing(square, None, Image.Resampling.BICUBIC, 1 / 255, None, None)
