"""Runs a training under Lightning: from where a killed one stood, until validation MRR no longer rises."""

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint

from reelstore.align.base import Workplace
from reelstore.align.training.live_checkpoint import NAME, LiveCheckpoint, check_embeddings, load_checkpoint
from reelstore.align.training.looks import sentence
from reelstore.align.training.module import Identity, Training
from reelstore.align.training.progress_bar import TrainingBar
from reelstore.errors import AlignerError, ParamsError
from reelstore.io import make_output_folder


def run(
    training: Training,
    data: lightning.LightningDataModule,
    *,
    options: Mapping[str, Any],
    patience: int,
    checkpoint_steps: int,
    workplace: Workplace,
) -> None:
    """Train; the weights of the best epoch are left in `training`, on the CPU, float32.

    Args:
        training: with new weights.
        data: its batches.
        options: of the trainer; see `trainer_options`.
        patience: epochs without a better validation MRR before it stops.
        checkpoint_steps: optimizer steps between two live checkpoints; 0 for none.
        workplace: has the checkpoints, and is told what was done.
    """
    make_output_folder(workplace.checkpoints)
    live = workplace.checkpoints / NAME
    best = ModelCheckpoint(
        dirpath=workplace.checkpoints,
        filename="best",
        monitor="validation_MRR",
        mode="max",
        save_weights_only=True,
        enable_version_counter=False,
    )
    stop = EarlyStopping("validation_MRR", mode="max", patience=patience, check_on_train_epoch_end=True)
    bar = [TrainingBar(training.identity.kind)] if options.get("enable_progress_bar", True) else []
    with _quiet():
        trainer = _new_trainer(options, [stop, *bar, best, LiveCheckpoint(live, every_n_steps=checkpoint_steps)])
        goes_on = _resumable(live, training.identity, workplace)
        with _interruptible():
            trainer.fit(training, datamodule=data, ckpt_path=live if goes_on else None, weights_only=goes_on or None)
    state = load_checkpoint(Path(best.best_model_path))
    check_embeddings(state, training.identity.data)
    training.load_state_dict(state["state_dict"])
    training.float().eval().cpu()
    if trainer.is_global_zero:
        workplace.say(sentence(training.look(), f"after {trainer.current_epoch} epochs, its best"))
        live.unlink(missing_ok=True)


def _resumable(live: Path, identity: Identity, workplace: Workplace) -> bool:
    """Whether a live checkpoint is there, of this very training; where it is of another, that is said."""
    if not live.is_file():
        return False
    try:
        checkpoint = load_checkpoint(live)
        check_embeddings(checkpoint, identity.data)
    except AlignerError as error:
        workplace.say(f"{identity.kind}: begins anew. {error}")
        return False
    kept, mine = checkpoint["reelstore"], identity.plain()
    for name in ("kind", "settings", "data", "order"):
        if kept[name] != mine[name]:
            workplace.say(f"{identity.kind}: begins anew; {live} is of other {name}.")
            return False
    workplace.say(f"{identity.kind}: goes on from {live}, step {checkpoint['global_step']}.")
    return True


def _new_trainer(options: Mapping[str, Any], callbacks: list[lightning.Callback]) -> lightning.Trainer:
    try:
        return lightning.Trainer(
            **{**options, "enable_progress_bar": False},  # ours is on stderr
            logger=False,  # `workplace.log` has the curves
            callbacks=callbacks,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )
    except (ValueError, MisconfigurationException) as error:
        raise ParamsError(f"trainer: {error}") from error


@contextmanager
def _interruptible() -> Iterator[None]:
    """A signal ends a training as it ends anything else: Lightning would exit, with 0 for SIGTERM."""
    try:
        yield
    except SystemExit as error:
        raise KeyboardInterrupt from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Lightning's advice on hardware and its own workings isn't for our users."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.WARNING)
    with warnings.catch_warnings():
        for message in (".*LeafSpec.*", ".*Checkpoint directory .* exists and is not empty.*"):
            warnings.filterwarnings("ignore", message=message)
        try:
            yield
        finally:
            logger.setLevel(level)
