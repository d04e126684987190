"""Settings of trained aligners, apart from their networks: a value out of range is refused without torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, GetPydanticSchema

from reelstore.align.base import ANY_LAYOUT, TOKENS
from reelstore.align.closed_form.base import Steps
from reelstore.align.limits import (
    Batch,
    Count,
    Dims,
    Dropout,
    Heads,
    Layers,
    LearningRate,
    Patience,
    Positives,
    Powers,
    Seed,
    Share,
    Temperature,
    Threads,
    Width,
    WidthOrNone,
    Widths,
)
from reelstore.align.limits import Steps as StepCount
from reelstore.align.training.trainer_options import TrainerOptions
from reelstore.settings import options_of, parsed, plain

_AS_OPTIONS = GetPydanticSchema(lambda kind, handler: handler(TrainerOptions))
"""Checks a mapping as `TrainerOptions`."""


@dataclass(kw_only=True)
class TrainedSettings:
    """What all trained aligners have.

    Args:
        loss: of `losses.LOSSES`.
        temperature: to start from, where it is learned.
        margin: cosine that negative pairs may have, for `margin`.
        lr: AdamW's learning rate, at its highest.
        weight_decay: AdamW's.
        warm_up: share of all steps in which the learning rate rises.
        schedule: of the learning rate.
        batch_size: pairs a step, of all ranks together; all of them where there are fewer.
        captions_per_video: in an epoch: `one`, drawn again each time, `all`, or what the loss wants: all for
            `multi-positive`, one for the others. Of labelled pairs, always all.
        chunk: items that a tower, and rows that a loss, takes at once, for batches whose activations or logits exceed
            memory; gradients are those of the whole batch. 0 for all.
        max_epochs: at most.
        patience: epochs without a better validation MRR before it stops.
        checkpoint_steps: optimizer steps between two live checkpoints; 0 for none.
        preprocess: steps of both sides, or of each by its name; see `Preprocessing`.
        components: of `whiten`.
        shrinkage: of `whiten`.
        seed: of weights, order and dropout.
        threads: CPU threads; they move the last bits.
        trainer: options of Lightning's Trainer.
    """

    kind: ClassVar[str]
    layouts: ClassVar[tuple[str, ...]]
    of_tokens: ClassVar[bool]

    loss: Literal["mse", "margin", "infonce", "multi-positive", "siglip"] = "infonce"
    temperature: Temperature = 0.07
    margin: Annotated[float, Field(ge=-1, le=1)] = 0.2
    lr: LearningRate = 1e-3
    weight_decay: Annotated[float, Field(ge=0, le=1000)] = 0.05
    warm_up: Share = 0.1
    schedule: Literal["cosine", "constant"] = "cosine"
    batch_size: Batch = 1024
    captions_per_video: Literal["auto", "one", "all"] = "auto"
    chunk: StepCount = 0
    max_epochs: Count = 200
    patience: Patience = 40
    checkpoint_steps: StepCount = 100
    preprocess: Steps = ("mean", "unit", "centre", "unit")
    components: Width = 256
    shrinkage: Share = 0.1
    seed: Seed = 0
    threads: Threads = 1
    trainer: Annotated[Mapping[str, Any], GetPydanticSchema(lambda _, handler: handler(TrainerOptions))] = field(
        default_factory=dict
    )

    def check(self) -> None:
        """Refuse values that can't be.

        Raises:
            ParamsError: `<kind>.<setting>` and what is expected.
        """
        options = options_of(type(self))
        parsed(options, {name: plain(getattr(self, name)) for name in options.model_fields}, key=self.kind)


@dataclass(kw_only=True)
class MlpSettings(TrainedSettings):
    """MLP towers.

    Args:
        widths: of the layers; the last is the joint space's.
        block: `residual`, a linear map plus an MLP, or `report`: Linear, ReLU, LayerNorm, dropout.
        shared: whether both sides have one tower; they must be as wide.
        dropout: share of entries dropped in training.
    """

    kind: ClassVar[str] = "mlp"
    layouts: ClassVar[tuple[str, ...]] = ANY_LAYOUT
    of_tokens: ClassVar[bool] = False

    widths: Widths = (512, 256)
    block: Literal["residual", "report"] = "residual"
    shared: bool = False
    dropout: Dropout = 0.3


@dataclass(kw_only=True)
class TransformerSettings(TrainedSettings):
    """Transformer encoders.

    The report's is `{width: 0, dim: 0, n_layers: 6, n_heads: 8, preprocess: []}`.

    Args:
        width: that tokens are mapped to first; 0 leaves them as wide as they are.
        dim: of the joint space; 0 takes [CLS] as it is.
        n_layers: of the encoder.
        n_heads: of each layer; they share the width evenly.
        feedforward: width between the two maps of a layer's feed-forward part.
        positions: whether a token's place counts.
        shared: whether both sides have one tower; they must be as wide.
        dropout: within layers.
    """

    kind: ClassVar[str] = "transformer"
    layouts: ClassVar[tuple[str, ...]] = TOKENS
    of_tokens: ClassVar[bool] = True

    preprocess: Steps = ("unit", "centre", "unit")
    width: WidthOrNone = 256
    dim: WidthOrNone = 256
    n_layers: Layers = 2
    n_heads: Heads = 8
    feedforward: Width = 1024
    positions: bool = True
    shared: bool = False
    dropout: Dropout = 0.1


@dataclass(kw_only=True)
class AttentionPoolSettings(TrainedSettings):
    """Attention pooling.

    Args:
        n_queries: weighted means an item has, one behind the other.
        widths: of the MLP's layers; the last is the joint space's.
        shared: whether both sides have one tower; they must be as wide.
        dropout: share of entries dropped in training.
    """

    kind: ClassVar[str] = "attention-pool"
    layouts: ClassVar[tuple[str, ...]] = TOKENS
    of_tokens: ClassVar[bool] = True

    preprocess: Steps = ("unit", "centre", "unit")
    n_queries: Layers = 1
    widths: Widths = (512, 256)
    shared: bool = False
    dropout: Dropout = 0.3


@dataclass(kw_only=True)
class CcaInfonceSettings(TrainedSettings):
    """CCA that is trained on.

    Args:
        dims: see `Cca`.
        regularisations: see `Cca`.
        powers: see `Cca`.
        dropout: share of entries of CCA's joint space that are dropped in training.
    """

    kind: ClassVar[str] = "cca-infonce"
    layouts: ClassVar[tuple[str, ...]] = ANY_LAYOUT
    of_tokens: ClassVar[bool] = False

    dims: Dims = (64, 128, 256, 512)
    regularisations: Positives = (0.01, 0.1, 0.3, 1.0, 3.0)
    powers: Powers = (0.0, 0.5, 1.0)
    dropout: Dropout = 0.15

    temperature: Temperature = 0.05
    warm_up: Share = 0.0
    captions_per_video: Literal["auto", "one", "all"] = "all"
    max_epochs: Count = 3
    preprocess: Steps = ("mean", "unit", "centre", "unit", "whiten")
    components: Width = 512
    shrinkage: Share = 1.0
