"""The report stage: all metrics and plots of a dataset -> one HTML page."""

import csv
import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from reelstore.io import write_atomically
from reelstore.params import Params
from reelstore.pipeline.report.published import published_sections
from reelstore.pipeline.report.results import Result, printed_columns, read_results
from reelstore.pipeline.split import counts_in_words
from reelstore.report.charts import line_chart
from reelstore.report.page import Section, Table, page

N_WORST = 10


@dataclass(frozen=True)
class ReportReport:
    """Where the page lies."""

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
        sections += [_scores(model, of_model), _curves(of_model), _grid(params, model), _training(of_model)]
        sections += [_failures(of_model)]
    sections += _protocols(params.dataset.name)
    if params.dataset.name.startswith("msrvtt") or params.dataset.kind == "msrvtt":
        sections += published_sections(params.dataset.name)
    path = Path("report", params.dataset.name, "index.html")
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
        f"Second table: 95 % intervals, {details['intervals']['method']}."
    )
    return Section(model, note, [Table(names, rows), Table(names, intervals)])


def _interval(result: Result, direction: str, name: str) -> str:
    low, high = _bounds(result.details["intervals"][direction][name])
    return f"{low:.3f} – {high:.3f}"


def _bounds(interval: dict[str, float] | list[float]) -> tuple[float, float]:
    if isinstance(interval, dict):
        return interval["low"], interval["high"]
    low, high = interval
    return low, high


def _curves(results: list[Result]) -> Section:
    pictures = []
    for direction in ("t2v", "v2t"):
        series: dict[str, list[tuple[float, float]]] = defaultdict(list)
        for result in results:
            for row in _rows(result.folder / "evaluation" / f"{direction}_recall.csv", delimiter=","):
                series[result.aligner].append((float(row["k"]), float(row["recall"])))
                if result is results[0]:
                    series["chance"].append((float(row["k"]), float(row["chance"])))
        title = {"t2v": "Text-to-video R@k", "v2t": "Video-to-text recall@k"}[direction]
        pictures.append(line_chart(series, title=title, x="k", y="share", dashed=["chance"]))
    return Section("Recall", pictures=pictures)


def _grid(params: Params, model: str) -> Section:
    path = Path("plots", params.dataset.name, model, "grid", "grid.svg")
    note = "Cosine of every video pooling with every text pooling as they are; the narrower side is filled with zeros."
    return Section("Unaligned grid", note, pictures=[path.read_text()] if path.is_file() else [])


def _training(results: list[Result]) -> Section:
    pictures = []
    for result in results:
        for file in sorted((result.folder / "training").rglob("*.tsv")):
            rows = [(float(row["step"]), float(row[file.stem])) for row in _rows(file, delimiter="\t")]
            if len(rows) > 1:
                title = f"{result.aligner}: {file.stem}"
                pictures.append(line_chart({result.aligner: rows}, title=title, x="step", y=""))
    return Section("Fitting", "A step is an epoch, or a value tried.", pictures=pictures)


def _failures(results: list[Result]) -> Section:
    """The captions that the best aligner ranks worst."""
    best = max(results, key=lambda result: result.metrics["t2v"]["MRR"])
    table = pq.read_table(best.folder / "evaluation" / "queries.parquet").to_pylist()
    worst = sorted((row for row in table if row["direction"] == "t2v"), key=lambda row: -row["rank"])[:N_WORST]
    rows = [
        [f"{row['video_id']} / {row['caption_index']}", f"{row['rank']:g}", str(row["best_wrong_video_id"])]
        for row in worst
    ]
    return Section(
        f"Where {best.aligner} fails",
        "The captions whose video ranks last, and the video that came first.",
        [Table(["video / caption", "rank", "first instead"], rows)],
    )


def _protocols(dataset: str) -> list[Section]:
    rows = []
    columns: list[tuple[str, str]] = []
    for path in sorted(Path("metrics", dataset).glob("*/protocols/*.json")):
        metrics = json.loads(path.read_text())
        columns = columns or printed_columns(metrics)
        aligner, _, protocol = path.stem.partition(".")
        cells = (metrics[direction].get(name) for direction, name in columns)
        shown = [f"{path.parent.parent.name}, {aligner}, {protocol}"]
        rows.append(shown + ["–" if cell is None else f"{cell:.4f}" for cell in cells])
    if not rows:
        return []
    note = "Not retrieval as usual: every query's scores were scaled by what all the other test queries like."
    names = ["", *(f"{direction} {name}" for direction, name in columns)]
    return [Section("Protocols that use the other test queries", note, [Table(names, rows)])]


def _rows(path: Path, *, delimiter: str) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter=delimiter))
