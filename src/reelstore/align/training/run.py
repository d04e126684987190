"""Runs a training under Lightning: from where a killed one stopped, until validation MRR no longer rises."""

import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint, ProgressBar

from reelstore.align.base import FitContext
from reelstore.align.training.live_checkpoint import NAME, LiveCheckpoint, check_embeddings, load_checkpoint
from reelstore.align.training.module import Identity, Training
from reelstore.align.training.own_files import OwnFiles
from reelstore.align.training.progress_bar import progress_callbacks
from reelstore.align.training.validation_callback import summary_line
from reelstore.errors import AlignerError, IrregularFileError, ParamsError, ReelstoreError
from reelstore.io import make_output_folder

BEST = "best.ckpt"
_RANK = {"cpu", "cuda", "losses"}


def run(
    training: Training,
    data: lightning.LightningDataModule,
    *,
    options: Mapping[str, Any],
    patience: int,
    checkpoint_steps: int,
    context: FitContext,
) -> None:
    """Train; the weights of the best epoch are left in `training`, on the CPU, float32.

    Args:
        training: with new weights.
        data: its batches.
        options: of the trainer; see `trainer_options`.
        patience: epochs without a better validation MRR before it stops.
        checkpoint_steps: optimizer steps between two live checkpoints; 0 for none.
        context: has the checkpoints, and gets lines of progress.
    """
    with context.checkpoint_folder() as folder:
        make_output_folder(folder)
        live = folder / NAME
        best = ModelCheckpoint(
            dirpath=folder,
            filename=Path(BEST).stem,
            monitor="validation_MRR",
            mode="max",
            save_weights_only=True,
            enable_version_counter=False,
        )
        stop = EarlyStopping("validation_MRR", mode="max", patience=patience, check_on_train_epoch_end=True)
        progress = progress_callbacks(training.identity.kind) if options.get("enable_progress_bar", True) else []
        with _quiet():
            callbacks = [stop, *progress, best, LiveCheckpoint(live, every_n_steps=checkpoint_steps)]
            trainer = _new_trainer(options, callbacks, OwnFiles(folder))
            resumed = live if _is_resumable(live, training.identity, context) else None
            with _interruptible(), _restoring(training, resumed):
                trainer.fit(training, datamodule=data, ckpt_path=resumed, weights_only=True if resumed else None)
        assert best.dirpath is not None
        _take_best(training, Path(best.dirpath) / BEST)  # rank 0's: temporary folders differ between ranks
        trainer.strategy.barrier()
        training.float().eval().cpu()
        if trainer.is_global_zero:
            context.echo(summary_line(training.snapshot(), f"after {trainer.current_epoch} epochs, its best"))
            live.unlink(missing_ok=True)


def _is_resumable(live: Path, identity: Identity, context: FitContext) -> bool:
    """Whether a live checkpoint is there, of this very training; where it is of another, `context.notice` says so."""
    if not live.is_file():
        return False
    best = live.with_name(BEST)
    try:
        checkpoint = load_checkpoint(live)
        check_embeddings(checkpoint, identity.data)
        _refuse_others(checkpoint, live, identity)
        if _refuse_paths(checkpoint, live, best):
            _refuse_others(load_checkpoint(best), best, identity)
    except (AlignerError, FileNotFoundError, IrregularFileError) as error:
        context.echo(f"{identity.kind}: starts from the beginning. {error}")
        return False
    context.echo(f"{identity.kind}: continues from {live}, step {checkpoint.get('global_step')}.")
    return True


def _refuse_others(checkpoint: Mapping[str, Any], path: Path, identity: Identity) -> None:
    """Raise AlignerError where a checkpoint isn't of this very training, or lacks what it continues with."""
    kept, mine = checkpoint.get("reelstore"), identity.plain()
    for name in ("kind", "settings", "data", "order"):
        if not isinstance(kept, dict) or kept.get(name) != mine[name]:
            raise AlignerError(f"{path} is of other {name}.")
    assert isinstance(kept, dict)
    ranks: Any = kept.get("ranks")
    rows: Any = kept.get("history")
    if not _are_mappings(ranks) or not _are_mappings(rows) or not all(set(rank) >= _RANK for rank in ranks):
        raise AlignerError(f"{path} lacks what a training continues with.")
    if not all(isinstance(value, float) for row in rows for value in row.values()):
        raise AlignerError(f"{path} has curves that aren't numbers.")


def _are_mappings(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(one, dict) for one in values)


def _refuse_paths(checkpoint: Mapping[str, Any], live: Path, best: Path) -> bool:
    """Whether there is a best checkpoint already; raise AlignerError where another file is named as one.

    Lightning trusts the paths in a checkpoint: it would read them, and remove them.
    """
    states = checkpoint.get("callbacks")
    if not isinstance(states, dict):
        raise AlignerError(f"{live} lacks what a training continues with.")
    named: set[Any] = set()
    for state in (state for name, state in states.items() if str(name).startswith("ModelCheckpoint")):
        if not isinstance(state, dict) or not isinstance(state.get("best_k_models"), dict):
            raise AlignerError(f"{live} lacks what a training continues with.")
        named |= {str(state.get(key) or "") for key in ("best_model_path", "kth_best_model_path", "last_model_path")}
        named |= set(state["best_k_models"])
    named -= {""}
    if named - {os.path.realpath(best)}:
        raise AlignerError(f"{live} names checkpoints elsewhere.")
    return bool(named)


def _take_best(training: Training, best: Path) -> None:
    """The weights of the best epoch.

    Raises:
        AlignerError: there are none, or they are of another training.
    """
    try:
        state = load_checkpoint(best)
        _refuse_others(state, best, training.identity)
        training.load_state_dict(state["state_dict"])
    except FileNotFoundError:
        raise AlignerError(f"The training ended without an epoch ({best} isn't there). Run it again.") from None
    except (RuntimeError, KeyError, TypeError, AttributeError) as error:
        raise AlignerError(f"{best} isn't of this training: {_short(error)}. Remove it and train again.") from error


@contextmanager
def _restoring(training: Training, live: Path | None) -> Iterator[None]:
    """An error before the first step of a resumed training is reported as one of its checkpoint."""
    try:
        yield
    except Exception as error:
        if live is None or training.has_stepped or isinstance(error, ReelstoreError | MemoryError):
            raise
        raise AlignerError(
            f"The training can't continue from {live}: {_short(error)}. Remove it to train from the start."
        ) from error


def _short(error: Exception) -> str:
    return f"{type(error).__name__} {error}".partition("\n")[0][:200]


def _new_trainer(options: Mapping[str, Any], callbacks: list[lightning.Callback], files: OwnFiles) -> lightning.Trainer:
    try:
        return lightning.Trainer(
            **{**options, "enable_progress_bar": any(isinstance(one, ProgressBar) for one in callbacks)},
            logger=False,  # `context.log` has the curves
            plugins=[files],
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
        # all_gather: deprecated in torch 2.13, whose other differentiable one is private; Lightning calls it too.
        for message in (
            ".*LeafSpec.*",
            ".*Checkpoint directory .* exists and is not empty.*",
            ".*functional.all_gather.*",
        ):
            warnings.filterwarnings("ignore", message=message)
        try:
            yield
        finally:
            logger.setLevel(level)
