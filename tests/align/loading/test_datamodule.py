"""An epoch's batches of an aligner: each video once, with one of its captions."""

import numpy as np
import pytest
import torch

from reelstore.align.base import PairedRows
from reelstore.align.loading.datamodule import PairDataModule
from reelstore.errors import AlignerError


def test_an_epoch_has_every_video_once(towers) -> None:
    (batch,) = PairDataModule(towers.part(0, 7), batch_size=99, seed=0).train_dataloader()
    videos = towers.part(0, 7).video.array()
    assert sorted(batch.video.tolist()) == sorted(videos.tolist())
    assert batch.video.dtype == batch.text.dtype == torch.float32


def test_a_video_without_captions_is_left_out(towers) -> None:
    whole = towers.part(0, 3)
    captions = whole.text.select([key for key in whole.text.ids if key[0] != "v1"])
    paired = PairedRows(video=whole.video, text=captions, video_of_caption=np.repeat([0, 2], 3))
    (batch,) = PairDataModule(paired, batch_size=99, seed=0).train_dataloader()
    assert sorted(batch.video_positions.tolist()) == [0, 2]


def test_one_video_cannot_be_contrasted(towers) -> None:
    with pytest.raises(AlignerError, match="at least 2"):
        PairDataModule(towers.part(0, 1), batch_size=4, seed=0)
