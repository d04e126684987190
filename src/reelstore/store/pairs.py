"""Videos and their captions as rows of two variants: what aligners are fitted on and evaluations measure."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypedDict, overload

import numpy as np

from reelstore.arrays import IntArray
from reelstore.errors import StoreError
from reelstore.extras import needed
from reelstore.store.read import Rows

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Unpack

    import torch

    from reelstore.align.loading.batches import Prepare
    from reelstore.align.loading.loader import PairLoader
    from reelstore.align.loading.ordered import OrderedPairs

    class LoaderOptions(TypedDict, total=False):
        """Of any order; see `align.loading.PairLoader`."""

        tokens: Literal["padded", "ragged"]
        dtype: torch.dtype | None
        prepare: Mapping[str, Prepare] | None

    class ShuffleOptions(LoaderOptions, total=False):
        """Of a shuffled order."""

        captions_per_video: Literal["one", "all"]
        memory_bytes: int | None
        block_rows: int
        window_blocks: int
        rank: int
        world_size: int


@dataclass(frozen=True)
class PairedVariants:
    """Videos, their captions, and which video each caption is of.

    Attributes:
        video: view of the n_videos videos.
        text: view of the n_captions captions.
        video_of_caption: (n_captions,) int64, position in `video` of each caption's video.
        n_skipped: captions of these videos without a value, or whose video has none or isn't stored.
    """

    video: Rows
    text: Rows
    video_of_caption: IntArray
    n_skipped: int = 0

    def __len__(self) -> int:
        """Number of pairs: each caption with its video."""
        return len(self.text)

    def __repr__(self) -> str:
        skipped = f", {self.n_skipped} captions skipped" if self.n_skipped else ""
        return f"PairedVariants({len(self.video)} videos, {len(self.text)} captions{skipped})"

    @overload
    def loader(
        self, *, batch_size: int, seed: int = 0, shuffle: Literal[True] = True, **options: "Unpack[ShuffleOptions]"
    ) -> "PairLoader": ...
    @overload
    def loader(
        self, *, batch_size: int, seed: int = 0, shuffle: Literal[False], **options: "Unpack[LoaderOptions]"
    ) -> "OrderedPairs": ...
    def loader(
        self, *, batch_size: int, seed: int = 0, shuffle: bool = True, **options: Any
    ) -> "PairLoader | OrderedPairs":
        """Batches of pairs as tensors, for any training loop or Lightning module. Needs the extra `train`.

        Args:
            batch_size: pairs in a batch.
            seed: of the order, and of the captions drawn.
            shuffle: true: for training. Each epoch has another order and of each video one caption, and what doesn't
                fill a batch is dropped. False: for validation. Each caption is given once, in order, with its video;
                the last batch may be smaller.
            options: as of `align.loading.PairLoader`: tokens, dtype, prepare; where shuffled, captions_per_video,
                memory_bytes, block_rows, window_blocks, rank, world_size.

        Raises:
            MissingExtraError: torch isn't installed.
            AlignerError: there are fewer pairs than a batch has.

        Example:
            >>> for batch in pairs.loader(batch_size=256, seed=0):     # doctest: +SKIP
            ...     batch.video.shape, batch.text.shape                # (256, dim) each
        """
        with needed("A loader of pairs", extra="train"):
            from reelstore.align.loading.loader import PairLoader
            from reelstore.align.loading.ordered import OrderedPairs
        sides: dict[str, Any] = {"video": self.video, "text": self.text, "batch_size": batch_size}
        if shuffle:
            return PairLoader(**sides, pairs=self.video_of_caption, seed=seed, **options)
        return OrderedPairs(**sides, video_of_caption=self.video_of_caption, **options)


def paired(video: Rows, text: Rows, *, split: str | None = None) -> PairedVariants:
    """Pair the rows of a variant of videos with those of a variant of captions; see `Store.pairs`."""
    for rows, side in ((video, "video"), (text, "text")):
        if rows.side != side:
            raise StoreError(f"{rows.folder} holds {rows.side} rows, where those of {side} are wanted.")
    videos = video if split is None else video.split(split)
    usable, captions = videos.ok(), text.ok()
    of = usable.ids.find(captions.video_ids)
    kept = np.flatnonzero(of >= 0)
    if not len(kept):
        where = f", split {split}" if split is not None else ""
        raise StoreError(f"No caption of {text.folder} has its video in {video.folder}{where}.")
    return PairedVariants(usable, captions.at(kept), of[kept], _n_wanted(video, videos, text, split) - len(kept))


def _n_wanted(video: Rows, videos: Rows, text: Rows, split: str | None) -> int:
    """Number of captions of these videos; a caption whose video isn't stored counts by its own row's split."""
    if split is None:
        return len(text)
    wanted, stored = (rows.ids.find(text.video_ids) >= 0 for rows in (videos, video))
    own = np.array(text.splits) == split
    return int((wanted | (~stored & own)).sum())
