"""Everything measured on a dataset, for the report's tables of published numbers."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from reelstore.errors import DamagedFileError
from reelstore.evaluation.files import read_metrics
from reelstore.layout import Layout
from reelstore.plain import advised, read_typed, typed
from reelstore.project.report.results import AGAIN, read_intervals
from reelstore.report.page import Section
from reelstore.report.published import MeasuredResult, load_published, reproduced


@dataclass(frozen=True)
class _Grid:
    """What is shown of grid.json, which holds more."""

    t2v_MRR: dict[str, dict[str, float]]  # as the file has it
    shuffled: dict[str, float]


def published_sections(layout: Layout) -> list[Section]:
    """Published tables beside all metrics files of a dataset, of any model, in params.yaml or not.

    Raises:
        DamagedFileError: a file isn't what was written.
    """
    results, grids = [], {}
    for file in layout.all_metrics():
        path, model, name = file.path, file.model, file.name
        if not model or file.rescoring:
            continue
        if name == "grid":
            with advised("Run dvc repro grid."):
                grids[model] = _grid(path)
        elif name != "doctor":
            with advised(AGAIN):
                results.append(_at_hand(layout, model, name, read_metrics(path, needed=())))
    return reproduced(load_published(), results, grids)


def _grid(path: Path) -> dict[str, Any]:
    shown = {field.name for field in fields(_Grid)}
    grid = {key: value for key, value in read_typed(path, dict[str, Any]).items() if key in shown}
    typed(grid, _Grid, path)
    if not {"low", "high"} <= set(grid["shuffled"]):
        raise DamagedFileError(f"{path}: shuffled has no low and high.")
    return grid


def _at_hand(layout: Layout, model: str, name: str, metrics: Mapping[str, Mapping[str, float]]) -> MeasuredResult:
    file = layout.evaluation(model, name) / "details.json"
    details = read_typed(file, dict[str, Any]) if os.path.lexists(file) else {}
    intervals = {
        direction: {metric: {"low": one.low, "high": one.high} for metric, one in of.items()}
        for direction, of in read_intervals(details, file).items()
    }
    health = metrics.get("health", {})
    videos, captions = (f"{health[of]:g}" if of in health else "?" for of in ("videos", "captions"))
    rows = f"{videos} videos, {captions} captions"
    if "split" in details:
        rows = f"{typed(details['split'], str, f'{file}: split')}, {rows}"
    return MeasuredResult(model, name, metrics, intervals, rows)
