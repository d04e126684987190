"""What params.yaml may say of Lightning's Trainer, checked before anything is read."""

import math
from collections.abc import Mapping
from typing import Any

from reelstore.errors import ParamsError

OPTIONS: dict[str, tuple[type, ...]] = {
    "accelerator": (str,),
    "devices": (int, str, list),
    "num_nodes": (int,),
    "strategy": (str,),
    "precision": (str, int),
    "max_epochs": (int,),
    "max_steps": (int,),
    "max_time": (str,),
    "limit_train_batches": (int, float),
    "gradient_clip_val": (int, float),
    "gradient_clip_algorithm": (str,),
    "accumulate_grad_batches": (int,),
    "benchmark": (bool,),
    "deterministic": (bool,),
    "detect_anomaly": (bool,),
    "enable_progress_bar": (bool,),
}
"""Lightning's own names and meanings: https://lightning.ai/docs/pytorch/stable/common/trainer.html"""

PRECISIONS = {
    "16-mixed": "16-mixed",
    "bf16-mixed": "bf16-mixed",
    "32": "32-true",
    "64": "64-true",
    "16": "16-mixed",
    "bf16": "bf16-mixed",
    "32-true": "32-true",
    "64-true": "64-true",
}


def trainer_options(given: Mapping[str, Any], *, max_epochs: int) -> dict[str, Any]:
    """Arguments of `lightning.Trainer`, with this project's defaults.

    Args:
        given: from params.yaml; its `max_epochs` goes before the argument.
        max_epochs: at most so many.

    Raises:
        ParamsError: an option is unknown, of another kind, or can't be had here.
    """
    for name, value in given.items():
        if name not in OPTIONS:
            raise ParamsError(f"trainer has the unknown option {name!r}. Known: {', '.join(OPTIONS)}.")
        if not isinstance(value, OPTIONS[name]) or (isinstance(value, bool) and bool not in OPTIONS[name]):
            kinds = " or ".join(kind.__name__ for kind in OPTIONS[name])
            raise ParamsError(f"trainer.{name} is {value!r}; {kinds} is expected.")
    options = {"max_epochs": max_epochs, "accelerator": "auto", "devices": 1, "deterministic": True, **given}
    precision = str(options.get("precision", "32"))
    if precision not in PRECISIONS:
        raise ParamsError(f"trainer.precision is {precision!r}. Known: {', '.join(PRECISIONS)}.")
    if any(word in str(options.get("strategy", "")) for word in ("spawn", "fork", "notebook")):
        raise ParamsError(
            f"trainer.strategy is {options['strategy']!r}: what such processes learn stays in them. Take ddp."
        )
    for name in ("max_epochs", "accumulate_grad_batches", "num_nodes"):
        if options.get(name, 1) < 1:
            raise ParamsError(f"trainer.{name} is {options[name]}; it must be at least 1.")
    return {**options, "precision": PRECISIONS[precision]}


def n_steps(options: Mapping[str, Any], n_batches: int) -> int:
    """Optimizer steps of a training with these options and `n_batches` an epoch."""
    limit = options.get("limit_train_batches", 1.0)
    shown = int(min(limit, n_batches) if isinstance(limit, int) else limit * n_batches)
    steps = math.ceil(shown / int(options.get("accumulate_grad_batches", 1))) * int(options["max_epochs"])
    most = int(options.get("max_steps", -1))
    return steps if most < 0 else min(steps, most)
