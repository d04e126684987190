"""Items found under their names -> rows in order: that of a table of keys, or the natural one."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from reelstore.errors import ForeignFileError
from reelstore.exchange.base import Key
from reelstore.exchange.keys import WHOLE, KeyRow, KeyTable
from reelstore.exchange.names import FIRST, key_of, natural_key
from reelstore.records import Side

NO_ITEM = "nothing was imported for it"
"""Reason of a row that the table has and the source hasn't."""


@dataclass(frozen=True)
class Naming:
    """How items of one side are named and ordered.

    Attributes:
        side: `video` or `text`.
        keys: table whose rows these are, in its order; without one every item is a row, in natural order.
        split: of all rows, where there is no table.
        first: number of a video's first caption in names.
        allow_missing: rows of the table without an item become rows without a value rather than an error.
    """

    side: Side
    keys: KeyTable | None = None
    split: str | None = None
    first: int = FIRST
    allow_missing: bool = False


@dataclass(frozen=True)
class Arranged:
    """Rows in order, the name of the item of each (None where it has none), and what was left alone."""

    rows: Sequence[KeyRow]
    names: Sequence[str | None]
    notes: tuple[str, ...]


def arrange(names: Iterable[str], naming: Naming, *, where: str) -> Arranged:
    """Which item belongs to which row.

    Args:
        names: of the items, without file endings.
        naming: side, table and the like.
        where: folder or file, for messages.

    Raises:
        ForeignFileError: two items have one key, a name isn't a caption's, or a row of the table has no item.
    """
    found: dict[Key, str] = {}
    strangers = 0
    for name in sorted(names):
        try:
            key = key_of(name, naming.side, where=where, first=naming.first)
        except ForeignFileError:
            if naming.keys is None:
                raise
            strangers += 1
            continue
        other = found.setdefault(key, name)
        if other != name:
            raise ForeignFileError(f"{where}: {other!r} and {name!r} are both {key!r}. Keys must be unique.")
    if naming.keys is None:
        keys = sorted(found, key=natural_key)
        return Arranged([KeyRow(key, naming.split or WHOLE, None) for key in keys], [found[key] for key in keys], ())
    rows = naming.keys.rows(naming.side)
    rows = _with_missing(rows, found, naming, where)
    left = strangers + len(found.keys() - {row.key for row in rows})
    notes = (f"{left} items aren't in {naming.keys.path} and were left alone",) if left else ()
    return Arranged(rows, [found.get(row.key) for row in rows], notes)


def _with_missing(rows: list[KeyRow], found: Mapping[Key, str], naming: Naming, where: str) -> list[KeyRow]:
    assert naming.keys is not None
    for row in rows:
        if row.failure is not None and row.key in found:
            raise ForeignFileError(
                f"{naming.keys.path} says of {row.key!r} that it has no value ({row.failure}), but {where} has one."
            )
    missing = [row.key for row in rows if row.failure is None and row.key not in found]
    if missing and not naming.allow_missing:
        some = ", ".join(map(repr, missing[:5])) + (", …" if len(missing) > 5 else "")
        raise ForeignFileError(
            f"{where} lacks {len(missing)} of the {len(rows)} rows of {naming.keys.path}: {some}. "
            "To keep them as rows without a value, say --allow-missing."
        )
    gone = set(missing)
    return [KeyRow(row.key, row.split, NO_ITEM) if row.key in gone else row for row in rows]
