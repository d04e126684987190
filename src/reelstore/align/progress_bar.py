"""A bar over all of a training's batches, on stderr."""

import sys
from typing import Any

import lightning
from tqdm import tqdm


class TrainingBar(lightning.Callback):
    """A bar on a terminal; nothing elsewhere, where epochs are logged anyway."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._bar: Any = None

    def on_train_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        n_batches = int(trainer.num_training_batches)
        total = n_batches * (trainer.max_epochs or 0) if (trainer.max_epochs or -1) > 0 else None
        done = trainer.current_epoch * n_batches + trainer.fit_loop.epoch_loop.batch_progress.current.completed
        hidden = None if trainer.is_global_zero else True  # None: where stderr is no terminal
        self._bar = tqdm(total=total, initial=done, desc=self._label, unit="batch", file=sys.stderr, disable=hidden)

    def on_train_batch_end(self, trainer: lightning.Trainer, module: lightning.LightningModule, *_: Any) -> None:
        self._bar.update()

    def on_train_epoch_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        metrics = {name: f"{float(value):.4f}" for name, value in trainer.callback_metrics.items()}
        shown = {name: metrics[name] for name in ("train_loss", "validation_MRR") if name in metrics}
        self._bar.set_postfix(epoch=trainer.current_epoch, **shown)

    def teardown(self, trainer: lightning.Trainer, module: lightning.LightningModule, stage: str) -> None:
        if self._bar is not None:
            self._bar.close()
