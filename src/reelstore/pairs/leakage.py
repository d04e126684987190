"""What one split gives away of another."""

from dataclasses import dataclass
from itertools import combinations

from reelstore.records import Dataset


@dataclass(frozen=True)
class Leakage:
    """Captions of one split whose text a caption of the other has too, and files that both hold."""

    splits: tuple[str, str]
    n_captions_shared: int
    n_files_shared: int


def leakage(dataset: Dataset) -> list[Leakage]:
    """Shared texts (case and blanks ignored) and shared files between every two splits.

    That groups don't straddle splits a `Dataset` makes sure of itself. Short captions do repeat ("dance"); a shared
    file is always a mistake.
    """
    splits = sorted({video.split for video in dataset.videos})
    split_of = {video.video_id: video.split for video in dataset.videos}
    texts: dict[str, list[str]] = {split: [] for split in splits}
    files: dict[str, set[str]] = {split: set() for split in splits}
    for caption in dataset.captions:
        texts[split_of[caption.video_id]].append(" ".join(caption.text.lower().split()))
    for video in dataset.videos:
        files[video.split].add(video.sha256)
    found = []
    for first, second in combinations(splits, 2):
        known = set(texts[first])
        n_captions = sum(text in known for text in texts[second])
        found.append(Leakage((first, second), n_captions, len(files[first] & files[second])))
    return found
