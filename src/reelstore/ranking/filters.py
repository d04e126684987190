"""A block of one side made ready for a fast matrix product, and how wrong that product can be.

A filter needn't be right, it must know how wrong it can be. The bound holds for every pair of a block and adds up, from
the textbook inequalities: the rounding of both operands, a sum of products in any order, shifts, and the rounding of
the reference itself. For unit vectors of dimension n it is about n * 2**-24 in float32, and 2 * 2**-8 in bfloat16,
where the operands dominate.

A shift is a term that belongs to one row and is the same for all that it is multiplied with. It is part of the product,
in a few more dimensions in which the other side is 1.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from reelstore.arrays import Array, Float64Array, IntArray
from reelstore.ranking.reference import Similarity, as_float64, rows_at

Level = Literal["bfloat16", "float32", "float64", "exact"]
LEVELS: tuple[Level, ...] = get_args(Level)
_UNIT = {"bfloat16": 2.0**-8, "float32": 2.0**-24, "float64": 2.0**-53}
"""Largest relative error of rounding to nearest."""
_TINY = {"bfloat16": 2.0**-125, "float32": 2.0**-125, "float64": 2.0**-1021}
"""What a product may lose of a value that underflows, or is taken for zero because it is subnormal."""
_SANE = {"float32": 2.0**80, "float64": 2.0**800}
"""Squared lengths up to this, and from its inverse, keep products and their sums within range."""

_BLOCK_VALUES = 2**16
"""Values made ready at once where that goes through float64."""
_GATHERED = 2**17
"""Values of a side copied at once where pairs of rows are multiplied."""
_PARTS = {"float32": 3, "float64": 1}
"""Numbers a shift is split into: three of bfloat16 hold as much as one of float32, and serve both levels."""


@dataclass(frozen=True)
class Operand:
    """One side of a product.

    Attributes:
        values: (n, dim) float32 or float64; wider by what shifts take.
        reach: upper bound of the length of the first `dim` values of a row, and of what they stand for.
        error: upper bound of the length of the difference of the two.
        shift: upper bound of the size of a shift; 0 where there is none.
        shift_error: upper bound of its error.
    """

    values: Array
    reach: float
    error: float
    shift: float = 0.0
    shift_error: float = 0.0


@dataclass(frozen=True)
class Band:
    """Which approximate scores are too close to an exact one to tell them apart.

    Attributes:
        error: bound of the absolute error.
        slope: bound of the error relative to the approximate score: what rounding the product itself adds.
    """

    error: float
    slope: float = 0.0

    def around(self, exact: Float64Array, dtype: npt.DTypeLike) -> tuple[Array, Array]:
        """Lowest and highest approximate score that can belong to an exact one, as `dtype`, rounded outwards."""
        low, high = exact - self.error, exact + self.error
        low = low / np.where(low >= 0, 1 + self.slope, 1 - self.slope)
        high = high / np.where(high >= 0, 1 - self.slope, 1 + self.slope)
        with np.errstate(over="ignore"):
            below, above = low.astype(dtype), high.astype(dtype)
        return np.nextafter(below, below.dtype.type(-np.inf)), np.nextafter(above, above.dtype.type(np.inf))


@dataclass(frozen=True)
class Centres:
    """Subtracted from both sides where embeddings are so close together that a product loses their differences.

    a.b = (a - t).(b - v) + t.(b - v) + (a - t).v + t.v for any t and v: the first term is small and may be coarse, the
    others cost one product with a single vector a row.
    """

    text: Float64Array
    video: Float64Array

    @property
    def common(self) -> float:
        """The last term, the same in every pair."""
        return float(self.text @ self.video)


class OperandBlock:
    """A block of one side; each level is made ready once.

    Args:
        stored: (n, dim) stored values.
        similarity: what they are scored by.
        own, other: (dim,) float64 centres of this side and of the other; both None where nothing is subtracted.
        left: whether it is the left operand of products; the shifts of the two are in different dimensions.
        precise: whether a narrow bound in float32 is worth some time.

    Attributes:
        lowest: the fastest level whose range holds these values.
        finite: whether no value is NaN or infinity.
    """

    def __init__(
        self,
        stored: Array,
        similarity: Similarity,
        own: Float64Array | None = None,
        other: Float64Array | None = None,
        *,
        left: bool = False,
        precise: bool = True,
    ) -> None:
        self.stored = stored
        self.similarity = similarity
        self._own, self._other, self._left, self._precise = own, other, left, precise
        self._shifted = own is not None or similarity == "euclidean"
        self.lowest: Level = "exact"
        self._prepare()

    def __len__(self) -> int:
        return len(self.stored)

    @cached_property
    def bfloat16(self) -> Operand:
        """In float32 still: the product rounds."""
        rough = self.rough
        error = rough.error + rough.reach * _UNIT["bfloat16"]
        return Operand(rough.values, rough.reach * 1.01, error, rough.shift, rough.shift_error)

    @cached_property
    def rough(self) -> Operand:
        """Values in float32 by lengths summed in float32."""
        if self._shifted or self._values.dtype != np.float32:
            return self.float32
        return self._operand("float32", self._values, self._squares)[0]

    @cached_property
    def float32(self) -> Operand:
        """Values in float32; `precise` halves the bound for the price of lengths summed in float64."""
        if self._shifted or self._values.dtype != np.float32:
            return self._narrowed()
        if not self._precise:
            return self.rough
        return self._operand("float32", self._values, _squares(self._values), lengths=_UNIT["float64"])[0]

    def _narrowed(self) -> Operand:
        """From float64, some rows at a time: they stay in a core's cache."""
        n, dim = self.stored.shape
        values = np.empty((n, dim + 2 * _PARTS["float32"] * self._shifted), dtype=np.float32)
        shift = np.empty(n)
        reach = error = shift_error = 0.0
        step = max(1, _BLOCK_VALUES // max(dim, 1))
        for some in (slice(start, start + step) for start in range(0, n, step)):
            wide = self._values[some].astype(np.float64)
            operand, own_shift = self._operand("float64", wide, np.vecdot(wide, wide))
            values[some, :dim] = operand.values
            if own_shift is not None:
                shift[some] = own_shift
            reach, error = max(reach, operand.reach), max(error, operand.error)
            shift_error = max(shift_error, operand.shift_error)
        narrow = Operand(values, reach * 1.001, error + reach * _UNIT["float32"], shift_error=shift_error)
        return self._with_shift(narrow, shift) if self._shifted else narrow

    @cached_property
    def float64(self) -> Operand:
        """Values in float64."""
        values = self._values.astype(np.float64)
        operand, shift = self._operand("float64", values, np.vecdot(values, values))
        if shift is None:
            return operand
        room = np.empty((len(values), 2 * _PARTS["float64"]))
        return self._with_shift(replace(operand, values=np.concatenate([operand.values, room], axis=1)), shift)

    def _with_shift(self, operand: Operand, shift: Float64Array) -> Operand:
        """An operand whose last dimensions are still empty, with the shift in them, and 1 where the other side's is."""
        values, dim = operand.values, self.stored.shape[1]
        parts = _PARTS[values.dtype.name]
        values[:, dim:] = 1.0
        rest = shift.copy()
        for place in range(parts):
            part = rest.copy() if parts == 1 else _as_bfloat16(rest)
            values[:, dim + place + (0 if self._left else parts)] = part
            rest -= part
        return replace(
            operand,
            shift=float(np.abs(shift).max(initial=0.0)),
            shift_error=operand.shift_error + float(np.abs(rest).max(initial=0.0)),
        )

    def _prepare(self) -> None:
        narrow = self.stored.dtype.itemsize <= 2 or self.stored.dtype == np.float32
        with np.errstate(over="ignore", invalid="ignore"):
            dtype = np.float32 if narrow else np.float64
            self._values: Array = self.stored.astype(dtype, copy=False)
            self._squares: Array = np.vecdot(self._values, self._values)
        self.finite = bool(np.isfinite(self._squares).all()) or bool(np.isfinite(self.stored).all())
        if self.finite and not self._in_range("float32") and (narrow or self.similarity == "cosine"):
            self._values = as_float64(self.stored.astype(np.float64), self.similarity)
            with np.errstate(over="ignore"):
                self._squares = np.vecdot(self._values, self._values)
        if self._in_range("float64"):
            # Minus a distance is negative, which is searched slowly in bfloat16.
            coarse: Level = "float32" if self.similarity == "euclidean" else "bfloat16"
            self.lowest = coarse if self._in_range("float32") else "float64"

    def _in_range(self, level: str) -> bool:
        small = self._squares < min(1 / _SANE[level], np.finfo(self._squares.dtype).max)
        zeros_only = not small.any() or not self._values[small].any()
        return zeros_only and float(self._squares.max(initial=0.0)) < _SANE[level]

    def _operand(
        self, level: str, values: Array, squares: Array, lengths: float | None = None
    ) -> tuple[Operand, Float64Array | None]:
        """An operand without its shift, and that, (n,), where there is one.

        Args:
            level: its dtype.
            values: (n, dim) of the level's dtype, rows of `_values`; float64 ones are overwritten.
            squares: their squared lengths.
            lengths: rounding they were summed with, that of the level by default.
        """
        dim = values.shape[1]
        unit = _UNIT[level]
        summed = dim / 2 * (unit if lengths is None else lengths)
        longest = float(np.sqrt(squares.max(initial=0.0))) * (1 + 2 * summed + 4 * unit)
        error = 0.0
        if self.similarity == "cosine":
            inverse = 1 / np.sqrt(np.where(squares > 0, squares, squares.dtype.type(1)))
            values = np.multiply(values, inverse.astype(values.dtype)[:, None], out=self._own_copy(values))
            error = summed + 4 * unit
            longest = 1 + error
        if self._own is not None:
            values = np.subtract(values, self._own, out=self._own_copy(values))
            error += 2 * unit * (longest + float(np.linalg.norm(self._own)))
            squares = np.vecdot(values, values)
            longest = float(np.sqrt(squares.max(initial=0.0))) * (1 + (dim + 4) * unit)
        if self.similarity == "euclidean":
            shift_error = longest * (error + (dim + 4) * unit * longest)
            return Operand(values, longest, error, shift_error=shift_error), -squares.astype(np.float64) / 2
        if self._other is not None:
            shift_error = float(np.linalg.norm(self._other)) * (error + (dim + 4) * unit * longest)
            return Operand(values, longest, error, shift_error=shift_error), np.matmul(values, self._other)
        return Operand(values, longest, error), None

    def _own_copy(self, values: Array) -> Array | None:
        """Where a result may be written: over values that nobody else holds, in float64 or a new array."""
        return values if values.dtype == np.float64 and not np.shares_memory(values, self._values) else None


def band(level: Level, text: Operand, video: Operand, centres: Centres | None) -> Band:
    """How far a product of this level, shifts included, may be from the reference."""
    dim = text.values.shape[1]
    product = text.reach * video.reach
    shifts = text.shift + video.shift
    # Sums are carried in float32 at least; bfloat16 units may round in other ways than to nearest.
    unit = {"float64": _UNIT["float64"], "float32": _UNIT["float32"], "bfloat16": 2 * _UNIT["float32"]}[level]
    error = text.error * video.reach + video.error * text.reach + text.error * video.error
    error += (dim + 4) * unit * (product + shifts) + dim * _TINY[level] * (1 + text.reach + video.reach)
    error += text.shift_error + video.shift_error
    # The reference itself, its threshold and the terms subtracted from it: a few dozen roundings in float64 of numbers
    # of this size at most, at every level.
    off = 0.0 if centres is None else float(np.linalg.norm(centres.text) + np.linalg.norm(centres.video))
    error += 64 * _UNIT["float64"] * (text.reach + video.reach + off) ** 2
    slope = 1.01 * _UNIT["bfloat16"] if level == "bfloat16" else 0.0
    return Band(1.01 * error, slope)


def pair_products(text: Operand, video: Operand, captions: IntArray, videos: IntArray) -> Array:
    """(n,) products of these rows, of the dtype of the operands."""
    found = np.empty(len(captions), dtype=text.values.dtype)
    step = max(1, _GATHERED // max(text.values.shape[1], 1))
    for start in range(0, len(captions), step):
        some = slice(start, start + step)
        np.vecdot(rows_at(text.values, captions[some]), rows_at(video.values, videos[some]), out=found[some])
    return found


def find_centres(similarity: Similarity, *, text: Array, video: Array) -> Centres | None:
    """Centres from a sample of both sides, (n, dim) each; None where their rows point in different directions.

    Any centre gives the same counts; a good one leaves fewer pairs undecided.
    """
    means = []
    shares = []
    for stored in (text, video):
        side = OperandBlock(stored, similarity)
        if side.lowest in ("exact", "float64"):
            return None
        values = side.float64.values[:, : stored.shape[1]]
        mean = values.mean(axis=0)
        spread = float(np.einsum("ij,ij->", values, values)) / max(len(values), 1)
        means.append(mean)
        shares.append(float(mean @ mean) / spread if spread else 0.0)
    if max(shares) < 0.5:
        return None
    if similarity == "euclidean":
        # Both sides move alike, or their distances would change.
        means = [(means[0] + means[1]) / 2] * 2
    return Centres(*means)


def _as_bfloat16(values: Float64Array) -> Float64Array:
    """(n,) to the nearest bfloat16, whose bits are the upper half of a float32's."""
    bits = values.astype(np.float32).view(np.uint32)
    return ((bits + np.uint32(0x8000)) & np.uint32(0xFFFF0000)).view(np.float32).astype(np.float64)


def _squares(values: Array) -> Float64Array:
    """(n,) squared lengths of float32 rows, summed in float64."""
    found = np.empty(len(values))
    step = max(1, _BLOCK_VALUES // max(values.shape[1], 1))
    for start in range(0, len(values), step):
        some = values[start : start + step].astype(np.float64)
        np.vecdot(some, some, out=found[start : start + step])
    return found
