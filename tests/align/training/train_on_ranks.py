"""Trains in as many processes as told: two linear maps that note which pairs they saw, and an `mlp` for every loss.

python train_on_ranks.py VIDEOS CAPTIONS OUT DEVICES
"""

import json
import sys
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from torch import Tensor, nn
from torch import distributed as dist

from reelstore.align.base import FitContext, LabelledRows, PairedRows
from reelstore.align.loading.batches import PairBatch
from reelstore.align.loading.datamodule import PairDataModule
from reelstore.align.loading.loader import PairLoader
from reelstore.align.pairing import LabelledPairs
from reelstore.align.trained.mlp import Mlp
from reelstore.align.training.losses import LOSSES, Pairs, make_loss
from reelstore.store.open import open_variant

MEMORY_BYTES = {"rows": None, "blocks": 6000}


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


def train_maps(paired: PairedRows, shuffle: str, ranks: dict[str, Any]) -> dict[str, Any]:
    trainer = lightning.Trainer(
        max_epochs=2,
        accelerator="cpu",
        **ranks,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    module = Maps()
    memory = {"memory_bytes": MEMORY_BYTES[shuffle], "block_rows": 5, "window_blocks": 4}
    trainer.fit(module, datamodule=PairDataModule(paired, batch_size=20, seed=3, **memory))
    assert type(trainer.train_dataloader) is PairLoader, "Lightning put a loader of its own in its place"
    assert trainer.train_dataloader.shuffle == shuffle
    weights = torch.cat([value.flatten() for value in module.state_dict().values()])
    return {"seen": module.seen, "weights": weights.tolist(), "rank": trainer.global_rank}


def train_mlp(paired: PairedRows, loss: str, ranks: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Every sentence has two captions, and `multi-positive` several of a video, so that ranks need what others have."""
    aligner = Mlp(
        widths=[8, 4], dropout=0, loss=loss, batch_size=20, max_epochs=2, captions_per_video="all", patience=9,
        temperature=0.3, lr=0.01, seed=3, chunk=3 if loss == "siglip" else 0, checkpoint_steps=5,
        trainer={"accelerator": "cpu", "limit_train_batches": 6, **ranks},
    )  # fmt: skip
    logged: list[float] = []
    context = FitContext(folder / loss, lambda row: logged.append(row["train_loss"]))
    # Higher with every epoch: the last one is kept.
    mrrs = iter(range(1, 99))
    aligner.fit(paired, paired, validate=lambda **_: float(next(mrrs)), context=context)
    weights = [tensor.ravel() for name, tensor in sorted(aligner.tensors().items()) if name[:4] in ("towe", "loss")]
    return {"weights": np.concatenate(weights).tolist(), "train_loss": logged}


def gradients(name: str) -> list[float]:
    """Of a loss over 12 pairs, the mean over ranks that DDP takes; AdamW would hide a gradient of the wrong length."""
    torch.manual_seed(0)
    maps, loss, n = nn.ModuleList([nn.Linear(6, 4) for _ in range(2)]).double(), make_loss(name).double(), 12
    values = [torch.randn(n, 6, dtype=torch.float64) for _ in range(2)]
    of_video, sentence, label = torch.arange(n) // 2, torch.arange(n) % 5, (torch.arange(n) % 2).double()
    world_size = dist.get_world_size() if dist.is_initialized() else 1
    first = n // world_size * (dist.get_rank() if world_size > 1 else 0)
    mine = slice(first, first + n // world_size)
    joint = [nn.functional.normalize(m(v[mine]), dim=1) for m, v in zip(maps, values, strict=True)]
    loss(Pairs(*joint, of_video[mine], sentence[mine], label[mine])).backward()
    found = torch.cat([p.grad.flatten() for p in [*maps.parameters(), *loss.parameters()] if p.grad is not None])
    if world_size > 1:
        dist.all_reduce(found)
    return (found / world_size).tolist()


def main(videos: str, captions: str, out: str, devices: str) -> None:
    rows, told = open_variant(Path(videos)), open_variant(Path(captions))
    own = np.array([rows.index_of(video_id) for video_id in told.video_ids])
    label = (np.arange(len(told)) % 2).astype(np.float32)
    labelled = LabelledPairs(np.where(label == 1, own, (own + 1) % len(rows)), np.arange(len(told)), label)
    with_labels = LabelledRows(video=rows, text=told, pairs=labelled)
    paired = PairedRows(video=rows, text=told, video_of_caption=own, labelled=with_labels)
    ranks = {"devices": int(devices), "strategy": "ddp" if int(devices) > 1 else "auto"}
    found: dict[str, Any] = {shuffle: train_maps(paired, shuffle, ranks) for shuffle in MEMORY_BYTES}
    found |= {loss: train_mlp(paired, loss, ranks, Path(out, f"checkpoints-{devices}")) for loss in LOSSES}
    found["gradients"] = {loss: gradients(loss) for loss in LOSSES}
    Path(out, f"{devices}-{found['rows']['rank']}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(*sys.argv[1:])
