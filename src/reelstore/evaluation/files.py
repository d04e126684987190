"""Numbers -> JSON whose diffs show what changed and nothing else."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from reelstore.errors import DamagedFileError
from reelstore.io import write_atomically
from reelstore.plain import read_typed


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write `json_bytes` of the values; the file is replaced at once."""
    write_atomically(path, json_bytes(values))


def json_bytes(values: Mapping[str, Any]) -> bytes:
    """Sorted keys, numbers to six digits after the point, a newline at the end; NaN is refused."""
    return (json.dumps(_rounded(values), indent=2, sort_keys=True, allow_nan=False) + "\n").encode()


def read_metrics(path: Path, *, needed: Sequence[str] = ("t2v", "v2t")) -> dict[str, dict[str, float]]:
    """An evaluation's metrics: direction -> metric -> value, and `health`.

    Args:
        path: of the file.
        needed: directions that must have an MRR.

    Raises:
        DamagedFileError: it isn't one; the message has the metric.
        IrregularFileError, OSError: as of `io.read_bytes`.
    """
    metrics: dict[str, dict[str, float]] = read_typed(path, dict[str, dict[str, float]])
    for direction in needed:
        if "MRR" not in metrics.get(direction, {}):
            raise DamagedFileError(f"{path}: {direction}.MRR is missing.")
    if min(metrics.get("health", {}).values(), default=0) < 0:
        raise DamagedFileError(f"{path}: health has a negative number.")
    for direction in ("t2v", "v2t"):
        for name, value in metrics.get(direction, {}).items():
            least, most = (1.0, math.inf) if name in ("MeanR", "MedR") else (0.0, 1.0)
            if not least <= value <= most:
                raise DamagedFileError(f"{path}: {direction}.{name:.60} is {value:g}, which no ranking gives.")
    return metrics


def _rounded(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _rounded(inner) for key, inner in value.items()}
    return round(value, 6) if isinstance(value, float) else value
