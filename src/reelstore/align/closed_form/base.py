"""What aligners in closed form share: both sides preprocessed, blocks of videos with their captions, and the choice of
settings by validation MRR."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from reelstore.align.base import ANY_LAYOUT, NO_CONTEXT, FitContext, PairedRows, Validate, check_width
from reelstore.align.items import Items, batches, read_items
from reelstore.align.mapping import first_equal
from reelstore.align.preprocess import Preprocessing
from reelstore.align.tensors import Shape, check_tensors, named, under
from reelstore.arrays import Array, Float32Array, Float64Array, IntArray, Tokens, unit_rows
from reelstore.errors import AlignerError, ParamsError
from reelstore.records import SIDES
from reelstore.store.read import Rows

BLOCK_CAPTIONS = 4096

Steps = Sequence[str] | Mapping[str, Sequence[str]]
"""Of both sides, or `{video: [...], text: [...]}`."""
Found = tuple[dict[str, float], dict[str, Float32Array]]
"""Settings tried, and the maps that they give."""


@dataclass(frozen=True)
class VideoBlock:
    """Some training videos and all their captions, preprocessed.

    Attributes:
        video: (n_videos, dim) float32; each has a caption.
        text: (n_captions, dim) float32, those of one video side by side.
        owner: (n_captions,) position in `video` of each caption's video, ascending.
    """

    video: Float32Array
    text: Float32Array
    owner: IntArray

    @property
    def counts(self) -> IntArray:
        """(n_videos,) captions of each video."""
        return np.bincount(self.owner, minlength=len(self.video))

    def text_sums(self) -> Float64Array:
        """(n_videos, dim) float64, the sum of each video's captions."""
        starts = np.searchsorted(self.owner, np.arange(len(self.video)))
        sums: Float64Array = np.add.reduceat(self.text, starts, axis=0, dtype=np.float64)
        return sums

    def mean_text(self) -> Float64Array:
        """(n_videos, dim) float64, the mean of each video's captions."""
        return self.text_sums() / self.counts[:, None]


class ClosedForm(ABC):
    """Preprocessing of each side, then a map of each; a subclass says which maps are tried.

    Args:
        preprocess: steps of both sides, or of each by its name; see `Preprocessing`.
        components: of `whiten`.
        shrinkage: of `whiten`.
    """

    layouts: ClassVar[tuple[str, ...]] = ANY_LAYOUT

    def __init__(self, preprocess: Steps, *, components: int, shrinkage: float) -> None:
        self._sides = {
            side: Preprocessing(steps, components=components, shrinkage=shrinkage)
            for side, steps in steps_of(preprocess).items()
        }
        self._maps: dict[str, Float32Array] = {}

    @abstractmethod
    def _candidates(self, train: PairedRows) -> Iterator[Found]:
        """What to choose from, each with maps by name; the preprocessing is fitted."""

    @abstractmethod
    def _map_video(self, values: Float32Array, maps: Mapping[str, Float32Array]) -> Float32Array:
        """(n, dim) of preprocessed videos -> (n, joint dim), of any length."""

    @abstractmethod
    def _map_text(self, values: Float32Array, maps: Mapping[str, Float32Array]) -> Float32Array:
        """The same of captions."""

    def fit(
        self, train: PairedRows, validation: PairedRows, *, validate: Validate, context: FitContext = NO_CONTEXT
    ) -> None:
        """Fit the preprocessing, then keep the candidate with the best validation MRR."""
        for side, rows in train.by_side().items():
            if rows.layout != "pooled" and "mean" not in self._sides[side].steps:
                raise AlignerError(
                    f"{side}/{rows.encoder}/{rows.variant} holds tokens, and preprocess has no `mean` that makes "
                    "embeddings of them. Put it in front, or name a pooled variant."
                )
            self._sides[side].fit(rows)
        video, place_of_video = self._distinct("video", validation.video)
        text, place_of_text = self._distinct("text", validation.text)
        best = -1.0
        for settings, maps in self._candidates(train):
            mrr = validate(
                text=unit_rows(self._map_text(text, maps))[place_of_text],
                video=unit_rows(self._map_video(video, maps))[place_of_video],
                video_of_caption=validation.video_of_caption,
            )
            context.log({**settings, "validation_MRR": mrr})
            if mrr > best:
                best, self._maps = mrr, maps

    def transform_video(self, video: Items) -> Float32Array:
        """n videos -> (n, joint dim), length 1."""
        return unit_rows(self._map_video(self._applied("video", video), self._maps))

    def transform_text(self, text: Items) -> Float32Array:
        """n captions -> (n, joint dim), length 1."""
        return unit_rows(self._map_text(self._applied("text", text), self._maps))

    def tensors(self) -> dict[str, Float32Array]:
        """The maps, and each side's preprocessing as `video.…` and `text.…`."""
        learned = {f"{side}.{name}": t for side in SIDES for name, t in self._sides[side].tensors().items()}
        return {**learned, **self._maps}

    def restore(self, tensors: Mapping[str, Float32Array]) -> None:
        """The inverse of `tensors`."""
        for side, preprocessing in self._sides.items():
            with named(f"{side}."):
                preprocessing.restore(under(tensors, f"{side}."))
        maps = {name: t for name, t in tensors.items() if not name.startswith(("video.", "text."))}
        self._check_maps(maps, *(self._sides[side].dim_out for side in SIDES))
        self._maps = maps

    def width_of(self, side: str) -> int:
        """Of an embedding or token of this side."""
        return self._sides[side].dim_in

    @abstractmethod
    def _map_shapes(self, video: int, text: int) -> Mapping[str, Shape]:
        """Shapes of the maps, for sides as wide as the preprocessing gives them."""

    def _check_maps(self, maps: Mapping[str, Float32Array], video: int, text: int) -> dict[str, int]:
        """Refuse maps of another shape; a subclass adds what their numbers must be. Gives the widths found."""
        return check_tensors(maps, self._map_shapes(video, text))

    def _blocks(self, train: PairedRows) -> Iterator[VideoBlock]:
        """All training videos that have captions, in order, some at a time."""
        order = np.argsort(train.video_of_caption, kind="stable")
        owner = train.video_of_caption[order]
        start = 0
        while start < len(order):
            stop = min(start + BLOCK_CAPTIONS, len(order))
            # Whole videos: back to where the last one began, or on to its end if it is the only one.
            if stop < len(order):
                begin = int(np.searchsorted(owner, owner[stop]))
                stop = begin if begin > start else int(np.searchsorted(owner, owner[start], side="right"))
            videos, places = np.unique(owner[start:stop], return_inverse=True)
            yield VideoBlock(
                self._read("video", train.video, videos), self._read("text", train.text, order[start:stop]), places
            )
            start = stop

    def _read(self, side: str, rows: Rows, positions: IntArray) -> Float32Array:
        parts = [self._applied(side, read_items(rows, some)) for some in batches(rows, positions)]
        return np.concatenate(parts) if len(parts) > 1 else parts[0]

    def _distinct(self, side: str, rows: Rows) -> tuple[Float32Array, IntArray]:
        """The rows without repetitions, preprocessed, and the place of each row among them: equal rows must tie."""
        kept, place = np.unique(first_equal(rows), return_inverse=True)
        return self._read(side, rows, kept), place

    def _applied(self, side: str, items: Items) -> Float32Array:
        check_width(items, self._sides[side].dim_in, side)
        out = self._sides[side].apply(items)
        if isinstance(out, Tokens):
            raise AlignerError(f"These {side} rows are tokens; preprocess has no `mean` that makes embeddings of them.")
        return out.astype(np.float32, copy=False)


def steps_of(preprocess: Steps) -> dict[str, list[str]]:
    """side -> steps.

    Raises:
        ParamsError: a mapping that isn't of both sides.
    """
    if isinstance(preprocess, Mapping):
        if set(preprocess) != set(SIDES):
            raise ParamsError(f"preprocess has steps for {', '.join(preprocess)}; it needs them for video and text.")
        return {side: list(preprocess[side]) for side in SIDES}
    return {side: list(preprocess) for side in SIDES}


def positive(kind: str, name: str, values: Sequence[float]) -> tuple[float, ...]:
    """A list of settings to try, as a tuple.

    Raises:
        ParamsError: it is empty, or one isn't above 0.
    """
    if not values or min(values) <= 0:
        raise ParamsError(f"{kind}: {name} must be positive, not {list(values)}.")
    return tuple(values)


def drawn(train: PairedRows, n_videos: int, *, seed: int) -> PairedRows:
    """At most so many of the videos that have captions, drawn at random, with all their captions; all of it where
    there aren't more."""
    captioned = np.unique(train.video_of_caption)
    if len(captioned) <= n_videos:
        return train
    chosen = np.sort(np.random.default_rng(seed).choice(captioned, n_videos, replace=False))
    captions = np.flatnonzero(np.isin(train.video_of_caption, chosen))
    return PairedRows(
        video=train.video.at(chosen),
        text=train.text.at(captions),
        video_of_caption=np.searchsorted(chosen, train.video_of_caption[captions]),
    )


def add(total: Any, more: Array) -> Any:
    """The sum of moments; `total` may be 0 in the beginning."""
    if isinstance(total, np.ndarray):
        total += more
        return total
    return more.astype(np.float64)
