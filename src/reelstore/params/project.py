"""All of params.yaml, and what its sections owe each other."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reelstore.errors import ParamsError
from reelstore.params.names import check_name
from reelstore.params.sections import (
    ApplyParams,
    DatasetParams,
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
from reelstore.params.threshold import Threshold


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
                check_name(section, name)
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
            check_name("aligners", name)
            if "kind" not in settings:
                raise ParamsError(f"aligners.{name} has no `kind`.")
            if settings.get("pairs", "captions") not in sets:
                raise ParamsError(
                    f"aligners.{name} trains on the pairs {settings.get('pairs', 'captions')!r}, which pairs and mined "
                    f"don't have. They have: {', '.join(sets)}."
                )

        for name, settings in self.scorers.items():
            check_name("scorers", name)
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
