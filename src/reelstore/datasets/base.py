"""What a dataset adapter is: params in, videos, captions and splits out."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from reelstore.params import DatasetParams
from reelstore.records import Dataset

Say = Callable[[str], None]
"""Takes a line of progress."""


@dataclass(frozen=True)
class BuildResult:
    """A dataset, and in words what was left out of it."""

    dataset: Dataset
    left_out: tuple[str, ...] = ()


class DatasetBuilder(Protocol):
    """Fetches or reads a dataset; clips that it fetches go to `folder`/clips."""

    def __call__(self, params: DatasetParams, folder: Path, *, say: Say) -> BuildResult: ...
