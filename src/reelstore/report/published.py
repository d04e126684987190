"""Published numbers, kept as data, beside the numbers measured here: were they reproduced?"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Literal

from reelstore.records import model_name
from reelstore.report.page import Section, Table

DIGITS = 5e-4
"""Published with four digits: a number that differs by less has the same three."""
Direction = Literal["t2v", "v2t"]
_TITLES: dict[Direction, str] = {"t2v": "text-to-video", "v2t": "video-to-text"}
_LEGEND = "= the same to the third digit; ≈ the published value is in the 95 % interval here; ≠ neither; – not measured"


@dataclass(frozen=True)
class Published:
    """What a report has published.

    Attributes:
        source: who, where and when.
        dataset: what it was measured on.
        n_videos: videos it was measured on.
        models: encoder of both sides -> direction -> metric -> value.
        grid_model: what the names of the grid's encoders begin with.
        grid: video pooling -> text pooling -> text-to-video MRR, unaligned.
    """

    source: str
    dataset: str
    n_videos: int
    models: Mapping[str, Mapping[Direction, Mapping[str, float]]]
    grid_model: str
    grid: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class MeasuredResult:
    """One result that was measured here.

    Attributes:
        model: `<video encoder>+<text encoder>`.
        name: its aligner or scorer.
        metrics: as in its metrics file.
        intervals: direction -> metric -> {low, high}, as in its details; empty where there are none.
        rows: what it was measured on, in words.
    """

    model: str
    name: str
    metrics: Mapping[str, Any]
    intervals: Mapping[str, Any]
    rows: str


def load_published() -> Published:
    """The numbers of the report this project starts from."""
    raw = json.loads((files("reelstore.report") / "published.json").read_text(encoding="utf-8"))
    return Published(
        raw["source"], raw["dataset"], raw["n_videos"], raw["models"], raw["grid"]["model"], raw["grid"]["cells"]
    )


def reproduced(
    published: Published, results: Sequence[MeasuredResult], grids: Mapping[str, Mapping[str, Any]]
) -> list[Section]:
    """Sections of a page: X-CLIP in both directions and the grid, every published line followed by those measured here.

    Args:
        published: what to compare with.
        results: everything measured on the same data; what isn't of a published model is left out.
        grids: model -> what its grid.json holds.
    """
    models = _models(published, results)
    here = [f"{one.model.partition('+')[0]} {one.name}: {one.rows}" for own in models.values() for one in own]
    note = (
        f"Published: {published.source}; {published.dataset}. Here: {'; '.join(dict.fromkeys(here)) or 'nothing yet'}. "
        f"{_LEGEND}."
    )
    tables = [_scores(published, models, direction) for direction in _TITLES]
    chance = sum(1 / rank for rank in range(1, published.n_videos + 1)) / published.n_videos
    grid_note = (
        f"Published: {published.source}; {published.dataset}. Rows are video poolings, columns text poolings; a cell "
        "is the published value and the one here. = the same to the third digit; ≈ both are where shuffled pairs are; "
        f"≠ neither; – not measured. Chance among {published.n_videos:,} videos is {chance:.4f}: most published cells "
        "are chance or below."
    )
    found = {model: grid for model, grid in grids.items() if _of_grid(published, model)}
    return [
        Section("X-CLIP, published and here", note, tables),
        Section("Unaligned Video-LLaMA, published and here", grid_note, _grids(published, found)),
    ]


def _models(published: Published, results: Sequence[MeasuredResult]) -> dict[str, list[MeasuredResult]]:
    return {name: [one for one in results if one.model == model_name(name, name)] for name in published.models}


def _scores(published: Published, models: Mapping[str, Sequence[MeasuredResult]], direction: Direction) -> Table:
    names = list(next(iter(published.models.values()))[direction])
    rows = []
    for model, own in models.items():
        values = published.models[model][direction]
        rows.append([f"{model}, published", *(f"{values[name]:.4f}" for name in names)])
        rows += [
            [f"{model}, {one.name}, here", *(_cell(one, direction, name, values[name]) for name in names)]
            for one in own
        ]
        if not own:
            rows.append([f"{model}, here", *("–" for _ in names)])
    return Table(
        [_TITLES[direction], *(name.replace("hit@0", "hit rate@").replace("hit@", "hit rate@") for name in names)], rows
    )


def _cell(one: MeasuredResult, direction: Direction, name: str, published: float) -> str:
    metrics = one.metrics.get(direction, {})
    # A caption has one relevant video: there hit@k is R@k, and MAP is MRR.
    name = name if name in metrics else name.replace("hit@", "R@")
    if name not in metrics:
        return "–"
    interval = one.intervals.get(direction, {}).get(name)
    return _compared(metrics[name], published, (interval["low"], interval["high"]) if interval else None)


def _compared(value: float, published: float, interval: tuple[float, float] | None) -> str:
    if abs(value - published) <= DIGITS:
        return f"{value:.4f} ="
    return f"{value:.4f} {'≈' if interval and interval[0] <= published <= interval[1] else '≠'}"


def _of_grid(published: Published, model: str) -> bool:
    return all(encoder.startswith(published.grid_model) for encoder in model.split("+"))


def _grids(published: Published, grids: Mapping[str, Mapping[str, Any]]) -> list[Table]:
    columns = list(next(iter(published.grid.values())))
    tables = []
    for model, grid in grids.items() or [("here", {})]:
        shuffled = grid.get("shuffled")
        rows = []
        for row, cells in published.grid.items():
            shown = [row]
            for column in columns:
                value = grid.get("t2v_MRR", {}).get(row, {}).get(column)
                told = "–" if value is None else _among(value, cells[column], shuffled)
                shown.append(f"{cells[column]:.4f} | {told}")
            rows.append(shown)
        tables.append(Table([f"published | {model}", *columns], rows))
    return tables


def _among(value: float, published: float, shuffled: Mapping[str, float] | None) -> str:
    """Two cells that are both where pairs mean nothing agree, with any digits."""
    if abs(value - published) <= DIGITS:
        return f"{value:.4f} ="
    chance = shuffled and all(shuffled["low"] <= one <= shuffled["high"] for one in (value, published))
    return f"{value:.4f} {'≈' if chance else '≠'}"
