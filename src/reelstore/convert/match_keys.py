"""Items found under their names -> rows in order: that of a table of keys, or the natural one."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from reelstore.convert.items import ItemRows
from reelstore.convert.keys import WHOLE, KeyTable
from reelstore.convert.names import FIRST, NO_AFFIXES, Affixes, Captions, is_padded, key_of, name_of, natural_order
from reelstore.errors import ForeignFileError
from reelstore.records import Side
from reelstore.store.keys import Key

Item = TypeVar("Item")
NO_ITEM = "nothing was imported for it"
"""Reason of a row that the table has and the source hasn't."""


@dataclass(frozen=True)
class KeyRule:
    """How items of one side are named and ordered.

    Attributes:
        side: `video` or `text`.
        keys: table whose rows these are, in its order; without one every item is a row, in natural order.
        split: of all rows, where there is no table.
        first: number of a video's first caption in names.
        allow_missing: rows of the table without an item become rows without a value rather than an error.
        captions: what an item of the text side is; by default a caption whose name has a number, if no name can be
            an id that ends in one.
        affixes: what names have before and after the id.
    """

    side: Side
    keys: KeyTable | None = None
    split: str | None = None
    first: int = FIRST
    allow_missing: bool = False
    captions: Captions | None = None
    affixes: Affixes = NO_AFFIXES


@dataclass(frozen=True)
class OrderedItems(Generic[Item]):
    """Rows in order, the item of each (None where it has none), and what was skipped."""

    rows: ItemRows
    items: Sequence[Item | None]
    notes: tuple[str, ...]


def keyed(names: Iterable[str], rule: KeyRule, *, where: str) -> tuple[dict[Key, str], list[str]]:
    """Key -> name of each item; of `captions="rows"` the key is the video's id. And the names that no row has.

    Args:
        names: of the items, without file endings.
        rule: side, table and the like.
        where: folder or file, for messages.

    Raises:
        ForeignFileError: two items have one key, a name isn't a caption's, or may be one or a video's id.
    """
    names = sorted(names)
    lines = None if rule.keys is None else rule.keys.names
    affixes = _affixes(names, rule, where)
    found: dict[Key, str] = {}
    unrecognised = []
    for name in names:
        if lines is not None and rule.keys is not None:
            line = lines.get(affixes.off(name) if affixes.fit(name) else name)
            if line is None:
                unrecognised.append(name)
                continue
            key = rule.keys.key_of_line(line, rule.side)
        else:
            try:
                how = rule.captions or "numbered"
                key = key_of(name, rule.side, where=where, first=rule.first, captions=how, affixes=affixes)
            except ForeignFileError:
                if rule.keys is None:
                    raise
                unrecognised.append(name)
                continue
        other = found.setdefault(key, name)
        if other != name:
            raise ForeignFileError(f"{where}: {other!r} and {name!r} are both {key!r}. Keys must be unique.")
    if rule.keys is None and rule.side == "text" and rule.captions is None:
        _refuse_doubtful(found, rule, where)
    return found, unrecognised


def _affixes(names: Sequence[str], rule: KeyRule, where: str) -> Affixes:
    """Those of names: none where the table's ids alone have them."""
    affixes = rule.affixes
    if not affixes or any(affixes.fit(name) or affixes.fit(name.rstrip("0123456789")[:-1]) for name in names):
        return affixes
    if rule.keys is None or not rule.keys.stripped:
        table = "" if rule.keys is None else f", and no id of {rule.keys.path}"
        some = ", ".join(map(repr, names[:3]))
        raise ForeignFileError(f"{where}: no item's name has {affixes}{table}. Names are like {some}.")
    return NO_AFFIXES


def _refuse_doubtful(found: Mapping[Key, str], rule: KeyRule, where: str) -> None:
    """Captions of a video are numbered from the first on; where they aren't, the number may be the id's end."""
    least: dict[str, tuple[int, str]] = {}
    for key, name in found.items():
        assert not isinstance(key, str)
        least[key[0]] = min(least.get(key[0], (key[1], name)), (key[1], name))
    for video_id, (index, name) in least.items():
        if index or is_padded(name):
            number = index + rule.first
            why = f"there is no caption {rule.first} of it" if index else "it has zeros in front"
            other = " Numbered from 1? Say --first 1." if rule.first == 0 and index == 1 else ""
            raise ForeignFileError(
                f"{where}: is {name!r} caption {number} of the video {video_id!r}, or the only caption of the video "
                f"{name!r}? By its number: {why}. Say --captions numbered, or --captions one.{other}"
            )


def ordered(
    found: Mapping[Key, Item], rule: KeyRule, *, where: str, unrecognised: Sequence[str] = (), what: str = "items"
) -> OrderedItems[Item]:
    """Which item belongs to which row.

    Args:
        found: the items.
        rule: side, table and the like.
        where: folder or file, for messages.
        unrecognised: names of items that aren't among `found`.
        what: the items are.

    Raises:
        ForeignFileError: a row of the table has no item.
    """
    if rule.keys is None:
        keys = sorted(found, key=natural_order)
        rows = ItemRows.of(keys, [rule.split or WHOLE] * len(keys))
        return OrderedItems(rows, [found[key] for key in keys], ())
    rows = rule.keys.rows(rule.side)
    others = [*unrecognised, *(name_of(key) for key in found.keys() - {*rows.keys})]
    rows = _with_missing(rows, found, rule, where, others)
    notes = (f"{len(others)} {what} aren't in {rule.keys.path} and were skipped",) if others else ()
    return OrderedItems(rows, [found.get(key) for key in rows.keys], notes)


def _with_missing(
    rows: ItemRows, found: Mapping[Key, Item], rule: KeyRule, where: str, others: Sequence[str]
) -> ItemRows:
    assert rule.keys is not None
    for position, failure in rows.failures.items():
        if (key := rows.keys[position]) in found:
            raise ForeignFileError(
                f"{rule.keys.path} says of {key!r} that it has no value ({failure}), but {where} has one."
            )
    lacking = {n: key for n, key in enumerate(rows.keys) if key not in found and n not in rows.failures}
    missing = list(lacking.values())
    if missing and not rule.allow_missing:
        some = ", ".join(map(repr, missing[:5])) + (", …" if len(missing) > 5 else "")
        raise ForeignFileError(
            f"{where} lacks {len(missing)} of the {len(rows)} rows of {rule.keys.path}: {some}. "
            f"{_hint(missing, others, rule) if others else ''}"
            "To keep them as rows without a value, say --allow-missing."
        )
    return ItemRows(rows.keys, rows.splits, {**rows.failures, **dict.fromkeys(lacking, NO_ITEM)})


def _hint(missing: Sequence[Key], others: Sequence[str], rule: KeyRule) -> str:
    """How the table's rows could be found among the items that no row has."""
    some = ", ".join(map(repr, sorted(others)[:3])) + (", …" if len(others) > 3 else "")
    hint = f"Items that no row has: {some}. "
    rests: Counter[tuple[str, str]] = Counter()
    for key in missing[:20]:
        video_id = _id(key)
        for name in others[:1000]:
            before, met, after = name.partition(video_id)
            if met and (before or after) and not (before[-1:].isalnum() or after[:1].isalnum()):
                rests[before, after] += 1
    (before, after), _ = rests.most_common(1)[0] if rests else (("", ""), 0)
    if rests and not (rule.side == "text" and after[1:].isdigit()):
        return hint + f"To take off what names have beside the id: {Affixes(before, after)}. "
    if rule.side == "text" and rule.captions is None and {_id(key) for key in missing} & {*others}:
        return hint + "If an item is a video's only caption: --captions one; if all its captions: --captions rows. "
    return (
        f"{hint}If a column of the table has their names, say --name-column; if one of them holds all rows, --dataset "
        "NAME (of .npy files: reelstore import array). "
    )


def _id(key: Key) -> str:
    return key if isinstance(key, str) else key[0]
