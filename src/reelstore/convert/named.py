"""Arrays under names, in a folder or a file of several -> a source: an array an item, or one whose rows are items."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from reelstore.arrays import Array
from reelstore.convert.base import NOTHING, Key, Listing, Source
from reelstore.convert.match_keys import Arranged, Naming, arrange, keyed
from reelstore.convert.rows_file import RowsOfFile
from reelstore.errors import ForeignFileError
from reelstore.records import Side

VALUES, OFFSETS = "values", "offsets"
"""Arrays that an export has; offsets where tokens are ragged."""


class About(NamedTuple):
    """What is known of an array before it is read; `stamp` changes when it may have changed."""

    shape: tuple[int, ...]
    dtype: str
    stamp: Any


class Container(Protocol):
    """Arrays under names."""

    @property
    def path(self) -> Path:
        """The file or folder."""
        ...

    @property
    def kind(self) -> str:
        """`npy`, `hdf5` and the like."""
        ...

    def names(self) -> Sequence[str]:
        """Of all arrays; there is one at least."""
        ...

    def label(self, name: str) -> str:
        """What messages call an array."""
        ...

    def about(self, names: Sequence[str]) -> Iterable[About]:
        """Of some arrays, in order.

        Raises:
            ForeignFileError: one can't be read, or isn't of numbers.
        """
        ...

    def read(self, names: Sequence[str], about: Sequence[About]) -> Iterator[Array]:
        """Values of some arrays, in order, which are as they were found to be."""
        ...

    def rows(self, name: str) -> Any:
        """One array to be cut by a row or a slice of rows, with its `shape`."""
        ...


class _Place(NamedTuple):
    """An item: the array that it is, or a row of that array."""

    name: str
    row: int | None


@dataclass(frozen=True)
class NamedItems:
    """Arrays `video7890`, or captions `video7890-1` or `video7890/1`.

    Attributes:
        container: where they are.
        naming: side, table and the like.
        names: name of an item -> name of its array; by default all arrays, under their own names.
        notes: how names were understood.
    """

    container: Container
    naming: Naming
    names: Mapping[str, str] | None = None
    notes: tuple[str, ...] = ()
    _last: dict[str, Array] = field(default_factory=dict, init=False, repr=False)

    @property
    def kind(self) -> str:
        """Of the container."""
        return self.container.kind

    @cached_property
    def listing(self) -> Listing:
        """Every item's key, shape and dtype.

        Raises:
            ForeignFileError: an array isn't whole or not of numbers, or names don't fit the table.
        """
        arranged, about = self._arranged
        found = [None if place is None else about[place.name] for place in arranged.items]
        rows = arranged.rows
        return Listing(
            keys=[row.key for row in rows],
            splits=[row.split for row in rows],
            names=[self._label(place) for place in arranged.items],
            shapes=[
                () if one is None or place is None else one.shape if place.row is None else one.shape[1:]
                for one, place in zip(found, arranged.items, strict=True)
            ],
            dtypes=["" if one is None else one.dtype for one in found],
            stamps=[None if one is None else one.stamp for one in found],
            failures={n: row.failure for n, row in enumerate(rows) if row.failure is not None},
            notes=(*self.notes, *arranged.notes),
            named=self.naming.keys is None,
        )

    def read(self, start: int, stop: int) -> list[Array]:
        """Values of the items from `start` to `stop`."""
        arranged, about = self._arranged
        here = arranged.items[start:stop]
        wanted = dict.fromkeys(place.name for place in here if place is not None)
        new = [name for name in wanted if name not in self._last]
        values = dict(zip(new, self.container.read(new, [about[name] for name in new]), strict=True))
        values |= {name: self._last[name] for name in wanted if name in self._last}
        self._last.clear()
        if here and here[-1] is not None and here[-1].row is not None:  # its other rows may be in the next block
            self._last[here[-1].name] = values[here[-1].name]
        return [
            NOTHING if place is None else values[place.name] if place.row is None else values[place.name][place.row]
            for place in here
        ]

    @cached_property
    def _arranged(self) -> tuple[Arranged[_Place], dict[str, About]]:
        naming, where = self.naming, str(self.container.path)
        names = {name: name for name in self.container.names()} if self.names is None else self.names
        found, unrecognised = keyed(names, naming, where=where)
        arrays = {key: names[name] for key, name in found.items()}
        if naming.side == "text" and naming.captions == "rows":
            if naming.keys is not None:
                wanted = {row.key[0] for row in naming.keys.rows("text")}
                unrecognised += [str(key) for key in arrays.keys() - wanted]
                arrays = {key: name for key, name in arrays.items() if key in wanted}
            about = dict(zip(arrays.values(), self.container.about([*arrays.values()]), strict=True))
            return arrange(self._unstacked(arrays, about), naming, where=where, unrecognised=unrecognised), about
        places: dict[Key, _Place] = {key: _Place(name, None) for key, name in arrays.items()}
        arranged = arrange(places, naming, where=where, unrecognised=unrecognised)
        here = [place.name for place in arranged.items if place is not None]
        return arranged, dict(zip(here, self.container.about(here), strict=True))

    def _unstacked(self, arrays: Mapping[Key, str], about: Mapping[str, About]) -> dict[Key, _Place]:
        """The captions in arrays of a video's captions: (n_captions, dim), or (n_captions, n_tokens, dim)."""
        places: dict[Key, _Place] = {}
        for video_id, name in arrays.items():
            shape = about[name].shape
            if len(shape) not in (2, 3):
                raise ForeignFileError(
                    f"{self.container.label(name)} has shape {shape}; with --captions rows it is (n_captions, dim) or "
                    "(n_captions, n_tokens, dim)."
                )
            places |= {(str(video_id), row): _Place(name, row) for row in range(shape[0])}
        return places

    def _label(self, place: _Place | None) -> str:
        if place is None:
            return str(self.container.path)
        return ("" if place.row is None else f"row {place.row} of ") + self.container.label(place.name)


def source_of(container: Container, naming: Naming, *, member: str | None = None, items: bool = False) -> Source:
    """A source of a container's arrays.

    With `member`, the name of an array, that array is a matrix whose row i is the table's row i; where it is the last
    part of paths `<id>/<member>`, each such array is an item of that id. Without it: `values` (with `offsets`, ragged)
    is an export's matrix; with a table, a container's only array is one; arrays `<id>/<name>` of one and the same name
    are items of these ids; otherwise, or where `items` says so, an array is an item under its name.

    Raises:
        ForeignFileError: there is no such array, its rows need a table, or groups hold several arrays.
    """
    if items:
        return NamedItems(container, naming)
    path, names = container.path, list(container.names())
    if member is not None:
        member = member.strip("/")
        if member in names:
            return _matrix(container, member, naming, OFFSETS if member == VALUES and OFFSETS in names else None)
        inside = {name.removesuffix(f"/{member}"): name for name in names if name.endswith(f"/{member}")}
        if not inside:
            raise ForeignFileError(f"{path} has no array {member!r}. It has: {_some(names)}.")
        return NamedItems(container, naming, inside, _of_groups(member, len(names) - len(inside)))
    if VALUES in names and {*names} <= {VALUES, OFFSETS}:
        return _matrix(container, VALUES, naming, OFFSETS if OFFSETS in names else None)
    by_table = naming.keys is not None and naming.keys.names is not None
    if len(names) == 1 and naming.keys is not None and not by_table and not naming.keys.holds(names[0], naming.side):
        return _matrix(container, names[0], naming, None)
    leaf = None if by_table else _common_leaf(path, names, naming.side)
    if leaf is None:
        groups = {name.rpartition("/")[0] for name in names}
        group = groups.pop() if len(groups) == 1 and len(names) > 1 else ""
        note = (f"ids begin with the group {group}/; to take it off: --prefix {group}/",)
        shown = group and naming.keys is None and naming.side == "video" and not naming.affixes
        return NamedItems(container, naming, notes=note if shown else ())
    return NamedItems(container, naming, {name.removesuffix(f"/{leaf}"): name for name in names}, _of_groups(leaf, 0))


def _common_leaf(path: Path, names: Sequence[str], side: Side) -> str | None:
    """The name that every group's only array has; None where arrays aren't in groups of one each."""
    leaves = Counter(name.rpartition("/")[2] for name in names if "/" in name)
    if side == "text" and all(leaf.isdecimal() for leaf in leaves):  # captions video7890/1
        return None
    if len(leaves) == 1 and leaves.total() == len(names):
        parts = [name.split("/") for name in names]
        n_common = 1
        while (
            len(names) > 1
            and len({tuple(one[-n_common - 1 :]) for one in parts}) == 1 < min(map(len, parts)) - n_common
        ):
            n_common += 1
        return "/".join(parts[0][-n_common:])
    if len(leaves) < leaves.total():
        several = [leaf for leaf, _ in leaves.most_common(5)]
        raise ForeignFileError(
            f"{path} has groups with arrays of the same names: {', '.join(several)}. Which belong to the items? Say "
            f"--dataset {several[0]}."
        )
    return None


def _of_groups(leaf: str, n_others: int) -> tuple[str, ...]:
    note = f"items are <id>/{leaf}"
    return (f"{note}; {n_others} other arrays were left alone" if n_others else note,)


def _matrix(container: Container, name: str, naming: Naming, offsets: str | None) -> RowsOfFile:
    label = container.label(name)
    if naming.keys is None:
        raise ForeignFileError(f"{label}: its rows need a table of keys. Give it with --keys.")
    if naming.captions is not None:
        raise ForeignFileError(f"{label} is a matrix, whose rows are the table's; --captions isn't for it.")
    (about,) = container.about([name])
    if not about.shape:
        raise ForeignFileError(f"{label} is one number, not a matrix.")
    ends = None
    if offsets is not None:
        (found,) = container.read([offsets], [*container.about([offsets])])
        if found.ndim != 1 or found.dtype.kind not in "iu":
            raise ForeignFileError(
                f"{container.label(offsets)} must hold whole numbers (n + 1,), not {found.dtype} {found.shape}."
            )
        ends = found.tolist()
    rows = naming.keys.rows(naming.side)
    places = naming.keys.video_rows(about.shape[0]) if naming.side == "video" and ends is None else None
    values = container.rows(name)
    return RowsOfFile(container.kind, container.path, values, about.dtype, rows, places, ends, label=label)


def _some(names: Sequence[str]) -> str:
    return ", ".join(sorted(names)[:10]) + (", …" if len(names) > 10 else "")
