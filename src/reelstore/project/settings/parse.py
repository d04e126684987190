"""params.yaml -> frozen values, checked once, at the border."""

from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reelstore.datasets.base import DatasetParams
from reelstore.errors import ParamsError
from reelstore.project.settings.params import Params
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
from reelstore.settings import check_plain, shown

if TYPE_CHECKING:
    from reelstore.project.settings.document import Document


def load_params(path: Path = Path("params.yaml")) -> Params:
    """Params from a YAML file; what is unknown, of the wrong kind or out of range is an error with its key and line.

    Raises:
        ParamsError: the file isn't there, isn't YAML, or its values aren't params.
        IrregularFileError, OSError: it isn't a regular file, or can't be read.
    """
    return params_of(load_document(path), source=str(path))


def load_document(path: Path = Path("params.yaml")) -> "Document":
    """The file's values, not yet checked, and the line of each; errors as of `load_params`."""
    from reelstore.project.settings.document import read_document

    try:
        return read_document(path)
    except FileNotFoundError:
        raise ParamsError(f"No {path} here. Run reelstore from the project's folder, the one with dvc.yaml.") from None


def params_of(document: "Document", *, source: str) -> Params:
    """Params from a file's values; errors name the line."""
    values = {} if document.values is None else document.values
    try:
        return parse_params(values, source=source)
    except ParamsError as error:
        line = document.line(error.key)
        if line is None:
            raise
        raise ParamsError(f"{source}, line {line}: {str(error).removeprefix(f'{source}: ')}", key=error.key) from None


def parse_params(raw: Mapping[str, Any], *, source: str = "params") -> Params:
    """Params from plain values, as read from YAML."""
    if not isinstance(raw, Mapping):
        raise ParamsError(f"{source} must be a mapping, not {shown(raw)}.")
    check_plain(raw)
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
        raise ParamsError(
            f"{source}: unknown key {shown(unknown[0])}. Known: {', '.join(sorted(sections))}.", key=unknown[0]
        )
    parsed = {}
    for key, value in raw.items():
        if not isinstance(value, Mapping):
            raise ParamsError(f"{source}: {key} must be a mapping, not {shown(value)}.", key=key)
        parsed[key] = sections[key](value)
    return Params(**parsed)


def _fill(cls: type, values: Mapping[str, Any], section: str) -> Any:
    defaults = {f.name: f.default if f.default_factory is MISSING else f.default_factory() for f in fields(cls)}
    for name, value in values.items():
        key = f"{section}.{name}"
        if name not in defaults:
            raise ParamsError(f"{key} is unknown. Known: {', '.join(defaults)}.", key=key)
        if not _same_kind(value, defaults[name]):
            hint = " Put it in quotes." if isinstance(defaults[name], str) and isinstance(value, int | float) else ""
            raise ParamsError(f"{key} is {shown(value)}; a {_kind(defaults[name])} is expected.{hint}", key=key)
    try:
        return cls(**{name: tuple(v) if isinstance(v, list) else v for name, v in values.items()})
    except ParamsError as error:  # a section doesn't know where it stands
        raise ParamsError(f"{section}.{error}", key=f"{section}.{error.key}") from None


def _fill_each(cls: type, values: Mapping[str, Any], section: str) -> dict[str, Any]:
    return {name: _fill(cls, settings, f"{section}.{name}") for name, settings in _options(values, section).items()}


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
        key = f"{section}.{name}"
        if settings is not None and not isinstance(settings, Mapping):
            raise ParamsError(f"{key} must be a mapping, not {shown(settings)}.", key=key)
        options[name] = dict(settings or {})
    return options


def _thresholds(values: Mapping[str, Any]) -> dict[str, dict[str, Threshold]]:
    parsed: dict[str, dict[str, Threshold]] = {}
    for result, metrics in _options(values, "thresholds").items():
        for metric, text in metrics.items():
            name, key = f"thresholds.{result}: {metric}", f"thresholds.{result}.{metric}"
            if metric.count(".") != 1 or not all(metric.split(".")):
                raise ParamsError(f"{name} must be <direction>.<metric>, such as t2v.R@01.", key=key)
            if not isinstance(text, str):
                raise ParamsError(f"{name} is {shown(text)}; a text such as '>= 0.1' is expected.", key=key)
            parsed.setdefault(result, {})[metric] = Threshold.parse(text, name=name, key=key)
    return parsed
