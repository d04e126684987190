"""Checks of stored embeddings, before anything is trained on them."""

from collections.abc import Iterator, Sequence
from hashlib import blake2b

import numpy as np

from reelstore.arrays import Array
from reelstore.doctor.findings import Check, Level
from reelstore.doctor.geometry import (
    alignment,
    kernel_alignment,
    mean_cosine,
    mutual_neighbours,
    neighbours,
    permuted,
    top_share,
    two_kinds,
    unit,
)
from reelstore.doctor.permutation import PermutationTest
from reelstore.store.read import Rows

MAX_ROWS = 2000
"""Rows in a sample where pairs of them count; drawn with a fixed seed."""
MAX_READ = 200_000
"""Rows of a variant that are read to find how many are distinct."""
COMMON_MEAN = 0.75
"""Mean cosine of random pairs from which a common mean hides what tells rows apart."""
LONG = 10
"""Times the median length from which a row rules dot products."""
KINDS = 0.82
"""Share of the variance between two groups of rows from which they are two kinds."""
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


def constant(rows: Rows) -> Check:
    """Whether a pooled variant tells its rows apart: how many of them are distinct."""
    rows = _some(rows.ok())
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
    keys = keys.at(np.flatnonzero(second.ok().ids.find(keys) >= 0))
    if not len(keys):
        return None
    cosines = (unit(np.asarray(first[keys])) * unit(np.asarray(second[keys]))).sum(axis=1)
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


def common_mean(values: Array, about: str, *, harmless: bool = False) -> Check:
    """Mean cosine of random pairs of rows (n, dim).

    Args:
        values: rows.
        about: the variant.
        harmless: whether the towers share a space in which captions find their videos all the same.
    """
    cosine = mean_cosine(values)
    bad = cosine >= COMMON_MEAN
    level: Level = "ok" if not bad else "note" if harmless and cosine < EQUAL else "warning"
    meaning = f"Random rows have cosine {cosine:.3f}"
    if bad:
        meaning += ": all rows share one large vector, as in the middle layers of language models, pooled by their mean"
        meaning += ", though captions find their videos here." if level == "note" else "."
    return Check(
        "common-mean",
        about,
        cosine,
        f"below {COMMON_MEAN}",
        level,
        meaning if bad else f"{meaning}: they aren't parallel.",
        "Centre or standardise with the training rows before anything else (preprocess: [unit, centre, unit]); "
        "or leave the first token out (drop_first), or take another layer or pooling.",
    )


def outliers(values: Array, about: str) -> Check:
    """Share of the variance in the widest dimensions of rows (n, dim)."""
    share = top_share(values, TOP_DIMS)
    bad = share >= max(TOP_SHARE, 10 * TOP_DIMS / values.shape[1]) and len(values) >= 2 * NEIGHBOURS
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


def chance(found: PermutationTest) -> Check:
    """The unaligned model beside shuffled pairs. Towers that never met are at chance: a note, no fault."""
    return Check(
        "chance",
        "",
        found.mrr,
        f"above {found.limit:.4f} if the towers share a space (chance {found.chance:.4f})",
        "ok" if found.p <= 0.05 else "note",
        f"Text-to-video MRR as they are is {found.mrr / found.chance:.1f} times chance.",
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


def agreement(*, text: Array, video: Array, learned: bool) -> list[Check]:
    """Debiased linear CKA and mutual nearest neighbours of paired rows, against permutations of the pairs.

    Args:
        text: (n, dim), the mean of each video's captions.
        video: (n, other dim).
        learned: whether a weak signal can't be excluded, by the probe: then no agreement is a note.
    """
    n = len(video)
    if n < 4 * NEIGHBOURS:
        return []
    rng = np.random.default_rng(0)
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
        level: Level = "ok" if value > high else "note" if learned else "warning"
        checks.append(
            Check(
                "agreement",
                what,
                value,
                f"above {high:.4f}, the most of {N_PERMUTATIONS} permutations",
                level,
                "What is near for one tower is near for the other more often than by chance."
                if value > high
                else "The towers see no more in common than shuffled pairs"
                + ("." if learned else ": there may be nothing to align."),
                "Check that captions belong to their videos; try other layers or encoders.",
            )
        )
    return checks


def leakage(kind: str, n_shared: int, description: str, *, allowed: bool) -> Check:
    """What splits share of one kind."""
    level: Level = "ok" if not n_shared else "note" if allowed else "fatal"
    meaning = description or "Splits share none."
    advice = "Give what is alike one group, or remove it."
    return Check("leakage", kind, n_shared, "0", level, meaning, advice)


def not_looked_at(kind: str, why: str) -> Check:
    """What splits may share of a kind that can't be known here."""
    return Check("leakage", kind, 0, "0", "note", f"Not checked: {why}.", "Run reelstore doctor MODEL in the project.")


def kinds(values: Array, names: Sequence[str], about: str) -> Check:
    """Whether rows (n, dim) are of two kinds by their direction: some rotated, permuted, or of another encoder."""
    share, smaller = two_kinds(values)
    n_other = int(smaller.sum())
    bad = share >= KINDS and n_other >= NEIGHBOURS and len(values) >= 4 * NEIGHBOURS
    named = f", such as {names[int(smaller.argmax())]}" if n_other else ""
    return Check(
        "kinds",
        about,
        share,
        f"below {KINDS}",
        "warning" if bad else "ok",
        f"By their cosine with the common direction {n_other} of {len(values)} rows are of another kind{named}."
        if bad
        else "Rows are of one kind.",
        "Look at what these rows share: another encoder, another preprocessing, another order of dimensions.",
    )


def lengths(values: Array, names: Sequence[str], about: str) -> Check:
    """The longest row against the usual one: products follow it, cosine doesn't."""
    norms = np.linalg.norm(values.astype(np.float64), axis=1)
    middle, longest = float(np.median(norms)), int(norms.argmax())
    ratio = float(norms[longest] / middle) if middle else 1.0
    bad = ratio >= LONG and len(values) >= 2 * NEIGHBOURS
    n_long = int((norms >= LONG * middle).sum()) if middle else 0
    return Check(
        "lengths",
        about,
        ratio,
        f"below {LONG} times the median length",
        "warning" if bad else "ok",
        f"{names[longest]} is the longest row, {ratio:.3g} times the median"
        + (f"; {n_long} are {LONG} times as long or longer, and rule dot products." if bad else "."),
        "Look at these rows; scale all rows to length 1.",
    )


def sampled(rows: Rows) -> Rows:
    """At most `MAX_ROWS` of these rows, in their order."""
    if len(rows) <= MAX_ROWS:
        return rows
    return rows.at(np.sort(np.random.default_rng(0).choice(len(rows), size=MAX_ROWS, replace=False)))


def _some(rows: Rows) -> Rows:
    """At most `MAX_READ` rows, evenly spaced."""
    if len(rows) <= MAX_READ:
        return rows
    return rows.at(np.linspace(0, len(rows) - 1, MAX_READ).astype(np.int64))


def _blocks(rows: Rows) -> Iterator[Array]:
    for start in range(0, len(rows), _BLOCK):
        yield np.asarray(rows.take(np.arange(start, min(start + _BLOCK, len(rows)))))


def _name(rows: Rows) -> str:
    return f"{rows.side}/{rows.variant}"
