"""Trains an `mlp`; run as a script, until its process kills itself behind a step.

python train_killed.py VIDEOS CAPTIONS CHECKPOINTS STEP
"""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from reelstore.align.base import FitContext, PairedRows
from reelstore.align.trained.mlp import Mlp
from reelstore.align.training.module import Training
from reelstore.fitting import validation_mrr
from reelstore.store.open import open_variant

SETTINGS: dict[str, Any] = {
    "widths": [16, 8], "dropout": 0.4, "lr": 0.01, "batch_size": 20, "max_epochs": 5, "checkpoint_steps": 3, "seed": 4,
}  # fmt: skip
"""7 batches an epoch."""


def train(videos: Path, captions: Path, checkpoints: Path, log: Callable, say: Callable, **settings: Any) -> Mlp:
    rows, told = open_variant(videos), open_variant(captions)
    own = np.array([rows.index_of(video_id) for video_id in told.video_ids])
    late = np.flatnonzero(own >= 120)
    validation = PairedRows(video=rows.at(range(120, len(rows))), text=told.at(late), video_of_caption=own[late] - 120)
    aligner = Mlp(**{**SETTINGS, **settings})
    context = FitContext(checkpoints, log, say, revision="abc")
    paired = PairedRows(video=rows, text=told, video_of_caption=own)
    aligner.fit(paired, validation, validate=validation_mrr, context=context)
    return aligner


def kill_behind(step: int) -> None:
    done = Training.optimizer_step

    def optimizer_step(module: Training, *args: Any, **kwargs: Any) -> None:
        done(module, *args, **kwargs)
        if module.global_step == step:
            os.kill(os.getpid(), signal.SIGKILL)

    Training.optimizer_step = optimizer_step  # type: ignore[method-assign]


if __name__ == "__main__":
    *folders, step = sys.argv[1:]
    kill_behind(int(step))
    train(*map(Path, folders), log=lambda row: None, say=lambda line: None)  # type: ignore[call-arg]
