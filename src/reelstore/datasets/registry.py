"""Datasets by kind, imported when they're built."""

from reelstore.datasets.base import DatasetBuilder
from reelstore.registry import Registry

_BUILT_IN = {
    "emoji": "reelstore.datasets.emoji:build",
    "llm-like": "reelstore.datasets.llm_like:build",
    "folder": "reelstore.datasets.folder:build",
    "msrvtt": "reelstore.datasets.msrvtt:build",
}
DATASETS = Registry("dataset kind", "datasets", _BUILT_IN, extra="emoji")
"""Kind -> function that builds a dataset; others come through entry points of the group `reelstore.datasets`."""


def dataset_builder(kind: str) -> DatasetBuilder:
    """The adapter of this kind.

    Raises:
        UnknownNameError, MissingExtraError, PluginError: as of `Registry.load`.
    """
    builder: DatasetBuilder = DATASETS.load(kind)
    return builder
