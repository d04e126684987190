"""Datasets by kind, imported when they're built."""

from inspect import isclass, signature
from typing import Any

from reelstore.datasets.base import DatasetBuilder, DatasetParams
from reelstore.errors import ParamsError, UnknownNameError
from reelstore.registry import Registry
from reelstore.settings import parsed

_BUILT_IN = {
    "emoji": "reelstore.datasets.emoji:build",
    "llm-like": "reelstore.datasets.llm_like:build",
    "folder": "reelstore.datasets.folder:build",
    "msrvtt": "reelstore.datasets.msrvtt:build",
}
DATASETS = Registry("dataset kind", "datasets", _BUILT_IN, extra="encode", extras={"emoji": "emoji"})
"""Kind -> function that builds a dataset; others come through entry points of the group `reelstore.datasets`."""


def dataset_builder(kind: str) -> DatasetBuilder:
    """The adapter of this kind.

    Raises:
        UnknownNameError, MissingExtraError, PluginError: as of `Registry.load`.
    """
    builder: DatasetBuilder = DATASETS.load(kind)
    return builder


def settings_of(kind: str) -> type[DatasetParams]:
    """The settings that a dataset has: the type of its builder's first argument.

    Raises:
        UnknownNameError, MissingExtraError, PluginError: as of `Registry.load`.
    """
    first = next(iter(signature(dataset_builder(kind), eval_str=True).parameters.values()))
    has_own = isclass(first.annotation) and issubclass(first.annotation, DatasetParams)
    return first.annotation if has_own else DatasetParams


def dataset_params(values: Any) -> DatasetParams:
    """A dataset's settings from plain values, those of its kind among them.

    Raises:
        ParamsError: there is no such kind, or a value isn't a setting of it.
        MissingExtraError, PluginError: as of `Registry.load`.
    """
    kind = values.get("kind", "emoji") if isinstance(values, dict) else None
    try:
        settings = settings_of(kind) if isinstance(kind, str) else DatasetParams
    except UnknownNameError as error:
        raise ParamsError(f"dataset.kind: {error}", key="dataset.kind") from None
    return parsed(settings, values, key="dataset")
