"""The grid stage: MRR of every video pooling x text pooling as they are, beside chance and shuffled pairs."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from reelstore.encoders.base import TOKENS
from reelstore.errors import ParamsError
from reelstore.evaluation import pad_to_same_width, shuffled_cells
from reelstore.evaluation.files import json_bytes
from reelstore.evaluation.heatmap import heat_map
from reelstore.evaluation.matched import Matched
from reelstore.evaluation.shuffles import Cells
from reelstore.io import replace_together
from reelstore.pooling import POOLINGS
from reelstore.project.settings import OutputsParams, Params
from reelstore.project.split import matched_split
from reelstore.records import model_name
from reelstore.store.open import Store, open_store
from reelstore.store.read import Rows


@dataclass(frozen=True)
class GridReport:
    """What the grid of one model shows, and where it is."""

    name: str
    outputs: OutputsParams
    split: str
    matched: Matched
    cells: Cells
    metrics: Path
    plots: Path

    def summary(self) -> str:
        """A line for people."""
        best = max(self.cells.mrr, key=lambda cell: self.cells.mrr[cell])
        return (
            f"{self.name} unaligned on {self.matched.counts(self.split)}: best t2v MRR {self.cells.mrr[best]:.4f} "
            f"({best[0]} video, {best[1]} text), chance {self.cells.chance:.4f}, shuffled pairs "
            f"{self.cells.low:.4f} to {self.cells.high:.4f}; {len(self.cells.outside)} of {len(self.cells.mrr)} "
            "cells outside."
        )


def run_grid(params: Params, *, video: str, text: str, name: str = "grid") -> GridReport:
    """Compare every stored pooling of `video` with every one of `text`, the narrower side zero-padded.

    Args:
        params: of the project.
        video: encoder of the videos.
        text: encoder of the captions.
        name: `grid`, or one of `grids`.

    Raises:
        ParamsError: there is no grid of this name, or nothing is stored of an output it compares.
    """
    if name != "grid" and name not in params.grids:
        raise ParamsError(f"grids has no {name!r}. Known: {', '.join(['grid', *params.grids])}.")
    outputs = params.grid if name == "grid" else params.grids[name]
    dataset, model, split = params.dataset.name, model_name(video, text), params.grid.split
    store = open_store(params.layout.store)
    videos = _poolings(store, f"video/{video}", outputs.video)
    texts = _poolings(store, f"text/{text}", outputs.text)
    matched = matched_split(params, list(videos.values()), list(texts.values()), split)
    video_values = {pooling: np.asarray(rows[matched.videos]) for pooling, rows in videos.items()}
    text_values = {pooling: np.asarray(rows[matched.captions]) for pooling, rows in texts.items()}
    cells = shuffled_cells(
        {
            (of_video, of_text): pad_to_same_width(text=text_values[of_text], video=video_values[of_video])
            for of_video in videos
            for of_text in texts
        },
        matched.video_of_caption,
        len(matched.videos),
        n_shuffles=params.grid.n_shuffles,
        seed=params.grid.seed,
    )
    report = GridReport(
        name=f"{dataset}/{model}",
        outputs=outputs,
        split=split,
        matched=matched,
        cells=cells,
        metrics=params.layout.metrics(model, name),
        plots=params.layout.plots(model, name),
    )
    _write(report)
    return report


def _poolings(store: Store, encoder: str, output: str) -> dict[str, Rows]:
    """Name of a pooling -> its rows; of an output that is one embedding, that under the output's name."""
    stored = set(store)
    variants = {pooling: pooling if output == TOKENS else f"{output}.{pooling}" for pooling in POOLINGS}
    found = {pooling: store[f"{encoder}/{name}"] for pooling, name in variants.items() if f"{encoder}/{name}" in stored}
    if f"{encoder}/{output}" in stored and (rows := store[f"{encoder}/{output}"]).layout == "pooled":
        found[output.replace(".", "-")] = rows  # no dots in the keys of metrics
    if not found:
        raise ParamsError(
            f"Nothing pooled is stored of the output {output!r} of {encoder}: none of {', '.join(variants.values())}. "
            "Name another output under grid or grids, or keep a pooling of this one."
        )
    return found


def _axis(side: str, output: str) -> str:
    return f"{side} pooling" if output == TOKENS else f"{side} pooling of {output}"


def _write(report: GridReport) -> None:
    cells = report.cells
    rows, columns = (list(dict.fromkeys(cell[axis] for cell in cells.mrr)) for axis in (0, 1))
    table = {row: {column: cells.mrr[row, column] for column in columns} for row in rows}
    metrics = {
        "t2v_MRR": table,
        "chance": cells.chance,
        "shuffled": {"low": cells.low, "high": cells.high},
        "cells_outside": len(cells.outside),
        "health": {
            "captions": len(report.matched.captions),
            "videos": len(report.matched.videos),
            **report.matched.skipped,
        },
    }
    lines = ["video_pooling,text_pooling,mrr"]
    lines += [f"{row},{column},{mrr:.6f}" for (row, column), mrr in cells.mrr.items()]
    notes = (
        f"{report.name}, {report.matched.counts(report.split)}",
        f"chance {cells.chance:.4f}; with pairs shuffled all cells are in {cells.low:.4f} to {cells.high:.4f} "
        f"(95 %, {cells.n_shuffles} shuffles)",
        f"{len(cells.outside)} of {len(cells.mrr)} cells outside (framed)",
    )
    svg = heat_map(
        table,
        title="Unaligned text-to-video MRR, cosine",
        rows=_axis("video", report.outputs.video),
        columns=_axis("text", report.outputs.text),
        # Chance stays pale: stretched over the cells themselves, the colours would make a pattern of noise.
        scale=(0.0, max(2 * cells.high, *cells.mrr.values())),
        notes=notes,
        framed=cells.outside,
    )
    replace_together(
        {
            report.plots / "grid.csv": ("\n".join(lines) + "\n").encode(),
            report.plots / "grid.svg": svg.encode(),
            report.metrics: json_bytes(metrics),
        }
    )
