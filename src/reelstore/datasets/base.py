"""What a dataset adapter is: params in, videos, captions and splits out."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from reelstore.errors import ParamsError
from reelstore.records import MAX_SPLITS, Dataset
from reelstore.settings import SEED, SHARE, Range, Section, check_store_name, setting, settings_mapping, shown

Say = Callable[[str], None]
"""Takes a line of progress."""


@dataclass(frozen=True)
class DatasetParams(Section):
    """Which videos and captions."""

    name: str = "emoji"
    """Names the folders data/<name>, store/<name>, pairs/<name>, models/<name>, metrics/<name>."""
    kind: str = "emoji"
    """`emoji`, `llm-like` (drawn), `msrvtt`, or `folder` for a directory of your own."""
    source: str = "src/reelstore/datasets/emoji.json"
    """emoji: the list of pinned packages. llm-like: the knobs. folder, msrvtt: the directory of videos."""
    captions: str = "captions.csv"
    """folder: the captions table, relative to source (CSV, TSV, Parquet, Arrow, JSON or JSON lines;
    a caption may be a list)."""
    still: bool = False
    """emoji: also the clips that have one frame."""
    max_captions: int = setting(20, Range(1, 1_000_000))
    """Captions kept for each video."""
    cut: str = ""
    """msrvtt: `1k-a` (also where this is empty), `1k-a-7k`, `1k-b`, `full` or `official`."""
    parts: tuple[str, ...] = ()
    """msrvtt: of train, validation and test those wanted; all where this is empty."""
    seed: int = setting(0, SEED)
    """Of the splits; llm-like: of all that is drawn."""
    splits: Mapping[str, float] = settings_mapping(lambda: {"train": 0.7, "validation": 0.1, "test": 0.2}, SHARE)
    """Share of each split; they add up to 1. llm-like has its own in `source`; msrvtt takes the share
    of validation in train and validation, where its cut has no validation."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_store_name("name", self.name)
        for split in self.splits:
            if not 1 <= len(split) <= 100 or not split.isprintable():
                raise ParamsError(f"splits has {shown(split)}; a name has 1 to 100 characters.", key="splits")
        if len(self.splits) > MAX_SPLITS:
            raise ParamsError(f"splits has {len(self.splits)}; a store has at most {MAX_SPLITS}.", key="splits")
        if abs(sum(self.splits.values()) - 1) > 1e-6:
            raise ParamsError(f"splits must be shares that add up to 1, not {shown(dict(self.splits))}.", key="splits")


@dataclass(frozen=True)
class BuildResult:
    """A dataset, and in words what was left out of it."""

    dataset: Dataset
    left_out: tuple[str, ...] = ()


class DatasetBuilder(Protocol):
    """Fetches or reads a dataset; clips that it fetches go to `folder`/clips."""

    def __call__(self, params: DatasetParams, folder: Path, *, say: Say) -> BuildResult: ...
