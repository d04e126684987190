"""The values that walk through the house: videos, captions, frames, and what became of them."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple

import numpy as np

from reelstore.arrays import Float32Array, Float64Array, IntArray, UInt8Array
from reelstore.errors import DatasetError, ParamsError

Side = Literal["video", "text"]
SIDES: tuple[Side, ...] = ("video", "text")
MAX_SPLITS = 256
"""Splits of one dataset: a store keeps each row's as one byte."""
MAX_CAPTION_INDEX = 2**31 - 1
"""A store keeps it as int32."""
MAX_NAME_BYTES = 1024
"""UTF-8 bytes of a video_id, a split or a group."""
ARRAY_NAMES = (
    "caption_index", "checksum", "fingerprint", "key_index", "offsets", "split", "status", "values", "video_id",
    "video_id_offsets",
)  # fmt: skip
"""Every array that a variant of a store may have."""
RESERVED_NAMES = frozenset({*ARRAY_NAMES, "c", "zarr.json"})
"""Names of what is inside every variant: no dataset, encoder or variant may be called so."""


def reserved_fault(name: str) -> str | None:
    """Why a dataset, an encoder or a variant of a store can't be called this; None where it can.

    Upper and lower case count as equal, as they do on the file systems of macOS and Windows.

    Example:
        >>> reserved_fault("clip"), reserved_fault("Values")
        (None, 'is reserved: every variant of a store has an array or a file of this name')
    """
    folded = name.casefold()
    if folded in RESERVED_NAMES:
        return "is reserved: every variant of a store has an array or a file of this name"
    if folded.endswith(".partial"):
        return "is reserved: half-written files end in .partial, and DVC is told to ignore them"
    return None


def name_fault(name: str) -> str | None:
    """Why this can't be an id or the name of a split; None where it can.

    Example:
        >>> name_fault("video7010"), name_fault("")
        (None, 'is empty')
    """
    if not name:
        return "is empty"
    if "\x00" in name:
        return "holds a NUL"
    try:
        n_bytes = len(name.encode())
    except UnicodeEncodeError:
        return "isn't text that UTF-8 can hold"
    return f"has {n_bytes} bytes, at most {MAX_NAME_BYTES} are kept" if n_bytes > MAX_NAME_BYTES else None


def first_fault(names: Sequence[str]) -> tuple[int, str] | None:
    """Position of the first name that `name_fault` objects to, and why; None where there is none."""
    joined = "\x00".join(names)  # all at once: a million names are common
    lengths = [len(name) for name in names]
    plain = joined.isascii() and joined.count("\x00") == len(names) - 1
    if plain and min(lengths) > 0 and max(lengths) <= MAX_NAME_BYTES:
        return None
    found = ((position, name_fault(name)) for position, name in enumerate(names))
    return next(((position, fault) for position, fault in found if fault is not None), None)


def refuse_splits(splits: Iterable[str], where: object) -> None:
    """Raise DatasetError where there are more splits than a store has numbers for."""
    if (n_splits := len(set(splits))) > MAX_SPLITS:
        raise DatasetError(f"{where} has {n_splits} splits; a store keeps at most {MAX_SPLITS}.")


def _check_name(kind: str, name: str, where: str) -> None:
    fault = name_fault(name) if isinstance(name, str) else "isn't text"
    if fault is not None:
        raise DatasetError(f"The {kind} of {where} {fault}: {shortened(name)}.")


def _is_text(value: str) -> bool:
    """Whether UTF-8 can hold it: half of a surrogate pair can come from an escape or a file's name."""
    try:
        return value.isascii() or bool(value.encode())
    except UnicodeEncodeError:
        return False


def shortened(value: object) -> str:
    """How messages show a value that may be of any length."""
    if isinstance(value, int) and value.bit_length() > 256:  # Python doesn't print those of thousands of digits
        return f"a number of {value.bit_length()} bits"
    shown = repr(value)
    return shown if len(shown) <= 100 else f"{shown[:60]}…{shown[-20:]} ({len(shown)} characters)"


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
        for kind, name in (("video_id", self.video_id), ("split", self.split), ("group", self.group)):
            _check_name(kind, name, f"a video ({shortened(self.path)})")
        if not isinstance(self.path, str) or "\x00" in self.path or not _is_text(self.path):
            raise DatasetError(f"Video {self.video_id!r}: {shortened(self.path)} isn't a path.")
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
        _check_name("video_id", self.video_id, "a caption")
        if type(self.caption_index) is not int or not 0 <= self.caption_index <= MAX_CAPTION_INDEX:
            raise DatasetError(
                f"A caption of video {self.video_id!r} has the caption_index {shortened(self.caption_index)}; a whole "
                f"number from 0 to {MAX_CAPTION_INDEX} is expected."
            )
        if not isinstance(self.text, str) or not self.text.strip():
            raise DatasetError(f"Caption {self.caption_index} of video {self.video_id!r} is empty.")
        if not _is_text(self.text):
            raise DatasetError(
                f"Caption {self.caption_index} of video {self.video_id!r} isn't text that UTF-8 can hold: "
                f"{shortened(self.text)}."
            )


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
        refuse_splits((video.split for video in self.videos), self.name)
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

    pixels: UInt8Array
    pts_seconds: Float64Array
    indices: IntArray | None = None
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


def _refuse_duplicates(kind: str, keys: Iterable[object]) -> None:
    seen: set[object] = set()
    for key in keys:
        if key in seen:
            raise DatasetError(f"The {kind} {key!r} occurs twice. Keys must be unique.")
        seen.add(key)


def same_text(text: str) -> str:
    """What two captions have in common that are one to a reader: case and blanks don't count."""
    return " ".join(text.lower().split())


def model_name(video: str, text: str) -> str:
    """A pair of encoders: `<video encoder>+<text encoder>`."""
    return f"{video}+{text}"


def split_model(model: str) -> tuple[str, str]:
    """`<video encoder>+<text encoder>` -> both."""
    video, plus, text = model.partition("+")
    if not plus or not video or not text or "+" in text:
        raise ParamsError(
            f"A model is <video encoder>+<text encoder>, as efficientnet-lite0+minilm-l6; not {model!r:.80}."
        )
    return video, text


class Cosines(NamedTuple):
    """Of captions with videos, (n_captions,) float32 each.

    Attributes:
        positive: each caption with its video.
        negative: each caption with another video of the sample, the same one every time.
    """

    positive: Float32Array
    negative: Float32Array


@dataclass(frozen=True, kw_only=True)
class JointSample:
    """Some videos and their captions, mapped into the joint space.

    Attributes:
        video: (n_videos, dim) float32, length 1.
        text: (n_captions, dim) float32, length 1.
        video_of_caption: (n_captions,) position in `video` of each caption's video.
    """

    video: Float32Array
    text: Float32Array
    video_of_caption: IntArray

    def cosines(self) -> Cosines:
        """Of positive pairs and as many negative ones; with a single video there is none, and `negative` is NaN."""
        n_videos, own = len(self.video), self.video_of_caption
        positive = np.einsum("nd,nd->n", self.text, self.video[own])
        if n_videos < 2:
            return Cosines(positive, np.full_like(positive, np.nan))
        # 1 to n_videos - 1 places further on: never its own.
        other = (own + 1 + np.arange(len(own)) % (n_videos - 1)) % n_videos
        return Cosines(positive, np.einsum("nd,nd->n", self.text, self.video[other]))


@dataclass(frozen=True, kw_only=True)
class EpochSnapshot:
    """A training before its first epoch or after one; the samples are of the same rows each time.

    Attributes:
        aligner: its kind, as `mlp`.
        epoch: epochs trained; 0 before the first.
        step: optimizer steps taken.
        loss: name of what is minimised, as `infonce`.
        train_loss: mean over the epoch's batches; NaN before the first.
        constant_loss: the least that loss can be while every pair has the same cosine, as of collapsed towers: 0.25
            for `mse` on as many positive pairs as negative ones, the logarithm of the batch for `infonce`.
        train: training rows, as many videos as validation has (or all), so that both MRRs are among as many.
        validation: the validation rows.
        train_mrr: text-to-video MRR within `train`.
        validation_mrr: text-to-video MRR within `validation`; the best epoch is kept.
    """

    aligner: str
    epoch: int
    step: int
    loss: str
    train_loss: float
    constant_loss: float
    train: JointSample
    validation: JointSample
    train_mrr: float
    validation_mrr: float
