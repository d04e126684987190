"""Training under Lightning: broken off in the middle of an epoch and resumed, it is the training that wasn't."""

from itertools import pairwise
from pathlib import Path

import lightning
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn

from reelstore.align.loading.batches import PairBatch
from reelstore.align.loading.datamodule import PairDataModule
from reelstore.align.training.losses import Pairs, make_loss

pytestmark = pytest.mark.filterwarnings("ignore:.*(dirpath has changed|is not empty|LeafSpec).*")
N_BATCHES, EPOCHS = 7, 3
SHUFFLES = pytest.mark.parametrize("memory_bytes", [None, 6000], ids=["rows", "blocks"])


class Small(lightning.LightningModule):
    """Two linear towers that note the pairs of every batch."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.video, self.text, self.loss = nn.Linear(24, 8), nn.Linear(16, 8), make_loss("infonce")
        self.seen: list[tuple[int, list[int]]] = []

    def training_step(self, batch: PairBatch, _: int) -> Tensor:
        self.seen.append((self.current_epoch, batch.caption_positions.tolist()))
        unit = nn.functional.normalize
        joint = unit(self.video(batch.video)), unit(self.text(batch.text))
        return self.loss(Pairs(*joint, batch.video_positions, batch.caption_positions, batch.label))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=0.01)


class Killed(Exception):
    pass


class Kill(lightning.Callback):
    """Breaks training off one step after the checkpoint of this step."""

    def __init__(self, step: int) -> None:
        self._step = step

    def on_train_batch_end(self, trainer, *_) -> None:
        # Not at once: the step behind the checkpoint has to be done again, its batch given out again.
        if trainer.global_step == self._step + 1:
            raise Killed


def train(
    towers, folder: Path, *, memory_bytes: int | None, kill: int | None = None, resume: Path | None = None, **settings
) -> Small:
    data = PairDataModule(
        towers.part(0, 75), batch_size=10, seed=3, memory_bytes=memory_bytes, block_rows=5, window_blocks=4
    )
    module = Small()
    save = ModelCheckpoint(folder, "{step}", every_n_train_steps=1, save_top_k=-1)
    trainer = lightning.Trainer(
        max_epochs=EPOCHS,
        accelerator="cpu",
        logger=False,
        callbacks=[save, *([Kill(kill)] if kill else [])],
        enable_progress_bar=False,
        enable_model_summary=False,
        **settings,
    )
    if kill:
        with pytest.raises(Killed):
            trainer.fit(module, datamodule=data)
    else:
        trainer.fit(module, datamodule=data, ckpt_path=resume, weights_only=True if resume else None)
    return module


@SHUFFLES
@pytest.mark.parametrize("step", [1, 6, 7, 10, 14])
def test_a_resumed_training_is_bit_for_bit_the_uninterrupted_one(towers, tmp_path, memory_bytes, step) -> None:
    whole = train(towers, tmp_path / "whole", memory_bytes=memory_bytes)
    assert [epoch for epoch, _ in whole.seen] == [epoch for epoch in range(EPOCHS) for _ in range(N_BATCHES)]
    assert all(one != other for (_, one), (_, other) in pairwise(whole.seen))
    killed = train(towers, tmp_path / "killed", memory_bytes=memory_bytes, kill=step)
    saved = tmp_path / "killed" / f"step={step}.ckpt"
    resumed = train(towers, tmp_path / "resumed", memory_bytes=memory_bytes, resume=saved)
    assert killed.seen[:step] + resumed.seen == whole.seen
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_epochs_cut_short_differ_too(towers, tmp_path) -> None:
    cut = train(towers, tmp_path, memory_bytes=None, limit_train_batches=2)
    whole = train(towers, tmp_path, memory_bytes=None)
    assert cut.seen == [seen for number, seen in enumerate(whole.seen) if number % N_BATCHES < 2]
