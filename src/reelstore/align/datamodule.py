"""Batches for training, read from the store: a video and one of its captions at random, a whole batch at a time."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from reelstore.align.base import PairedRows
from reelstore.errors import AlignerError

Batch = tuple[Tensor, Tensor]
"""Videos (batch, dim) and captions (batch, dim) float32; row i of one belongs to row i of the other."""


class CaptionedVideos(Dataset[Batch]):
    """A video with one of its captions, drawn anew in every epoch by (seed, epoch, video)."""

    def __init__(self, paired: PairedRows, *, seed: int) -> None:
        self._paired = paired
        self._seed = seed
        self.epoch = 0
        order = np.argsort(paired.video_of_caption, kind="stable")
        counts = np.bincount(paired.video_of_caption, minlength=len(paired.videos))
        self._captions = np.split(order, np.cumsum(counts)[:-1])
        self._videos = np.flatnonzero(counts)

    def __len__(self) -> int:
        return len(self._videos)

    def __getitems__(self, positions: Sequence[int]) -> Batch:
        """A whole batch in one gather a side: one call a row would cost more than the reading."""
        videos = self._videos[np.asarray(positions)]
        draws = np.random.default_rng([self._seed, self.epoch]).random(len(self._captions))
        captions = [self._captions[video][int(draws[video] * len(self._captions[video]))] for video in videos]
        return _tensor(self._paired.videos.take(videos)), _tensor(self._paired.captions.take(captions))


class PairDataModule(LightningDataModule):
    """Training batches in an order given by seed and epoch, on any number of CPUs.

    Args:
        train: rows to train on.
        batch_size: videos in a batch; at most all of them.
        seed: of the order and the captions drawn.
    """

    def __init__(self, train: PairedRows, *, batch_size: int, seed: int) -> None:
        super().__init__()
        self._data = CaptionedVideos(train, seed=seed)
        self._seed = seed
        if len(self._data) < 2:
            raise AlignerError(f"{len(self._data)} training videos have captions; contrasting them needs at least 2.")
        self.batch_size = min(batch_size, len(self._data))

    def train_dataloader(self) -> DataLoader[Batch]:
        """The batches of one epoch; what is left over at its end waits for the next."""
        epoch = self.trainer.current_epoch if self.trainer else 0
        self._data.epoch = epoch
        order = torch.Generator().manual_seed(self._seed * 1_000_003 + epoch)
        return DataLoader(
            self._data,
            batch_size=self.batch_size,
            shuffle=True,
            drop_last=True,
            generator=order,
            num_workers=0,
            collate_fn=_as_it_is,  # `__getitems__` made the batch
        )


def _as_it_is(batch: Any) -> Any:
    return batch


def _tensor(values: npt.NDArray[np.floating]) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))
