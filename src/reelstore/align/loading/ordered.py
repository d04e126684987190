"""Batches of pairs in the order of the captions, each once: for validation in anybody's training loop."""

from collections.abc import Iterator, Mapping
from typing import Literal

import numpy as np
import torch

from reelstore.align.loading.batches import PairBatch, Prepare, SideBatches
from reelstore.arrays import IntArray
from reelstore.errors import AlignerError
from reelstore.store.read import Rows


class OrderedPairs:
    """Batches of pairs, the same at every `iter()`: each caption once, with its video; the last may be smaller.

    Args:
        video: rows of the n_videos videos, of any layout.
        text: rows of the n_captions captions, of any layout.
        video_of_caption: (n_captions,) position in `video` of each caption's video.
        batch_size: pairs in a batch.
        tokens: how tokens whose number varies are handed out.
        dtype: of values; None leaves them as stored.
        prepare: side -> what is done to its rows before they become tensors.

    Raises:
        AlignerError: `batch_size` is less than 1.

    Example:
        >>> [len(batch.video) for batch in OrderedPairs(**sides, video_of_caption=of, batch_size=256)]  # doctest: +SKIP
        [256, 256, 88]
    """

    def __init__(
        self,
        *,
        video: Rows,
        text: Rows,
        video_of_caption: IntArray,
        batch_size: int,
        tokens: Literal["padded", "ragged"] = "padded",
        dtype: torch.dtype | None = torch.float32,
        prepare: Mapping[str, Prepare] | None = None,
    ) -> None:
        if batch_size < 1:
            raise AlignerError(f"batch_size must be at least 1, not {batch_size}.")
        self.batch_size = batch_size
        self._rows = video, text
        self._video_of_caption = video_of_caption
        self._sides = [
            SideBatches(rows, tokens=tokens, dtype=dtype, pinned=torch.cuda.is_available(), prepare=made)
            for rows, made in zip(self._rows, [(prepare or {}).get(side) for side in ("video", "text")], strict=True)
        ]

    def __len__(self) -> int:
        """Batches."""
        return -(-len(self._video_of_caption) // self.batch_size)

    def __iter__(self) -> Iterator[PairBatch]:
        for start in range(0, len(self._video_of_caption), self.batch_size):
            captions = np.arange(start, min(start + self.batch_size, len(self._video_of_caption)))
            videos = self._video_of_caption[captions]
            video, text = (
                side.make(rows, at) for side, rows, at in zip(self._sides, self._rows, (videos, captions), strict=True)
            )
            yield PairBatch(
                video, text, torch.from_numpy(videos), torch.from_numpy(captions), torch.ones(len(captions))
            )
