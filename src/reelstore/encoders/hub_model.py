"""Describe a model in the Hugging Face layout by its options and configuration, without its network."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from logging import ERROR
from typing import Any

from reelstore.encoders.folder import refusing
from reelstore.encoders.hub import Checkpoint, find_checkpoint
from reelstore.encoders.limits import BatchSize, FrameCount, Step
from reelstore.encoders.weights import resolve_device
from reelstore.errors import WeightsError
from reelstore.records import Side

_SDPA = (
    "bert clip electra gemma gemma3_text gpt2 llama metaclip_2 mistral modernbert phi3 qwen2 qwen3 roberta siglip "
    "xclip xlm-roberta"
)
_ATTENTION = dict.fromkeys(_SDPA.split(), "sdpa") | dict.fromkeys(("gemma2", "videoprism"), "eager")
"""By model_type, what transformers takes by default: for where there is no torch to ask the model's class."""
_PADDING_BEFORE_POSITIONS = frozenset(
    (
        "camembert",
        "data2vec-text",
        "lilt",
        "longformer",
        "luke",
        "mpnet",
        "roberta",
        "roberta-prelayernorm",
        "xlm-roberta",
        "xlm-roberta-xl",
        "xmod",
    )
)
"""Model types that number positions from the padding token's id + 1."""


@dataclass(frozen=True, kw_only=True)
class HubOptions:
    """Options that every encoder of this layout has.

    Attributes:
        name: registry name.
        model: a folder, or `owner/name` on the hub.
        revision: commit on the hub, 40 hex digits.
        batch_size: items in a batch; its shape is fixed, missing ones are zeros or padding.
        device: where it runs, in half precision on a GPU.
        threads: CPU threads.
    """

    name: str
    model: str | None = None
    revision: str | None = None
    batch_size: BatchSize = 1
    device: str = "auto"
    threads: int = 1


@dataclass(frozen=True, kw_only=True)
class TextOptions(HubOptions):
    """Options of a text side: captions in a batch, 32."""

    batch_size: BatchSize = 32


@dataclass(frozen=True, kw_only=True)
class VideoOptions(HubOptions):
    """Options of a network that says how many frames it takes.

    Attributes:
        sampling: `uniform` or `centres`.
        n_frames: frames of a video; another number than config.json's is refused.
    """

    sampling: str = "uniform"
    n_frames: FrameCount | None = None


@dataclass(frozen=True, kw_only=True)
class FramesOptions(VideoOptions):
    """Options of a network of pictures: any sampling policy.

    Attributes:
        n_frames: frames of a video, for `uniform` and `centres`; 8 by default.
        step: for `every_nth`.
    """

    step: Step | None = None


@dataclass(frozen=True)
class HubModel:
    """A model whose network isn't built: its files, and what transformers makes of config.json.

    Attributes:
        checkpoint: the files.
        config: a `PreTrainedConfig` of transformers, defaults filled in.
        dtype: of the network where it will run: `float32`, `float16` or `bfloat16`.
    """

    checkpoint: Checkpoint
    config: Any
    dtype: str

    @property
    def source(self) -> str:
        """What messages call it."""
        return self.checkpoint.source

    @property
    def model_type(self) -> str:
        """As config.json names it."""
        return str(self.checkpoint.config["model_type"])

    @property
    def vision(self) -> Any:
        """The configuration of the video side."""
        return getattr(self.config, "vision_config", self.config)

    @property
    def text(self) -> Any:
        """The configuration of the text side."""
        return getattr(self.config, "text_config", self.config)

    @cached_property
    def arithmetic(self) -> str:
        """Number format and attention, in words, for the fingerprint: both move the last bits."""
        return f"{self.dtype}, {self._attention} attention"

    @cached_property
    def network_class(self) -> Any:
        """The network's class, whose module is imported; None where there is no torch to import it with."""
        with refusing(f"{self.source} can't be loaded"):
            try:
                return class_of(self.config)
            except ModuleNotFoundError:
                return None

    @property
    def _attention(self) -> str:
        """What transformers will compute attention with: what config.json asks for, or the class's default."""
        asked: str | None = getattr(self.config, "_attn_implementation", None)
        if asked is not None:
            return asked
        if self.network_class is not None:
            return "sdpa" if self.network_class._supports_sdpa else "eager"
        if self.config.model_type not in _ATTENTION:
            import torch  # noqa: F401  # it is needed to know, and isn't installed
        return _ATTENTION[self.config.model_type]

    def width(self, side: Side) -> int:
        """Width of an embedding of one side: the joint space's, or that of the side's own states."""
        own = self.text if side == "text" else self.vision
        joint = getattr(own, "projection_size", None) or getattr(self.config, "projection_dim", None)
        return int(joint or own.hidden_size)


def open_model(options: HubOptions, side: Side, *model_types: str) -> HubModel:
    """The model that options name, downloaded if it is on the hub; its weights are neither read nor hashed yet.

    Args:
        options: of the encoder.
        side: for messages.
        model_types: those the encoder takes; any where none is named.

    Raises:
        ParamsError: no model is named, or a model of the hub without its commit.
        WeightsError: a file is missing or damaged, or the model is of another type.
    """
    checkpoint = find_checkpoint(options.model, options.revision, encoder=f"{side}/{options.name}")
    if model_types:
        checkpoint.refuse_other_than(*model_types)
    dtype = half_precision(checkpoint, resolve_device(options.device))
    return HubModel(checkpoint, read_model_config(checkpoint), dtype)


def half_precision(checkpoint: Checkpoint, device: str) -> str:
    """The number format of a network: half on a GPU, bfloat16 where it was saved so; float32 elsewhere."""
    if device.partition(":")[0] != "cuda":
        return "float32"
    saved = checkpoint.config.get("dtype", checkpoint.config.get("torch_dtype"))
    saved = saved or (checkpoint.config.get("text_config") or {}).get("dtype")
    return "bfloat16" if saved == "bfloat16" else "float16"


def read_model_config(checkpoint: Checkpoint) -> Any:
    """config.json as transformers reads it. Code that comes with a checkpoint is never run.

    Raises:
        WeightsError: transformers doesn't know the model, or can't read a setting.
    """
    from transformers import AutoConfig

    with quiet_transformers(), refusing(f"{checkpoint.source} can't be loaded"):
        return AutoConfig.from_pretrained(checkpoint.folder, local_files_only=True, trust_remote_code=False)


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Only errors are logged inside, and there are no progress bars."""
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity(ERROR)
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)


def class_of(config: Any) -> Any:
    """The class of a model without a head, as AutoModel takes it. It is imported, which needs torch."""
    import torch  # noqa: F401  # transformers' own message for a missing one is long
    from transformers import MODEL_MAPPING

    found: Any = MODEL_MAPPING[type(config)]
    classes = found if isinstance(found, tuple | list) else [found]
    named = [one for one in classes if one.__name__ in (getattr(config, "architectures", None) or ())]
    return (named or classes)[0]


def usable_positions(config: Any) -> int | None:
    """How many tokens a text network has positions for; None where its configuration doesn't say.

    RoBERTa and its kin number positions from the padding token's id + 1: of 514 rows, 512 are for tokens.

    Args:
        config: of the text side.
    """
    longest: int | None = getattr(config, "max_position_embeddings", None)
    if longest is None or config.model_type not in _PADDING_BEFORE_POSITIONS:
        return longest
    return longest - (config.pad_token_id or 0) - 1


def check_width(found: int, expected: int, *, output: str, source: str) -> None:
    """Raise WeightsError where a network gives another width than its configuration says."""
    if found != expected:
        raise WeightsError(
            f"{source} gives a {output} {found} wide, and its config.json says {expected}: it is of a kind that isn't "
            "known here."
        )
