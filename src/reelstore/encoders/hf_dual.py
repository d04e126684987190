"""Any Hugging Face model with `get_video_features` and `get_text_features`; VideoPrism's LvT models among them.

Preprocessing: pixels as the checkpoint's preprocessor_config.json says, captions as its tokenizer files say.
VideoPrism: https://github.com/google-deepmind/videoprism, values in [0, 1] (README.md) and captions as
`canonicalize_text` in videoprism/utils.py makes them.
"""

from collections.abc import Mapping
from inspect import signature
from typing import TYPE_CHECKING, Any

from PIL import Image

from reelstore.encoders.base import EMBEDDING, Output
from reelstore.encoders.hub_model import HubModel, HubOptions, TextOptions, VideoOptions, open_model, usable_positions
from reelstore.encoders.preprocess import Preprocessing, read_preprocessing
from reelstore.encoders.text_tower import TextRule, TextTower
from reelstore.encoders.tokenizer import load_tokenizer, padding_token, table_rows
from reelstore.encoders.video_tower import VideoTower, wanted_frames
from reelstore.errors import ParamsError, WeightsError
from reelstore.records import Side

if TYPE_CHECKING:
    from torch import Tensor

VERSION = 1
TEXT_VERSION = {"videoprism": 2}
"""By model_type, 1 where it isn't named. VideoPrism's version 1 gave captions to the tokenizer as they are."""
_PIXELS = ("pixel_values_videos", "pixel_values")


class HfDualVideo(VideoTower):
    """Frames -> `embedding` (dim,) float32, as the model gives it; `videoprism-lvt` takes nothing but VideoPrism.

    `n_frames` must be given where config.json doesn't say it.
    """

    def __init__(self, options: VideoOptions) -> None:
        model = _open(options, "video")
        fixed = getattr(model.vision, "num_frames", None) or options.n_frames
        if fixed is None:
            raise ParamsError(
                f"encoders.video/{options.name} needs n_frames: {model.source} doesn't say how many it takes."
            )
        super().__init__(
            options,
            version=VERSION,
            model=model,
            preprocessing=_preprocessing(model, _image_size(model)),
            frames=wanted_frames(f"video/{options.name}", options.sampling, options.n_frames, fixed=fixed),
            outputs={EMBEDDING: Output(model.width("video"), 0)},
        )

    def _build(self) -> Any:
        network = super()._build()
        takes = signature(network.get_video_features).parameters
        self._pixels = next((pixels for pixels in _PIXELS if pixels in takes), "")
        if not self._pixels:
            raise WeightsError(
                f"{self._model.source}: get_video_features of {type(network).__name__} takes {', '.join(takes)}, "
                f"none of {', '.join(_PIXELS)}."
            )
        return network

    def _outputs(self, pixels: "Tensor") -> "Mapping[str, Tensor]":
        from reelstore.encoders.hub_network import pooled

        return {EMBEDDING: pooled(self._network.get_video_features(**{self._pixels: pixels}))}


class HfDualText(TextTower):
    """A caption -> `embedding` (dim,) float32, as the model gives it; `videoprism-lvt` takes nothing but VideoPrism."""

    def __init__(self, options: TextOptions) -> None:
        model = _open(options, "text")
        tokenizer = load_tokenizer(model.checkpoint, model.config)
        n_positions = usable_positions(model.text)
        if n_positions is None:
            raise WeightsError(f"{model.source}: config.json doesn't say max_position_embeddings of its text side.")
        # Whole rows, as processors pad with `max_length`: a model that takes the state of the last place is right too.
        rule = TextRule(
            n_positions,
            pad_id=padding_token(model.checkpoint, tokenizer, n_rows=table_rows(model.config)),
            whole=True,
            canonical=model.model_type == "videoprism",
        )
        version = TEXT_VERSION.get(model.model_type, VERSION)
        super().__init__(options, version=version, model=model, tokenizer=tokenizer, rule=rule)

    def _build(self) -> Any:
        from reelstore.encoders.hub_network import positions_of

        network = super()._build()
        n_positions = positions_of(network, self._model.text.max_position_embeddings)
        if n_positions != self._rule.max_tokens:
            raise WeightsError(
                f"{self._model.source} has {n_positions} usable positions, and its config.json says "
                f"{self._rule.max_tokens}: it is of a kind that isn't known here."
            )
        return network


def _open(options: HubOptions, side: Side) -> HubModel:
    model = open_model(options, side, *(("videoprism",) if options.name == "videoprism-lvt" else ()))
    network_class = model.network_class
    for method in ("get_video_features", "get_text_features") if network_class else ():
        if not hasattr(network_class, method):
            raise WeightsError(f"{model.source} is a {network_class.__name__}, which has no {method}.")
    return model


def _image_size(model: HubModel) -> Any:
    size = getattr(model.vision, "image_size", None)
    if size is None:
        raise WeightsError(f"{model.source} is a {model.model_type}, whose config.json has no image_size.")
    return size


def _preprocessing(model: HubModel, image_size: Any) -> Preprocessing:
    if model.model_type != "videoprism":
        return read_preprocessing(model.checkpoint.folder, image_size=image_size)
    # VideoPrism takes pixels in [0, 1]. Its processor says so when called; the file it is read from may name the mean
    # and spread of the class it borrows.
    square = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
    return Preprocessing(square, None, Image.Resampling.BICUBIC, 1 / 255, None, None)
