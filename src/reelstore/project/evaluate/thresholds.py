"""Metrics files against the thresholds of params.yaml."""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from reelstore.errors import ParamsError, ReelstoreError
from reelstore.plain import advised, read_typed
from reelstore.project.settings import Params, Threshold


@dataclass(frozen=True)
class Checked:
    """One metric of one result against what it must be."""

    result: str
    metric: str
    value: float
    threshold: Threshold

    @property
    def holds(self) -> bool:
        """Whether it is as it must be."""
        return self.threshold.holds(self.value)


@dataclass(frozen=True)
class CheckReport:
    """All thresholds of params.yaml."""

    checked: Sequence[Checked]

    @property
    def failed(self) -> list[Checked]:
        """Those that don't hold."""
        return [one for one in self.checked if not one.holds]

    def summary(self) -> str:
        """A line for each."""
        return "\n".join(
            f"{'ok    ' if one.holds else 'FAILED'} {one.result} {one.metric} {one.value:g}, must be {one.threshold}"
            for one in self.checked
        )


def check_thresholds(params: Params) -> CheckReport:
    """Every threshold against every metrics file it names.

    Raises:
        ParamsError: there are no thresholds.
        ReelstoreError: a threshold names a result or a metric that isn't there; it would guard nothing.
    """
    if not params.thresholds:
        raise ParamsError(
            "params.yaml has no thresholds. Add a section, such as: thresholds: {'*/ridge': {t2v.R@01: '>= 0.1'}}"
        )
    results = {file.label: file for file in params.layout.all_metrics()}
    checked = []
    for pattern, thresholds in params.thresholds.items():
        # What a protocol made of a result is no plain one: it must be asked for.
        named = [
            name
            for name in results
            if fnmatchcase(name, pattern) and ("/protocols/" in pattern or not results[name].rescoring)
        ]
        if not named:
            raise ReelstoreError(
                f"thresholds.{pattern} names no result. There are: {', '.join(results) or 'none yet'}."
            )
        for name in named:
            with advised("Run dvc repro evaluate, or take the file from git."):
                metrics: dict[str, Any] = read_typed(results[name].path, dict[str, Any])
            for metric, threshold in thresholds.items():
                direction, _, key = metric.partition(".")
                of_direction = metrics.get(direction)
                value = of_direction.get(key) if isinstance(of_direction, dict) else None
                if not isinstance(value, int | float) or isinstance(value, bool):
                    raise ReelstoreError(f"thresholds.{pattern}: {results[name]} has no {metric}.")
                checked.append(Checked(name, metric, float(value), threshold))
    return CheckReport(checked)
