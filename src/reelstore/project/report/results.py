"""All results of params.yaml's dataset, as the metrics files and their details have them."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from reelstore.errors import DamagedFileError, ReelstoreError
from reelstore.evaluation.files import read_metrics
from reelstore.layout import Layout
from reelstore.plain import advised, read_typed, typed
from reelstore.project.evaluate.queries import check_means, read_queries
from reelstore.project.settings import Params
from reelstore.records import model_name

AGAIN = "Run dvc repro evaluate, or fetch it with dvc pull."

COLUMNS = (("t2v", "R@"), ("v2t", "hit@"))
"""Direction and the metric printed for each k, beside MRR."""


@dataclass(frozen=True)
class Result:
    """One aligner or scorer of one model: its metrics and their details (chance, intervals, digests, counts).

    `folder` holds the details, curves and queries.
    """

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
        DamagedFileError: a file of one isn't what `evaluate` wrote, or files of several evaluations are side by side.
    """
    found = []
    for video in params.model.video:
        for text in params.model.text:
            model = model_name(video, text)
            of_model = [_read(params.layout, model, name) for name in (*params.aligners, *params.scorers)]
            results = [result for result in of_model if result is not None]
            for result in results[1:]:
                if printed_columns(result.metrics) != printed_columns(results[0].metrics):
                    raise DamagedFileError(
                        f"{result.folder} and {results[0].folder} have other metrics (evaluate.ks). {AGAIN}"
                    )
            found += results
    if not found:
        raise ReelstoreError(f"No results of {params.dataset.name} yet. Make them with dvc repro.")
    return found


def _read(layout: Layout, model: str, name: str) -> Result | None:
    """One result; None where it hasn't been measured."""
    path, evaluation = layout.metrics(model, name), layout.evaluation(model, name)
    if not os.path.lexists(path):
        return None
    with advised(AGAIN):
        metrics = read_metrics(path)
        try:
            details = read_details(evaluation / "details.json", metrics)
            check_means(
                read_queries(evaluation / "queries.parquet"), metrics, queries=evaluation / "queries.parquet", path=path
            )
        except FileNotFoundError as error:
            raise DamagedFileError(f"{error.filename} is missing, but {path} is there.") from error
    of = (details["dataset"], details["model"], details["aligner"])
    if of != (layout.dataset, model, name):
        raise DamagedFileError(f"{evaluation}/details.json is about {'/'.join(of)!r:.200}. {AGAIN}")
    return Result(model, name, metrics, details, evaluation)


@dataclass(frozen=True)
class Interval:
    """The ends of one, and the videos behind it, which older results don't name."""

    low: float
    high: float
    n_videos: int | None = None


@dataclass(frozen=True)
class _Variant:
    variant: str
    digest: str


@dataclass(frozen=True)
class _Published:
    name: str
    n_videos: int
    n_captions: int
    whole: bool


@dataclass(frozen=True)
class _Details:
    """What is shown of details.json, which holds more."""

    dataset: str
    model: str
    aligner: str
    split: str
    n_videos: int
    n_captions: int
    missing: dict[str, int]
    similarity: str
    ties: str
    video: _Variant
    text: _Variant
    chance: dict[str, dict[str, float]]
    intervals: dict[str, Any]
    protocol: _Published | None = None


def read_details(path: Path, metrics: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    """details.json of an evaluation, with chance and intervals of what is printed of these metrics.

    Raises:
        DamagedFileError: something in it isn't what is expected, or is missing.
        IrregularFileError, OSError: as of `io.read_bytes`.
    """
    details: dict[str, Any] = read_typed(path, dict[str, Any])
    shown = {field.name for field in fields(_Details)}
    typed({key: value for key, value in details.items() if key in shown}, _Details, path)
    intervals = read_intervals(details, path)
    if not isinstance(details["intervals"].get("method"), str):
        raise DamagedFileError(f"{path}: intervals.method is missing.")
    if not isinstance(details["intervals"].get("holds_fixed", ""), str):
        raise DamagedFileError(f"{path}: intervals.holds_fixed isn't text.")
    for direction, name in printed_columns(metrics):
        for what, values in (("chance", details["chance"]), ("intervals", intervals)):
            if name not in values.get(direction, {}):
                raise DamagedFileError(f"{path}: {what}.{direction}.{name} is missing.")
    return details


def read_intervals(details: Mapping[str, Any], path: Path) -> dict[str, dict[str, Interval]]:
    """Direction -> metric -> interval, of details that were read from this file.

    Raises:
        DamagedFileError: they aren't numbers.
    """
    found = details.get("intervals", {})
    if not isinstance(found, dict):
        raise DamagedFileError(f"{path}: intervals isn't a mapping.")
    ours = {direction: found[direction] for direction in ("t2v", "v2t") if direction in found}
    intervals: dict[str, dict[str, Interval]] = typed(ours, dict[str, dict[str, Interval]], f"{path}: intervals")
    return intervals
