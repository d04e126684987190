"""What a file or folder of embeddings holds, items with keys and shapes; and how a store keeps them."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Literal, get_args

import numpy as np

from reelstore.arrays import Array, IntArray
from reelstore.errors import ForeignFileError
from reelstore.store.format import Layout
from reelstore.store.key_index import first_double
from reelstore.store.keys import Key, Keys
from reelstore.store.split_names import SplitNames

EXACT = {"float16": "float16", "float32": "float32", "bfloat16": "float32"}
"""Dtypes in files -> the stored dtype that holds each of them exactly."""
KNOWN = {*EXACT, "float64"}
MAX_ITEM_BYTES = 2**31
"""Of one item; a file whose header says more is damaged rather than an embedding."""
_NAMED = 3
"""Items named in a message, of each kind."""


@dataclass(frozen=True)
class ItemRows:
    """Items as rows of a table: the key and split of each, and why one has no value: position -> reason."""

    keys: Keys
    splits: SplitNames
    failures: Mapping[int, str]

    @classmethod
    def of(cls, keys: Iterable[Key], splits: Iterable[str], failures: Iterable[str | None] = ()) -> "ItemRows":
        """From a key, a split and maybe a failure each."""
        reasons = {number: reason for number, reason in enumerate(failures) if reason is not None}
        return cls(Keys.of(keys), SplitNames.of(splits), reasons)

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def with_value(self) -> IntArray:
        """Positions of those that have one."""
        every = np.arange(len(self))
        return every if not self.failures else np.delete(every, list(self.failures))


@dataclass(frozen=True)
class Items:
    """Items in order, before their values are read.

    Attributes:
        kind: `npy`, `hdf5` and the like.
        rows: key, split and failure of each.
        shapes, dtypes: of each, as found; those of items without a value say nothing.
        label: what messages call the item at a position: `videos/video7890.npy`.
        values: reads the items that have a value, in order, some at a time: a list of arrays, or an array of them.
        notes: how the source was understood and what was skipped, for the report.
        by_name: whether each is an array under its name, and no table says which those are.

    Raises:
        ForeignFileError: two items have one key.
    """

    kind: str
    rows: ItemRows
    shapes: Sequence[tuple[int, ...]]
    dtypes: Sequence[str]
    label: Callable[[int], str]
    values: Callable[[], Iterator[Array | list[Array]]]
    notes: tuple[str, ...] = ()
    by_name: bool = False

    def __post_init__(self) -> None:
        keys = self.rows.keys
        double = first_double(keys)
        if double is not None:
            other = next(position for position, key in enumerate(keys) if key == keys[double])
            raise ForeignFileError(
                f"{self.label(other)} and {self.label(double)} have the same key {keys[double]!r}. Keys must be unique."
            )

    def __len__(self) -> int:
        return len(self.rows)

    def example(self, position: int) -> str:
        """An item as a report shows it: its key, and where its value is."""
        key = self.rows.keys[position]
        if position in self.rows.failures:
            return f"{key!r}: no value ({self.rows.failures[position]})"
        return f"{key!r}: {self.label(position)} {self.shapes[position]} {self.dtypes[position]}"


@dataclass(frozen=True)
class StorageSpec:
    """How a store keeps the items.

    Attributes:
        layout: `pooled` (dim,), `dense` (n_tokens, dim), `ragged` the same with varying n_tokens.
        dim: width of an embedding or token.
        n_tokens: 0 where pooled, None where ragged.
        dtype: `float16` or `float32`.
    """

    layout: Layout
    dim: int
    n_tokens: int | None
    dtype: str

    def row(self, value: Array) -> Array:
        """One item's value in the shape of a row: (dim,) or (n_tokens, dim)."""
        return value.reshape(self.dim) if self.layout == "pooled" else value.reshape(-1, self.dim)


def storage_of(items: Items, *, layout: Layout | None = None, dtype: str | None = None) -> StorageSpec:
    """How a store keeps items of these shapes, if they are of one kind.

    (dim,) and (1, dim) are pooled, (n_tokens, dim) and (1, n_tokens, dim) are not; all items must have one of the four
    shapes, unless `layout` says what they are. Tokens are dense if all items have equally many.

    Args:
        items: what is to be stored.
        layout: `pooled`; `dense` or `ragged`, then (1, dim) is one token. By default the shapes say.
        dtype: to round to; by default that of the items, which must be one that a store has.

    Raises:
        ForeignFileError: widths, poolings or dtypes are mixed, or not what was asked; the message names the items.
    """
    here = items.rows.with_value.tolist()
    if not here:
        raise ForeignFileError("There is no item with a value to import.")
    shapes = _grouped(here, items.shapes, tuple)
    for shape, (position, *_) in shapes.items():
        if prod(shape) * 8 > MAX_ITEM_BYTES:
            raise ForeignFileError(
                f"{items.label(position)} has shape {shape}: too large for one item ({MAX_ITEM_BYTES // 8} numbers at "
                "most)."
            )
        if _kind_of(shape) is None:
            raise ForeignFileError(
                f"{items.label(position)} has shape {shape}; an item is (dim,), (1, dim), (n_tokens, dim) or "
                "(1, n_tokens, dim)."
            )
    found = _layout(_grouped(here, items.shapes, _kind_of), items, layout)
    dims = _grouped(here, items.shapes, lambda shape: shape[-1])
    if len(dims) > 1:
        raise ForeignFileError(f"Embeddings of different widths can't be one variant: {_named(dims, items)}.")
    (dim,) = dims
    stored = _dtype(here, items, dtype)
    if found == "pooled":
        return StorageSpec("pooled", dim, 0, stored)
    counts = _grouped(here, items.shapes, lambda shape: prod(shape[:-1]))
    alike = len(counts) == 1 and 0 not in counts
    if found == "dense" and not alike:
        raise ForeignFileError(f"Not dense: items have different numbers of tokens: {_named(counts, items)}.")
    if items.by_name and layout is None and len(items) == 1 and not {*counts} <= {0, 1}:
        n_rows = next(iter(counts))
        raise ForeignFileError(
            f"{items.label(0)} {items.shapes[0]} is all there is: {n_rows} tokens of one item, or {n_rows} items? If "
            "it is one item, say --layout ragged. If a row is an item, say which with a table, --keys (for a .npy "
            "file: reelstore import array)."
        )
    if found == "ragged" or not alike:
        return StorageSpec("ragged", dim, None, stored)
    return StorageSpec("dense", dim, next(iter(counts)), stored)


def _layout(
    kinds: Mapping[str, Sequence[int]], items: Items, wanted: Layout | None
) -> Literal["pooled", "dense", "ragged", "tokens"]:
    pooled = {"(dim,)", "(1, dim)"}
    if wanted is not None:
        if wanted not in get_args(Layout):
            raise ForeignFileError(f"No layout {wanted!r}. There are: {', '.join(get_args(Layout))}.")
        fitting = pooled if wanted == "pooled" else {"(1, dim)", "(n_tokens, dim)", "(1, n_tokens, dim)"}
        others = {kind: positions for kind, positions in kinds.items() if kind not in fitting}
        if others:
            raise ForeignFileError(f"Not {wanted}: {_named(others, items)}.")
        return wanted
    if len(kinds) > 1:
        hint = ""
        if {*kinds} <= pooled:
            hint = " If all of them are pooled, say so with --layout pooled."
        elif "(dim,)" not in kinds:
            hint = " If (1, dim) is an item of one token, say so with --layout ragged."
        raise ForeignFileError(
            f"Pooled and unpooled embeddings, or different shapes, are mixed: {_named(kinds, items)}.{hint}"
        )
    return "pooled" if {*kinds} <= pooled else "tokens"


def _kind_of(shape: tuple[int, ...]) -> str | None:
    if len(shape) == 1 and shape[0]:
        return "(dim,)"
    if len(shape) == 2 and shape[1]:
        return "(1, dim)" if shape[0] == 1 else "(n_tokens, dim)"
    return "(1, n_tokens, dim)" if len(shape) == 3 and shape[0] == 1 and shape[2] else None


def _dtype(here: Sequence[int], items: Items, wanted: str | None) -> str:
    dtypes = _grouped(here, items.dtypes, str)
    unknown = {name: positions for name, positions in dtypes.items() if name not in KNOWN}
    if unknown:
        raise ForeignFileError(f"Embeddings are floating point, these are not: {_named(unknown, items)}.")
    if wanted is not None:
        if wanted not in ("float16", "float32"):
            raise ForeignFileError(f"A store holds float16 or float32, not {wanted!r}.")
        return wanted
    if len(dtypes) > 1:
        raise ForeignFileError(
            f"Different dtypes are mixed: {_named(dtypes, items)}. Say what to store: --dtype float32."
        )
    (dtype,) = dtypes
    if dtype not in EXACT:
        raise ForeignFileError(
            f"{items.label(here[0])} holds {dtype}, a store float16 or float32. To have it rounded, say --dtype "
            "float32."
        )
    return EXACT[dtype]


def _grouped(positions: Sequence[int], values: Sequence[Any], of: Callable[[Any], Any]) -> dict[Any, list[int]]:
    """Positions by what `of` says of the value there."""
    there = set(values) if len(positions) == len(values) else {values[position] for position in positions}
    kind = {value: of(value) for value in there}
    if len(set(kind.values())) == 1:
        return {next(iter(kind.values())): list(positions)}
    groups: dict[Any, list[int]] = {}
    for position in positions:
        groups.setdefault(kind[values[position]], []).append(position)
    return groups


def _named(groups: Mapping[Any, Sequence[int]], items: Items) -> str:
    """Each kind with its first items, the rarest first: it is likely what is wrong."""
    parts = []
    for kind, positions in sorted(groups.items(), key=lambda group: len(group[1]))[:6]:
        names = ", ".join(f"{items.label(p)} {items.shapes[p]}" for p in positions[:_NAMED])
        more = f" and {len(positions) - _NAMED} more" if len(positions) > _NAMED else ""
        parts.append(f"{kind}: {names}{more}")
    return "; ".join(parts) + (f"; and {len(groups) - 6} other kinds" if len(groups) > 6 else "")
