"""Trains two linear maps in as many processes as told, and writes which pairs each of them saw.

python train_on_ranks.py VIDEOS CAPTIONS OUT DEVICES MEMORY_BYTES
"""

import json
import sys
from pathlib import Path

import lightning
import numpy as np
import torch
from torch import Tensor, nn

from reelstore.align.base import PairedRows
from reelstore.align.batches import PairBatch
from reelstore.align.datamodule import PairDataModule
from reelstore.align.loader import PairLoader
from reelstore.store.reader import open_variant


class Maps(lightning.LightningModule):
    """Its loss is a mean over pairs, each by itself: the mean of two ranks' gradients is the gradient of all."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.video, self.text = nn.Linear(24, 4), nn.Linear(16, 4)
        self.seen: list[tuple[int, list[int]]] = []

    def training_step(self, batch: PairBatch, _: int) -> Tensor:
        self.seen.append((self.current_epoch, batch.caption_positions.tolist()))
        return (self.video(batch.video) - self.text(batch.text)).square().mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.001)


def main(videos: str, captions: str, out: str, devices: str, memory_bytes: str) -> None:
    rows, told = open_variant(Path(videos)), open_variant(Path(captions))
    paired = PairedRows(rows, told, np.array([rows.index_of(video_id) for video_id in told.video_ids]))
    trainer = lightning.Trainer(
        max_epochs=2,
        accelerator="cpu",
        devices=int(devices),
        strategy="ddp" if int(devices) > 1 else "auto",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    module = Maps()
    shuffle = {"memory_bytes": int(memory_bytes) or None, "block_rows": 5, "window_blocks": 4}
    trainer.fit(module, datamodule=PairDataModule(paired, batch_size=20, seed=3, **shuffle))
    assert type(trainer.train_dataloader) is PairLoader, "Lightning put a loader of its own in its place"
    assert trainer.train_dataloader.shuffle == ("blocks" if int(memory_bytes) else "rows")
    weights = torch.cat([value.flatten() for value in module.state_dict().values()]).tolist()
    Path(out, f"{devices}-{trainer.global_rank}.json").write_text(json.dumps({"seen": module.seen, "weights": weights}))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(*sys.argv[1:])
