"""Checks of stored embeddings, before anything is trained on them."""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
import numpy.typing as npt

from reelstore.doctor.findings import Check, Level
from reelstore.doctor.geometry import (
    alignment,
    kernel_alignment,
    mean_cosine,
    mutual_neighbours,
    neighbours,
    permuted,
    top_share,
    unit,
)
from reelstore.doctor.probe import ProbeScores
from reelstore.store.reader import Rows

Array = npt.NDArray[Any]
Indices = npt.NDArray[np.int64]

MAX_ROWS = 2000
"""Rows looked at where pairs of them count; drawn with a fixed seed."""
COMMON_MEAN = 0.75
"""Mean cosine of random pairs from which a common mean hides what tells rows apart."""
TOP_DIMS = 3
TOP_SHARE = 0.1
"""Share of the variance from which three dimensions rule cosine."""
EQUAL = 0.999
"""Least cosine of two variants' rows from which they are one; float16 leaves that much."""
NEIGHBOURS = 10
N_PERMUTATIONS = 99
TIED = 0.01
REPEATED = 0.1
"""Share of distinct rows below which a variant says little; captions do repeat."""
_BLOCK = 4096


@dataclass(frozen=True)
class NullScore:
    """An MRR beside what shuffled pairs give.

    Attributes:
        mrr: measured.
        chance: mean over shuffles.
        high: upper end of the interval of shuffles, two standard deviations above.
    """

    mrr: float
    chance: float
    high: float

    @property
    def limit(self) -> float:
        """Four standard deviations above chance: what no shuffle gives."""
        return self.chance + 2 * (self.high - self.chance)


def constant(rows: Rows) -> Check:
    """Whether a pooled variant tells its rows apart: how many of them are distinct."""
    rows = rows.ok()
    seen = {blake2b(row.tobytes(), digest_size=8).digest() for values in _blocks(rows) for row in values}
    share = len(seen) / max(len(rows), 1)
    one = len(seen) < 2 <= len(rows)
    meaning = f"{len(seen)} distinct of {len(rows)} rows."
    if one:
        meaning += " Every row is the same vector: every score with it is a tie and every rank is chance."
    elif share < REPEATED:
        meaning += " Nearly all of them repeat."
    advice = "Pool otherwise: the first state of a decoder is that of its BOS token." if one else ""
    return Check(
        "constant",
        _name(rows),
        len(seen),
        "2 or more",
        "fatal" if one else "note" if share < REPEATED else "ok",
        meaning,
        advice,
    )


def equal_variants(first: Rows, second: Rows) -> Check | None:
    """Two variants of one side whose rows point the same way; None where they differ."""
    keys = sampled(first.ok()).ids
    inside = second.ok().table.row_of
    keys = [key for key in keys if key in inside]
    if not keys:
        return None
    cosines = (unit(first[keys]) * unit(second[keys])).sum(axis=1)
    if cosines.min() < EQUAL:
        return None
    return Check(
        "equal-variants",
        f"{_name(first)} = {second.variant}",
        float(cosines.min()),
        f"below {EQUAL}",
        "note",
        "Cosine ignores length, and these differ in nothing else: their rows and columns in a grid are one.",
        "Keep one of them.",
    )


def common_mean(values: Array, about: str) -> Check:
    """Mean cosine of random pairs of rows (n, dim)."""
    cosine = mean_cosine(values)
    bad = cosine >= COMMON_MEAN
    return Check(
        "common-mean",
        about,
        cosine,
        f"below {COMMON_MEAN}",
        "warning" if bad else "ok",
        "All rows share one large vector, and what tells them apart is a small rest of it."
        if bad
        else "Random rows aren't parallel.",
        "Centre with the training rows' mean before anything else (preprocess: [unit, centre, unit]).",
    )


def outliers(values: Array, about: str) -> Check:
    """Share of the variance in the widest dimensions of rows (n, dim)."""
    share = top_share(values, TOP_DIMS)
    bad = share >= max(TOP_SHARE, 10 * TOP_DIMS / values.shape[1])
    return Check(
        "outliers",
        about,
        share,
        f"below {max(TOP_SHARE, 10 * TOP_DIMS / values.shape[1]):.2g}",
        "warning" if bad else "ok",
        f"{TOP_DIMS} of {values.shape[1]} dimensions hold {share:.0%} of the variance"
        + (", and rule every product." if bad else "."),
        "Standardise or whiten with training statistics (preprocess: [standardise, unit]).",
    )


def chance(score: NullScore) -> Check:
    """The unaligned model beside shuffled pairs. Towers that never met are at chance: a note, no fault."""
    beyond = score.mrr > score.limit
    return Check(
        "chance",
        "",
        score.mrr,
        f"above {score.limit:.4f} if the towers share a space (chance {score.chance:.4f})",
        "ok" if beyond or score.mrr > score.high else "note",
        f"Text-to-video MRR as they are is {score.mrr / score.chance:.1f} times chance.",
        "Align them; a score near this one isn't worth reporting.",
    )


def ties(n_tied: int, n_queries: int) -> Check:
    """How many captions find videos in an order that ties decide.

    That captions tie for a video, as their texts repeat, is no fault.
    """
    share = n_tied / max(n_queries, 1)
    return Check(
        "ties",
        "",
        share,
        f"below {TIED}",
        "warning" if share >= TIED else "ok",
        f"{n_tied} of {n_queries} captions tie; their metrics are means over all orders.",
        "Look for videos that repeat (see `constant`), or a clipped or rounded encoder.",
    )


def agreement(video: Array, text: Array, *, seed: int = 0) -> list[Check]:
    """Debiased linear CKA and mutual nearest neighbours of paired rows, against permutations of the pairs.

    Args:
        video: (n, dim), one row a video.
        text: (n, other dim), the mean of its captions.
        seed: of the permutations.
    """
    n = len(video)
    if n < 4 * NEIGHBOURS:
        return []
    rng = np.random.default_rng(seed)
    orders = [rng.permutation(n) for _ in range(N_PERMUTATIONS)]
    grams = kernel_alignment(video, text)
    near = neighbours(video, NEIGHBOURS), neighbours(text, NEIGHBOURS)
    found = {
        "CKA": (alignment(*grams), [alignment(grams[0], grams[1][np.ix_(order, order)]) for order in orders]),
        "neighbours": (mutual_neighbours(*near), [mutual_neighbours(near[0], permuted(near[1], o)) for o in orders]),
    }
    checks = []
    for what, (value, null) in found.items():
        high = max(null)
        checks.append(
            Check(
                "agreement",
                what,
                value,
                f"above {high:.4f}, the most of {N_PERMUTATIONS} permutations",
                "ok" if value > high else "warning",
                "What is near for one tower is near for the other more often than by chance."
                if value > high
                else "The towers see no more in common than shuffled pairs: there may be nothing to align.",
                "Check that captions belong to their videos; try other layers or encoders.",
            )
        )
    return checks


def probe(scores: ProbeScores, right: NullScore, shuffled: NullScore) -> list[Check]:
    """A ridge regression on training pairs, right and shuffled, ranked on validation."""
    learns, leaks = right.mrr > right.limit, shuffled.mrr > shuffled.limit
    return [
        Check(
            "probe",
            "",
            right.mrr,
            f"above {right.limit:.4f} (chance {right.chance:.4f})",
            "ok" if learns else "fatal",
            f"Ridge regression on {scores.n_train} pairs finds validation captions "
            + ("better than chance." if learns else "no better than chance: the pairs say nothing it can learn."),
            "Check that captions belong to their videos, and which variants are used.",
        ),
        Check(
            "shuffled",
            "",
            shuffled.mrr,
            f"below {shuffled.limit:.4f} (chance {shuffled.chance:.4f})",
            "fatal" if leaks else "ok",
            "The same on shuffled pairs "
            + ("still finds them: something else gives them away." if leaks else "doesn't."),
            "Look for what videos and captions share beside their content, such as their order.",
        ),
    ]


def leakage(kind: str, n_shared: int, words: str, *, allowed: bool) -> Check:
    """What splits share of one kind."""
    level: Level = "ok" if not n_shared else "note" if allowed else "fatal"
    meaning = words or "Splits share none."
    advice = "Give what is alike one group, or remove it."
    return Check("leakage", kind, n_shared, "0", level, meaning, advice)


def sampled(rows: Rows, *, seed: int = 0) -> Rows:
    """At most `MAX_ROWS` of these rows, in their order."""
    if len(rows) <= MAX_ROWS:
        return rows
    chosen = np.sort(np.random.default_rng(seed).choice(len(rows), size=MAX_ROWS, replace=False))
    ids = rows.ids
    return rows.select([ids[position] for position in chosen])


def _blocks(rows: Rows) -> Iterator[Array]:
    for start in range(0, len(rows), _BLOCK):
        yield rows.take(np.arange(start, min(start + _BLOCK, len(rows))))


def _name(rows: Rows) -> str:
    return f"{rows.side}/{rows.variant}"
