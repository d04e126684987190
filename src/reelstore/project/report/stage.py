"""The report stage: all metrics and plots of a dataset -> one HTML page."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reelstore.errors import DamagedFileError
from reelstore.evaluation.files import read_metrics
from reelstore.io import read_bytes, read_text, write_atomically
from reelstore.layout import Layout
from reelstore.plain import advised
from reelstore.project.evaluate.queries import check_means, read_queries
from reelstore.project.evaluate.stage import CURVE_KS
from reelstore.project.report.published import published_sections
from reelstore.project.report.results import AGAIN, Result, printed_columns, read_results
from reelstore.project.settings import Params
from reelstore.project.split import counts_in_words
from reelstore.report.charts import line_chart
from reelstore.report.page import Section, Table, page

N_WORST = 10
TABLE_BYTES = 16 * 2**20
"""Of a curve or a picture at most."""


@dataclass(frozen=True)
class ReportReport:
    """Where the page is."""

    path: Path

    def summary(self) -> str:
        """A line for people."""
        return f"{self.path}"


def run_report(params: Params) -> ReportReport:
    """Write report/<dataset>/index.html."""
    results = read_results(params)
    sections = []
    for model in dict.fromkeys(result.model for result in results):
        of_model = [result for result in results if result.model == model]
        sections += [_scores(model, of_model), _curves(of_model), _grid(params, model)]
        sections += [_training(params.layout, of_model), _failures(of_model)]
    sections += _protocols(params.layout)
    if params.dataset.name.startswith("msrvtt") or params.dataset.kind == "msrvtt":
        sections += published_sections(params.layout)
    path = params.layout.report
    write_atomically(path, page(f"{params.dataset.name}: text-video retrieval", sections).encode())
    return ReportReport(path)


def _scores(model: str, results: list[Result]) -> Section:
    details = results[0].details
    columns = printed_columns(results[0].metrics)
    rows = [["chance", *results[0].cells(details["chance"])]]
    rows += [[result.aligner, *result.cells(result.metrics)] for result in results]
    intervals = [
        [result.aligner, *(_interval(result, direction, name) for direction, name in columns)] for result in results
    ]
    names = ["", *(f"{direction} {name}" for direction, name in columns)]
    missing = {what: n for what, n in details["missing"].items() if n}
    note = (
        f"{counts_in_words(details)}"
        f"{f', left out: {missing}' if missing else ''}; {details['similarity']} similarity, ties {details['ties']}. "
        f"Store: {details['video']['variant']} {details['video']['digest'][:12]}, "
        f"{details['text']['variant']} {details['text']['digest'][:12]}. "
        f"Second table: 95 % intervals, {_behind(details['intervals'])}."
    )
    return Section(model, note, [Table(names, rows), Table(names, intervals)])


def _behind(intervals: Mapping[str, Any]) -> str:
    """Method of the intervals, the videos behind them, and what they hold fixed, as far as details say so."""
    n_videos = intervals["t2v"]["MRR"].get("n_videos")
    fixed = intervals.get("holds_fixed")
    parts = [intervals["method"], f"{n_videos} videos" if n_videos else "", f"held fixed: {fixed}" if fixed else ""]
    return "; ".join(part for part in parts if part)


def _interval(result: Result, direction: str, name: str) -> str:
    interval = result.details["intervals"][direction][name]
    return f"{interval['low']:.3f} – {interval['high']:.3f}"


def _curves(results: list[Result]) -> Section:
    pictures = []
    for direction in ("t2v", "v2t"):
        series: dict[str, list[tuple[float, float]]] = defaultdict(list)
        for result in results:
            path = result.folder / f"{direction}_recall.csv"
            with advised(AGAIN):
                header, rows = _numbers(path, ",")
                if header != ["k", "recall", "chance"]:
                    raise DamagedFileError(f"{path} has the columns {','.join(header)!r:.60}, not k,recall,chance.")
                if [row[0] for row in rows] != list(CURVE_KS):
                    raise DamagedFileError(f"{path} isn't about k from {CURVE_KS[0]} to {CURVE_KS[-1]}.")
            for k, recall, chance in rows:
                series[result.aligner].append((k, recall))
                if result is results[0]:
                    series["chance"].append((k, chance))
        title = {"t2v": "Text-to-video R@k", "v2t": "Video-to-text recall@k"}[direction]
        pictures.append(line_chart(series, title=title, x="k", y="share", dashed=["chance"]))
    return Section("Recall", pictures=pictures)


def _grid(params: Params, model: str) -> Section:
    path = params.layout.plots(model, "grid") / "grid.svg"
    note = "Cosine of every video pooling with every text pooling as they are; the narrower side is filled with zeros."
    return Section("Unaligned grid", note, pictures=[read_bytes(path, at_most=TABLE_BYTES)] if path.exists() else [])


def _training(layout: Layout, results: list[Result]) -> Section:
    pictures = []
    for result in results:
        for file in sorted(layout.training(result.model, result.aligner).rglob("*.tsv")):
            with advised("Run dvc repro align, or fetch it with dvc pull."):
                _, rows = _numbers(file, "\t", only=["step", file.stem])
            # Of a training that diverged, what still is a number.
            points = [(step, value) for step, value in rows if math.isfinite(value)]
            if len(points) > 1:
                title = f"{result.aligner}: {file.stem}"
                pictures.append(line_chart({result.aligner: points}, title=title, x="step", y=""))
    return Section("Fitting", "A step is an epoch, or a value tried.", pictures=pictures)


def _failures(results: list[Result]) -> Section:
    """The captions that the best aligner ranks worst."""
    best = max(results, key=lambda result: result.metrics["t2v"]["MRR"])
    with advised(AGAIN):
        queries = read_queries(best.folder / "queries.parquet")
    ranks = queries["rank"]
    of_captions = [row for row, direction in enumerate(queries["direction"]) if direction == "t2v"]
    rows = [
        [
            f"{queries['video_id'][row]} / {queries['caption_index'][row]}",
            f"{ranks[row]:g}",
            str(queries["hardest_negative_video_id"][row]),
        ]
        for row in sorted(of_captions, key=lambda row: -ranks[row])[:N_WORST]
    ]
    return Section(
        f"Where {best.aligner} fails",
        "The captions whose video ranks last, and the video that came first.",
        [Table(["video / caption", "rank", "first instead"], rows)],
    )


def _protocols(layout: Layout) -> list[Section]:
    rows = []
    columns: list[tuple[str, str]] = []
    for file in layout.all_metrics():
        if not file.rescoring:
            continue
        path = file.path
        with advised("Run dvc repro protocol."):
            metrics = read_metrics(path)
            queries = file.evidence / "queries.parquet"
            check_means(read_queries(queries), metrics, queries=queries, path=path)
        columns = columns or printed_columns(metrics)
        cells = (metrics[direction].get(name) for direction, name in columns)
        shown = [f"{file.model}, {file.name}, {file.rescoring}"]
        rows.append(shown + ["–" if cell is None else f"{cell:.4f}" for cell in cells])
    if not rows:
        return []
    note = "Not retrieval as usual: scores were scaled by what other queries score, of the test or of a training bank."
    names = ["", *(f"{direction} {name}" for direction, name in columns)]
    return [Section("Rescored results", note, [Table(names, rows)])]


def _numbers(path: Path, delimiter: str, *, only: Sequence[str] = ()) -> tuple[list[str], list[list[float]]]:
    """Header and rows of a table of numbers.

    Args:
        path: of the file.
        delimiter: between cells.
        only: a header; a table with another one is somebody else's, and has no rows here. Then numbers behind the first
            may be NaN or infinite.

    Raises:
        DamagedFileError: a cell isn't a number; the message has the line.
        IrregularFileError, OSError: as of `io.read_text`.
    """
    head, *lines = read_text(path, at_most=TABLE_BYTES).split("\n")
    header = head.split(delimiter)
    if not only and (not lines or lines[-1]):
        raise DamagedFileError(f"{path} is cut off: its last line doesn't end.")
    if only and header != list(only):
        return header, []
    rows = []
    for number, line in enumerate(lines, 2):
        if not line:
            continue
        try:
            rows.append([float(cell) for cell in line.split(delimiter)])
        except ValueError:
            raise DamagedFileError(f"{path}, line {number}: {line!r:.60} isn't a row of numbers.") from None
        finite = rows[-1][:1] if only else rows[-1]
        if len(rows[-1]) != len(header) or not all(map(math.isfinite, finite)):
            raise DamagedFileError(f"{path}, line {number}: {line!r:.60} isn't a row of {len(header)} numbers.")
    return header, rows
