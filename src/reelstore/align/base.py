"""What an aligner is: fitted on paired rows, it maps both sides into a joint space."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np

from reelstore.align.items import Items
from reelstore.align.pairing import LabelledPairs
from reelstore.arrays import Float32Array, IntArray, Tokens
from reelstore.errors import AlignerError
from reelstore.records import EpochSnapshot
from reelstore.store.read import Rows

Validate = Callable[[Float32Array, Float32Array, IntArray], float]
"""(video, text, video_of_caption) -> text-to-video MRR; higher is better."""


@dataclass(frozen=True)
class LabelledRows:
    """Right and wrong pairs of videos and captions, for losses of labels.

    Attributes:
        videos: view of the n_videos videos.
        captions: view of the n_captions captions.
        pairs: positions in both, and labels, of the n_pairs pairs; they may repeat.
    """

    videos: Rows
    captions: Rows
    pairs: LabelledPairs


@dataclass(frozen=True)
class PairedRows:
    """Videos and their captions as rows of a store.

    Attributes:
        videos: view of the n_videos videos.
        captions: view of the n_captions captions.
        video_of_caption: (n_captions,) position in `videos` of each caption's video.
        labelled: the pairs these come from, where there are wrong ones among them; a loss of labels learns from these.
    """

    videos: Rows
    captions: Rows
    video_of_caption: IntArray
    labelled: LabelledRows | None = None

    def __post_init__(self) -> None:
        if not len(self.videos) or len(self.captions) != len(self.video_of_caption):
            raise AlignerError(f"{len(self.videos)} videos and {len(self.captions)} captions can't be aligned.")

    def video_array(self) -> Float32Array:
        """(n_videos, dim) float32 of a pooled variant, all of it in memory."""
        return self.videos.array().astype(np.float32)

    def text_array(self) -> Float32Array:
        """(n_captions, dim) float32 of a pooled variant, all of it in memory."""
        return self.captions.array().astype(np.float32)


@dataclass(frozen=True)
class FitContext:
    """Where an aligner may leave what isn't its result, and what watches it.

    Attributes:
        checkpoints: folder of live checkpoints, outside of the stage's outputs.
        log: takes a row of numbers for each thing tried or epoch trained; `validation_MRR` is among them.
        say: takes a line of progress.
        observe: takes a look at a training before its first epoch and after each, the embeddings of some rows among
            it; never called by what isn't trained. What it raises breaks training off.
        revision: the project's, as git has it; checkpoints name it.
    """

    checkpoints: Path
    log: Callable[[Mapping[str, float]], None]
    say: Callable[[str], None]
    observe: Callable[[EpochSnapshot], None] = lambda view: None
    revision: str = ""


class Aligner(Protocol):
    """Fitted by `fit`, it maps rows of either side to unit vectors of one space.

    What it is given of a side is `Items`: (n, dim) of a pooled variant, `Tokens` of one that holds tokens. It is
    applied by batches (`mapping.mapped_batches`), so a row's result must depend on that row alone.

    `tensors` and `restore` carry what was learned; with the settings they are all there is to save.

    Attributes:
        layouts: which variants it takes, of `pooled`, `dense` and `ragged`. Others are refused before it is fitted.
    """

    layouts: ClassVar[tuple[str, ...]]

    def fit(self, train: PairedRows, validation: PairedRows, *, validate: Validate, context: FitContext) -> None:
        """Learn from `train`, choose by `validation`, and log what was tried."""
        ...

    def transform_video(self, video: Items) -> Float32Array:
        """n videos -> (n, joint dim) float32, length 1."""
        ...

    def transform_text(self, text: Items) -> Float32Array:
        """n captions -> (n, joint dim) float32, length 1."""
        ...

    def tensors(self) -> dict[str, Float32Array]:
        """What was learned."""
        ...

    def restore(self, tensors: Mapping[str, Float32Array]) -> None:
        """The inverse of `tensors`.

        Raises:
            AlignerError: one is missing or too many, has another shape than settings and the other tensors imply,
                isn't float32, or isn't finite.
        """
        ...

    def width_of(self, side: str) -> int:
        """Of an embedding or token that it takes of a side, once fitted or restored."""
        ...


POOLED = ("pooled",)
TOKENS = ("dense", "ragged")
ANY_LAYOUT = (*POOLED, *TOKENS)


def check_layout(rows: Rows, layouts: tuple[str, ...], kind: str) -> None:
    """Refuse a variant that this kind of aligner doesn't take.

    Raises:
        AlignerError: it holds tokens where embeddings are wanted, or the other way round.
    """
    if rows.layout not in layouts:
        has, wants = ("tokens", "a pooled variant, as mean") if rows.layout in TOKENS else ("embeddings", "tokens")
        raise AlignerError(f"{rows.side}/{rows.encoder}/{rows.variant} holds {has}; {kind} takes {wants}.")


def check_width(items: Items, width: int, side: str) -> None:
    """Refuse items of another width than an aligner was fitted on.

    Raises:
        AlignerError: they are another encoder's.
    """
    values = items.values if isinstance(items, Tokens) else items
    if values.ndim != 2 or values.shape[1] != width:
        what = "tokens" if isinstance(items, Tokens) else "embeddings"
        raise AlignerError(f"This aligner was fitted on {side} {what} {width} wide; these are {values.shape}.")


def embeddings(items: Items, width: int, side: str) -> Float32Array:
    """(n, width) as float32, for an aligner that takes no tokens.

    Raises:
        AlignerError: these are tokens, or have another width: they are another variant's or encoder's.
    """
    check_width(items, width, side)
    if isinstance(items, Tokens):
        raise AlignerError(f"This aligner was fitted on {side} embeddings, not tokens; these are {items}.")
    return items.astype(np.float32, copy=False)
