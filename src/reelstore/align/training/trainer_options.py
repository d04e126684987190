"""What params.yaml may say of Lightning's Trainer, checked before anything is read."""

import math
import os
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from reelstore.errors import ParamsError
from reelstore.settings import Listed, Settings, parsed, plain, refusing, shown

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


def _devices_problem(devices: int | str | tuple[int, ...]) -> str | None:
    if isinstance(devices, tuple):
        is_known = (
            bool(devices) and len(set(devices)) == len(devices) and 0 <= min(devices) <= max(devices) < MAX_DEVICES
        )
    elif isinstance(devices, str):
        is_known = re.fullmatch(r"auto|-1|[0-9]{1,4}(,[0-9]{1,4})*", devices) is not None
    else:
        is_known = devices == -1 or 1 <= devices <= MAX_DEVICES
    return None if is_known else f"must be 1 to {MAX_DEVICES}, a list of GPUs, or auto"


def _strategy_problem(strategy: str) -> str | None:
    is_own = any(word in strategy for word in ("spawn", "fork", "notebook"))
    return "can't be: what such processes learn stays in them. Take ddp" if is_own else None


def _batches_problem(limit: float) -> str | None:
    is_limit = 1 <= limit <= 10**9 if isinstance(limit, int) else 0 < limit <= 1
    return None if is_limit else "must be a whole number of at least 1, or a share above 0 and at most 1.0"


def _precision_problem(precision: str | int) -> str | None:
    return None if str(precision) in PRECISIONS else f"must be one of {', '.join(PRECISIONS)}"


def _time_problem(time: str) -> str | None:
    return None if re.fullmatch(r"[0-9]{1,4}:[0-9]{2}:[0-9]{2}:[0-9]{2}", time) else "must be 'DD:HH:MM:SS'"


class TrainerOptions(Settings):
    """Lightning's own names and meanings: https://lightning.ai/docs/pytorch/stable/common/trainer.html"""

    accelerator: str = "auto"
    devices: Annotated[int | str | Listed[int], refusing(_devices_problem)] = 1
    num_nodes: Annotated[int, Field(ge=1, le=10_000)] = 1
    strategy: Annotated[str, refusing(_strategy_problem)] = "auto"
    precision: Annotated[str | int, refusing(_precision_problem)] = "32"
    max_epochs: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    max_steps: Annotated[
        int, Field(ge=-1, le=10**12), refusing(lambda n: None if n else "must be at least 1, or -1 for no limit")
    ] = -1
    max_time: Annotated[str, refusing(_time_problem)] = ""
    limit_train_batches: Annotated[int | float, refusing(_batches_problem)] = 1.0
    gradient_clip_val: Annotated[float, Field(ge=0, le=10**9)] = 0.0
    gradient_clip_algorithm: Literal["norm", "value"] = "norm"
    accumulate_grad_batches: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    benchmark: bool = False
    deterministic: bool = True
    detect_anomaly: bool = False
    enable_progress_bar: bool = True


def trainer_options(given: Mapping[str, Any], *, max_epochs: int) -> dict[str, Any]:
    """Arguments of `lightning.Trainer`, with this project's defaults.

    Args:
        given: from params.yaml; its `max_epochs` goes before the argument.
        max_epochs: at most so many.

    Raises:
        ParamsError: an option is unknown, of another kind, or can't be had here.
    """
    parsed(TrainerOptions, plain(given), key="trainer")
    options = {"max_epochs": max_epochs, "accelerator": "auto", "devices": 1, "deterministic": True, **given}
    return {**options, "precision": PRECISIONS[str(options.get("precision", "32"))]}


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


def n_steps(options: Mapping[str, Any], n_batches: int) -> int:
    """Optimizer steps of a training with these options and `n_batches` an epoch."""
    limit = options.get("limit_train_batches", 1.0)
    shown = int(min(limit, n_batches) if isinstance(limit, int) else limit * n_batches)
    steps = math.ceil(shown / int(options.get("accumulate_grad_batches", 1))) * int(options["max_epochs"])
    most = int(options.get("max_steps", -1))
    return steps if most < 0 else min(steps, most)
