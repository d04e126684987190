"""The state of a training, on disk every so many steps: a killed one continues from there."""

import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import lightning
import torch
from lightning.pytorch.callbacks import Checkpoint

from reelstore.errors import AlignerError
from reelstore.io import open_regular, partial_of

NAME = "live.ckpt"


class LiveCheckpoint(Checkpoint):
    """Replaces one file every so many optimizer steps; a kill at any instant leaves the one before or the new one.

    Between an epoch's last batch and its end nothing is saved: what follows the last batch, measuring and stopping,
    would be lost on resuming.

    Args:
        path: of the file.
        every_n_steps: optimizer steps; 0 for never.
    """

    def __init__(self, path: Path, *, every_n_steps: int) -> None:
        self._path, self._every = path, every_n_steps
        self._step = self._saved = 0

    def on_train_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        self._step = self._saved = trainer.global_step

    def on_train_batch_end(self, trainer: lightning.Trainer, module: lightning.LightningModule, *_: Any) -> None:
        # Only behind a step: gradients that are being accumulated aren't saved.
        stepped, self._step = trainer.global_step != self._step, trainer.global_step
        if stepped and not trainer.is_last_batch:
            self._save_if_due(trainer)

    def on_train_epoch_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        if not trainer.should_stop:
            self._save_if_due(trainer)

    def _save_if_due(self, trainer: lightning.Trainer) -> None:
        if not self._every or trainer.global_step - self._saved < self._every:
            return
        partial = partial_of(self._path)  # the same on every rank
        if trainer.is_global_zero:
            partial.unlink(missing_ok=True)
        trainer.save_checkpoint(partial)
        if trainer.is_global_zero:
            os.replace(partial, self._path)
        self._saved = trainer.global_step


def load_checkpoint(path: Path) -> dict[str, Any]:
    """What is in a checkpoint's file, nothing of it executed, every part as it was written.

    Raises:
        AlignerError: it can't be read.
        OSError: it isn't there, or the system refuses it.
    """
    with open_regular(path) as file:
        try:
            _check_parts(file)
            loaded = torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # torch and zipfile raise of many kinds
            reason = str(error).partition("\n")[0][:120] or type(error).__name__
            raise AlignerError(
                f"The checkpoint {path} can't be read: {reason}. Remove it to train from the start."
            ) from None
    if not isinstance(loaded, dict):
        raise AlignerError(f"The checkpoint {path} holds no mapping. Remove it to train from the start.")
    return loaded


def _check_parts(file: BinaryIO) -> None:
    """Refuse what torch didn't write: other formats, parts that would grow, and parts whose checksum is another one.

    torch itself compares no checksums.
    """
    n_bytes = os.fstat(file.fileno()).st_size
    with zipfile.ZipFile(file) as archive:
        parts = archive.infolist()
        if any(part.compress_type != zipfile.ZIP_STORED for part in parts):
            raise AlignerError("it is compressed, which torch's files aren't")
        if sum(part.file_size for part in parts) > n_bytes:
            raise AlignerError("its parts claim more bytes than it has")
        if (damaged := archive.testzip()) is not None:
            raise AlignerError(f"its part {damaged!r:.60} is damaged")
    file.seek(0)


def check_embeddings(checkpoint: Mapping[str, Any], data: Mapping[str, Mapping[str, str]]) -> None:
    """Refuse a checkpoint that was trained on other embeddings: equal widths prove nothing.

    Args:
        checkpoint: as Lightning saved it.
        data: side -> digest and fingerprint of the variant it is fitted on.

    Raises:
        AlignerError: a side's fingerprint is another.
    """
    for side, mine in data.items():
        theirs: Any = checkpoint
        for key in ("reelstore", "data", side, "fingerprint"):
            theirs = theirs.get(key) if isinstance(theirs, Mapping) else None
        if theirs != mine["fingerprint"]:
            raise AlignerError(
                f"The checkpoint was trained on {side} embeddings of fingerprint {str(theirs)[:12]}, these have "
                f"{mine['fingerprint'][:12]}: another encoder, sampling or dtype. Train from the start on these."
            )
