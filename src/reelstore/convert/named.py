"""Arrays under names, in a folder or a file of several -> items: an array an item, or one whose rows are items."""

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from reelstore.arrays import Array
from reelstore.convert.containers import About, Container
from reelstore.convert.items import Items
from reelstore.convert.match_keys import KeyRule, keyed, ordered
from reelstore.convert.matrix import matrix_items
from reelstore.errors import ForeignFileError
from reelstore.records import Side
from reelstore.store.keys import Key

VALUES, OFFSETS = "values", "offsets"
"""Arrays that an export has; offsets where tokens are ragged."""


def container_items(container: Container, rule: KeyRule, *, member: str | None = None, items: bool = False) -> Items:
    """Items of a container's arrays.

    With `member`, the name of an array, that array is a matrix whose row i is the table's row i; where it is the last
    part of paths `<id>/<member>`, each such array is an item of that id. Without it: `values` (with `offsets`, ragged)
    is an export's matrix; with a table, a container's only array is one; arrays `<id>/<name>` of one and the same name
    are items of these ids; otherwise, or where `items` says so, an array is an item under its name.

    Raises:
        ForeignFileError: there is no such array, its rows need a table, or groups hold several arrays.
    """
    path, names = container.path, list(container.names())
    if items:
        return _named(container, rule, {name: name for name in names})
    if member is not None:
        member = member.strip("/")
        if member in names:
            return _matrix(container, member, rule, OFFSETS if member == VALUES and OFFSETS in names else None)
        inside = {name.removesuffix(f"/{member}"): name for name in names if name.endswith(f"/{member}")}
        if not inside:
            some = ", ".join(sorted(names)[:10]) + (", …" if len(names) > 10 else "")
            raise ForeignFileError(f"{path} has no array {member!r}. It has: {some}.")
        n_others = len(names) - len(inside)
        note = f"items are <id>/{member}" + (f"; {n_others} other arrays were skipped" if n_others else "")
        return _named(container, rule, inside, note)
    if VALUES in names and {*names} <= {VALUES, OFFSETS}:
        return _matrix(container, VALUES, rule, OFFSETS if OFFSETS in names else None)
    by_table = rule.keys is not None and rule.keys.names is not None
    if len(names) == 1 and rule.keys is not None and not by_table and not rule.keys.holds(names[0], rule.side):
        return _matrix(container, names[0], rule, None)
    leaf = None if by_table else _common_leaf(path, names, rule.side)
    if leaf is not None:
        return _named(
            container, rule, {name.removesuffix(f"/{leaf}"): name for name in names}, f"items are <id>/{leaf}"
        )
    groups = {name.rpartition("/")[0] for name in names}
    group = groups.pop() if len(groups) == 1 and len(names) > 1 else ""
    shown = group and rule.keys is None and rule.side == "video" and not rule.affixes
    notes = [f"ids begin with the group {group}/; to take it off: --prefix {group}/"] if shown else []
    return _named(container, rule, {name: name for name in names}, *notes)


class _Place(NamedTuple):
    """An item: the array that it is, or a row of that array."""

    name: str
    row: int | None


def _named(container: Container, rule: KeyRule, names: Mapping[str, str], *notes: str) -> Items:
    """Arrays `video7890`, or captions `video7890-1` or `video7890/1`; `names`: name of an item -> of its array."""
    where = str(container.path)
    found, unrecognised = keyed(names, rule, where=where)
    arrays = {key: names[name] for key, name in found.items()}
    places: dict[Key, _Place] = {key: _Place(name, None) for key, name in arrays.items()}
    about: dict[str, About] = {}
    if rule.side == "text" and rule.captions == "rows":
        if rule.keys is not None:
            wanted = {*rule.keys.rows("text").keys.video_ids}
            unrecognised += [str(key) for key in arrays.keys() - wanted]
            arrays = {key: name for key, name in arrays.items() if key in wanted}
        about = _about(container, [*arrays.values()])
        places = _unstacked(container, arrays, about)
    order = ordered(places, rule, where=where, unrecognised=unrecognised)
    items = order.items
    about = about or _about(container, [place.name for place in items if place is not None])

    def shape(place: _Place | None) -> tuple[int, ...]:
        return () if place is None else about[place.name][0][0 if place.row is None else 1 :]

    def label(position: int) -> str:
        place = items[position]
        if place is None:
            return where
        return ("" if place.row is None else f"row {place.row} of ") + container.label(place.name)

    def values() -> Iterator[list[Array]]:
        here = [(name, list(of)) for name, of in groupby((p for p in items if p is not None), key=lambda p: p.name)]
        for (_, of), array in zip(here, container.read([name for name, _ in here]), strict=True):
            yield [array if place.row is None else array[place.row] for place in of]

    return Items(
        kind=container.kind,
        rows=order.rows,
        shapes=[shape(place) for place in items],
        dtypes=["" if place is None else about[place.name][1] for place in items],
        label=label,
        values=values,
        notes=(*notes, *order.notes),
        by_name=rule.keys is None,
    )


def _about(container: Container, names: list[str]) -> dict[str, About]:
    return dict(zip(names, container.about(names), strict=True))


def _unstacked(container: Container, arrays: Mapping[Key, str], about: Mapping[str, About]) -> dict[Key, _Place]:
    """The captions in arrays of a video's captions: (n_captions, dim), or (n_captions, n_tokens, dim)."""
    places: dict[Key, _Place] = {}
    for video_id, name in arrays.items():
        shape, _ = about[name]
        if len(shape) not in (2, 3):
            raise ForeignFileError(
                f"{container.label(name)} has shape {shape}; with --captions rows it is (n_captions, dim) or "
                "(n_captions, n_tokens, dim)."
            )
        places |= {(str(video_id), row): _Place(name, row) for row in range(shape[0])}
    return places


def _common_leaf(path: Path, names: list[str], side: Side) -> str | None:
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


def _matrix(container: Container, name: str, rule: KeyRule, offsets: str | None) -> Items:
    label = container.label(name)
    if rule.keys is None:
        raise ForeignFileError(f"{label}: its rows need a table of keys. Give it with --keys.")
    if rule.captions is not None:
        raise ForeignFileError(f"{label} is a matrix, whose rows are the table's; --captions isn't for it.")
    ((shape, dtype),) = container.about([name])
    if not shape:
        raise ForeignFileError(f"{label} is one number, not a matrix.")
    ends = None
    if offsets is not None:
        _ = list(container.about([offsets]))  # whether it may be read
        (ends,) = container.read([offsets])
    rows = rule.keys.rows(rule.side)
    places = rule.keys.video_rows(shape[0]) if rule.side == "video" and ends is None else None
    values = container.rows(name)
    return matrix_items(container.kind, values, dtype, rows, label=label, places=places, offsets=ends)
