"""What is done to embeddings or tokens before an aligner sees them, fitted on training rows alone."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from reelstore.align.items import Items, batches, read_items, width
from reelstore.align.spectrum import covariance_directions
from reelstore.align.tensors import Shape, above_zero, check_tensors, whole
from reelstore.arrays import Float32Array, FloatArray, Tokens, unit_rows
from reelstore.errors import AlignerError, ParamsError
from reelstore.store.read import Rows

STEPS: dict[str, str] = {
    "drop_first": "leave out the first token, such as a language model's BOS, of items that have more",
    "mean": "the mean over an item's tokens; a pooled variant has it already",
    "unit": "scale to length 1",
    "centre": "take the training rows' mean off",
    "standardise": "take the mean off and divide by the standard deviation, dimension by dimension",
    "whiten": "take the mean off, project on the leading principal components, scale each to variance 1",
}
"""What each step does. `drop_first` and `mean` come first; what follows `mean`, or all where there is none, is done to
every vector by itself: embeddings or tokens."""
_OF_TOKENS = ("drop_first", "mean")
_MAX_STEPS = 32


class Preprocessing:
    """Steps applied one after the other, on one side.

    Each step that learns something is fitted on rows as the steps before it leave them, in one pass over the training
    rows by batches, summed in float64: memory is a batch, and for `whiten` a covariance matrix.

    Args:
        steps: names of `STEPS`, in order.
        components: of `whiten`, at most; never more than training rows or dimensions allow.
        shrinkage: of `whiten`, 0 to 1: how far variances are drawn to their mean before they are divided by.

    Example:
        >>> side = Preprocessing(["mean", "unit", "centre", "unit"])
        >>> side.fit(train.text)                                       # doctest: +SKIP
        >>> side.apply(read_items(test.text, np.arange(32))).shape      # doctest: +SKIP
        (32, 384)
    """

    def __init__(self, steps: Sequence[str], *, components: int = 256, shrinkage: float = 0.1) -> None:
        if len(steps) > _MAX_STEPS:
            raise ParamsError(f"preprocess has {len(steps)} steps; at most {_MAX_STEPS} are expected.")
        for step in steps:
            if step not in STEPS:
                raise ParamsError(f"preprocess has {step!r}. Known: {', '.join(STEPS)}.")
        heads = [step for step in steps if step in _OF_TOKENS]
        if heads != list(steps[: len(heads)]) or heads not in ([], ["drop_first"], ["mean"], ["drop_first", "mean"]):
            raise ParamsError(f"preprocess is {list(steps)}: drop_first and mean come first, in this order, and once.")
        if components < 1 or not 0 <= shrinkage <= 1:
            raise ParamsError(f"components is {components}, at least 1; shrinkage is {shrinkage}, 0 to 1.")
        self.steps = tuple(steps)
        self._components, self._shrinkage = components, shrinkage
        self._learned: dict[str, Float32Array] = {}

    def fit(self, rows: Rows) -> None:
        """Learn from training rows what the steps need."""
        if "drop_first" in self.steps and rows.layout == "pooled":
            raise AlignerError(
                f"preprocess drops the first token, but {rows.side}/{rows.encoder}/{rows.variant} is pooled: its "
                "tokens are gone. Name the variant `tokens`, or take drop_first out."
            )
        self._learned = {"dim": np.array([rows.dim], dtype=np.float32)}
        for number, step in enumerate(self.steps):
            if step in ("centre", "standardise"):
                mean, deviation = _mean_and_deviation(self._vectors(rows, number))
                self._learned[f"{number}.mean"] = mean
                if step == "standardise":
                    self._learned[f"{number}.deviation"] = deviation
            elif step == "whiten":
                found = covariance_directions(self._vectors(rows, number), self._components)
                scale = np.sqrt((1 - self._shrinkage) * found.variances + self._shrinkage * found.mean_variance)
                scale[scale == 0] = 1  # rows that are all the same
                self._learned[f"{number}.mean"] = found.mean.astype(np.float32)
                self._learned[f"{number}.projection"] = (found.directions / scale).astype(np.float32)

    def apply(self, items: Items) -> Items:
        """Embeddings or tokens as the aligner wants them, float32; tokens become embeddings where `mean` is a step.

        Raises:
            AlignerError: their width isn't what it was fitted on.
        """
        if width(items) != self.dim_in:
            raise AlignerError(f"This aligner was fitted on embeddings {self.dim_in} wide; these are {width(items)}.")
        return self._applied(items, len(self.steps))

    @property
    def dim_in(self) -> int:
        """Width of what it takes."""
        return int(self._learned["dim"][0])

    @property
    def dim_out(self) -> int:
        """Width of what it gives."""
        widths = [tensor.shape[1] for name, tensor in self._learned.items() if name.endswith(".projection")]
        return widths[-1] if widths else self.dim_in

    def tensors(self) -> dict[str, Float32Array]:
        """What was learned: `dim`, and of step number n `n.mean`, `n.deviation` or `n.projection` (dim, components)."""
        return dict(self._learned)

    def restore(self, tensors: Mapping[str, Float32Array]) -> None:
        """The inverse of `tensors`.

        Raises:
            AlignerError: they aren't what the steps learn.
        """
        width = "dim"
        shapes: dict[str, Shape] = {"dim": (1,)}
        for number, step in enumerate(self.steps):
            if step in ("centre", "standardise", "whiten"):
                shapes[f"{number}.mean"] = (width,)
            if step == "standardise":
                shapes[f"{number}.deviation"] = (width,)
            if step == "whiten":
                before, width = width, f"components of step {number}"
                shapes[f"{number}.projection"] = (before, width)
        widths = check_tensors(tensors, shapes)
        dim = whole(tensors["dim"], "dim")
        if widths.get("dim", dim) != dim:
            raise AlignerError(f"dim is {dim}; {widths['dim']} is expected, as wide as the others are")
        for name in shapes:
            if name.endswith(".deviation"):
                above_zero(tensors[name], name)
        self._learned = {name: tensors[name] for name in shapes}

    def _vectors(self, rows: Rows, n_steps: int) -> Iterator[Float32Array]:
        """Embeddings or tokens of all rows after the first steps, (k, dim) at a time."""
        for positions in batches(rows):
            items = self._applied(read_items(rows, positions), n_steps)
            vectors = items.values if isinstance(items, Tokens) else items
            yield vectors.astype(np.float32, copy=False)

    def _applied(self, items: Items, n_steps: int) -> Items:
        for number, step in enumerate(self.steps[:n_steps]):
            if isinstance(items, Tokens):
                if step == "drop_first":
                    items = without_first(items)
                    continue
                if step == "mean":
                    items = mean_of_tokens(items)
                    continue
                items = Tokens(self._of_vectors(number, step, items.values), items.offsets)
            elif step not in _OF_TOKENS:
                items = self._of_vectors(number, step, items)
        if isinstance(items, Tokens):
            return Tokens(items.values.astype(np.float32, copy=False), items.offsets)
        return items.astype(np.float32, copy=False)

    def _of_vectors(self, number: int, step: str, values: FloatArray) -> Float32Array:
        values = values.astype(np.float32, copy=False)
        if step == "unit":
            return unit_rows(values)
        learned = self._learned
        out: Float32Array = np.subtract(values, learned[f"{number}.mean"], dtype=np.float32)
        if step == "standardise":
            out /= learned[f"{number}.deviation"]
        elif step == "whiten":
            out = out @ learned[f"{number}.projection"]
        return out


def without_first(items: Tokens) -> Tokens:
    """The tokens without the first one of each item, but for items that have no other."""
    kept = np.ones(len(items.values), dtype=bool)
    kept[items.offsets[:-1][items.counts > 1]] = False
    counts = np.where(items.counts > 1, items.counts - 1, items.counts)
    return Tokens(items.values[kept], np.concatenate([[0], np.cumsum(counts)]))


def mean_of_tokens(items: Tokens) -> Float32Array:
    """(n_items, dim) float32, the mean of each item's tokens, summed in float32; every item must have one."""
    if len(items) and items.counts.min() < 1:
        raise AlignerError(f"Item {int(items.counts.argmin())} of {len(items)} has no tokens, so they have no mean.")
    sums = np.add.reduceat(items.values.astype(np.float32, copy=False), items.offsets[:-1], axis=0)
    means: Float32Array = np.divide(sums, items.counts[:, None], dtype=np.float32, casting="unsafe")
    return means


def _mean_and_deviation(vectors: Iterator[Float32Array]) -> tuple[Float32Array, Float32Array]:
    """(dim,) each; a dimension that doesn't vary has deviation 1."""
    count = 0
    shift: Any = 0.0
    total: Any = 0.0
    squares: Any = 0.0
    for values in vectors:
        wide = values.astype(np.float64)
        if not count:
            shift = wide.mean(axis=0)  # differences from it are small: their squares don't cancel
        wide -= shift
        count += len(wide)
        total = total + wide.sum(axis=0)
        squares = squares + np.einsum("ij,ij->j", wide, wide)
    offset = total / count
    variance = squares / count - offset**2
    deviation = np.sqrt(np.maximum(variance, 0))
    deviation[deviation <= 1e-6 * float(deviation.max())] = 1
    return (shift + offset).astype(np.float32), deviation.astype(np.float32)
