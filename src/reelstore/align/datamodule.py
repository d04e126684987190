"""What Lightning trains an aligner on: a video and one of its captions at random, straight from the store."""

import numpy as np
from lightning import LightningDataModule

from reelstore.align.base import PairedRows
from reelstore.align.loader import BLOCK_ROWS, WINDOW_BLOCKS, PairLoader
from reelstore.errors import AlignerError


class PairDataModule(LightningDataModule):
    """Training batches in an order given by seed and epoch, shared by the trainer's ranks.

    Args:
        train: rows to train on.
        batch_size: videos in a batch of all ranks together; at most all of them.
        seed: of the order and the captions drawn.
        memory_bytes: what rows may take before they are shuffled block by block; by default half of the memory.
        block_rows: videos in such a block.
        window_blocks: blocks shuffled together.
    """

    def __init__(
        self,
        train: PairedRows,
        *,
        batch_size: int,
        seed: int,
        memory_bytes: int | None = None,
        block_rows: int = BLOCK_ROWS,
        window_blocks: int = WINDOW_BLOCKS,
    ) -> None:
        super().__init__()
        self._train = train
        self._batch_size, self._seed = batch_size, seed
        self._memory_bytes, self._block_rows, self._window_blocks = memory_bytes, block_rows, window_blocks
        self._n_captioned = len(np.unique(train.video_of_caption))
        if self._n_captioned < 2:
            raise AlignerError(f"{self._n_captioned} training videos have captions; contrasting them needs at least 2.")

    def train_dataloader(self) -> PairLoader:
        """Batches for this rank; what is left over at an epoch's end is dropped."""
        rank, world_size = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        all_of_them = self._n_captioned - self._n_captioned % world_size
        return PairLoader(
            self._train.videos,
            self._train.captions,
            self._train.video_of_caption,
            batch_size=min(self._batch_size, all_of_them),
            seed=self._seed,
            memory_bytes=self._memory_bytes,
            block_rows=self._block_rows,
            window_blocks=self._window_blocks,
            rank=rank,
            world_size=world_size,
        )
