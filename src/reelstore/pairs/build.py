"""Which caption is shown with which video in training, positive and negative pairs: keys, not embeddings."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from reelstore.arrays import IntArray
from reelstore.errors import DatasetError
from reelstore.records import Caption, Dataset, same_text

TRAINING_SPLITS = ("train", "validation")

Rng = np.random.Generator
NegativeSampler = Callable[[int, int, Rng], IntArray]
"""(video, how many, random numbers) -> positions of that many negative captions, or fewer."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A video and the caption (`caption_video_id`, `caption_index`): label 1 where it describes the video, else 0."""

    video_id: str
    caption_video_id: str
    caption_index: int
    label: int = 1


class SplitCaptions:
    """The videos and captions of one split by position, and which captions may be negatives of a video.

    Attributes:
        video_ids: n_videos keys, of the videos that have captions.
        captions: n_captions captions.
        video_of_caption: (n_captions,) position of each caption's video.
        group: (n_videos,) equal numbers for videos of one group.
        text: (n_captions,) equal numbers for captions of one text; case and blanks don't count.
    """

    def __init__(self, dataset: Dataset, split: str) -> None:
        videos = {video.video_id: video for video in dataset.videos if video.split == split}
        self.captions: list[Caption] = [caption for caption in dataset.captions if caption.video_id in videos]
        if not self.captions:
            raise DatasetError(f"{dataset.name} has no videos with captions in the split {split!r}; change its splits.")
        captioned = {caption.video_id for caption in self.captions}
        self.video_ids = [video_id for video_id in videos if video_id in captioned]
        position = {video_id: number for number, video_id in enumerate(self.video_ids)}
        self.video_of_caption: IntArray = np.array([position[c.video_id] for c in self.captions], dtype=np.int64)
        self.group = _numbered([videos[video_id].group for video_id in self.video_ids])
        self.text = _numbered([same_text(caption.text) for caption in self.captions])
        self._own = _positions(self.video_of_caption)
        self._of_group = _positions(self.group[self.video_of_caption])
        self._of_text = _positions(self.text)

    def own(self, video: int) -> IntArray:
        """Positions of a video's captions."""
        return self._own[video]

    def positives(self, video: int) -> IntArray:
        """Positions of captions that are never negatives of a video: of its group, or of the text of one of its own."""
        texts = np.unique(self.text[self.own(video)])
        return np.unique(np.concatenate([self._of_group[self.group[video]], *(self._of_text[text] for text in texts)]))

    def random_negatives(self, video: int, n: int, rng: Rng) -> IntArray:
        """`n` negative captions drawn without replacement, or all there are."""
        excluded, total = self.positives(video), len(self.captions)
        drawn = rng.choice(total, size=min(total, n + len(excluded)), replace=False)
        return drawn[~np.isin(drawn, excluded)][:n]


def positive_pairs(captions: SplitCaptions, *, seed: int) -> list[Pair]:
    """Every caption of a split with its own video, in an order given by the seed."""
    order = np.random.default_rng(seed).permutation(len(captions.captions))
    chosen = (captions.captions[position] for position in order)
    return [Pair(caption.video_id, caption.video_id, caption.caption_index) for caption in chosen]


def labelled_pairs(
    captions: SplitCaptions,
    *,
    positives: int,
    negatives: int,
    doubled: bool,
    seed: int,
    sampler: NegativeSampler | None = None,
) -> list[Pair]:
    """Some positive and some negative captions of every video, shuffled.

    Args:
        captions: of a split.
        positives: captions of each video, drawn without replacement; 0 for all of them.
        negatives: of each video; a video with fewer captions than `positives` gets fewer in proportion.
        doubled: whether each pair is there twice.
        seed: of what is drawn, and of the order.
        sampler: draws the negatives; by default they are random captions of the split. Captions of a video of the
            same group, or of the text of a positive one, are never negatives.

    Raises:
        DatasetError: negatives are asked for, and a video has no negative caption.
    """
    rng = np.random.default_rng(seed)
    draw = sampler or captions.random_negatives
    pairs = []
    for video, video_id in enumerate(captions.video_ids):
        own = captions.own(video)
        chosen = rng.permutation(own)[: positives or len(own)]
        share = len(chosen) / positives if positives else 1
        n_negatives = max(1, round(negatives * share)) if negatives else 0
        found = draw(video, n_negatives, rng)
        if n_negatives and not len(found):
            raise DatasetError(
                f"Video {video_id!r} has no negative caption in its split; all are of its group or text."
            )
        for label, positions in ((1, chosen), (0, found)):
            for caption in (captions.captions[position] for position in positions):
                pairs.append(Pair(video_id, caption.video_id, caption.caption_index, label))
    pairs *= 2 if doubled else 1
    return [pairs[position] for position in rng.permutation(len(pairs))]


def _positions(numbers: IntArray) -> list[IntArray]:
    """Positions of each number from 0."""
    counts = np.bincount(numbers)
    return np.split(np.argsort(numbers, kind="stable"), np.cumsum(counts)[:-1])


def _numbered(names: list[Any]) -> IntArray:
    return np.unique(np.array(names, dtype=object), return_inverse=True)[1].astype(np.int64)
