"""Datasets by kind, imported when they're built."""

from importlib import import_module

from reelstore.datasets.base import DatasetBuilder
from reelstore.errors import UnknownNameError

DATASETS: dict[str, str] = {
    "emoji": "reelstore.datasets.emoji:build",
    "llm-like": "reelstore.datasets.llm_like:build",
    "folder": "reelstore.datasets.folder:build",
    "msrvtt": "reelstore.datasets.msrvtt:build",
}


def dataset_builder(kind: str) -> DatasetBuilder:
    """The adapter of this kind."""
    if kind not in DATASETS:
        raise UnknownNameError("dataset kind", kind, DATASETS)
    module, _, attribute = DATASETS[kind].partition(":")
    builder: DatasetBuilder = getattr(import_module(module), attribute)
    return builder
