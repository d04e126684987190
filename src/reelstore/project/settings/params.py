"""All of params.yaml, and what its sections owe each other."""

from collections.abc import Mapping
from typing import Annotated, Any, Self, TypeVar

from pydantic import BeforeValidator, PlainValidator, WithJsonSchema, model_validator

from reelstore.datasets.base import DatasetParams
from reelstore.datasets.registry import dataset_params
from reelstore.errors import ParamsError
from reelstore.layout import Layout
from reelstore.project.settings.sections import (
    ApplyParams,
    DoctorParams,
    EmbedParams,
    EvaluateParams,
    GridParams,
    LeakageParams,
    MinedParams,
    ModelParams,
    OutputsParams,
    PairsParams,
    ProtocolParams,
    TrackingParams,
)
from reelstore.project.settings.threshold import Threshold
from reelstore.settings import Name, Settings, refusing, shown, store_name_problem

T = TypeVar("T")


def _encoder_problem(encoder: str) -> str | None:
    side, _, name = encoder.partition("/")
    return store_name_problem(name) if side in ("video", "text") else "must be video/<name> or text/<name>"


def _metric_problem(metric: str) -> str | None:
    is_metric = metric.count(".") == 1 and all(metric.split("."))
    return None if is_metric else "must be <direction>.<metric>, such as t2v.R@01"


def _threshold(value: Any) -> Threshold:
    if isinstance(value, Threshold):
        return value
    if not isinstance(value, str):
        raise ValueError("must be a text such as '>= 0.1'")
    return Threshold.parse(value)


_Dataset = Annotated[DatasetParams, BeforeValidator(lambda one: dataset_params(one) if isinstance(one, dict) else one)]
_OrEmpty = Annotated[T, BeforeValidator(lambda values: {} if values is None else values)]
"""YAML's `name:` with nothing behind it."""
_Options = _OrEmpty[Mapping[str, Any]]
"""Options of an encoder or aligner, which checks them itself."""
_Encoder = Annotated[str, refusing(_encoder_problem)]
_Metric = Annotated[str, refusing(_metric_problem)]
_Limit = Annotated[
    Threshold, PlainValidator(_threshold), WithJsonSchema({"type": "string", "pattern": r"^\s*[<>]=?\s*[-+.0-9]"})
]


class Params(Settings):
    """All of params.yaml."""

    dataset: _Dataset = dataset_params({})
    encoders: Mapping[_Encoder, _Options] = {}
    """What is embedded and then pooled: side/name -> options of the encoder."""
    streams: Mapping[_Encoder, _Options] = {}
    """What is pooled while it is embedded: side/name -> options, and `keep`, the variants to store."""
    model: ModelParams = ModelParams()
    embed: EmbedParams = EmbedParams()
    grid: GridParams = GridParams()
    grids: Mapping[Name, _OrEmpty[OutputsParams]] = {}
    """More grids by name, of other outputs; split and shuffles are those of `grid`."""
    pairs: Mapping[Name, _OrEmpty[PairsParams]] = {"captions": PairsParams()}
    """Sets of pairs by name; an aligner trains on `captions` unless its `pairs` says other."""
    mined: Mapping[Name, _OrEmpty[MinedParams]] = {}
    """More of them, with hard negatives."""
    leakage: LeakageParams = LeakageParams()
    doctor: DoctorParams = DoctorParams()
    aligners: Mapping[Name, _Options] = {}
    """Name -> settings; `kind` says which aligner, the rest is its own."""
    apply: Mapping[str, _OrEmpty[ApplyParams]] = {}
    """Aligners whose joint space is stored, for all rows: name -> how."""
    scorers: Mapping[Name, _Options] = {}
    """Name -> settings of what is measured as stored; `rerank` says how (`none`, `maxsim`, `xclip`), the rest is
    its own."""
    evaluate: EvaluateParams = EvaluateParams()
    protocols: Mapping[Name, _OrEmpty[ProtocolParams]] = {}
    """Name -> a rescoring, such as `{kind: dual_softmax}`."""
    tracking: TrackingParams = TrackingParams()
    thresholds: Mapping[str, _OrEmpty[Mapping[_Metric, _Limit]]] = {}
    """What `reelstore metrics check` guards: model/aligner, `*` for any of them -> `t2v.R@01` -> `>= 0.1`."""

    @model_validator(mode="after")
    def _check_sections(self) -> Self:
        for encoder, options in self.streams.items():
            self._check_stream(encoder, options.get("keep"))
        for side in ("video", "text"):
            for name in getattr(self.model, side):
                if f"{side}/{name}" not in {**self.encoders, **self.streams}:
                    raise _error(
                        "model", side, f"model.{side} names {shown(name)}, but encoders has no line {side}/{name}."
                    )
        self._check_unlike("pairs", "mined")
        self._check_unlike("aligners", "scorers")
        for name in self.apply:
            if name not in self.aligners:
                known = ", ".join(self.aligners)
                raise _error("apply", name, f"apply names {shown(name)}, which aligners doesn't have: {known}.")
        for name, settings in self.aligners.items():
            self._check_aligner(name, settings)
        for name, settings in self.scorers.items():
            if "rerank" not in settings:
                raise _error("scorers", name, f"scorers.{name} has no `rerank`.")
        return self

    def _check_stream(self, encoder: str, keep: object) -> None:
        if encoder in self.encoders:
            raise _error(
                "streams", encoder, f"{encoder} is under encoders and under streams: keep one of the two lines."
            )
        where = f"streams.{encoder}.keep"
        if not isinstance(keep, list) or not keep or not all(isinstance(name, str) for name in keep):
            raise _error("streams", f"{encoder}.keep", f"{where} must list the variants to store, like [mean, last].")
        if len(set(keep)) < len(keep):
            raise _error("streams", f"{encoder}.keep", f"{where} names a variant twice: {shown(keep)}.")

    def _check_unlike(self, first: str, second: str) -> None:
        for name in getattr(self, second):
            if name in getattr(self, first):
                raise _error(
                    second, name, f"{name} is under {first} and under {second}: give one of them another name."
                )

    def _check_aligner(self, name: str, settings: Mapping[str, Any]) -> None:
        if "kind" not in settings:
            raise _error("aligners", name, f"aligners.{name} has no `kind`.")
        for setting in ("kind", "video", "text", "pairs"):
            if not isinstance(settings.get(setting, ""), str):
                found = shown(settings[setting])
                raise _error(
                    "aligners", f"{name}.{setting}", f"aligners.{name}.{setting} is {found}; a text is expected."
                )
        pairs, sets = settings.get("pairs", "captions"), {**self.pairs, **self.mined}
        if pairs not in sets:
            raise _error(
                "aligners",
                f"{name}.pairs",
                f"aligners.{name} trains on the pairs {shown(pairs)}, which pairs and mined don't have. They have: "
                f"{', '.join(sets)}.",
            )

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
    def layout(self) -> Layout:
        """Paths of the dataset, from the project's folder."""
        return Layout(self.dataset.name)


def _error(section: str, name: str, message: str) -> ParamsError:
    return ParamsError(message, key=f"{section}.{name}")
