"""What an aligner is: fitted on paired rows, it maps both sides into a joint space."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar, Protocol

import numpy as np

from reelstore.align.items import Items
from reelstore.align.pairing import LabelledPairs
from reelstore.arrays import Float32Array, IntArray, Tokens
from reelstore.errors import AlignerError
from reelstore.records import EpochSnapshot
from reelstore.store.read import Rows


class Validate(Protocol):
    """Text-to-video MRR of validation rows in the joint space; higher is better."""

    def __call__(self, *, text: Float32Array, video: Float32Array, video_of_caption: IntArray) -> float:
        """Measure (n_captions, dim) and (n_videos, dim), both float32 of length 1."""
        ...


@dataclass(frozen=True, kw_only=True)
class LabelledRows:
    """Positive and negative pairs of videos and captions, for losses that learn from labels.

    Attributes:
        video: view of the n_videos videos.
        text: view of the n_captions captions.
        pairs: positions in both, and labels, of the n_pairs pairs; they may repeat.
    """

    video: Rows
    text: Rows
    pairs: LabelledPairs


@dataclass(frozen=True, kw_only=True)
class PairedRows:
    """Videos and their captions, as rows of a store or in memory.

    Attributes:
        video: view of the n_videos videos.
        text: view of the n_captions captions.
        video_of_caption: (n_captions,) position in `video` of each caption's video.
        labelled: the pairs these come from, where some are negative; a loss that learns from labels takes these.
    """

    video: Rows
    text: Rows
    video_of_caption: IntArray
    labelled: LabelledRows | None = None

    def __post_init__(self) -> None:
        if not len(self.video) or len(self.text) != len(self.video_of_caption):
            raise AlignerError(f"{len(self.video)} videos and {len(self.text)} captions can't be aligned.")

    def by_side(self) -> dict[str, Rows]:
        """side -> its rows."""
        return {"video": self.video, "text": self.text}


@dataclass(frozen=True)
class FitContext:
    """Where a fit keeps what isn't its result, and what is called as it goes on; all of it may be left out.

    Attributes:
        checkpoints: folder of live checkpoints, outside of the stage's outputs: a fit that was killed continues from
            there. None: a temporary folder.
        log: takes a row of numbers for each setting tried or epoch trained; `validation_MRR` is among them.
        echo: takes a line of progress.
        on_epoch_end: takes the state of a training before its first epoch and after each, with the embeddings of some
            rows; closed forms never call it. What it raises stops the training.
        revision: the project's, as git has it; checkpoints name it.
    """

    checkpoints: Path | None = None
    log: Callable[[Mapping[str, float]], None] = lambda row: None
    echo: Callable[[str], None] = lambda line: None
    on_epoch_end: Callable[[EpochSnapshot], None] = lambda snapshot: None
    revision: str = ""

    @contextmanager
    def checkpoint_folder(self) -> Iterator[Path]:
        """`checkpoints`, or a temporary folder that is removed at the end."""
        if self.checkpoints is not None:
            yield self.checkpoints
            return
        with TemporaryDirectory() as folder:
            yield Path(folder)


NO_CONTEXT = FitContext()
"""No checkpoints that stay, no log."""


class Aligner(Protocol):
    """Fitted by `fit`, it maps rows of either side to unit vectors of one space.

    What it is given of a side is `Items`: (n, dim) of a pooled variant, `Tokens` of one that holds tokens. It is
    applied by batches (`mapping.mapped_batches`), so a row's result must depend on that row alone.

    `tensors` and `restore` carry what was learned; with the settings they are all there is to save.

    Attributes:
        layouts: which variants it takes, of `pooled`, `dense` and `ragged`. Others are refused before it is fitted.
    """

    layouts: ClassVar[tuple[str, ...]]

    def fit(
        self, train: PairedRows, validation: PairedRows, *, validate: Validate, context: FitContext = NO_CONTEXT
    ) -> None:
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
        has, wants = "embeddings", "tokens"
        if rows.layout in TOKENS:
            has, wants = "tokens", "embeddings (of a pooled variant, as mean)"
        name = rows.side if rows.in_memory else f"{rows.side}/{rows.encoder}/{rows.variant}"
        raise AlignerError(f"{name} holds {has}; {kind} takes {wants}.")


def check_width(items: Items, width: int, side: str) -> None:
    """Refuse items of another width than an aligner was fitted on.

    Raises:
        AlignerError: they are another encoder's.
    """
    values = items.values if isinstance(items, Tokens) else items
    if values.ndim != 2 or values.shape[1] != width:
        what = "tokens" if isinstance(items, Tokens) else "embeddings"
        has = f"{values.shape[1]} wide" if values.ndim == 2 else f"{values.shape}"  # rows come in blocks, filled up
        raise AlignerError(f"This aligner was fitted on {side} {what} {width} wide; these are {has}.")


def embeddings(items: Items, width: int, side: str) -> Float32Array:
    """(n, width) as float32, for an aligner that takes no tokens.

    Raises:
        AlignerError: these are tokens, or have another width: they are another variant's or encoder's.
    """
    check_width(items, width, side)
    if isinstance(items, Tokens):
        raise AlignerError(f"This aligner was fitted on {side} embeddings, not tokens; these are {items}.")
    return items.astype(np.float32, copy=False)
