"""Sections of params.yaml: their values, defaults and what each means."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from reelstore.bounds import ItemBounds
from reelstore.errors import ParamsError
from reelstore.settings import Device, Listed, Seed, Settings, StoredDtype, VariantPath, refusing, shown


class ModelParams(Settings):
    """Encoders of each side; every pair of them is a model."""

    video: Listed[str] = ()
    """Video encoders."""
    text: Listed[str] = ()
    """Text encoders."""


class EmbedParams(ItemBounds):
    """How both sides are embedded."""

    dtype: StoredDtype = "float16"
    """Of the stored values: `float16` or `float32`."""
    max_failures: Annotated[float, Field(ge=0, le=10**12)] = 0.05
    """Rows that may fail before the stage does: a share below 1, or a count."""
    device: Device = "auto"
    """`auto` (a GPU where there is one), `cpu`, `cuda`, `cuda:1`."""
    threads: Annotated[int, Field(ge=1, le=1024)] = 1
    """CPU threads of the encoder. They move the last bits, so they belong to the fingerprint."""
    decode_workers: Annotated[int, Field(ge=1, le=256)] = 2
    """Threads that decode ahead of the encoder. They change nothing but speed."""
    workers: Annotated[int, Field(ge=1, le=256)] = 1
    """Processes that embed, each with an encoder of its own. They change nothing but speed."""


class OutputsParams(Settings):
    """What a grid compares: the poolings of one output of each encoder, or the output itself where it isn't tokens."""

    video: str = "tokens"
    """Output of the video encoder."""
    text: str = "tokens"
    """Output of the text encoder, such as layer-32."""


class GridParams(OutputsParams):
    """The table of unaligned poolings."""

    split: str = "test"
    """Split it is measured on."""
    n_shuffles: Annotated[int, Field(ge=20, le=100_000)] = 1000
    """Shuffles of the pairs behind the chance interval, which needs at least 20."""
    seed: Seed = 0
    """Of the shuffles."""


class PairsParams(Settings):
    """One set of pairs: which caption is shown with which video in training."""

    positives: Annotated[int, Field(ge=0, le=100_000)] = 0
    """Captions of each video, drawn at random; 0 for all of them."""
    negatives: Annotated[int, Field(ge=0, le=100_000)] = 0
    """Negative captions of each video, with label 0; fewer in proportion where a video has fewer than `positives`."""
    doubled: bool = False
    """Each pair twice."""
    seed: Seed = 0
    """Of what is drawn, and of the order."""


class MinedParams(PairsParams):
    """A set of pairs with hard negatives."""

    embedding: VariantPath
    """Pooled variant they're mined by, such as text/minilm-l6/mean."""
    among: Annotated[int, Field(ge=1, le=1_000_000)] = 50
    """Nearest negative captions of each video, of which `negatives` are drawn."""

    @model_validator(mode="after")
    def _check_negatives(self) -> Self:
        if not 1 <= self.negatives <= self.among:
            raise ParamsError(
                f"negatives is {self.negatives}; it must be 1 to `among` ({self.among}).", key="negatives"
            )
        return self


class LeakageParams(Settings):
    """What splits may share."""

    allow: Listed[Literal["file", "caption", "near-video", "near-caption"]] = ()
    """Kinds that don't fail a stage: `file`, `caption`, `near-video`, `near-caption`."""
    near: Annotated[float, Field(gt=0, le=1)] = 0.98
    """Cosine, after centring, from which two embeddings are near-duplicates."""
    variants: Listed[VariantPath] = ()
    """Pooled variants in which near-duplicates are looked for, such as video/efficientnet-lite0/mean."""


class DoctorParams(Settings):
    """What the doctor checks, and what doesn't make it fail."""

    video: str = ""
    """Variant whose geometry is checked; `mean` by default, or the first pooled one."""
    text: str = ""
    """The same of the captions."""
    allow: Listed[str] = ()
    """Fatal checks that don't fail it, such as `constant`."""


class ApplyParams(Settings):
    """How what an aligner makes of a whole store is stored."""

    dtype: StoredDtype = "float16"
    """Of the stored values: `float16` or `float32`."""


def _cut_off_problem(ks: tuple[int, ...]) -> str | None:
    return None if ks and len(set(ks)) == len(ks) else "must be positive cut-offs, each once"


class EvaluateParams(Settings):
    """How aligners are measured."""

    split: str = "test"
    """Split they are measured on."""
    ks: Annotated[Listed[Annotated[int, Field(ge=1, le=1_000_000)]], refusing(_cut_off_problem)] = (1, 5, 10)
    """Cut-offs of R@k, hit@k and recall@k."""


class ProtocolParams(Settings):
    """A rescoring of all test queries' scores; every aligner is measured under it too, in files of its own."""

    kind: Literal["dual_softmax", "inverted_softmax", "qb_norm"] = "dual_softmax"
    """`dual_softmax` and `inverted_softmax` use the other test queries; `qb_norm` a bank of training queries."""
    scale: Annotated[float, Field(ge=0, le=10_000)] = 0.0
    """What scores are multiplied with in the softmax; 0 for the kind's own: 100, 20 and 20."""
    k: Annotated[int, Field(ge=1, le=10_000)] = 1
    """qb_norm: best items of each query in the bank that are in the activation set."""
    bank: str = "train"
    """qb_norm: split whose captions and videos are the bank."""

    @model_validator(mode="after")
    def _check_bank(self) -> Self:
        for name, default in (("k", 1), ("bank", "train")):
            if self.kind != "qb_norm" and getattr(self, name) != default:
                found = shown(getattr(self, name))
                raise ParamsError(
                    f"{name} is {found}, but {self.kind} has no {name}; it is a setting of qb_norm.", key=name
                )
        return self


def _project_problem(project: str) -> str | None:
    is_name = 1 <= len(project) <= 128 and project.isprintable() and not set(project) & set("/\\#?%:")
    return None if is_name else "must be 1 to 128 characters, none of them / \\ # ? % :, for W&B"


class TrackingParams(Settings):
    """Where runs are logged."""

    wandb: Literal["offline", "online", "disabled"] = "offline"
    """`offline`, `online` or `disabled`."""
    project: Annotated[str, refusing(_project_problem)] = "reelstore"
    """W&B project."""
