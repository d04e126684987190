"""What an aligner is: fitted on paired rows, it maps both sides into a joint space."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from reelstore.align.epoch_view import EpochView
from reelstore.errors import AlignerError
from reelstore.store.reader import Rows

Floats = npt.NDArray[np.float32]
Validate = Callable[[Floats, Floats, npt.NDArray[np.int64]], float]
"""(video, text, video_of_caption) -> text-to-video MRR; higher is better."""


@dataclass(frozen=True)
class PairedRows:
    """Videos and their captions as rows of a store.

    Attributes:
        videos: view of the n_videos videos.
        captions: view of the n_captions captions.
        video_of_caption: (n_captions,) position in `videos` of each caption's video.
    """

    videos: Rows
    captions: Rows
    video_of_caption: npt.NDArray[np.int64]

    def __post_init__(self) -> None:
        if not len(self.videos) or len(self.captions) != len(self.video_of_caption):
            raise AlignerError(f"{len(self.videos)} videos and {len(self.captions)} captions can't be aligned.")
        for rows in (self.videos, self.captions):
            if rows.layout != "pooled":
                raise AlignerError(
                    f"{rows.side}/{rows.encoder}/{rows.variant} holds tokens; aligners take a pooled variant, as mean."
                )

    def video_array(self) -> Floats:
        """(n_videos, dim) float32."""
        return self.videos.array().astype(np.float32)

    def text_array(self) -> Floats:
        """(n_captions, dim) float32."""
        return self.captions.array().astype(np.float32)


@dataclass(frozen=True)
class Workplace:
    """Where an aligner may leave what isn't its result, and what watches it.

    Attributes:
        checkpoints: folder of live checkpoints, outside of the stage's outputs.
        log: takes a row of numbers for each thing tried or epoch trained; `validation_MRR` is among them.
        say: takes a line of progress.
        observe: takes a look at a training before its first epoch and after each, the embeddings of some rows among
            it; never called by what isn't trained. What it raises breaks training off.
    """

    checkpoints: Path
    log: Callable[[Mapping[str, float]], None]
    say: Callable[[str], None]
    observe: Callable[[EpochView], None] = lambda view: None


class Aligner(Protocol):
    """Fitted by `fit`, it maps rows of either side to unit vectors of one space.

    `tensors` and `restore` carry what was learned; with the settings they are all there is to save.
    """

    def fit(self, train: PairedRows, validation: PairedRows, *, validate: Validate, workplace: Workplace) -> None:
        """Learn from `train`, choose by `validation`, and log what was tried."""
        ...

    def transform_video(self, video: npt.NDArray[np.floating[Any]]) -> Floats:
        """(n, video dim) -> (n, joint dim) float32, length 1."""
        ...

    def transform_text(self, text: npt.NDArray[np.floating[Any]]) -> Floats:
        """(n, text dim) -> (n, joint dim) float32, length 1."""
        ...

    def tensors(self) -> dict[str, Floats]:
        """What was learned."""
        ...

    def restore(self, tensors: Mapping[str, Floats]) -> None:
        """The inverse of `tensors`."""
        ...


def check_width(values: npt.NDArray[np.floating[Any]], width: int, side: str) -> Floats:
    """(n, width) as float32.

    Raises:
        AlignerError: the embeddings have another width: they are of another encoder.
    """
    if values.ndim != 2 or values.shape[1] != width:
        raise AlignerError(f"This aligner was fitted on {side} embeddings {width} wide; these are {values.shape}.")
    return values.astype(np.float32, copy=False)
