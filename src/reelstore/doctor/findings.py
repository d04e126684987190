"""What a check says, and what all of them together come to."""

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from reelstore.errors import UnknownNameError

Level = Literal["ok", "note", "warning", "fatal"]
LEVELS: tuple[Level, ...] = ("ok", "note", "warning", "fatal")

CHECKS: dict[str, str] = {
    "constant": "every row of a variant is the same",
    "equal-variants": "two variants are one under cosine",
    "common-mean": "random rows are nearly parallel",
    "outliers": "a few dimensions hold much of the variance",
    "kinds": "rows of two kinds in one variant",
    "lengths": "the longest row against the usual one",
    "chance": "unaligned, the towers rank as chance does",
    "ties": "queries whose rank depends on how ties are broken",
    "agreement": "both towers see the same rows as neighbours",
    "probe": "a ridge regression learns something from the pairs",
    "shuffled": "a ridge regression learns nothing from shuffled pairs",
    "off-by-one": "captions fit the neighbouring key better than their own",
    "split-probe": "a split is learned much less than the others",
    "wrong-captions": "share of captions that look like captions of other videos",
    "hubs": "a few items are among the nearest of most queries",
    "drift": "rows of one split differ from those of another",
    "clipped": "share of values at the largest magnitude",
    "underflow": "share of values below what float16 keeps in full",
    "constant-dims": "share of dimensions that are the same in all rows",
    "repeats": "rows that share one embedding",
    "values": "values that are no numbers",
    "leakage": "splits share files, texts or near-duplicates",
    "constant-loss": "training is where a constant predictor would be",
    "cosines": "positive pairs are closer than negative pairs",
    "collapse-video": "all videos are mapped to one place",
    "collapse-text": "all captions are mapped to one place",
    "chance-level": "validation ranks as chance does",
    "memorised": "training pairs are found, validation pairs are not",
    "finite": "losses are numbers",
}
"""Name of every check and what it is about; `doctor.allow` takes these names."""


@dataclass(frozen=True)
class Check:
    """One measured value with its threshold and what it means.

    Attributes:
        name: of `CHECKS`.
        about: which variant or side, `text/llm-like/first`; empty where it is about the whole model.
        value: what was measured.
        threshold: what it should be, as text with the number.
        level: `ok`; `note`, worth knowing; `warning`, it hurts; `fatal`, results mean nothing.
        meaning: what the value says.
        advice: what to do; empty where nothing is to be done.
    """

    name: str
    about: str
    value: float
    threshold: str
    level: Level
    meaning: str
    advice: str = ""

    def __post_init__(self) -> None:
        """Raises UnknownNameError where no check has this name."""
        if self.name not in CHECKS:
            raise UnknownNameError("check", self.name, CHECKS)

    @property
    def headline(self) -> str:
        """Name and value."""
        value = f"{self.value:.4g}" if abs(self.value) < 1e4 else f"{self.value:.0f}"
        return f"{self.name}{f' {self.about}' if self.about else ''}: {value}"

    def __str__(self) -> str:
        head = f"{self.level:>7}  {self.headline}"
        lines = [f"{head} (should be {self.threshold})", f"         {self.meaning}"]
        return "\n".join([*lines, f"         {self.advice}"] if self.advice and self.level != "ok" else lines)


@dataclass(frozen=True)
class Diagnosis:
    """All checks of one model, the most severe first."""

    name: str
    checks: tuple[Check, ...]

    @classmethod
    def of(cls, name: str, checks: Sequence[Check]) -> "Diagnosis":
        """Sorted by level; within a level as they come."""
        return cls(name, tuple(sorted(checks, key=lambda check: -LEVELS.index(check.level))))

    def at(self, level: Level) -> list[Check]:
        """Checks of a level."""
        return [check for check in self.checks if check.level == level]

    def refused(self, allow: Collection[str]) -> list[Check]:
        """Fatal ones that aren't allowed."""
        return [check for check in self.at("fatal") if check.name not in allow]

    def numbers(self) -> dict[str, Any]:
        """Value of every check, and how many there are of each level: numbers alone, for a metrics file."""
        values: dict[str, Any] = {}
        for check in self.checks:
            if check.about:
                values.setdefault(check.name, {})[check.about] = check.value
            else:
                values[check.name] = check.value
        return {"checks": values, "found": {level: len(self.at(level)) for level in LEVELS}}

    def as_json(self) -> list[dict[str, Any]]:
        """Every check in full."""
        return [asdict(check) for check in self.checks]

    def text(self) -> str:
        """For people: what was found, then in a line what is in order."""
        lines = [str(check) for check in self.checks if check.level != "ok"]
        fine = [check.headline for check in self.at("ok")]
        counts = ", ".join(f"{len(self.at(level))} {level}" for level in reversed(LEVELS) if self.at(level))
        return "\n".join([f"{self.name}: {counts}", *lines, *([f"     ok  {'; '.join(fine)}"] if fine else [])])
