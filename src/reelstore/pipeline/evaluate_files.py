"""Embeddings in .npy files and a table of who belongs to whom -> metrics, without a store."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from reelstore.errors import EvaluationError
from reelstore.evaluation import Evaluation, bootstrap, evaluate
from reelstore.evaluation.files import write_json
from reelstore.evaluation.matched import Matched
from reelstore.evaluation.ties import Ties
from reelstore.pipeline.evaluate import write_curves, write_queries
from reelstore.ranking import Array, Ints, Similarity


@dataclass(frozen=True)
class FilesReport:
    """What was found, and where it was written."""

    evaluation: Evaluation
    output: Path | None

    def summary(self) -> str:
        """Metrics beside chance and their intervals."""
        intervals = bootstrap(self.evaluation)
        health = ", ".join(f"{n} {what}" for what, n in self.evaluation.metrics["health"].items())
        lines = [f"{health}; {self.evaluation.similarity}, ties {self.evaluation.ties}"]
        for direction in self.evaluation.ranks:
            lines += ["", f"{direction:10} {'':>9} {'chance':>9}   95 % interval over videos"]
            for metric, value in self.evaluation.metrics[direction].items():
                ends = intervals[direction].get(metric)
                interval = f"[{ends['low']:.4f}, {ends['high']:.4f}]" if ends else ""
                chance = self.evaluation.chance[direction][metric]
                lines.append(f"{metric:10} {value:9.4f} {chance:9.4f}   {interval}".rstrip())
        return "\n".join(lines + ([f"\n{self.output}"] if self.output else []))


def evaluate_files(
    text: Path,
    video: Path,
    keys: Path,
    *,
    similarity: Similarity = "cosine",
    ties: Ties = "expected",
    ks: Sequence[int] = (1, 5, 10),
    output: Path | None = None,
) -> FilesReport:
    """Evaluate two .npy files; they are mapped, not loaded.

    Args:
        text: (n_captions, dim) .npy.
        video: (n_videos, dim) .npy.
        keys: CSV with the columns `caption` and `video`, row numbers from 0, one line for each right pair.
        similarity, ties, ks: as in `evaluate`.
        output: folder for metrics.json, curves and queries.parquet, which `compare` reads; a key there is a row number.
    """
    sides = _mapped(text), _mapped(video)
    caption, video_of = _pairs(keys, len(sides[0]), len(sides[1]))
    found = evaluate(*sides, (caption, video_of), similarity=similarity, ties=ties, ks=ks, answers=output is not None)
    if output is not None:
        write_json(output / "metrics.json", found.metrics)
        write_curves(output, found)
        first = dict(zip(caption[::-1].tolist(), video_of[::-1].tolist(), strict=True))
        captions = [(str(first.get(row, "")), row) for row in range(len(sides[0]))]
        videos = [str(row) for row in range(len(sides[1]))]
        write_queries(output / "queries.parquet", found, Matched(videos, captions, video_of, {}))
    return FilesReport(found, output)


def _mapped(path: Path) -> Array:
    try:
        values: Array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise EvaluationError(f"{path} isn't a .npy file of numbers: {error}") from error
    return values


def _pairs(path: Path, n_captions: int, n_videos: int) -> tuple[Ints, Ints]:
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise EvaluationError(f"{path} can't be read: {error}") from error
    if not rows or not {"caption", "video"} <= set(rows[0]):
        raise EvaluationError(f"{path} must be a CSV with the columns caption and video, and at least one line.")
    columns = []
    for name, n in (("caption", n_captions), ("video", n_videos)):
        try:
            numbers = np.array([int(row[name]) for row in rows], dtype=np.int64)
        except (TypeError, ValueError) as error:
            raise EvaluationError(f"{path}: {name} must be row numbers from 0: {error}") from error
        outside = np.flatnonzero((numbers < 0) | (numbers >= n))
        if len(outside):
            line = int(outside[0])
            raise EvaluationError(f"{path}, line {line + 2}: {name} {numbers[line]}, but its rows are 0 to {n - 1}.")
        columns.append(numbers)
    return columns[0], columns[1]
