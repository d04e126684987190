"""Everything measured on a dataset, for the report's tables of published numbers."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reelstore.report.page import Section
from reelstore.report.published import AtHand, load_published, reproduced


def published_sections(dataset: str) -> list[Section]:
    """Published tables beside all metrics files of a dataset, of whatever model, in params.yaml or not."""
    results, grids = [], {}
    for path in sorted(Path("metrics", dataset).glob("*/*.json")):
        model, name = path.parent.name, path.stem
        metrics = json.loads(path.read_text())
        if name == "grid":
            grids[model] = metrics
        elif name != "doctor":
            results.append(_at_hand(dataset, model, name, metrics))
    return reproduced(load_published(), results, grids)


def _at_hand(dataset: str, model: str, name: str, metrics: Mapping[str, Any]) -> AtHand:
    file = Path("plots", dataset, model, name, "evaluation", "details.json")
    details = json.loads(file.read_text()) if file.is_file() else {}
    health = metrics.get("health", {})
    rows = f"{health.get('videos', '?')} videos, {health.get('captions', '?')} captions"
    if "split" in details:
        rows = f"{details['split']}, {rows}"
    return AtHand(model, name, metrics, details.get("intervals", {}), rows)
