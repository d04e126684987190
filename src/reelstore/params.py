"""params.yaml as frozen values, checked once, at the border."""

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any

from reelstore.errors import ParamsError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


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
        _check_name("dataset.name", self.name)
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
        _check_variant("mined: embedding", self.embedding)
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
            _check_variant("leakage.variants", variant)
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


_THRESHOLD = re.compile(r"(<|<=|>|>=)\s*([-+]?[0-9.]+(?:[eE][-+]?[0-9]+)?)")


@dataclass(frozen=True)
class Threshold:
    """What a metric must be, such as `>= 0.1`."""

    operator: str
    value: float

    @classmethod
    def parse(cls, text: str, *, name: str = "a threshold") -> "Threshold":
        """From `<`, `<=`, `>` or `>=` and a number."""
        found = _THRESHOLD.fullmatch(text.strip())
        if found is None:
            raise ParamsError(f"{name} is {text!r}; it must be <, <=, > or >= and a number, such as '>= 0.1'.")
        return cls(found[1], float(found[2]))

    def holds(self, value: float) -> bool:
        """Whether a value is as it must be."""
        compare = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
        return bool(compare[self.operator](value, self.value))

    def __str__(self) -> str:
        return f"{self.operator} {self.value:g}"


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


@dataclass(frozen=True)
class Params:
    """All of params.yaml."""

    dataset: DatasetParams = field(default_factory=DatasetParams)
    encoders: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """What is embedded and then pooled: side/name -> options of the encoder."""
    streams: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """What is pooled while it is embedded: side/name -> options, and `keep`, the variants to store."""
    model: ModelParams = field(default_factory=ModelParams)
    embed: EmbedParams = field(default_factory=EmbedParams)
    grid: GridParams = field(default_factory=GridParams)
    grids: Mapping[str, OutputsParams] = field(default_factory=dict)
    """More grids by name, of other outputs; split and shuffles are those of `grid`."""
    pairs: Mapping[str, PairsParams] = field(default_factory=lambda: {"captions": PairsParams()})
    """Sets of pairs by name; an aligner trains on `captions` unless its `pairs` says other."""
    mined: Mapping[str, MinedParams] = field(default_factory=dict)
    """More of them, with hard negatives."""
    leakage: LeakageParams = field(default_factory=LeakageParams)
    doctor: DoctorParams = field(default_factory=DoctorParams)
    aligners: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Name -> settings; `kind` says which aligner, the rest is its own."""
    apply: Mapping[str, ApplyParams] = field(default_factory=dict)
    """Aligners whose joint space is stored, for all rows: name -> how."""
    scorers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Name -> settings of what is measured as stored; `rerank` says how (`none`, `maxsim`, `xclip`), the rest is
    its own."""
    evaluate: EvaluateParams = field(default_factory=EvaluateParams)
    protocols: Mapping[str, ProtocolParams] = field(default_factory=dict)
    """Name -> a protocol that uses the other test queries, such as `{kind: dual_softmax}`."""
    tracking: TrackingParams = field(default_factory=TrackingParams)
    thresholds: Mapping[str, Mapping[str, Threshold]] = field(default_factory=dict)
    """What `reelstore metrics check` guards: model/aligner, `*` for any of them -> `t2v.R@01` -> `>= 0.1`."""

    def __post_init__(self) -> None:
        for section, encoders in (("encoders", self.encoders), ("streams", self.streams)):
            for encoder in encoders:
                side, _, name = encoder.partition("/")
                if side not in ("video", "text"):
                    raise ParamsError(f"{section}: {encoder!r} must be video/<name> or text/<name>.")
                _check_name(section, name)
        for encoder, options in self.streams.items():
            if encoder in self.encoders:
                raise ParamsError(f"{encoder} is under encoders and under streams: keep one of the two lines.")
            keep = options.get("keep")
            if not isinstance(keep, list) or not keep or not all(isinstance(name, str) for name in keep):
                raise ParamsError(f"streams.{encoder}.keep must list the variants to store, like [mean, last].")
            if len(set(keep)) < len(keep):
                raise ParamsError(f"streams.{encoder}.keep names a variant twice: {keep}.")
        for side in ("video", "text"):
            for name in getattr(self.model, side):
                if f"{side}/{name}" not in {**self.encoders, **self.streams}:
                    raise ParamsError(f"model.{side} names {name!r}, but encoders has no line {side}/{name}.")
        for name in self.mined:
            if name in self.pairs:
                raise ParamsError(f"{name} is under pairs and under mined: give one of them another name.")
        for name in self.apply:
            if name not in self.aligners:
                raise ParamsError(f"apply names {name!r}, which aligners doesn't have: {', '.join(self.aligners)}.")
        sets = {**self.pairs, **self.mined}
        for name, settings in self.aligners.items():
            _check_name("aligners", name)
            if "kind" not in settings:
                raise ParamsError(f"aligners.{name} has no `kind`.")
            if settings.get("pairs", "captions") not in sets:
                raise ParamsError(
                    f"aligners.{name} trains on the pairs {settings.get('pairs', 'captions')!r}, which pairs and mined "
                    f"don't have. They have: {', '.join(sets)}."
                )

        for name, settings in self.scorers.items():
            _check_name("scorers", name)
            if name in self.aligners:
                raise ParamsError(f"{name} is under aligners and under scorers: give one of them another name.")
            if "rerank" not in settings:
                raise ParamsError(f"scorers.{name} has no `rerank`.")

    def encoder_options(self, encoder: str) -> Mapping[str, Any]:
        """Options of `side/name`."""
        every = {**self.encoders, **self.streams}
        if encoder not in every:
            raise ParamsError(f"encoders has no line {encoder!r}. Known: {', '.join(every)}.")
        return {name: value for name, value in every[encoder].items() if name != "keep" or encoder in self.encoders}

    def keep(self, encoder: str) -> list[str] | None:
        """Variants to store of `side/name`; None where it is its tokens, which another stage pools."""
        return list(self.streams[encoder]["keep"]) if encoder in self.streams else None

    @property
    def data_folder(self) -> Path:
        """Folder of the dataset's tables."""
        return Path("data") / self.dataset.name

    @property
    def store_folder(self) -> Path:
        """Folder of the dataset's store."""
        return Path("store") / self.dataset.name


def load_params(path: Path = Path("params.yaml")) -> Params:
    """Params from a YAML file; unknown keys and values of the wrong kind are errors that name the key."""
    import yaml

    if not path.is_file():
        raise ParamsError(f"No {path} here. Run reelstore from the project's folder, the one with dvc.yaml.")
    try:
        raw = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise ParamsError(f"{path} isn't valid YAML: {error}") from error
    return parse_params(raw or {}, source=str(path))


def parse_params(raw: Mapping[str, Any], *, source: str = "params") -> Params:
    """Params from plain values, as read from YAML."""
    if not isinstance(raw, Mapping):
        raise ParamsError(f"{source} must be a mapping, not {type(raw).__name__}.")
    sections: dict[str, Callable[[Mapping[str, Any]], Any]] = {
        "dataset": lambda values: _fill(DatasetParams, values, "dataset"),
        "model": lambda values: _fill(ModelParams, values, "model"),
        "embed": lambda values: _fill(EmbedParams, values, "embed"),
        "grid": lambda values: _fill(GridParams, values, "grid"),
        "grids": lambda values: _fill_each(OutputsParams, values, "grids"),
        "pairs": lambda values: _fill_each(PairsParams, values, "pairs"),
        "mined": lambda values: _fill_each(MinedParams, values, "mined"),
        "apply": lambda values: _fill_each(ApplyParams, values, "apply"),
        "leakage": lambda values: _fill(LeakageParams, values, "leakage"),
        "doctor": lambda values: _fill(DoctorParams, values, "doctor"),
        "evaluate": lambda values: _fill(EvaluateParams, values, "evaluate"),
        "protocols": lambda values: _fill_each(ProtocolParams, values, "protocols"),
        "tracking": lambda values: _fill(TrackingParams, values, "tracking"),
        "encoders": lambda values: _options(values, "encoders"),
        "streams": lambda values: _options(values, "streams"),
        "aligners": lambda values: _options(values, "aligners"),
        "scorers": lambda values: _options(values, "scorers"),
        "thresholds": _thresholds,
    }
    unknown = sorted(set(raw) - set(sections))
    if unknown:
        raise ParamsError(f"{source}: unknown key {unknown[0]!r}. Known: {', '.join(sorted(sections))}.")
    parsed = {}
    for key, value in raw.items():
        if not isinstance(value, Mapping):
            raise ParamsError(f"{source}: {key} must be a mapping, not {value!r}.")
        parsed[key] = sections[key](value)
    return Params(**parsed)


def _fill(cls: type, values: Mapping[str, Any], section: str) -> Any:
    defaults = {f.name: f.default if f.default_factory is MISSING else f.default_factory() for f in fields(cls)}
    for key, value in values.items():
        if key not in defaults:
            raise ParamsError(f"{section}.{key} is unknown. Known: {', '.join(defaults)}.")
        default = defaults[key]
        if not _same_kind(value, default):
            raise ParamsError(f"{section}.{key} is {value!r}; a {_kind(default)} is expected.")
    return cls(**{key: tuple(v) if isinstance(v, list) else v for key, v in values.items()})


def _fill_each(cls: type, values: Mapping[str, Any], section: str) -> dict[str, Any]:
    filled = {}
    for name, settings in values.items():
        _check_name(section, str(name))
        if settings is not None and not isinstance(settings, Mapping):
            raise ParamsError(f"{section}.{name} must be a mapping, not {settings!r}.")
        filled[str(name)] = _fill(cls, settings or {}, f"{section}.{name}")
    return filled


def _same_kind(value: Any, default: Any) -> bool:
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(value, bool) and isinstance(default, bool)
    if isinstance(default, float):
        return isinstance(value, int | float)
    if isinstance(default, tuple):
        return isinstance(value, list) and all(_same_kind(item, default[0] if default else "") for item in value)
    if isinstance(default, Mapping):
        return isinstance(value, Mapping) and all(
            isinstance(name, str) and _same_kind(share, 0.0) for name, share in value.items()
        )
    return isinstance(value, type(default))


def _kind(default: Any) -> str:
    return {bool: "true or false", int: "whole number", float: "number", str: "text", tuple: "list"}.get(
        type(default), "mapping"
    )


def _options(values: Mapping[str, Any], section: str) -> dict[str, dict[str, Any]]:
    options = {}
    for name, settings in values.items():
        if settings is not None and not isinstance(settings, Mapping):
            raise ParamsError(f"{section}.{name} must be a mapping, not {settings!r}.")
        options[str(name)] = dict(settings or {})
    return options


def _thresholds(values: Mapping[str, Any]) -> dict[str, dict[str, Threshold]]:
    parsed: dict[str, dict[str, Threshold]] = {}
    for result, metrics in _options(values, "thresholds").items():
        for metric, text in metrics.items():
            name = f"thresholds.{result}: {metric}"
            if metric.count(".") != 1 or not all(metric.split(".")):
                raise ParamsError(f"{name} must be <direction>.<metric>, such as t2v.R@01.")
            parsed.setdefault(result, {})[metric] = Threshold.parse(str(text), name=name)
    return parsed


def _check_variant(key: str, variant: str) -> None:
    side, *names = variant.split("/")
    if side not in ("video", "text") or len(names) != 2 or not all(re.fullmatch(r"[A-Za-z0-9_.-]+", n) for n in names):
        raise ParamsError(f"{key} is {variant!r}; it must be <side>/<encoder>/<variant>, as text/minilm-l6/mean.")


def _check_name(key: str, name: str) -> None:
    if not _NAME.fullmatch(name):
        raise ParamsError(f"{key}: {name!r} must be letters, digits, - and _ (it names folders and DVC stages).")
