"""Torch devices by name."""

from typing import Any

from reelstore.errors import EvaluationError, MissingExtraError


def check_device(device: Any) -> None:
    """Raise EvaluationError unless torch can use the device; None is the processor, without torch."""
    if device is None:
        return
    try:
        import torch
    except ImportError as error:
        raise MissingExtraError("device= needs torch. Install torch, or leave device out.") from error
    try:
        torch.empty(0, device=device).cpu()
    except Exception as error:  # RuntimeError, AssertionError, TypeError: what a backend raises isn't specified
        raise EvaluationError(f"device {device!r:.60} can't be used: {str(error).splitlines()[0]:.200}") from error
