"""Is one split made as another? The distribution of its rows against that of the rows that are fitted on."""

import numpy as np
import numpy.typing as npt
from scipy.linalg import eigh
from scipy.stats import ks_2samp

from reelstore.arrays import Array, Float64Array
from reelstore.doctor.findings import Check
from reelstore.doctor.geometry import unit

LEAST = 20
APART = 0.7
"""Kolmogorov-Smirnov distance of two splits from which they weren't made alike."""
SURE = 1e-6
STRAYS = 0.25
"""Share of rows further out than every known row, from which a part of the split was made otherwise."""
COMPONENTS = 64
SAME_LENGTH = 1e-2
"""Relative difference of lengths that rounding makes."""


def drift(values: Array, splits: npt.NDArray[np.str_], fitted_on: str, about: str) -> list[Check]:
    """Lengths, directions, means and rounding of each split's rows (n, dim) against those of `fitted_on`.

    Rows are taken to be independent: of captions, one a video.
    """
    known = values[splits == fitted_on]
    if len(known) < 2 * LEAST:
        return []
    checks = []
    for name in sorted(set(splits.tolist()) - {fitted_on}):
        asked = values[splits == name]
        if len(asked) >= LEAST:
            checks.append(_drift(known, asked, fitted_on, name, about))
    return checks


def _drift(known: Array, asked: Array, known_name: str, name: str, about: str) -> Check:
    measured = {
        "lengths": _lengths(known, asked),
        "directions": _directions(known, asked),
        "means": _means(known, asked),
        "rounding": _rounding(known, asked),
    }
    far = {what: found for what, found in measured.items() if found[0] >= APART and found[1] < SURE}
    bad = bool(far)
    # Rounding often differs along with something else, and is the least of it.
    what, (distance, _, words) = max((far or measured).items(), key=lambda item: (item[0] != "rounding", item[1][0]))
    return Check(
        "drift",
        f"{about} {name}",
        distance,
        f"below {APART}, Kolmogorov-Smirnov distance to {known_name}",
        "warning" if bad else "ok",
        f"{name} and {known_name} differ most in {what}: {words}" + (" They weren't made alike." if bad else ""),
        f"Embed {name} with the settings of {known_name}: encoder, pooling, layer, normalisation, dtype.",
    )


def _lengths(known: Array, asked: Array) -> tuple[float, float, str]:
    one, other = (np.linalg.norm(rows.astype(np.float64), axis=1) for rows in (known, asked))
    middle, of_other = float(np.median(one)), float(np.median(other))
    words = f"median {of_other:.4g} against {middle:.4g}."
    every = np.r_[one, other]
    if every.max() - every.min() <= SAME_LENGTH * max(every.max(), 1e-30):
        return 0.0, 1.0, words
    return (*_ks(one, other), words)


def _directions(known: Array, asked: Array) -> tuple[float, float, str]:
    """Share of each centred row that the first components of one half of the known rows leave over."""
    half = np.random.default_rng(0).permutation(len(known)) % 2 == 0
    one, two, other = unit(known[half]), unit(known[~half]), unit(asked)
    mean = one.mean(axis=0)
    scaled = one - mean
    n, dim = scaled.shape
    kept = max(1, min(COMPONENTS, n // 4, dim // 2))
    wide = n < dim
    gram = scaled @ scaled.T if wide else scaled.T @ scaled
    variances, directions = eigh(gram, subset_by_index=[len(gram) - kept, len(gram) - 1])
    clear = variances > 1e-10 * max(float(variances[-1]), 1e-30)
    directions = directions[:, clear]
    if wide:
        directions = scaled.T @ directions / np.sqrt(variances[clear])
    left = []
    for rows in (two, other):
        centred = rows - mean
        whole = (centred**2).sum(axis=1)
        left.append(1 - ((centred @ directions) ** 2).sum(axis=1) / np.maximum(whole, 1e-30))
    beyond = float((left[1] > left[0].max()).mean())
    if beyond >= STRAYS and beyond * len(left[1]) >= LEAST / 2:
        return 1.0, 0.0, f"{beyond:.0%} of its rows are outside the main directions as no row of the other is."
    ours, theirs = (float(np.median(shares)) for shares in left)
    words = f"{theirs:.0%} of a row is outside the {int(clear.sum())} main directions, against {ours:.0%}."
    return (*_ks(*left), words)


def _means(known: Array, asked: Array) -> tuple[float, float, str]:
    """Rows along the difference of the two means: direction and distance from different halves of both."""
    one, other = unit(known), unit(asked)
    rng = np.random.default_rng(1)
    halves = [rng.permutation(len(rows)) % 2 == 0 for rows in (one, other)]
    spread = one.std(axis=0)
    spread = np.maximum(spread, 1e-3 * max(float(spread.max(initial=0)), 1e-12))
    between = (other[halves[1]].mean(axis=0) - one[halves[0]].mean(axis=0)) / spread**2
    distance, p = _ks(one[~halves[0]] @ between, other[~halves[1]] @ between)
    shift = float(np.linalg.norm(other.mean(axis=0) - one.mean(axis=0)))
    words = f"they are {shift:.2g} apart, where rows are {np.linalg.norm(one.std(axis=0)):.2g} from theirs."
    return distance, p, words


def _rounding(known: Array, asked: Array) -> tuple[float, float, str]:
    """Shares of values that float16 or bfloat16 holds exactly."""
    shares = []
    for rows in (known, asked):
        wide = np.ascontiguousarray(rows[:200].astype(np.float32))
        with np.errstate(over="ignore"):
            half = (wide.astype(np.float16).astype(np.float32) == wide).mean()
        brain = ((wide.view(np.uint32) & 0xFFFF) == 0).mean()
        shares.append((float(half), float(brain)))
    gaps = {"float16": shares[1][0] - shares[0][0], "bfloat16": shares[1][1] - shares[0][1]}
    kind = max(gaps, key=lambda of: abs(gaps[of]))
    place = ("float16", "bfloat16").index(kind)
    words = f"{shares[1][place]:.0%} of its values are {kind} numbers, against {shares[0][place]:.0%}."
    return abs(gaps[kind]), 0.0 if abs(gaps[kind]) > 0.9 else 1.0, words


def _ks(one: Float64Array, other: Float64Array) -> tuple[float, float]:
    found = ks_2samp(one, other, method="asymp")
    return float(found.statistic), float(found.pvalue)
