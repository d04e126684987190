"""Sections of params.yaml: their values, defaults and what each means."""

from dataclasses import dataclass

from reelstore.bounds import ItemBounds
from reelstore.errors import ParamsError
from reelstore.settings import SEED, STORED_DTYPE, OneOf, Range, Section, check_device, check_variant, setting, shown


@dataclass(frozen=True)
class ModelParams(Section):
    """Encoders of each side; every pair of them is a model."""

    video: tuple[str, ...] = ()
    """Video encoders."""
    text: tuple[str, ...] = ()
    """Text encoders."""


@dataclass(frozen=True)
class EmbedParams(ItemBounds):
    """How both sides are embedded."""

    dtype: str = setting("float16", STORED_DTYPE)
    """Of the stored values: `float16` or `float32`."""
    max_failures: float = setting(0.05, Range(0, 10**12))
    """Rows that may fail before the stage does: a share below 1, or a count."""
    device: str = "auto"
    """`auto` (a GPU where there is one), `cpu`, `cuda`, `cuda:1`."""
    threads: int = setting(1, Range(1, 1024))
    """CPU threads of the encoder. They move the last bits, so they belong to the fingerprint."""
    decode_workers: int = setting(2, Range(1, 256))
    """Threads that decode ahead of the encoder. They change nothing but speed."""
    workers: int = setting(1, Range(1, 256))
    """Processes that embed, each with an encoder of its own. They change nothing but speed."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_device("device", self.device)


@dataclass(frozen=True)
class OutputsParams(Section):
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
    n_shuffles: int = setting(1000, Range(20, 100_000))
    """Shuffles of the pairs behind the chance interval, which needs at least 20."""
    seed: int = setting(0, SEED)
    """Of the shuffles."""


@dataclass(frozen=True)
class PairsParams(Section):
    """One set of pairs: which caption is shown with which video in training."""

    positives: int = setting(0, Range(0, 100_000))
    """Right captions of each video, drawn at random; 0 for all of them."""
    negatives: int = setting(0, Range(0, 100_000))
    """Wrong captions of each video, with label 0; fewer in proportion where a video has fewer than `positives`."""
    doubled: bool = False
    """Each pair twice."""
    seed: int = setting(0, SEED)
    """Of what is drawn, and of the order."""


@dataclass(frozen=True)
class MinedParams(PairsParams):
    """A set of pairs whose wrong captions are hard ones."""

    embedding: str = ""
    """Pooled variant they're mined by, such as text/minilm-l6/mean."""
    among: int = setting(50, Range(1, 1_000_000))
    """Nearest wrong captions of each video, of which `negatives` are drawn."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_variant("embedding", self.embedding)
        if not 1 <= self.negatives <= self.among:
            raise ParamsError(
                f"negatives is {self.negatives}; it must be 1 to `among` ({self.among}).", key="negatives"
            )


@dataclass(frozen=True)
class LeakageParams(Section):
    """What splits may share."""

    allow: tuple[str, ...] = ()
    """Kinds that don't fail a stage: `file`, `caption`, `near-video`, `near-caption`."""
    near: float = setting(0.98, Range(0, 1, above=True))
    """Cosine, the mean taken off, from which two embeddings are near-duplicates."""
    variants: tuple[str, ...] = ()
    """Pooled variants in which near-duplicates are looked for, such as video/efficientnet-lite0/mean."""

    def __post_init__(self) -> None:
        super().__post_init__()
        kinds = ("file", "caption", "near-video", "near-caption")
        for kind in self.allow:
            if kind not in kinds:
                raise ParamsError(f"allow has {shown(kind)}. Known: {', '.join(kinds)}.", key="allow")
        for variant in self.variants:
            check_variant("variants", variant)


@dataclass(frozen=True)
class DoctorParams(Section):
    """What the doctor looks at, and what doesn't make it fail."""

    video: str = ""
    """Variant whose geometry is checked; `mean` by default, or the first pooled one."""
    text: str = ""
    """The same of the captions."""
    allow: tuple[str, ...] = ()
    """Fatal checks that don't fail it, such as `constant`."""


@dataclass(frozen=True)
class ApplyParams(Section):
    """How what an aligner makes of a whole store is stored."""

    dtype: str = setting("float16", STORED_DTYPE)
    """Of the stored values: `float16` or `float32`."""


@dataclass(frozen=True)
class EvaluateParams(Section):
    """How aligners are measured."""

    split: str = "test"
    """Split they are measured on."""
    ks: tuple[int, ...] = setting((1, 5, 10), Range(1, 1_000_000))
    """Cut-offs of R@k, hit@k and recall@k."""

    def __post_init__(self) -> None:
        if not self.ks or min(self.ks) < 1 or len(set(self.ks)) < len(self.ks):
            raise ParamsError(f"ks must be positive cut-offs, each once, not {shown(list(self.ks))}.", key="ks")
        super().__post_init__()


@dataclass(frozen=True)
class ProtocolParams(Section):
    """A rescoring of all test queries' scores; every aligner is measured under it too, in files of its own."""

    kind: str = setting("dual_softmax", OneOf(("dual_softmax", "inverted_softmax", "qb_norm")))
    """`dual_softmax` and `inverted_softmax` use the other test queries; `qb_norm` a bank of training queries."""
    scale: float = setting(0.0, Range(0, 10_000))
    """What scores are multiplied with in the softmax; 0 for the kind's own: 100, 20 and 20."""
    k: int = setting(1, Range(1, 10_000))
    """qb_norm: best items of each query in the bank that are in the activation set."""
    bank: str = "train"
    """qb_norm: split whose captions and videos are the bank."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, default in (("k", 1), ("bank", "train")):
            if self.kind != "qb_norm" and getattr(self, name) != default:
                found = shown(getattr(self, name))
                raise ParamsError(
                    f"{name} is {found}, but {self.kind} has no {name}; it is a setting of qb_norm.", key=name
                )


@dataclass(frozen=True)
class TrackingParams(Section):
    """Where runs are logged."""

    wandb: str = setting("offline", OneOf(("offline", "online", "disabled")))
    """`offline`, `online` or `disabled`."""
    project: str = "reelstore"
    """W&B project."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= len(self.project) <= 128 or not self.project.isprintable() or set(self.project) & set("/\\#?%:"):
            raise ParamsError(
                f"project is {shown(self.project)}; W&B takes 1 to 128 characters, none of them / \\ # ? % :.",
                key="project",
            )
