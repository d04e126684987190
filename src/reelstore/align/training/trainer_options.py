"""What params.yaml may say of Lightning's Trainer, checked before anything is read."""

import math
import os
import re
from collections.abc import Mapping
from typing import Any

from reelstore.errors import ParamsError
from reelstore.settings import Limit, OneOf, Range, check, shown

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

LIMITS: dict[str, Limit] = {
    "num_nodes": Range(1, 10_000),
    "max_epochs": Range(1, 1_000_000),
    "max_steps": Range(-1, 10**12),
    "gradient_clip_val": Range(0, 10**9),
    "gradient_clip_algorithm": OneOf(("norm", "value")),
    "accumulate_grad_batches": Range(1, 1_000_000),
}
MAX_DEVICES = 1024

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
            raise ParamsError(f"trainer has the unknown option {shown(name)}. Known: {', '.join(OPTIONS)}.")
        if not isinstance(value, OPTIONS[name]) or (isinstance(value, bool) and bool not in OPTIONS[name]):
            kinds = " or ".join(kind.__name__ for kind in OPTIONS[name])
            raise ParamsError(f"trainer.{name} is {shown(value)}; {kinds} is expected.")
    check(given, LIMITS, section="trainer")
    _check_amounts(given)
    options = {"max_epochs": max_epochs, "accelerator": "auto", "devices": 1, "deterministic": True, **given}
    precision = str(options.get("precision", "32"))
    if precision not in PRECISIONS:
        raise ParamsError(f"trainer.precision is {precision!r}. Known: {', '.join(PRECISIONS)}.")
    if any(word in str(options.get("strategy", "")) for word in ("spawn", "fork", "notebook")):
        raise ParamsError(
            f"trainer.strategy is {options['strategy']!r}: what such processes learn stays in them. Take ddp."
        )
    return {**options, "precision": PRECISIONS[precision]}


def check_devices(options: Mapping[str, Any]) -> None:
    """Refuse more processes on a CPU than it has cores; a model is trained where there are as many, and read anywhere.

    Raises:
        ParamsError: there are fewer.
    """
    import torch

    devices, cores = options.get("devices", 1), os.cpu_count() or 1
    wanted = len(devices) if isinstance(devices, list) else int(devices) if str(devices).isdecimal() else 1
    is_cpu = options["accelerator"] == "cpu" or (options["accelerator"] == "auto" and not torch.cuda.is_available())
    if is_cpu and wanted > cores:
        raise ParamsError(
            f"trainer.devices is {shown(devices)}; this machine has no GPU and {cores} CPU cores. Take at most {cores}."
        )


def _check_amounts(given: Mapping[str, Any]) -> None:
    """What has a form of its own."""
    devices, limit = given.get("devices", 1), given.get("limit_train_batches", 1.0)
    numbers = devices if isinstance(devices, list) else [devices]
    is_list = isinstance(devices, list) and all(type(one) is int and 0 <= one < MAX_DEVICES for one in numbers)
    is_text = isinstance(devices, str) and re.fullmatch(r"auto|-1|[0-9]{1,4}(,[0-9]{1,4})*", devices)
    is_number = isinstance(devices, int) and (devices == -1 or 1 <= devices <= MAX_DEVICES)
    if not (is_text or is_number or (is_list and numbers and len(set(numbers)) == len(numbers))):
        raise ParamsError(
            f"trainer.devices is {shown(devices)}; 1 to {MAX_DEVICES}, a list of GPUs, or auto is expected."
        )
    if not (1 <= limit <= 10**9 if isinstance(limit, int) else 0 < limit <= 1):
        raise ParamsError(
            f"trainer.limit_train_batches is {shown(limit)}; a whole number of at least 1, or a share above 0 and at "
            "most 1.0, is expected."
        )
    if given.get("max_steps", -1) == 0:
        raise ParamsError("trainer.max_steps is 0; at least 1 is expected, or -1 for no limit.")
    if not re.fullmatch(r"[0-9]{1,4}:[0-9]{2}:[0-9]{2}:[0-9]{2}", given.get("max_time", "00:00:00:00")):
        raise ParamsError(f"trainer.max_time is {shown(given['max_time'])}; 'DD:HH:MM:SS' is expected.")


def n_steps(options: Mapping[str, Any], n_batches: int) -> int:
    """Optimizer steps of a training with these options and `n_batches` an epoch."""
    limit = options.get("limit_train_batches", 1.0)
    shown = int(min(limit, n_batches) if isinstance(limit, int) else limit * n_batches)
    steps = math.ceil(shown / int(options.get("accumulate_grad_batches", 1))) * int(options["max_epochs"])
    most = int(options.get("max_steps", -1))
    return steps if most < 0 else min(steps, most)
