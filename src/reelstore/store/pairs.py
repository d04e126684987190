"""Videos and their captions as rows of two variants: what aligners are fitted on and evaluations measure."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from reelstore.arrays import IntArray
from reelstore.errors import StoreError
from reelstore.store.read import Rows

if TYPE_CHECKING:
    from reelstore.align.loading.loader import PairLoader


@dataclass(frozen=True)
class PairedVariants:
    """Videos, their captions, and which video each caption is of.

    Attributes:
        video: view of the n_videos videos.
        text: view of the n_captions captions.
        video_of_caption: (n_captions,) int64, position in `video` of each caption's video.
        n_skipped: captions without their video among these, or whose row failed; and videos that failed.
    """

    video: Rows
    text: Rows
    video_of_caption: IntArray
    n_skipped: int = 0

    def __len__(self) -> int:
        return len(self.text)

    def __repr__(self) -> str:
        skipped = f", {self.n_skipped} rows skipped" if self.n_skipped else ""
        return f"PairedVariants({len(self.video)} videos, {len(self.text)} captions{skipped})"

    def loader(self, batch_size: int, **options: Any) -> "PairLoader":
        """Batches of pairs as tensors, for any training loop; options as of `align.loading.PairLoader`.

        Example:
            >>> for batch in pairs.loader(batch_size=256, seed=0):     # doctest: +SKIP
            ...     batch.video.shape, batch.text.shape                # (256, dim) each
        """
        from reelstore.align.loading.loader import PairLoader

        options = {"seed": 0, **options}
        return PairLoader(self.video, self.text, self.video_of_caption, batch_size=batch_size, **options)


def paired(video: Rows, text: Rows, *, split: str | None = None) -> PairedVariants:
    """Pair the rows of a variant of videos with those of a variant of captions; see `Store.pairs`."""
    for rows, side in ((video, "video"), (text, "text")):
        if rows.side != side:
            raise StoreError(f"{rows.folder} holds {rows.side} rows, where those of {side} are wanted.")
    videos = video if split is None else video.split(split)
    usable, captions = videos.ok(), text.ok()
    position = {key: number for number, key in enumerate(usable.ids)}
    of = np.array([position.get(video_id, -1) for video_id in captions.video_ids], dtype=np.int64)
    kept = np.flatnonzero(of >= 0)
    if not len(kept):
        where = f", split {split}" if split is not None else ""
        raise StoreError(f"No caption of {text.folder} has its video in {video.folder}{where}.")
    n_wanted = len(text) if split is None else sum(one in set(videos.ids) for one in text.video_ids)
    skipped = n_wanted - len(kept) + len(videos) - len(usable)
    return PairedVariants(usable, captions.at(kept), of[kept], skipped)
