"""What the experiments came to: a table, their curves, the doctor's findings, on one page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, pstdev
from typing import Any

from reelstore.doctor.findings import Check, Diagnosis
from reelstore.project.reproduce.experiments import Scale
from reelstore.report.charts import line_chart
from reelstore.report.page import Section, Table, page

COLUMNS = ("", "what", "t2v MRR", "v2t MRR", "times chance", "last loss (constant's)", "doctor", "verdict")


@dataclass(frozen=True)
class Outcome:
    """What one experiment came to.

    Attributes:
        name: of the experiment, the same for all seeds.
        title: what it is.
        settings: it was run with.
        found: metrics, chance, checks, looks; empty where it wasn't run.
        note: what was run in another way than asked.
        reason: why it wasn't run.
    """

    name: str
    title: str
    settings: Mapping[str, Any]
    found: Mapping[str, Any]
    note: str
    reason: str

    def mrr(self, direction: str) -> float:
        """MRR on the evaluated split."""
        return float(self.found[direction]["MRR"])

    def chance(self, direction: str) -> float:
        """That of guessing."""
        return float(self.found["chance"][direction])

    @property
    def epochs(self) -> Sequence[Mapping[str, float]]:
        """Numbers of its training, epoch by epoch, the first before any."""
        epochs: Sequence[Mapping[str, float]] = self.found.get("looks", ())
        return epochs

    @property
    def checks(self) -> list[Check]:
        """What the doctor found."""
        return [Check(**check) for check in self.found.get("checks", ())]

    @property
    def raised(self) -> list[str]:
        """Names of the checks that aren't in order, the most severe first."""
        return list(dict.fromkeys(check.name for check in self.checks if check.level in ("fatal", "warning")))

    @property
    def verdict(self) -> str:
        """In a few words."""
        if self.reason:
            return "not run"
        times = self.mrr("t2v") / self.chance("t2v")
        raised = set(self.raised)
        if "finite" in raised:
            return "diverged"
        if {"collapse-video", "collapse-text"} & raised:
            return "collapsed" + (", at chance" if times < 1.5 else "")
        if times < 1.5:
            return "at chance"
        if "constant-loss" in raised:
            return f"hardly learned: {times:.1f} times chance, loss at the constant's"
        return f"learned{'' if times >= 3 else ' little'}: {times:.1f} times chance"


def markdown(outcomes: Sequence[Outcome]) -> str:
    """The table as Markdown."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in table_rows(outcomes))])


def table_rows(outcomes: Sequence[Outcome]) -> list[list[str]]:
    """A row an experiment; mean and spread where there are several seeds."""
    rows = []
    for name in dict.fromkeys(outcome.name for outcome in outcomes):
        runs = [outcome for outcome in outcomes if outcome.name == name]
        ran = [outcome for outcome in runs if outcome.found]
        if not ran:
            rows.append([name, runs[0].title, "", "", "", "", "", "not run"])
            continue
        losses = [epoch for outcome in ran for epoch in outcome.epochs[-1:]]
        loss = ""
        if losses and "train_loss" in losses[0]:
            loss = f"{mean(of['train_loss'] for of in losses):.3f} ({losses[0]['constant_loss']:.3f})"
        raised = list(dict.fromkeys(check for outcome in ran for check in outcome.raised))
        times = mean(outcome.mrr("t2v") / outcome.chance("t2v") for outcome in ran)
        verdicts = list(dict.fromkeys(outcome.verdict for outcome in ran))
        rows.append(
            [
                name,
                runs[0].title,
                _spread([outcome.mrr("t2v") for outcome in ran]),
                _spread([outcome.mrr("v2t") for outcome in ran]),
                f"{times:.1f}",
                loss,
                ", ".join(raised) or "nothing",
                verdicts[0] if len(verdicts) == 1 else "; ".join(verdicts),
            ]
        )
    return rows


def report_page(
    outcomes: Sequence[Outcome], *, dataset: str, model: str, scale: Scale | None, doctor: Diagnosis
) -> str:
    """HTML of all outcomes."""
    ran = [outcome for outcome in outcomes if outcome.found]
    size = "At the report's size." if scale is None else f"Smaller than in the report: {scale}."
    tested = ""
    if ran:
        found = ran[0].found
        tested = (
            f" Test split: {found['n_videos']} videos, {found['n_captions']} captions; chance is a t2v MRR of "
            f"{found['chance']['t2v']:.4f}, a v2t MRR of {found['chance']['v2t']:.4f}."
        )
    sections = [
        Section("All of them", f"{model} on {dataset}. {size}{tested}", [Table(COLUMNS, table_rows(outcomes))]),
        Section("The embeddings, before any training", "", [_checks_table(doctor.checks)]),
        *(_experiment(outcome) for outcome in _first_seeds(outcomes)),
    ]
    return page(f"The report's ten experiments on {dataset}", sections)


def _experiment(outcome: Outcome) -> Section:
    if not outcome.found:
        return Section(f"{outcome.name}: not run", outcome.reason)
    settings = ", ".join(f"{name} {value}" for name, value in outcome.settings.items())
    scores = ", ".join(
        f"{direction} {name} {value:.4f}"
        for direction in ("t2v", "v2t")
        for name, value in outcome.found[direction].items()
    )
    note = f"{outcome.title}. {outcome.note} {scores}. {outcome.found['seconds']:.0f} s. Settings: {settings}."
    tables = [_checks_table(outcome.checks)] if outcome.checks else []
    return Section(f"{outcome.name}: {outcome.verdict}", " ".join(note.split()), tables, _pictures(outcome))


def _pictures(outcome: Outcome) -> list[str]:
    epochs = outcome.epochs
    if len(epochs) < 2:
        return []
    curves = {
        "Training loss": ("train_loss", "constant_loss"),
        "MRR within training and validation videos": ("train_mrr", "validation_mrr"),
        "Cosine of positive and negative pairs": ("positive", "negative"),
        "Mean cosine of random rows": ("video_cosine", "text_cosine"),
    }
    pictures = []
    for title, names in curves.items():
        series = {name: [(one["epoch"], one[name]) for one in epochs if name in one] for name in names}
        dashed = ["constant_loss"]
        if "MRR" in title:
            n_videos = int(epochs[0]["n_videos"])
            chance = sum(1 / rank for rank in range(1, n_videos + 1)) / n_videos
            series["chance"] = [(one["epoch"], chance) for one in epochs]
            dashed = ["chance"]
        pictures.append(line_chart(series, title=title, x="epoch", y="", dashed=dashed))
    return pictures


def _checks_table(checks: Sequence[Check]) -> Table:
    rows = [
        [
            check.level,
            f"{check.name} {check.about}".strip(),
            f"{check.value:.4g}",
            check.threshold,
            check.meaning if check.level == "ok" else f"{check.meaning} {check.advice}",
        ]
        for check in checks
    ]
    return Table(("level", "check", "value", "should be", "meaning"), rows)


def _first_seeds(outcomes: Sequence[Outcome]) -> list[Outcome]:
    first: dict[str, Outcome] = {}
    for outcome in outcomes:
        first.setdefault(outcome.name, outcome)
    return list(first.values())


def _spread(values: Sequence[float]) -> str:
    return f"{mean(values):.4f}" + (f" ± {pstdev(values):.4f}" if len(values) > 1 else "")
