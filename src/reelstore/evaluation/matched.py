"""Rows of a store -> the videos and captions that can be measured, and what is missing."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reelstore.ranking import Ints
from reelstore.store.reader import Rows


@dataclass(frozen=True)
class Matched:
    """Videos and captions of one split that have values, by key.

    Attributes:
        videos: `video_id` of each video; one without captions stays, as something to be found wrongly.
        captions: (`video_id`, `caption_index`) of each caption; those of missing videos are left out.
        video_of_caption: (n_captions,) position of each caption's video.
        missing: how many were left out: `videos`, `captions` without values, and `captions_of_missing_videos`.
    """

    videos: list[str]
    captions: list[tuple[str, int]]
    video_of_caption: Ints
    missing: dict[str, int]

    @property
    def left_out(self) -> dict[str, int]:
        """What metrics files say of it: a set with clips missing isn't the set."""
        captions = self.missing["captions"] + self.missing["captions_of_missing_videos"]
        return {"missing_videos": self.missing["videos"], "missing_captions": captions}

    def __repr__(self) -> str:
        return f"Matched({len(self.videos)} videos, {len(self.captions)} captions, missing {self.missing})"


def match(videos: Sequence[Rows], texts: Sequence[Rows], split: str) -> Matched:
    """What all these variants have of a split, in the order of the first variant of each side."""
    video_ids, missing_videos = _in_all([rows.split(split) for rows in videos])
    keys, missing_captions = _in_all([rows.split(split) for rows in texts])
    place = {video_id: number for number, video_id in enumerate(video_ids)}
    captions = [key for key in keys if key[0] in place]
    return Matched(
        videos=[str(video_id) for video_id in video_ids],
        captions=[(str(key[0]), int(key[1])) for key in captions],
        video_of_caption=np.array([place[key[0]] for key in captions], dtype=np.int64),
        missing={
            "videos": missing_videos,
            "captions": missing_captions,
            "captions_of_missing_videos": len(keys) - len(captions),
        },
    )


def _in_all(views: Sequence[Rows]) -> tuple[list[str | tuple[str, int]], int]:
    have = [set(view.ok().ids) for view in views]
    every = views[0].ids
    kept = [key for key in every if all(key in ids for ids in have)]
    return kept, len(every) - len(kept)
