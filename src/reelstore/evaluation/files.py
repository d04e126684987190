"""Numbers -> JSON whose diffs show what changed and nothing else."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reelstore.io import write_atomically


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write `json_bytes` of the values; the file is replaced at once."""
    write_atomically(path, json_bytes(values))


def json_bytes(values: Mapping[str, Any]) -> bytes:
    """Sorted keys, numbers to six digits after the point, a newline at the end; NaN is refused."""
    return (json.dumps(_rounded(values), indent=2, sort_keys=True, allow_nan=False) + "\n").encode()


def _rounded(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _rounded(inner) for key, inner in value.items()}
    return round(value, 6) if isinstance(value, float) else value
