"""An epoch's batches: each video once, in an order by seed, captions drawn apart from the batch they come in."""

import numpy as np
import pytest
import torch

from reelstore.align.base import PairedRows
from reelstore.align.datamodule import CaptionedVideos, PairDataModule
from reelstore.errors import AlignerError


def epoch(towers, *, batch_size: int, seed: int) -> list[torch.Tensor]:
    data = PairDataModule(towers.part(0, 7), batch_size=batch_size, seed=seed)
    return [torch.cat(batch, dim=1) for batch in data.train_dataloader()]


def test_an_epoch_has_every_video_once(towers) -> None:
    (batch,) = epoch(towers, batch_size=99, seed=0)
    videos = towers.part(0, 7).video_array()
    assert sorted(batch[:, :24].tolist()) == sorted(videos.tolist())


def test_the_same_seed_gives_the_same_batches(towers) -> None:
    first, again, other = (epoch(towers, batch_size=3, seed=seed) for seed in (5, 5, 6))
    assert len(first) == 2
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first, other, strict=True))


def test_captions_drawn_do_not_depend_on_the_batch_they_come_in(towers) -> None:
    data = CaptionedVideos(towers.part(0, 7), seed=0)
    whole = data.__getitems__(range(7))[1]
    assert torch.equal(whole[[4, 1]], data.__getitems__([4, 1])[1])


def test_every_caption_is_drawn_sooner_or_later(towers) -> None:
    paired, seen = towers.part(0, 7), set()
    data = CaptionedVideos(paired, seed=0)
    for data.epoch in range(60):
        seen |= {tuple(row) for row in data.__getitems__(range(7))[1].tolist()}
    assert seen == {tuple(row) for row in paired.text_array().tolist()}


def test_a_video_without_captions_is_left_out(towers) -> None:
    whole = towers.part(0, 3)
    captions = whole.captions.select([key for key in whole.captions.ids if key[0] != "v1"])
    data = CaptionedVideos(PairedRows(whole.videos, captions, np.repeat([0, 2], 3)), seed=0)
    assert data.__getitems__(range(len(data)))[0].tolist() == whole.video_array()[[0, 2]].tolist()


def test_one_video_cannot_be_contrasted(towers) -> None:
    with pytest.raises(AlignerError, match="at least 2"):
        PairDataModule(towers.part(0, 1), batch_size=4, seed=0)
