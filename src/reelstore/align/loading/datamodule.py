"""What Lightning trains an aligner on: pairs of videos and captions, straight from the store."""

from collections.abc import Mapping
from typing import Literal

import numpy as np
from lightning import LightningDataModule

from reelstore.align.base import LabelledRows, PairedRows
from reelstore.align.loading.batches import Prepare
from reelstore.align.loading.loader import BLOCK_ROWS, WINDOW_BLOCKS, PairLoader
from reelstore.align.pairing import LabelledPairs
from reelstore.arrays import IntArray
from reelstore.errors import AlignerError


class PairDataModule(LightningDataModule):
    """Training batches in an order given by seed and epoch, shared by the trainer's ranks.

    Attributes:
        train: rows to train on.
        n_pairs: in an epoch.

    Args:
        train: rows to train on; of labelled ones, an epoch has every pair once.
        batch_size: pairs in a batch of all ranks together; at most all of them.
        seed: of the order and the captions drawn.
        captions_per_video: `one`, drawn again in every epoch, or `all`.
        prepare: side -> what is done to its rows before they become tensors.
        memory_bytes: what rows may take before they are shuffled block by block; by default half of the memory.
        block_rows: videos in such a block.
        window_blocks: blocks shuffled together.
    """

    def __init__(
        self,
        train: PairedRows | LabelledRows,
        *,
        batch_size: int,
        seed: int,
        captions_per_video: Literal["one", "all"] = "one",
        prepare: Mapping[str, Prepare] | None = None,
        memory_bytes: int | None = None,
        block_rows: int = BLOCK_ROWS,
        window_blocks: int = WINDOW_BLOCKS,
    ) -> None:
        super().__init__()
        self.train = train
        self._captions_per_video: Literal["one", "all"] = captions_per_video
        self._batch_size, self._seed, self._prepare = batch_size, seed, prepare
        self._memory_bytes, self._block_rows, self._window_blocks = memory_bytes, block_rows, window_blocks
        if isinstance(train, LabelledRows):
            self._pairs: IntArray | LabelledPairs = train.pairs
            self.n_pairs = len(train.pairs.label)
            return
        self._pairs = train.video_of_caption
        n_captioned = len(np.unique(train.video_of_caption))
        if n_captioned < 2:
            raise AlignerError(f"{n_captioned} training videos have captions; contrasting them needs at least 2.")
        self.n_pairs = n_captioned if captions_per_video == "one" else len(train.text)

    def train_dataloader(self) -> PairLoader:
        """Batches for this rank; what is left over at an epoch's end is dropped."""
        rank, world_size = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        all_of_them = self.n_pairs - self.n_pairs % world_size
        return PairLoader(
            video=self.train.video,
            text=self.train.text,
            pairs=self._pairs,
            batch_size=min(self._batch_size, all_of_them),
            seed=self._seed,
            captions_per_video=self._captions_per_video,
            prepare=self._prepare,
            memory_bytes=self._memory_bytes,
            block_rows=self._block_rows,
            window_blocks=self._window_blocks,
            rank=rank,
            world_size=world_size,
        )
