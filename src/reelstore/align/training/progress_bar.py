"""A bar over all of a training's batches, on stderr."""

import sys
from typing import Any

import lightning
from tqdm import tqdm


class TrainingBar(lightning.Callback):
    """A bar on a terminal, a line every now and then elsewhere; of several ranks, the first has it."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._bar: Any = None

    def on_train_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        n_batches = int(trainer.num_training_batches)
        total = n_batches * (trainer.max_epochs or 0) if (trainer.max_epochs or -1) > 0 else None
        done = trainer.current_epoch * n_batches + trainer.fit_loop.epoch_loop.batch_progress.current.completed
        self._bar = tqdm(
            total=total,
            initial=done,
            desc=self._label,
            unit="batch",
            mininterval=0.5 if sys.stderr.isatty() else 15,
            file=sys.stderr,
            disable=not trainer.is_global_zero,
        )

    def on_train_batch_end(self, trainer: lightning.Trainer, module: lightning.LightningModule, *_: Any) -> None:
        self._bar.update()

    def on_train_epoch_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        # Numbers of the epoch before: this one's are measured after its last batch.
        shown = {
            name: f"{float(trainer.callback_metrics[name]):.4f}"
            for name in ("train_loss", "validation_MRR")
            if name in trainer.callback_metrics
        }
        self._bar.set_postfix(epoch=trainer.current_epoch + 1, **shown)

    def on_exception(self, trainer: lightning.Trainer, module: lightning.LightningModule, error: BaseException) -> None:
        self._close()

    def teardown(self, trainer: lightning.Trainer, module: lightning.LightningModule, stage: str) -> None:
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
