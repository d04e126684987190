"""What every format gives: a list of items with keys and shapes, then their values, block by block."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, Literal, Protocol, get_args

import numpy as np

from reelstore.arrays import Array
from reelstore.errors import ForeignFileError

Key = str | tuple[str, int]
"""A video's `video_id`, or a caption's (`video_id`, `caption_index`)."""
Layout = Literal["pooled", "dense", "ragged"]


NOTHING: Array = np.empty(0)
"""Stands where an item has no value."""

EXACT = {"float16": "float16", "float32": "float32", "bfloat16": "float32"}
"""Kinds of numbers in files -> the stored dtype that holds each of them exactly."""
KNOWN = {*EXACT, "float64"}
MAX_ITEM_BYTES = 2**31
"""Of one item's numbers; what says more of itself would take the memory rather than be an embedding."""
_NAMED = 3
"""Items named in a message, of each kind."""


@dataclass(frozen=True)
class Listing:
    """What a file or folder holds, before its values are read. Each list has an entry an item, in order.

    Attributes:
        keys: unique.
        splits: a split's name each.
        names: what messages call an item: `videos/video7890.npy`.
        shapes: as found.
        dtypes: `float32` and the like.
        stamps: change when the item may have changed; nothing else is known of them.
        failures: position -> why the item has no value; its shape and dtype say nothing.
        notes: how the source was understood and what was left alone, for the report.
        named: whether the items are those that the source has names for, and no table says which these are.
    """

    keys: Sequence[Key]
    splits: Sequence[str]
    names: Sequence[str]
    shapes: Sequence[tuple[int, ...]]
    dtypes: Sequence[str]
    stamps: Sequence[Any]
    failures: Mapping[int, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    named: bool = False

    def __post_init__(self) -> None:
        first: dict[Key, int] = {}
        for position, key in enumerate(self.keys):
            other = first.setdefault(key, position)
            if other != position:
                raise ForeignFileError(
                    f"{self.names[other]} and {self.names[position]} have the same key {key!r}. Keys must be unique."
                )

    def __len__(self) -> int:
        return len(self.keys)

    def __repr__(self) -> str:
        return f"Listing({len(self)} items)"

    def example(self, position: int) -> str:
        """An item as a report shows it: its key, and where its value is."""
        where = f"no value ({self.failures[position]})" if position in self.failures else self.names[position]
        shape = "" if position in self.failures else f" {self.shapes[position]} {self.dtypes[position]}"
        return f"{self.keys[position]!r}: {where}{shape}"


def stamp_of(state: os.stat_result) -> tuple[int, ...]:
    """What changes when a file may have changed: size, times, inode."""
    return state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino


class Source(Protocol):
    """A file or folder of embeddings."""

    @property
    def kind(self) -> str:
        """`npy`, `hdf5` and the like."""
        ...

    @property
    def listing(self) -> Listing:
        """What it holds."""
        ...

    def read(self, start: int, stop: int) -> list[Array]:
        """Values of the items from `start` to, without, `stop`, as they lie there; anything where there is none.

        Fastest if called in order.
        """
        ...


@dataclass(frozen=True)
class Held:
    """How a store will hold the items.

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


def held_by(listing: Listing, *, layout: Layout | None = None, dtype: str | None = None) -> Held:
    """What a store makes of items of these shapes, if they are of one kind.

    (dim,) and (1, dim) are pooled, (n_tokens, dim) and (1, n_tokens, dim) are not; all items must be of one of the
    four, unless `layout` says what they are. Tokens are dense if all items have equally many.

    Args:
        listing: the items.
        layout: `pooled`; `dense` or `ragged`, then (1, dim) is one token. By default the shapes say.
        dtype: to round to; by default that of the items, which must be one that a store has.

    Raises:
        ForeignFileError: widths, poolings or dtypes are mixed, or not what was asked; the message names the items.
    """
    here = [position for position in range(len(listing)) if position not in listing.failures]
    if not here:
        raise ForeignFileError("There is no item with a value to import.")
    for position in here:
        if prod(listing.shapes[position]) * 8 > MAX_ITEM_BYTES:
            raise ForeignFileError(
                f"{listing.names[position]} has shape {listing.shapes[position]}: too large for one item "
                f"({MAX_ITEM_BYTES // 8} numbers at most)."
            )
    kinds = _grouped(here, lambda position: _kind_of(listing.shapes[position], listing.names[position]))
    found = _layout(kinds, listing, layout)
    dims = _grouped(here, lambda position: listing.shapes[position][-1])
    if len(dims) > 1:
        raise ForeignFileError(f"Embeddings of different widths can't be one variant: {_named(dims, listing)}.")
    (dim,) = dims
    stored = _dtype(here, listing, dtype)
    if found == "pooled":
        return Held("pooled", dim, 0, stored)
    counts = _grouped(here, lambda position: _n_tokens(listing.shapes[position]))
    alike = len(counts) == 1 and 0 not in counts
    if found == "dense" and not alike:
        raise ForeignFileError(f"Not dense: items have different numbers of tokens: {_named(counts, listing)}.")
    if listing.named and layout is None and len(listing) == 1 and not {*counts} <= {0, 1}:
        n_rows = next(iter(counts))
        raise ForeignFileError(
            f"{listing.names[0]} {listing.shapes[0]} is all there is: {n_rows} tokens of one item, or {n_rows} items? "
            "If it is one item, say --layout ragged. If a row is an item, say which with a table, --keys (for a .npy "
            "file: reelstore import array)."
        )
    if found == "ragged" or not alike:
        return Held("ragged", dim, None, stored)
    return Held("dense", dim, next(iter(counts)), stored)


def _layout(
    kinds: Mapping[str, Sequence[int]], listing: Listing, wanted: Layout | None
) -> Literal["pooled", "dense", "ragged", "tokens"]:
    if wanted is None:
        if len(kinds) > 1:
            hint = ""
            if {*kinds} <= {"(dim,)", "(1, dim)"}:
                hint = " If all of them are pooled, say so with --layout pooled."
            elif "(dim,)" not in kinds:
                hint = " If (1, dim) is an item of one token, say so with --layout ragged."
            raise ForeignFileError(
                f"Pooled and unpooled embeddings, or different shapes, are mixed: {_named(kinds, listing)}.{hint}"
            )
        return "pooled" if {*kinds} <= {"(dim,)", "(1, dim)"} else "tokens"
    if wanted not in get_args(Layout):
        raise ForeignFileError(f"No layout {wanted!r}. There are: {', '.join(get_args(Layout))}.")
    pooled = wanted == "pooled"
    fitting = {"(dim,)", "(1, dim)"} if pooled else {"(1, dim)", "(n_tokens, dim)", "(1, n_tokens, dim)"}
    others = {kind: positions for kind, positions in kinds.items() if kind not in fitting}
    if others:
        raise ForeignFileError(f"Not {wanted}: {_named(others, listing)}.")
    return wanted


def _dtype(here: Sequence[int], listing: Listing, wanted: str | None) -> str:
    dtypes = _grouped(here, lambda position: listing.dtypes[position])
    unknown = {name: positions for name, positions in dtypes.items() if name not in KNOWN}
    if unknown:
        raise ForeignFileError(f"Embeddings are floating point, these are not: {_named(unknown, listing)}.")
    if wanted is not None:
        if wanted not in ("float16", "float32"):
            raise ForeignFileError(f"A store holds float16 or float32, not {wanted!r}.")
        return wanted
    if len(dtypes) > 1:
        raise ForeignFileError(
            f"Numbers of different kinds are mixed: {_named(dtypes, listing)}. Say what to store: --dtype float32."
        )
    (dtype,) = dtypes
    if dtype not in EXACT:
        raise ForeignFileError(
            f"{listing.names[here[0]]} holds {dtype}, a store float16 or float32. "
            "To have it rounded, say --dtype float32."
        )
    return EXACT[dtype]


def _kind_of(shape: tuple[int, ...], name: str) -> str:
    if len(shape) == 1 and shape[0]:
        return "(dim,)"
    if len(shape) == 2 and shape[1]:
        return "(1, dim)" if shape[0] == 1 else "(n_tokens, dim)"
    if len(shape) == 3 and shape[0] == 1 and shape[2]:
        return "(1, n_tokens, dim)"
    raise ForeignFileError(
        f"{name} has shape {shape}; an item is (dim,), (1, dim), (n_tokens, dim) or (1, n_tokens, dim)."
    )


def _n_tokens(shape: tuple[int, ...]) -> int:
    return prod(shape[:-1])


def _grouped(positions: Sequence[int], of: Callable[[int], Any]) -> dict[Any, list[int]]:
    groups: dict[Any, list[int]] = {}
    for position in positions:
        groups.setdefault(of(position), []).append(position)
    return groups


def _named(groups: Mapping[Any, Sequence[int]], listing: Listing) -> str:
    """Each kind with the first items of it, the rarest first: it is likely what is wrong."""
    parts = []
    for kind, positions in sorted(groups.items(), key=lambda group: len(group[1]))[:6]:
        names = ", ".join(f"{listing.names[p]} {listing.shapes[p]}" for p in positions[:_NAMED])
        more = f" and {len(positions) - _NAMED} more" if len(positions) > _NAMED else ""
        parts.append(f"{kind}: {names}{more}")
    return "; ".join(parts) + (f"; and {len(groups) - 6} other kinds" if len(groups) > 6 else "")
