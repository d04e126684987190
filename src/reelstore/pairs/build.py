"""Which caption is shown with which video in training, right ones and wrong ones: keys, not embeddings."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from reelstore.arrays import IntArray
from reelstore.errors import DatasetError
from reelstore.records import Caption, Dataset, same_text

TRAINING_SPLITS = ("train", "validation")

Rng = np.random.Generator
WrongCaptions = Callable[[int, int, Rng], IntArray]
"""(video, how many, random numbers) -> positions of that many captions, or fewer, that aren't its own."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A video and the caption (`caption_video_id`, `caption_index`): label 1 where it describes the video, else 0."""

    video_id: str
    caption_video_id: str
    caption_index: int
    label: int = 1


class SplitCaptions:
    """The videos and captions of one split by position, and which captions would be wrong for a video.

    Attributes:
        video_ids: n_videos keys, of the videos that have captions.
        captions: n_captions captions.
        video_of_caption: (n_captions,) position of each caption's video.
        group: (n_videos,) equal numbers for videos of one group.
        text: (n_captions,) equal numbers for captions of one text, whatever their case and blanks.
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

    def right(self, video: int) -> IntArray:
        """Positions of captions that may be right for a video: of its group, or of the text of one of its own."""
        texts = np.unique(self.text[self.own(video)])
        return np.unique(np.concatenate([self._of_group[self.group[video]], *(self._of_text[text] for text in texts)]))

    def random_wrong(self, video: int, n: int, rng: Rng) -> IntArray:
        """`n` wrong captions drawn without replacement, or all there are."""
        right, total = self.right(video), len(self.captions)
        drawn = rng.choice(total, size=min(total, n + len(right)), replace=False)
        return drawn[~np.isin(drawn, right)][:n]


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
    wrong: WrongCaptions | None = None,
) -> list[Pair]:
    """Some right and some wrong captions of every video, shuffled.

    Args:
        captions: of a split.
        positives: captions of each video, drawn without replacement; 0 for all of them.
        negatives: wrong captions of each video; a video with fewer captions than `positives` gets fewer in proportion.
        doubled: whether each pair is there twice.
        seed: of what is drawn, and of the order.
        wrong: draws the wrong captions; by default they are random ones of the split. Captions of a video of the same
            group, or of the text of a right one, are never wrong.

    Raises:
        DatasetError: negatives are asked for, and a video has no wrong caption.
    """
    rng = np.random.default_rng(seed)
    draw = wrong or captions.random_wrong
    pairs = []
    for video, video_id in enumerate(captions.video_ids):
        own = captions.own(video)
        right = rng.permutation(own)[: positives or len(own)]
        share = len(right) / positives if positives else 1
        n_wrong = max(1, round(negatives * share)) if negatives else 0
        found = draw(video, n_wrong, rng)
        if n_wrong and not len(found):
            raise DatasetError(f"Video {video_id!r} has no wrong caption in its split; all are of its group or text.")
        for label, positions in ((1, right), (0, found)):
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
