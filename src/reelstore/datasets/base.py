"""What a dataset adapter is: params in, videos, captions and splits out."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Protocol

from pydantic import Field

from reelstore.records import MAX_SPLITS, Dataset
from reelstore.settings import Seed, Settings, Share, StoreName, refusing

Say = Callable[[str], None]
"""Takes a line of progress."""


def _splits_problem(splits: Mapping[str, float]) -> str | None:
    if any(not 1 <= len(split) <= 100 or not split.isprintable() for split in splits):
        return "must have names of 1 to 100 characters"
    if len(splits) > MAX_SPLITS:
        return f"are {len(splits)} splits; a store has at most {MAX_SPLITS}"
    return None if abs(sum(splits.values()) - 1) <= 1e-6 else "must be shares that add up to 1"


class DatasetParams(Settings):
    """Which videos and captions."""

    name: StoreName = "emoji"
    """Names the folders data/<name>, store/<name>, pairs/<name>, models/<name>, metrics/<name>."""
    kind: str = "emoji"
    """`emoji`, `llm-like` (drawn), `msrvtt`, or `folder` for a directory of your own."""
    source: str = "src/reelstore/datasets/emoji.json"
    """emoji: the list of pinned packages. llm-like: the knobs. folder, msrvtt: the directory of videos."""
    max_captions: Annotated[int, Field(ge=1, le=1_000_000)] = 20
    """Captions kept for each video."""
    seed: Seed = 0
    """Of the splits; llm-like: of all that is drawn."""
    splits: Annotated[Mapping[str, Share], refusing(_splits_problem)] = {"train": 0.7, "validation": 0.1, "test": 0.2}
    """Share of each split; they add up to 1. llm-like has its own in `source`; msrvtt takes the share
    of validation in train and validation, where its cut has no validation."""


@dataclass(frozen=True)
class BuildResult:
    """A dataset, and in words what was left out of it."""

    dataset: Dataset
    left_out: tuple[str, ...] = ()


class DatasetBuilder(Protocol):
    """Fetches or reads a dataset; clips that it fetches go to `folder`/clips.

    The type of `params` says which settings it has: `DatasetParams`, or a subclass with more.
    """

    def __call__(self, params: Any, folder: Path, *, say: Say) -> BuildResult: ...
