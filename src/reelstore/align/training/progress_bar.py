"""Progress of a training on stderr: Lightning's own bar on a terminal, a line now and then in a log file."""

import sys
import time
from typing import Any

import lightning
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm, TQDMProgressBar

SECONDS = 15.0
"""Between two lines of a log file."""


def progress_callbacks(label: str) -> list[lightning.Callback]:
    """What shows progress where this process's stderr goes."""
    return [StderrBar(refresh_rate=10)] if sys.stderr.isatty() else [LogLines(label)]


class StderrBar(TQDMProgressBar):
    """Lightning's bar, which it would write to stdout."""

    def init_train_tqdm(self) -> Tqdm:
        """The one bar that a training has."""
        settings: dict[str, Any] = {"disable": self.is_disabled, "bar_format": self.BAR_FORMAT, "smoothing": 0}
        return Tqdm(desc=self.train_description, file=sys.stderr, leave=True, dynamic_ncols=True, **settings)

    def on_exception(self, trainer: lightning.Trainer, module: lightning.LightningModule, error: BaseException) -> None:
        """End the bar's line."""
        if self._train_progress_bar is not None:
            self._train_progress_bar.close()


class LogLines(lightning.Callback):
    """A line at most every `SECONDS`; of several ranks, the first writes it."""

    def __init__(self, label: str) -> None:
        self._label, self._last = label, time.monotonic()

    def on_train_batch_end(
        self, trainer: lightning.Trainer, module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if not trainer.is_global_zero or time.monotonic() - self._last < SECONDS:
            return
        self._last = time.monotonic()
        # Numbers of the epoch before: this one's are measured after its last batch.
        numbers = "".join(f", {name} {float(value):.4f}" for name, value in trainer.progress_bar_metrics.items())
        where = f"epoch {trainer.current_epoch + 1} of {trainer.max_epochs}"
        batches = f"batch {batch_idx + 1} of {trainer.num_training_batches}"
        print(f"{self._label}: {where}, {batches}{numbers}", file=sys.stderr, flush=True)
