"""The values that walk through the house: videos, captions, frames, and what became of them."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
import numpy.typing as npt

from reelstore.errors import DatasetError

Side = Literal["video", "text"]
SIDES: tuple[Side, ...] = ("video", "text")


@dataclass(frozen=True, slots=True)
class Video:
    """One file of a dataset.

    `path` is relative to the dataset's clips folder, with forward slashes; `sha256` is the hex digest of the file's
    bytes; videos of one `group` are near-duplicates and share a split.
    """

    video_id: str
    path: str
    sha256: str
    split: str
    group: str

    def __post_init__(self) -> None:
        if not self.video_id or "\x00" in self.video_id:
            raise DatasetError(f"A video_id is empty or holds a NUL: {self.video_id!r} ({self.path}).")
        path = PurePosixPath(self.path)
        if path.is_absolute() or ".." in path.parts or "\\" in self.path or not self.path:
            raise DatasetError(f"Video {self.video_id!r}: the path {self.path!r} leaves the dataset's folder.")


@dataclass(frozen=True, slots=True)
class Caption:
    """One sentence about a video, keyed by (`video_id`, `caption_index`), unique even where the text repeats."""

    video_id: str
    caption_index: int
    text: str

    def __post_init__(self) -> None:
        if not self.text.strip():
            raise DatasetError(f"Caption {self.caption_index} of video {self.video_id!r} is empty.")


@dataclass(frozen=True, slots=True)
class Protocol:
    """A published split: its name, `msrvtt/1k-a/test`, and what it has when nothing is missing."""

    name: str
    n_videos: int
    n_captions: int


@dataclass(frozen=True)
class Dataset:
    """Videos, captions and splits of one dataset, in the order of its tables.

    Attributes:
        name: of its folders.
        clips: folder that paths of videos start from.
        videos: those that have a file.
        captions: of these videos.
        protocols: split -> the published split it is, where it is one.
        missing: split -> ids of its videos that have no file.
    """

    name: str
    clips: Path
    videos: tuple[Video, ...]
    captions: tuple[Caption, ...]
    protocols: Mapping[str, Protocol] = field(default_factory=dict)
    missing: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _refuse_duplicates("video_id", (video.video_id for video in self.videos))
        _refuse_duplicates("caption", ((c.video_id, c.caption_index) for c in self.captions))
        known = {video.video_id for video in self.videos}
        for caption in self.captions:
            if caption.video_id not in known:
                raise DatasetError(
                    f"Caption {caption.caption_index} names video {caption.video_id!r}, which {self.name} doesn't have."
                )
        split_of_group: dict[str, str] = {}
        for video in self.videos:
            first = split_of_group.setdefault(video.group, video.split)
            if first != video.split:
                raise DatasetError(
                    f"Group {video.group!r} straddles the splits {first!r} and {video.split!r} "
                    f"(video {video.video_id!r}). Near-duplicates must share a split."
                )

    def __repr__(self) -> str:
        splits = dict(Counter(video.split for video in self.videos))
        return f"Dataset({self.name!r}, {len(self.videos)} videos, {len(self.captions)} captions, {splits})"


@dataclass(frozen=True)
class Frames:
    """Sampled pictures of one video.

    Attributes:
        pixels: (n_frames, height, width, 3) uint8 RGB, upright.
        pts_seconds: (n_frames,) float64, when each is shown, from the first frame of the file.
        indices: (n_frames,) int64, which frames of the file these are; None where they don't come from one.
        average_fps: frames per second by the file's header; None where it says nothing.
    """

    pixels: npt.NDArray[np.uint8]
    pts_seconds: npt.NDArray[np.float64]
    indices: npt.NDArray[np.int64] | None = None
    average_fps: float | None = None

    def __post_init__(self) -> None:
        if self.pixels.ndim != 4 or self.pixels.shape[-1] != 3 or self.pixels.dtype != np.uint8:
            raise ValueError(f"frames must be (n, height, width, 3) uint8, not {self.pixels.shape} {self.pixels.dtype}")
        if self.pts_seconds.shape != (len(self.pixels),):
            raise ValueError(f"{len(self.pixels)} frames but pts_seconds is {self.pts_seconds.shape}")

    def __len__(self) -> int:
        return len(self.pixels)

    def __repr__(self) -> str:
        return f"Frames{self.pixels.shape}"


@dataclass(frozen=True, slots=True)
class Failure:
    """An item that could not be embedded, and why."""

    video_id: str
    reason: str


def _refuse_duplicates(kind: str, keys: Iterable[object]) -> None:
    seen: set[object] = set()
    for key in keys:
        if key in seen:
            raise DatasetError(f"The {kind} {key!r} occurs twice. Keys must be unique.")
        seen.add(key)
