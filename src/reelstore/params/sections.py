"""Sections of params.yaml: their values, defaults and what each means."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from reelstore.errors import ParamsError
from reelstore.params.names import check_name, check_variant


@dataclass(frozen=True)
class DatasetParams:
    """Which videos and captions."""

    name: str = "emoji"
    """Names the folders data/<name>, store/<name>, pairs/<name>, models/<name>, metrics/<name>."""
    kind: str = "emoji"
    """`emoji`, `llm-like` (drawn), `msrvtt`, or `folder` for a directory of your own."""
    source: str = "src/reelstore/datasets/emoji.json"
    """emoji: the list of pinned packages. llm-like: the knobs. folder, msrvtt: the directory of videos."""
    captions: str = "captions.csv"
    """folder: the captions table, relative to source (CSV, Parquet or JSON lines)."""
    still: bool = False
    """emoji: also the clips that have one frame."""
    max_captions: int = 20
    """Captions kept for each video."""
    cut: str = ""
    """msrvtt: `1k-a` (also where this is empty), `1k-a-7k`, `1k-b`, `full` or `official`."""
    parts: tuple[str, ...] = ()
    """msrvtt: of train, validation and test those wanted; all where this is empty."""
    seed: int = 0
    """Of the splits; llm-like: of all that is drawn."""
    splits: Mapping[str, float] = field(default_factory=lambda: {"train": 0.7, "validation": 0.1, "test": 0.2})
    """Share of each split; they add up to 1. llm-like has its own in `source`; msrvtt takes the share
    of validation in train and validation, where its cut has no validation."""

    def __post_init__(self) -> None:
        check_name("dataset.name", self.name)
        if self.max_captions < 1:
            raise ParamsError(f"dataset.max_captions is {self.max_captions}; it must be at least 1.")
        if abs(sum(self.splits.values()) - 1) > 1e-6 or min(self.splits.values(), default=0) < 0:
            raise ParamsError(f"dataset.splits must be shares that add up to 1, not {dict(self.splits)}.")


@dataclass(frozen=True)
class ModelParams:
    """Encoders of each side; every pair of them is a model."""

    video: tuple[str, ...] = ()
    """Video encoders."""
    text: tuple[str, ...] = ()
    """Text encoders."""


@dataclass(frozen=True)
class EmbedParams:
    """How both sides are embedded."""

    dtype: str = "float16"
    """Of the stored values: `float16` or `float32`."""
    max_failures: float = 0.05
    """Rows that may fail before the stage does: a share below 1, or a count."""
    device: str = "auto"
    """`auto` (a GPU where there is one), `cpu`, `cuda`, `cuda:1`."""
    threads: int = 1
    """CPU threads of the encoder. They move the last bits, so they belong to the fingerprint."""
    decode_workers: int = 2
    """Threads that decode ahead of the encoder. They change nothing but speed."""
    workers: int = 1
    """Processes that embed, each with an encoder of its own. They change nothing but speed."""

    def __post_init__(self) -> None:
        if self.dtype not in ("float16", "float32"):
            raise ParamsError(f"embed.dtype is {self.dtype!r}; it must be float16 or float32.")
        if not self.max_failures >= 0:  # NaN isn't either
            raise ParamsError(f"embed.max_failures is {self.max_failures}; it must not be negative.")
        for name in ("threads", "decode_workers", "workers"):
            if getattr(self, name) < 1:
                raise ParamsError(f"embed.{name} is {getattr(self, name)}; it must be at least 1.")


@dataclass(frozen=True)
class OutputsParams:
    """What a grid compares: the poolings of one output of each encoder, or the output itself where it isn't tokens."""

    video: str = "tokens"
    """Output of the video encoder."""
    text: str = "tokens"
    """Output of the text encoder, such as layer-32."""


@dataclass(frozen=True)
class GridParams(OutputsParams):
    """The table of unaligned poolings."""

    split: str = "test"
    """Split it is measured on."""
    n_shuffles: int = 1000
    """Shuffles of the pairs behind the chance interval."""
    seed: int = 0
    """Of the shuffles."""

    def __post_init__(self) -> None:
        if self.n_shuffles < 20:
            raise ParamsError(f"grid.n_shuffles is {self.n_shuffles}; an interval needs at least 20.")


@dataclass(frozen=True)
class PairsParams:
    """One set of pairs: which caption is shown with which video in training."""

    positives: int = 0
    """Right captions of each video, drawn at random; 0 for all of them."""
    negatives: int = 0
    """Wrong captions of each video, with label 0; fewer in proportion where a video has fewer than `positives`."""
    doubled: bool = False
    """Each pair twice."""
    seed: int = 0
    """Of what is drawn, and of the order."""

    def __post_init__(self) -> None:
        for name in ("positives", "negatives", "seed"):
            if getattr(self, name) < 0:
                raise ParamsError(f"pairs: {name} is {getattr(self, name)}; it must not be negative.")


@dataclass(frozen=True)
class MinedParams(PairsParams):
    """A set of pairs whose wrong captions are hard ones."""

    embedding: str = ""
    """Pooled variant they're mined by, such as text/minilm-l6/mean."""
    among: int = 50
    """Nearest wrong captions of each video, of which `negatives` are drawn."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_variant("mined: embedding", self.embedding)
        if not 1 <= self.negatives <= self.among:
            raise ParamsError(f"mined: negatives is {self.negatives}; it must be 1 to `among` ({self.among}).")


@dataclass(frozen=True)
class LeakageParams:
    """What splits may share."""

    allow: tuple[str, ...] = ()
    """Kinds that don't fail a stage: `file`, `caption`, `near-video`, `near-caption`."""
    near: float = 0.98
    """Cosine, the mean taken off, from which two embeddings are near-duplicates."""
    variants: tuple[str, ...] = ()
    """Pooled variants in which near-duplicates are looked for, such as video/efficientnet-lite0/mean."""

    def __post_init__(self) -> None:
        kinds = ("file", "caption", "near-video", "near-caption")
        for kind in self.allow:
            if kind not in kinds:
                raise ParamsError(f"leakage.allow has {kind!r}. Known: {', '.join(kinds)}.")
        for variant in self.variants:
            check_variant("leakage.variants", variant)
        if not 0 < self.near <= 1:
            raise ParamsError(f"leakage.near is {self.near}; it must be a cosine above 0, at most 1.")


@dataclass(frozen=True)
class DoctorParams:
    """What the doctor looks at, and what doesn't make it fail."""

    video: str = ""
    """Variant whose geometry is checked; `mean` by default, or the first pooled one."""
    text: str = ""
    """The same of the captions."""
    allow: tuple[str, ...] = ()
    """Fatal checks that don't fail it, such as `constant`."""


@dataclass(frozen=True)
class ApplyParams:
    """How what an aligner makes of a whole store is stored."""

    dtype: str = "float16"
    """Of the stored values: `float16` or `float32`."""

    def __post_init__(self) -> None:
        if self.dtype not in ("float16", "float32"):
            raise ParamsError(f"apply: dtype is {self.dtype!r}; it must be float16 or float32.")


@dataclass(frozen=True)
class EvaluateParams:
    """How aligners are measured."""

    split: str = "test"
    """Split they are measured on."""
    ks: tuple[int, ...] = (1, 5, 10)
    """Cut-offs of R@k, hit@k and recall@k."""

    def __post_init__(self) -> None:
        if not self.ks or min(self.ks) < 1:
            raise ParamsError(f"evaluate.ks must be positive cut-offs, not {list(self.ks)}.")


@dataclass(frozen=True)
class ProtocolParams:
    """A protocol that uses the other test queries; every aligner is measured under it too, in files of its own."""

    kind: str = "dual_softmax"
    """`dual_softmax` or `qb_norm`."""
    scale: float = 0.0
    """What scores are multiplied with in the softmax; 0 for the protocol's own, 100 and 20."""
    k: int = 1
    """qb_norm: best items of each query that count as hubs."""

    def __post_init__(self) -> None:
        if self.kind not in ("dual_softmax", "qb_norm"):
            raise ParamsError(f"protocols: kind is {self.kind!r}; it must be dual_softmax or qb_norm.")
        if self.scale < 0 or self.k < 1:
            raise ParamsError(f"protocols: scale is {self.scale}, k is {self.k}; they must be at least 0 and 1.")


@dataclass(frozen=True)
class TrackingParams:
    """Where runs are logged."""

    wandb: str = "offline"
    """`offline`, `online` or `disabled`."""
    project: str = "reelstore"
    """W&B project."""

    def __post_init__(self) -> None:
        if self.wandb not in ("offline", "online", "disabled"):
            raise ParamsError(f"tracking.wandb is {self.wandb!r}; it must be offline, online or disabled.")
