"""The grid stage: MRR of every video pooling x text pooling as they are, beside chance and shuffled pairs."""

from dataclasses import dataclass
from pathlib import Path

from reelstore.evaluation import pad_to_same_width, shuffled_cells
from reelstore.evaluation.files import write_json
from reelstore.evaluation.heatmap import heat_map
from reelstore.evaluation.matched import Matched, match
from reelstore.evaluation.shuffles import Cells
from reelstore.params import Params
from reelstore.pooling import POOLINGS
from reelstore.store.reader import open_store


@dataclass(frozen=True)
class GridReport:
    """What the grid of one model shows, and where it lies."""

    name: str
    split: str
    matched: Matched
    cells: Cells
    metrics: Path
    plots: Path

    def summary(self) -> str:
        """A line for people."""
        best = max(self.cells.mrr, key=lambda cell: self.cells.mrr[cell])
        return (
            f"{self.name} unaligned on {self.split} ({len(self.matched.videos)} videos, "
            f"{len(self.matched.captions)} captions): best t2v MRR {self.cells.mrr[best]:.4f} "
            f"({best[0]} video, {best[1]} text), chance {self.cells.chance:.4f}, shuffled pairs "
            f"{self.cells.low:.4f} to {self.cells.high:.4f}; {len(self.cells.outside)} of {len(self.cells.mrr)} "
            "cells outside."
        )


def run_grid(params: Params, *, video: str, text: str) -> GridReport:
    """Compare every pooling of `video` with every pooling of `text`, the narrower side zero-padded."""
    dataset, model, split = params.dataset.name, f"{video}+{text}", params.grid.split
    store = open_store(params.store_folder)
    videos = {pooling: store[f"video/{video}/{pooling}"] for pooling in POOLINGS}
    texts = {pooling: store[f"text/{text}/{pooling}"] for pooling in POOLINGS}
    matched = match(list(videos.values()), list(texts.values()), split)
    video_values = {pooling: rows[matched.videos] for pooling, rows in videos.items()}
    text_values = {pooling: rows[matched.captions] for pooling, rows in texts.items()}
    cells = shuffled_cells(
        {
            (of_video, of_text): pad_to_same_width(video_values[of_video], text_values[of_text])[::-1]
            for of_video in POOLINGS
            for of_text in POOLINGS
        },
        matched.video_of_caption,
        len(matched.videos),
        n_shuffles=params.grid.n_shuffles,
        seed=params.grid.seed,
    )
    report = GridReport(
        name=f"{dataset}/{model}",
        split=split,
        matched=matched,
        cells=cells,
        metrics=Path("metrics", dataset, model, "grid.json"),
        plots=Path("plots", dataset, model, "grid"),
    )
    _write(report)
    return report


def _write(report: GridReport) -> None:
    cells = report.cells
    table = {row: {column: cells.mrr[row, column] for column in POOLINGS} for row in POOLINGS}
    write_json(
        report.metrics,
        {
            "t2v_MRR": table,
            "chance": cells.chance,
            "shuffled": {"low": cells.low, "high": cells.high},
            "cells_outside": len(cells.outside),
            "health": {
                "captions": len(report.matched.captions),
                "videos": len(report.matched.videos),
                **report.matched.left_out,
            },
        },
    )
    report.plots.mkdir(parents=True, exist_ok=True)
    lines = ["video_pooling,text_pooling,mrr"]
    lines += [f"{row},{column},{mrr:.6f}" for (row, column), mrr in cells.mrr.items()]
    (report.plots / "grid.csv").write_text("\n".join(lines) + "\n")
    notes = (
        f"{report.name}, {report.split}: {len(report.matched.videos)} videos, {len(report.matched.captions)} captions",
        f"chance {cells.chance:.4f}; with pairs shuffled all cells lie in {cells.low:.4f} to {cells.high:.4f} "
        f"(95 %, {cells.n_shuffles} shuffles)",
        f"{len(cells.outside)} of {len(cells.mrr)} cells outside (framed)",
    )
    svg = heat_map(
        table,
        title="Unaligned text-to-video MRR, cosine",
        rows="video pooling",
        columns="text pooling",
        # Chance stays pale: stretched over the cells themselves, the colours would make a pattern of noise.
        scale=(0.0, max(2 * cells.high, *cells.mrr.values())),
        notes=notes,
        framed=cells.outside,
    )
    (report.plots / "grid.svg").write_text(svg)
