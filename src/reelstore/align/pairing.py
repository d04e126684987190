"""Which captions and videos are the pairs of an epoch."""

from typing import Literal, NamedTuple

import numpy as np

from reelstore.arrays import Array, IntArray


class LabelledPairs(NamedTuple):
    """Positive and negative pairs, given one by one; each is in an epoch as often as it is given.

    Attributes:
        video: (n_pairs,) position of each pair's video.
        caption: (n_pairs,) position of its caption.
        label: (n_pairs,) 1 where the caption is the video's own, 0 where it isn't.
    """

    video: IntArray
    caption: IntArray
    label: Array


class ListedPairs:
    """The same pairs in every epoch, listed by video.

    Args:
        listed: the pairs.
        place_of_video: (n_videos,) what pairs are listed by; by default the video's position.

    Attributes:
        labels: (n,) float32, of the pairs in the order of `of`.
    """

    def __init__(self, labelled: LabelledPairs, *, place_of_video: IntArray | None = None) -> None:
        by_place = labelled.video if place_of_video is None else place_of_video[labelled.video]
        order = np.argsort(by_place, kind="stable")
        self._videos: IntArray = labelled.video[order]
        self._captions: IntArray = labelled.caption[order]
        self.labels = np.asarray(labelled.label, dtype=np.float32)[order]

    def __len__(self) -> int:
        return len(self._videos)

    def of(self, epoch: int) -> tuple[IntArray, IntArray]:
        """(n,) videos and (n,) captions."""
        return self._videos, self._captions


class EpochPairs:
    """The positive pairs of any epoch; a video without captions is in none.

    Args:
        video_of_caption: (n_captions,) position of each caption's video.
        n_videos: videos there are.
        captions_per_video: `one`, drawn by (seed, epoch, video), or `all`.
        seed: of what is drawn.
        place_of_video: (n_videos,) what pairs are listed by; by default the video's position.

    Attributes:
        labels: (n,) float32, ones.
    """

    def __init__(
        self,
        video_of_caption: IntArray,
        n_videos: int,
        *,
        captions_per_video: Literal["one", "all"],
        seed: int,
        place_of_video: IntArray | None = None,
    ) -> None:
        place = np.arange(n_videos) if place_of_video is None else place_of_video
        self._seed = seed
        self._one = captions_per_video == "one"
        self._video_of_caption = video_of_caption
        self._captions: IntArray = np.argsort(place[video_of_caption], kind="stable")  # each video's side by side
        counts = np.bincount(video_of_caption, minlength=n_videos)
        by_place = np.argsort(place, kind="stable")
        self._videos: IntArray = by_place[counts[by_place] > 0]
        self._counts = counts[self._videos]
        self._starts = np.cumsum(self._counts) - self._counts
        self._n_videos = n_videos
        self.labels = np.ones(len(self), dtype=np.float32)

    def __len__(self) -> int:
        return len(self._videos) if self._one else len(self._captions)

    def of(self, epoch: int) -> tuple[IntArray, IntArray]:
        """(n,) videos and (n,) captions, listed by video."""
        if not self._one:
            return self._video_of_caption[self._captions], self._captions
        draws = np.random.default_rng([self._seed, epoch]).random(self._n_videos)[self._videos]
        return self._videos, self._captions[self._starts + (draws * self._counts).astype(np.int64)]
