"""The dataset stage: a published dataset or a folder of one's own -> tables of videos, captions and splits."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from reelstore.datasets.base import DatasetParams
from reelstore.datasets.index import write_index
from reelstore.datasets.registry import DATASETS, dataset_builder
from reelstore.records import Dataset


@dataclass(frozen=True)
class DatasetReport:
    """What was built, and in words what was left out."""

    dataset: Dataset
    left_out: tuple[str, ...]

    def summary(self) -> str:
        """Lines for people."""
        videos = Counter(video.split for video in self.dataset.videos)
        split_of = {video.video_id: video.split for video in self.dataset.videos}
        captions = Counter(split_of[caption.video_id] for caption in self.dataset.captions)
        lines = [f"{self.dataset.name}: {len(self.dataset.videos)} videos, {len(self.dataset.captions)} captions"]
        lines += [f"  {split}: {videos[split]} videos, {captions[split]} captions" for split in videos]
        return "\n".join([*lines, *(f"  left out: {words}" for words in self.left_out)])


def build_dataset(params: DatasetParams, *, folder: Path, progress: Callable[[str], None]) -> DatasetReport:
    """Build the dataset that params name, and write its tables into `folder`."""
    build = dataset_builder(params.kind)
    with DATASETS.packages(params.kind):
        built = build(params, folder, say=progress)
    write_index(folder, built.dataset, kind=params.kind)
    return DatasetReport(built.dataset, built.left_out)
