"""params.yaml -> frozen values, checked once, at the border."""

from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from reelstore.errors import ParamsError
from reelstore.params.names import check_name
from reelstore.params.project import Params
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
        check_name(section, str(name))
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
