"""Values of stored rows as numbers: clipped, underflowing, constant, repeated."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from reelstore.arrays import Array, IntArray
from reelstore.doctor.findings import Check, Level

CLIPPED = 0.005
"""Share of values at the largest magnitude from which they were clipped."""
CLIPPED_DIMS = 0.1
"""Share of the rows at a dimension's end from which it was clipped, and of the dimensions for which that holds."""
FEW_VALUES = 16
"""Different magnitudes up to which values are codes, binary ones for example, that are meant to repeat."""
UNDERFLOW = 0.1
"""Share of the values that aren't 0 and that float16 keeps without all their bits."""
ZEROS = 0.1
"""Share of zeros among values of both signs."""
CONSTANT = 0.1
TINY = float(np.finfo(np.float16).tiny)
LIMITS = {
    "float16": float(np.finfo(np.float16).max),
    "bfloat16": 3.3895313892515355e38,
    "float32": 3.4028234663852886e38,
}
REPEATED = 0.01
"""Share of a split's rows that have the embedding of another one of other content."""
LEAST_REPEATED = 4
REPEATED_BADLY = 0.1
REPEATED_UNKNOWN = 0.15
"""Share of captions with one embedding, where texts aren't known."""
NEAR = 1e-3
"""Distance of two rows against the usual one, from which they are one."""
LEAST_ROWS = 8
MAX_PAIRED = 4000
"""Different rows of a split that are compared pair by pair."""


def value_checks(values: Array, splits: npt.NDArray[np.str_], about: str) -> list[Check]:
    """`values`, `clipped`, `underflow` and `constant-dims` of rows (n, dim): the worst split of each.

    Rows that are equal count once: what they share is for `repeats`.
    """
    bad = ~np.isfinite(values)
    if bad.any():
        n_rows = int(bad.any(axis=1).sum())
        meaning = f"{int(bad.sum())} values of {n_rows} rows are NaN or infinite."
        return [Check("values", about, n_rows, "0", "fatal", meaning, "Embed these rows again, in float32.")]
    parts = {}
    for name in np.unique(splits):
        own = values[splits == name]
        rows = own[np.unique(_equal(own), return_index=True)[1]]
        if len(rows) >= LEAST_ROWS:
            parts[str(name)] = rows
    if not parts:
        return []
    worst = []
    for check in (_clipped, _underflow, _constant_dims):
        found = [check(rows, about, f"{name}: " if len(parts) > 1 else "") for name, rows in parts.items()]
        worst.append(max(found, key=lambda one: (one.level != "ok", one.value)))
    return worst


def _clipped(rows: Array, about: str, where: str) -> Check:
    ends = rows.max(axis=0), rows.min(axis=0)
    varies = ends[0] != ends[1]
    magnitude = np.abs(rows)
    end = float(magnitude.max())
    share = float((magnitude == magnitude.max()).mean()) if end else 0.0
    graded = len(np.unique(magnitude[:50])) > FEW_VALUES
    # Only the upper end: a ReLU's lower one is where many rows end by right.
    at_end = ((rows == ends[0]) & (ends[0] != 0)).mean(axis=0)[varies]
    dims = float((at_end >= CLIPPED_DIMS).mean()) if varies.any() and len(rows) >= 50 and graded else 0.0
    limit = next((f", the limit of {name}" for name, most in LIMITS.items() if abs(end / most - 1) < 1e-3), "")
    everywhere = share >= CLIPPED and end > 0 and share * rows.size > 20 and graded
    bad = everywhere or dims >= CLIPPED_DIMS
    meaning = f"{where}{share:.1%} of all values have the magnitude {end:.5g}{limit}"
    if dims >= CLIPPED_DIMS and not everywhere:
        meaning = (
            f"{where}In {dims:.0%} of the dimensions a tenth of the rows or more have one and the same extreme value"
        )
    level: Level = "ok" if not bad else "fatal" if max(share, dims) >= 0.25 else "warning"
    return Check(
        "clipped",
        about,
        share if everywhere or not bad else dims,
        f"below {CLIPPED:.1%}",
        level,
        f"{meaning}{': they were clipped.' if bad else '.'}",
        "Embed again in float32, or scale before casting; what was cut off can't be restored.",
    )


def _underflow(rows: Array, about: str, where: str) -> Check:
    used = rows[:, rows.any(axis=0)]
    zero = used == 0
    with np.errstate(over="ignore", under="ignore"):
        kept = used.astype(np.float16).astype(used.dtype) == used
    small = ~zero & (np.abs(used) < TINY) & kept
    n_values = max(int((~zero).sum()), 1)
    share = float(small.sum()) / n_values
    zeros = float(zero.mean()) if used.size else 0.0
    # A ReLU gives zeros too, but then no dimension has both signs.
    signed = np.minimum((used > 0).mean(axis=0), (used < 0).mean(axis=0)) > 0.05
    suspect = float((signed & (zero.mean(axis=0) >= ZEROS)).mean()) if used.size else 0.0
    bad = share >= UNDERFLOW or (suspect >= 0.25 and zeros >= ZEROS)
    both = zeros + (1 - zeros) * share
    meaning = f"{where}{zeros:.0%} of the values are 0, {share:.0%} of the others below {TINY:.2g}, where bits are lost"
    return Check(
        "underflow",
        about,
        both if bad else share,
        f"below {UNDERFLOW:.0%}",
        ("fatal" if both >= 0.4 else "warning") if bad else "ok",
        f"{meaning}{': they underflowed.' if bad else '.'}",
        "Embed again in float32, or normalise rows before casting.",
    )


def _constant_dims(rows: Array, about: str, where: str) -> Check:
    constant = np.flatnonzero((rows == rows[0]).all(axis=0))
    share = len(constant) / rows.shape[1]
    bad = share >= CONSTANT
    named = f", dimension {int(constant[0])} first" if len(constant) else ""
    meaning = f"{where}{len(constant)} of {rows.shape[1]} dimensions have one value in all rows{named}."
    advice = "They carry nothing: look for dead units, padding, or an output that was cut."
    return Check("constant-dims", about, share, f"below {CONSTANT:.0%}", "note" if bad else "ok", meaning, advice)


def repeats(
    values: Array,
    splits: npt.NDArray[np.str_],
    names: Sequence[str],
    contents: Sequence[str] | None,
    about: str,
) -> list[Check]:
    """Rows of one embedding though their contents differ: the worst split.

    Args:
        values: (n, dim), finite.
        splits: (n,)
        names: of the rows, for the message.
        contents: texts, or digests of files; None where they aren't known.
        about: the variant.
    """
    found = []
    for name in np.unique(splits):
        rows = np.flatnonzero(splits == name)
        if len(rows) >= 2:
            own = None if contents is None else [contents[row] for row in rows.tolist()]
            found.append(_repeats(values[rows], [names[row] for row in rows.tolist()], own, about, str(name)))
    return [max(found, key=lambda one: (one.level != "ok", one.value))] if found else []


def _repeats(values: Array, names: Sequence[str], contents: Sequence[str] | None, about: str, split: str) -> Check:
    groups = _groups(values)
    sizes = np.bincount(groups)
    largest = int(sizes.argmax())
    video = about.startswith("video")
    what = "videos" if video else "captions"
    if contents is None:
        surplus = len(values) - len(sizes) if video else int(sizes.max()) - 1
        least = REPEATED if video else REPEATED_UNKNOWN
    else:
        kinds = np.unique(np.array(contents, dtype=np.str_), return_inverse=True)[1]
        pairs = np.unique(np.stack([groups, kinds], axis=1), axis=0)
        distinct = np.bincount(pairs[:, 0], minlength=len(sizes))
        surplus, least = int((distinct - 1).sum()), REPEATED
        largest = int(np.where(distinct > 1, sizes, 0).argmax())
    share = surplus / len(values)
    bad = surplus >= LEAST_REPEATED - 1 and share >= least
    rows = np.flatnonzero(groups == largest)
    differ = "" if contents is None else f", though their {'files' if video else 'texts'} differ"
    meaning = f"{split}: {surplus} of {len(values)} {what} have the embedding of another one{differ}"
    if bad:
        meaning += f"; the largest group has {len(rows)}, such as {names[rows[0]]} and {names[rows[1]]}"
    return Check(
        "repeats",
        about,
        share,
        f"below {least:.0%}",
        ("fatal" if share >= REPEATED_BADLY else "warning") if bad else "ok",
        f"{meaning}.",
        "Look at these items: blank or undecodable frames, a tokenizer that knows no word of them, rows written twice.",
    )


def _groups(values: Array) -> IntArray:
    """(n,) number of the group of rows that are one, up to `NEAR` of the usual distance."""
    groups = _equal(values)
    first = np.unique(groups, return_index=True)[1]
    if not 3 <= len(first) <= MAX_PAIRED:
        return groups
    rows = values[first].astype(np.float64)
    rows -= rows.mean(axis=0)
    lengths = (rows**2).sum(axis=1)
    usual = 2 * float(lengths.mean())
    if not usual:
        return groups
    squares = lengths[:, None] + lengths[None, :] - 2 * (rows @ rows.T)
    close = squares < NEAR**2 * usual
    if close.sum() == len(rows):
        return groups
    nearest = close.argmax(axis=1)  # the first row that is one with this one
    return np.unique(nearest[groups], return_inverse=True)[1].reshape(-1).astype(np.int64)


def _equal(values: Array) -> IntArray:
    """(n,) number of each row's value, in the order in which they come."""
    seen: dict[bytes, int] = {}
    return np.array([seen.setdefault(row.tobytes(), len(seen)) for row in values], dtype=np.int64)
