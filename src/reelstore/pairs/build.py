"""Which caption goes with which video, for training: keys, not embeddings."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from reelstore.errors import DatasetError
from reelstore.records import Dataset

TRAINING_SPLITS = ("train", "validation")


@dataclass(frozen=True, slots=True)
class Pair:
    """A caption and a video; label 1 where the caption describes it, 0 where it doesn't."""

    video_id: str
    caption_index: int
    label: int = 1


def positive_pairs(dataset: Dataset, split: str, *, seed: int) -> list[Pair]:
    """Every caption of a split with its own video, in an order given by the seed."""
    videos = {video.video_id for video in dataset.videos if video.split == split}
    pairs = [Pair(c.video_id, c.caption_index) for c in dataset.captions if c.video_id in videos]
    order = np.random.default_rng(seed).permutation(len(pairs))
    return [pairs[position] for position in order]


def write_pairs(path: Path, pairs: list[Pair]) -> None:
    """JSON lines; the same pairs give the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text("".join(json.dumps(asdict(pair)) + "\n" for pair in pairs), encoding="utf-8")
    os.replace(partial, path)


def read_pairs(path: Path) -> list[Pair]:
    """Pairs as written by `write_pairs`."""
    try:
        return [Pair(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
    except FileNotFoundError:
        raise DatasetError(f"{path} is missing. Run dvc repro pairs, or fetch it with dvc pull.") from None
    except (ValueError, TypeError) as error:
        raise DatasetError(f"{path} isn't a list of pairs: {error}. Run dvc repro pairs.") from error
