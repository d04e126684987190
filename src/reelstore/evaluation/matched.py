"""Rows of a store -> the videos and captions that can be measured, and what is missing."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reelstore.arrays import IntArray
from reelstore.records import Protocol
from reelstore.store.keys import Keys
from reelstore.store.read import Rows


@dataclass(frozen=True)
class Matched:
    """Videos and captions of one split that have values, by key.

    Attributes:
        videos: `video_id` of each video; one without captions stays, as something to be found wrongly.
        captions: (`video_id`, `caption_index`) of each caption; those of missing videos are left out.
        video_of_caption: (n_captions,) position of each caption's video.
        missing: how many were skipped: `videos`, `captions` without values, and `captions_of_missing_videos`.
        protocol: the published split that these should be all of, if it is one.
    """

    videos: list[str]
    captions: list[tuple[str, int]]
    video_of_caption: IntArray
    missing: dict[str, int]
    protocol: Protocol | None = None

    @property
    def is_whole(self) -> bool:
        """Whether nothing is missing, and nothing is there that the published split doesn't have."""
        if self.protocol is None:
            return not any(self.skipped.values())
        return (len(self.videos), len(self.captions)) == (self.protocol.n_videos, self.protocol.n_captions)

    @property
    def skipped(self) -> dict[str, int]:
        """Rows that the split lacks, as in `health` of metrics files: `missing_videos` and `missing_captions`."""
        if self.protocol is not None:
            n_videos, n_captions = (
                self.protocol.n_videos - len(self.videos),
                self.protocol.n_captions - len(self.captions),
            )
        else:
            n_videos = self.missing["videos"]
            n_captions = self.missing["captions"] + self.missing["captions_of_missing_videos"]
        return {"missing_videos": max(n_videos, 0), "missing_captions": max(n_captions, 0)}

    def counts(self, split: str) -> str:
        """`msrvtt/1k-a/test (998 of 1000 videos, 998 of 1000 captions)`, or `test (147 videos, 1371 captions)`."""
        parts = []
        for what, kept in (("videos", self.videos), ("captions", self.captions)):
            expected = getattr(self.protocol, f"n_{what}", len(kept))
            parts.append(f"{len(kept)} of {expected} {what}" if expected != len(kept) else f"{len(kept)} {what}")
        if self.protocol is None and (skipped := {what: n for what, n in self.missing.items() if n}):
            parts.append(f"skipped: {skipped}")
        name = split if self.protocol is None else self.protocol.name
        return f"{name if self.is_whole or self.protocol is None else f'what is there of {name}'} ({', '.join(parts)})"

    def __repr__(self) -> str:
        return f"Matched({len(self.videos)} videos, {len(self.captions)} captions, missing {self.missing})"


def match(videos: Sequence[Rows], texts: Sequence[Rows], split: str | None) -> Matched:
    """What these variants have of a split (None: of all), in the order of each side's first variant."""
    video_ids, missing_videos = _in_all([rows if split is None else rows.split(split) for rows in videos])
    keys, missing_captions = _in_all([rows if split is None else rows.split(split) for rows in texts])
    owner = video_ids.find(keys.video_ids)
    kept = np.flatnonzero(owner >= 0)
    captions = keys.at(kept)
    return Matched(
        videos=[str(video_id) for video_id in video_ids],
        captions=[(str(key[0]), int(key[1])) for key in captions],
        video_of_caption=owner[kept],
        missing={
            "videos": missing_videos,
            "captions": missing_captions,
            "captions_of_missing_videos": len(keys) - len(captions),
        },
    )


def _in_all(views: Sequence[Rows]) -> tuple[Keys, int]:
    every = views[0].ids
    kept = np.ones(len(every), dtype=np.bool_)
    for view in views:
        kept &= view.ok().ids.find(every) >= 0
    return every.at(np.flatnonzero(kept)).packed(), int((~kept).sum())
