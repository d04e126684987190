"""The evaluate stage: one fitted aligner, or scorer, on one split -> metrics, per-query ranks, curves, details."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from reelstore.evaluation import DirectionResult, Evaluation, confidence_intervals
from reelstore.evaluation.files import json_bytes
from reelstore.evaluation.intervals import HOLDS_FIXED, LEVEL, METHOD, cluster_descriptions
from reelstore.evaluation.matched import Matched
from reelstore.io import replace_together
from reelstore.project.evaluate.score import Measured, measure
from reelstore.project.settings import Params
from reelstore.records import model_name

CURVE_KS = range(1, 51)
N_WORST = 100
"""Queries shown in the tracked table."""
_QUERY_COLUMNS = pa.schema(
    [
        ("direction", pa.string()),
        ("video_id", pa.string()),
        ("caption_index", pa.int64()),
        ("rank", pa.float64()),
        ("greater", pa.int64()),
        ("equal", pa.int64()),
        ("hardest_negative_video_id", pa.string()),
        ("hardest_negative_caption_index", pa.int64()),
        ("gap", pa.float64()),
    ]
)


@dataclass(frozen=True)
class EvaluateReport:
    """What evaluating one aligner found, and where it is."""

    name: str
    split: str
    matched: Matched
    evaluation: Evaluation
    metrics: Path
    plots: Path

    def summary(self) -> str:
        """Two lines for people."""
        found, chance = self.evaluation.metrics, self.evaluation.chance
        first = {"t2v": "R", "v2t": "hit"}
        scores = "; ".join(
            f"{direction} "
            + ", ".join(f"{key} {value:.4f}" for key, value in found[direction].items() if key.split("@")[0] == name)
            + f", MRR {found[direction]['MRR']:.4f} (chance {chance[direction]['MRR']:.4f})"
            for direction, name in first.items()
        )
        return f"{self.name} on {self.matched.counts(self.split)}:\n  {scores}"


def run_evaluate(params: Params, *, video: str, text: str, aligner: str) -> EvaluateReport:
    """Measure an aligner, or a scorer, of the model `video`+`text` and write what was found."""
    dataset, model, split = params.dataset.name, model_name(video, text), params.evaluate.split
    measured = measure(params, video=video, text=text, name=aligner)
    matched, evaluation = measured.matched, measured.evaluation
    report = EvaluateReport(
        name=f"{dataset}/{model}/{aligner}",
        split=split,
        matched=matched,
        evaluation=evaluation,
        metrics=params.layout.metrics(model, aligner),
        plots=params.layout.evaluation(model, aligner),
    )
    details = {
        **about(params, measured, model=model, name=aligner),
        **measured.scorer,
        **conventions(evaluation),
    }
    write_found(report.plots, evaluation, matched, metrics=report.metrics, details=details)
    _track(params, report, details)
    return report


def about(params: Params, measured: Measured, *, model: str, name: str) -> dict[str, Any]:
    """What details say of the rows behind a result."""
    matched, published = measured.matched, measured.matched.protocol
    return {
        "dataset": params.dataset.name,
        "model": model,
        "aligner": name,
        "split": published.name if published else params.evaluate.split,
        "n_videos": len(matched.videos),
        "n_captions": len(matched.captions),
        "missing": matched.missing,
        **({"protocol": {**asdict(published), "whole": matched.is_whole}} if published else {}),
        **{
            rows.side: {"variant": f"{rows.side}/{rows.encoder}/{rows.variant}", "digest": rows.digest}
            for rows in (measured.videos, measured.texts)
        },
    }


def write_found(
    folder: Path, evaluation: Evaluation, matched: Matched, *, metrics: Path, details: Mapping[str, Any] | None = None
) -> None:
    """The metrics file; and, in the folder, both curves, queries.parquet and details.json: all of one evaluation, or no
    metrics file. With details, which are a project's, the metrics also say how many rows of the split are missing.
    """
    health = evaluation.metrics["health"] | (matched.skipped if details is not None else {})
    replace_together(
        {
            **({folder / "details.json": json_bytes(details)} if details is not None else {}),
            **curve_files(folder, evaluation),
            folder / "queries.parquet": queries_parquet(evaluation, matched),
            metrics: json_bytes(evaluation.metrics | {"health": health}),
        }
    )


def curve_files(folder: Path, evaluation: Evaluation) -> dict[Path, bytes]:
    """t2v_recall.csv and v2t_recall.csv: recall and chance for k from 1 to 50."""
    files = {}
    for direction in ("t2v", "v2t"):
        curve = evaluation.curve(direction, CURVE_KS)
        lines = ["k,recall,chance"]
        lines += [
            f"{k},{recall:.6f},{chance:.6f}"
            for k, recall, chance in zip(CURVE_KS, curve["recall"], curve["chance"], strict=True)
        ]
        files[folder / f"{direction}_recall.csv"] = ("\n".join(lines) + "\n").encode()
    return files


def queries_parquet(evaluation: Evaluation, matched: Matched) -> memoryview:
    """A row for each query: its key, rank, counts, hardest negative and the gap to the relevant item; then the query's
    value of every metric, a column each.

    `caption_index` is null where the query (or the item) is a video; the hardest negative and the gap are null
    where every item is relevant; a metric is null in the direction that doesn't have it.
    """
    rows = query_rows(evaluation, matched)
    table = pa.Table.from_pylist(
        [dict(zip(_QUERY_COLUMNS.names, row, strict=True)) for row in rows], schema=_QUERY_COLUMNS
    )
    sides = list(evaluation.directions.values())
    for name in sorted({name for ranks in sides for name in ranks.values}):
        parts = [ranks.values[name] if name in ranks.values else np.full(ranks.n_queries, np.nan) for ranks in sides]
        table = table.append_column(name, pa.array(np.concatenate(parts), from_pandas=True))
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, write_page_checksum=True)
    return memoryview(sink.getvalue())


def query_rows(evaluation: Evaluation, matched: Matched) -> list[tuple[Any, ...]]:
    """Rows of queries.parquet, text-to-video first."""
    videos: list[tuple[str, int | None]] = [(video_id, None) for video_id in matched.videos]
    captions: list[tuple[str, int | None]] = list(matched.captions)
    return [
        *_direction_rows("t2v", evaluation.t2v, captions, videos),
        *_direction_rows("v2t", evaluation.v2t, videos, captions),
    ]


def _direction_rows(
    direction: str, ranks: DirectionResult, queries: list[tuple[str, int | None]], items: list[tuple[str, int | None]]
) -> list[tuple[Any, ...]]:
    if ranks.hardest_negative is None or ranks.gap is None:
        raise ValueError("queries are written of an evaluation with return_hard_negatives=True")
    rows: list[tuple[Any, ...]] = []
    for number, query in enumerate(ranks.query.tolist()):
        hardest = int(ranks.hardest_negative[number])
        negative = items[hardest] if hardest >= 0 else (None, None)
        gap = float(ranks.gap[number]) if hardest >= 0 else None
        counts = float(ranks.rank[number]), int(ranks.greater[number]), int(ranks.equal[number])
        rows.append((direction, *queries[query], *counts, *negative, gap))
    return rows


def conventions(evaluation: Evaluation) -> dict[str, Any]:
    """What details say of how numbers came about, chance, intervals and bounds among them."""
    details: dict[str, Any] = {
        "similarity": evaluation.similarity,
        "ties": evaluation.ties,
        "v2t_protocol": "best own caption among all captions",
        "scores": "float64 on the given values, folded in halves",
        "chance": evaluation.chance,
        "intervals": {
            "level": LEVEL,
            "method": METHOD,
            "holds_fixed": HOLDS_FIXED,
            "clusters": cluster_descriptions(evaluation),
            **confidence_intervals(evaluation, level=LEVEL),
        },
    }
    if evaluation.metrics["health"]["tied_queries"]:
        details["bounds"] = evaluation.bounds
    return details


def _track(params: Params, report: EvaluateReport, details: dict[str, Any]) -> None:
    from reelstore.project import tracking

    config = {key: details[key] for key in ("dataset", "model", "aligner", "split", "n_videos", "n_captions")}
    config |= {side: details[side] for side in ("video", "text")}
    worst = np.argsort(-report.evaluation.t2v.rank, kind="stable")[:N_WORST]
    rows = query_rows(report.evaluation, report.matched)
    with tracking.run(
        params.tracking, job="evaluate", name=report.name, config=config, tags=[details["model"], details["aligner"]]
    ) as log:
        log.summary(report.evaluation.metrics)
        log.table("worst_captions", list(_QUERY_COLUMNS.names), [list(rows[number]) for number in worst])
