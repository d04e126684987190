"""Two evaluations of the same queries -> what differs between them, in the workspace or at git revisions."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from reelstore.errors import DamagedFileError, EvaluationError
from reelstore.evaluation.compare import Difference, adjust, compare
from reelstore.evaluation.intervals import HOLDS_FIXED
from reelstore.layout import MetricsFile
from reelstore.parquet import Columns
from reelstore.project.evaluate.queries import KEY, NOT_METRICS, read_queries
from reelstore.project.git import refuse_irregular_repository
from reelstore.project.settings import Threshold

_FILE = "queries.parquet"
_AGAIN = "Run dvc repro evaluate, or fetch it with dvc pull."
QUERIES_BYTES = 2**32
"""Of a table at a git revision, which is read whole."""
_CONDITION = re.compile(r"(\w+)\.(\S+?)\s*((?:<|>)=?)\s*([-+]?[0-9.]+)\s*(pt|%)?")


@dataclass(frozen=True)
class Condition:
    """Something that must not be, such as `t2v.R@01 < -0.5pt`: text-to-video R@1 half a percentage point lower or more.

    Attributes:
        direction, metric: whose difference is tested, second less first.
        threshold: the difference that fails, in the metric's own unit; as a share of the first value if `relative`.
        relative: whether it was given in per cent.
    """

    direction: str
    metric: str
    threshold: Threshold
    relative: bool

    @classmethod
    def parse(cls, text: str) -> "Condition":
        """From `<direction>.<metric> <operator> <number>`; the number may end in pt (percentage points) or %."""
        found = _CONDITION.fullmatch(text.strip())
        if found is None:
            raise EvaluationError(
                f"{text!r} isn't a condition. It needs a metric, an operator and a number: 't2v.R@01 < -0.5pt', "
                "'t2v.MeanR > 5%'."
            )
        try:
            value = float(found[4]) / (100 if found[5] else 1)
        except ValueError:
            raise EvaluationError(f"{text!r}: {found[4]!r} isn't a number.") from None
        return cls(found[1], found[2], Threshold(found[3], value), found[5] == "%")

    def holds(self, differences: Mapping[str, Mapping[str, Difference]]) -> bool:
        """Whether what must not be is."""
        known = [f"{direction}.{metric}" for direction, of in differences.items() for metric in of]
        if f"{self.direction}.{self.metric}" not in known:
            raise EvaluationError(
                f"No metric {self.direction}.{self.metric} to compare. There are: {', '.join(known)}."
            )
        found = differences[self.direction][self.metric]
        if not self.relative:
            return self.threshold.holds(found.difference)
        return self.threshold.holds(found.difference / found.first if found.first else float(np.sign(found.difference)))

    def __str__(self) -> str:
        shown = f"{100 * self.threshold.value:g}%" if self.relative else f"{self.threshold.value:g}"
        return f"{self.direction}.{self.metric} {self.threshold.operator} {shown}"


@dataclass(frozen=True)
class Changed:
    """One query whose rank moved."""

    query: str
    first: float
    second: float


@dataclass(frozen=True)
class CompareReport:
    """What two evaluations differ in.

    Attributes:
        names: what was compared.
        differences: direction -> metric -> difference.
        changed: direction -> the queries whose ranks moved most, by their ratio.
        n_queries: queries that both have.
        n_alone: queries that only the first, and only the second has.
        primary: direction and metric that is tested as it is; p-values of the others are corrected for their number.
        failed: conditions that hold and must not.
    """

    names: tuple[str, str]
    differences: Mapping[str, Mapping[str, Difference]]
    changed: Mapping[str, Sequence[Changed]]
    n_queries: int
    n_alone: tuple[int, int]
    primary: tuple[str, str]
    failed: Sequence[Condition]

    def summary(self) -> str:
        """Tables for people."""
        lines = [f"first  {self.names[0]}", f"second {self.names[1]}", f"{self.n_queries} queries in both"]
        if any(self.n_alone):
            lines[-1] += f"; left out: {self.n_alone[0]} that only the first has, {self.n_alone[1]} only the second"
        direction, metric = self.primary
        one = self.differences[direction][metric]
        lines += [
            "",
            f"primary metric {direction}.{metric}: {one.first:.4f} -> {one.second:.4f}, change {one.difference:+.4f}, "
            f"95 % interval [{one.low:+.4f}, {one.high:+.4f}], p {one.p:.4f} ({one.n_videos} videos)",
        ]
        n_metrics = sum(len(metrics) for metrics in self.differences.values())
        for direction, metrics in self.differences.items():
            n_videos = max(one.n_videos for one in metrics.values())
            head = f"95 % interval, {n_videos} videos"
            lines += ["", f"{direction:10} {'first':>9} {'second':>9} {'change':>9}   {head:28} {'p':>6}   adjusted p"]
            for metric, d in metrics.items():
                interval = f"[{d.low:+.4f}, {d.high:+.4f}]"
                adjusted = "primary" if (direction, metric) == self.primary else f"{d.p_adjusted:.4f}"
                lines.append(
                    f"{metric:10} {d.first:9.4f} {d.second:9.4f} {d.difference:+9.4f}   {interval:28} {d.p:.4f}   "
                    f"{adjusted}"
                )
            if self.changed[direction]:
                lines.append("ranks that changed most")
                lines += [f"  {one.query}: {one.first:g} -> {one.second:g}" for one in self.changed[direction]]
        lines += [
            "",
            f"Intervals and p-values hold fixed: {HOLDS_FIXED}.",
            f"Adjusted p: Holm's correction over the {n_metrics - 1} metrics that aren't primary.",
        ]
        lines += [f"failed: {condition}" for condition in self.failed]
        return "\n".join(lines)

    def as_json(self) -> dict[str, Any]:
        """The same as plain values."""
        return {
            "first": self.names[0],
            "second": self.names[1],
            "n_queries": self.n_queries,
            "n_only_first": self.n_alone[0],
            "n_only_second": self.n_alone[1],
            "primary": ".".join(self.primary),
            "adjustment": "Holm over the metrics that aren't primary",
            "holds_fixed": HOLDS_FIXED,
            "differences": {
                direction: {metric: {**asdict(one), "difference": one.difference} for metric, one in metrics.items()}
                for direction, metrics in self.differences.items()
            },
            "changed": {direction: [asdict(one) for one in queries] for direction, queries in self.changed.items()},
            "failed": [str(condition) for condition in self.failed],
        }


def run_compare(
    first: str | None,
    second: str | None,
    *,
    revisions: Sequence[str] = (),
    fail_if: Sequence[str] = (),
    primary: str | None = None,
    n_changed: int = 5,
    n_resamples: int = 2000,
) -> CompareReport:
    """Compare two evaluations.

    Args:
        first: a queries.parquet, a folder with one in it (`plots/<dataset>/<model>/<aligner>`), or its metrics file.
        second: another; None for the same path, which takes `revisions`.
        revisions: git revisions; one is that of `first`, `second` being the workspace; two are of both.
        fail_if: conditions on differences, second less first.
        primary: the metric that is tested as it is, chosen before the results are seen; t2v.MRR by default. The
            p-values of all others are corrected for their number.
        n_changed: queries shown.
        n_resamples: swaps behind p-values.
    """
    conditions = [Condition.parse(text) for text in fail_if]
    if first is None or (second is None and not revisions) or len(revisions) > 2:
        raise EvaluationError(
            "compare takes two evaluations, or one and --rev: reelstore compare A B, reelstore compare A --rev main, "
            "reelstore compare A --rev main --rev other."
        )
    before, after = [*revisions, None, None][:2]
    paths = first, first if second is None else second
    names = tuple(
        f"{path} at {revision}" if revision else path for path, revision in zip(paths, (before, after), strict=True)
    )
    tables = [_indexed(_read(path, revision)) for path, revision in zip(paths, (before, after), strict=True)]
    shared = [key for key in tables[0] if key in tables[1]]
    differences: dict[str, dict[str, Difference]] = {}
    changed: dict[str, list[Changed]] = {}
    for direction in dict.fromkeys(key[0] for key in shared):
        keys = [key for key in shared if key[0] == direction]
        rows = [[table[key] for key in keys] for table in tables]
        values = [
            {
                name: np.array([row[name] for row in of], dtype=np.float64)
                for name, value in of[0].items()
                if name not in NOT_METRICS and value is not None
            }
            for of in rows
        ]
        place = {video_id: number for number, video_id in enumerate(dict.fromkeys(key[1] for key in keys))}
        video = np.array([place[key[1]] for key in keys], dtype=np.int64)
        differences[direction] = compare(values[0], values[1], video, n_resamples=n_resamples)
        changed[direction] = _most_changed(keys, rows[0], rows[1], n_changed)
    if not differences:
        raise EvaluationError(f"{names[0]} and {names[1]} share no query: nothing to compare.")
    direction, _, metric = (primary or f"{'t2v' if 't2v' in differences else next(iter(differences))}.MRR").partition(
        "."
    )
    differences = adjust(differences, (direction, metric))
    return CompareReport(
        names=(names[0], names[1]),
        differences=differences,
        changed=changed,
        n_queries=len(shared),
        n_alone=(len(tables[0]) - len(shared), len(tables[1]) - len(shared)),
        primary=(direction, metric),
        failed=[condition for condition in conditions if condition.holds(differences)],
    )


def _read(path: str, revision: str | None) -> Columns:
    """A queries.parquet, named itself, by a folder above it, or by its metrics file."""
    path = _beside(path)
    if revision is None:
        found = _inside(path, Path(path).is_dir(), lambda folder: [str(file) for file in Path(folder).rglob(_FILE)])
        try:
            return read_queries(found)
        except (FileNotFoundError, NotADirectoryError):
            raise EvaluationError(
                f"No evaluation at {path}. Make it with dvc repro, or fetch it with dvc pull."
            ) from None
        except DamagedFileError as error:
            raise EvaluationError(f"{found} isn't a {_FILE}: {error} {_AGAIN}") from error
    refuse_irregular_repository()
    from dvc.api import DVCFileSystem

    try:
        files = DVCFileSystem(".", rev=revision)
        inside = Path(path).as_posix()
        found = _inside(
            inside, files.isdir(inside), lambda folder: [f for f in files.find(folder) if f.endswith(_FILE)]
        )
        if (n_bytes := files.info(found)["size"] or 0) > QUERIES_BYTES:
            raise EvaluationError(f"{found} has {n_bytes} bytes; at most {QUERIES_BYTES} are expected.")
        content: bytes = files.cat_file(found)
    except EvaluationError:
        raise
    except Exception as error:
        raise EvaluationError(
            f"No evaluation at {path} in revision {revision}: {type(error).__name__}: {error}. If git has the "
            "revision, fetch its outputs with dvc fetch --all-commits, or with dvc pull there."
        ) from error
    try:
        return read_queries(f"{found} at {revision}", content=content)
    except DamagedFileError as error:
        raise EvaluationError(f"{found} at {revision} isn't a {_FILE}: {error} {_AGAIN}") from error


def _beside(path: str) -> str:
    """Where the queries of a metrics file are: metrics/<dataset>/<model>/<name>.json has them under plots/."""
    file = Path(path)
    if file.suffix != ".json":
        return path
    if file.name == "metrics.json":
        return str(file.parent)
    found = MetricsFile.parse(file)
    return str(file.with_suffix("") if found is None else found.evidence)


def _inside(path: str, is_folder: bool, find: Any) -> str:
    if not is_folder:
        return path
    found = find(path)
    if len(found) != 1:
        raise EvaluationError(
            f"{path} holds {len(found)} evaluations ({_FILE}); one is needed. {', '.join(sorted(found))}"
        )
    return str(found[0])


def _indexed(columns: Columns) -> dict[tuple[Any, ...], dict[str, Any]]:
    names = list(columns)
    rows = [dict(zip(names, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return {tuple(row[key] for key in KEY): row for row in rows}


def _most_changed(
    keys: list[tuple[Any, ...]], first: list[dict[str, Any]], second: list[dict[str, Any]], n: int
) -> list[Changed]:
    """By the ratio of ranks: from 1 to 3 matters more than from 101 to 103."""
    ranks = [np.array([row["rank"] for row in rows]) for rows in (first, second)]
    moved = np.abs(np.log(ranks[1] / ranks[0]))
    order = np.argsort(-moved, kind="stable")[:n]
    return [
        Changed(_shown(keys[number]), float(ranks[0][number]), float(ranks[1][number]))
        for number in order.tolist()
        if moved[number] > 0
    ]


def _shown(key: tuple[Any, ...]) -> str:
    return str(key[1]) if key[2] is None else f"{key[1]} / {key[2]}"
