"""All results of params.yaml's dataset, as the metrics files and their details have them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reelstore.errors import ReelstoreError
from reelstore.params import Params

COLUMNS = (("t2v", "R@"), ("v2t", "hit@"))
"""Direction and the metric printed for each k, beside MRR."""


@dataclass(frozen=True)
class Result:
    """One aligner or scorer of one model: its metrics and their details (chance, intervals, digests, counts)."""

    model: str
    aligner: str
    metrics: Mapping[str, Any]
    details: Mapping[str, Any]
    folder: Path

    def cells(self, values: Mapping[str, Any]) -> list[str]:
        """Values of the printed columns, from metrics or from chance."""
        return [f"{values[direction][name]:.4f}" for direction, name in printed_columns(self.metrics)]


def printed_columns(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(direction, metric) of the printed columns: R@k or hit@k for every k, then MRR."""
    columns = []
    for direction, prefix in COLUMNS:
        columns += [(direction, name) for name in sorted(metrics[direction]) if name.startswith(prefix)]
        columns.append((direction, "MRR"))
    return columns


def read_results(params: Params) -> list[Result]:
    """Results of every model with every aligner and scorer in params.yaml.

    Raises:
        ReelstoreError: there are none yet.
    """
    found = []
    for video in params.model.video:
        for text in params.model.text:
            model = f"{video}+{text}"
            for aligner in (*params.aligners, *params.scorers):
                metrics = Path("metrics", params.dataset.name, model, f"{aligner}.json")
                folder = Path("plots", params.dataset.name, model, aligner)
                details = folder / "evaluation" / "details.json"
                if metrics.is_file() and details.is_file():
                    found.append(
                        Result(model, aligner, json.loads(metrics.read_text()), json.loads(details.read_text()), folder)
                    )
    if not found:
        raise ReelstoreError(f"No results of {params.dataset.name} yet. Make them with dvc repro.")
    return found
