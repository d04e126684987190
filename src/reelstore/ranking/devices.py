"""Torch devices by name."""

from typing import Any

from reelstore.errors import EvaluationError
from reelstore.extras import needed


def check_device(device: Any) -> None:
    """Refuse a device that torch can't use; None is the processor, without torch.

    Raises:
        MissingExtraError: torch isn't installed.
        EvaluationError: torch has no such device.
    """
    if device is None:
        return
    with needed("device="):
        import torch
    try:
        torch.empty(0, device=device).cpu()
    except Exception as error:  # RuntimeError, AssertionError, TypeError: what a backend raises isn't specified
        raise EvaluationError(f"device {device!r:.60} can't be used: {str(error).splitlines()[0]:.200}") from error
