"""Embeddings that somebody has -> a variant: rows are compared by content, and only those that changed are written."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from reelstore.arrays import IntArray, UInt8Array
from reelstore.errors import StoreError
from reelstore.io import Progress, no_progress, parsed_json
from reelstore.records import Side, name_fault, shortened
from reelstore.store.format import DTYPES, Layout, VariantSpec, as_json_bytes
from reelstore.store.given import GivenRows, GivenShape
from reelstore.store.groups import refuse_reserved
from reelstore.store.keys import Key, Keys
from reelstore.store.read import Rows
from reelstore.store.split_names import SplitNames
from reelstore.store.stored import open_published
from reelstore.store.table import RowTable
from reelstore.store.update import UpdateReport, VariantUpdate, recover_variant
from reelstore.store.variant import Variant

Mode = Literal["update", "append", "replace"]
Source = str | Mapping[str, Any]
DEFAULT_SPLIT = "all"
"""Split of rows for which none is given."""
_EXACT = {"float16": "float16", "float32": "float32"}


def write_rows(
    folder: Path,
    *,
    side: Side,
    encoder: str,
    variant: str,
    keys: Iterable[Key],
    values: Any,
    splits: str | Sequence[str] | Mapping[Key, str] | None = None,
    dtype: str | None = None,
    source: Source | None = None,
    mode: Mode = "update",
    failures: Mapping[int, str] | None = None,
    layout: Layout | None = None,
    progress: Progress = no_progress,
) -> UpdateReport:
    """Write rows by key; see `Store.write`, which has the same arguments by a variant's name.

    Args:
        folder: the variant's: <store>/<side>/<encoder>/<variant>.
        failures: position among `keys` -> why that row has no value; what `values` has there isn't looked at, and may
            be None in a list.
        layout: `ragged` where all items happen to have equally many tokens, `dense` to insist on it.
        progress: called with rows read and all rows.

    Raises:
        StoreError, SchemaError, ValueRangeError, OccupiedError: as of `Store.write`; nothing has changed.
    """
    _check_choice("mode", mode, get_args(Mode))
    if layout is not None:
        _check_choice("layout", layout, get_args(Layout))
    if dtype is not None:
        dtype = dtype if isinstance(dtype, str) else getattr(dtype, "__name__", str(dtype)).removeprefix("torch.")
        _check_choice("dtype", dtype, DTYPES)
    refuse_reserved(folder)
    given = _checked_keys(keys, side, folder)
    recover_variant(folder)
    stored = _stored(folder, mode)
    recipe = _recipe(folder, stored, source)
    with ExitStack() as stack:
        rows = GivenRows(folder, given, values, failures or {}, stack)
        named = _Named(folder, side, encoder, variant, recipe)
        spec = rows.read(
            lambda shape, found: _spec(named, stored, shape, found, dtype, layout), dtype, progress=progress
        )
        table, position = _table(folder, stored, given, splits, rows.fingerprints(spec), mode)
        digest = None if stored is None or mode == "replace" else stored.digest
        with VariantUpdate(folder, spec, table) as update:
            _refuse_changed(folder, digest, mode)
            rows.give(update, position)
            return update.finish()


@dataclass(frozen=True)
class _Named:
    """What is to be written, before anything is known of its values."""

    folder: Path
    side: Side
    encoder: str
    variant: str
    recipe: Mapping[str, Any]


def _check_choice(what: str, value: object, known: Sequence[str]) -> None:
    if value not in known:
        raise StoreError(f"{what} is {value!r}; it must be one of {', '.join(known)}.")


def _checked_keys(keys: Iterable[Key], side: Side, folder: Path) -> Keys:
    """Keys of this side, each once, all of which a store can keep."""
    if isinstance(keys, Keys):
        found = keys.packed()
        if len(found) and (found.indices is None) != (side == "video"):
            raise StoreError(f"{folder}: these are keys of {'captions' if side == 'video' else 'videos'}.")
    elif type(keys).__module__.startswith("pyarrow."):
        try:
            return _checked_keys(Keys.of_arrow(keys), side, folder)
        except StoreError as error:
            raise StoreError(f"{folder}: {str(error).removeprefix(f'{folder}: ')}") from None
    elif isinstance(keys, str | bytes) or not isinstance(keys, Iterable):
        raise StoreError(f"{folder}: keys are a sequence of keys, not one {type(keys).__name__}.")
    else:
        found = Keys.of(_of_side(keys, side, folder))
    try:
        found.check()
    except StoreError as error:
        raise StoreError(f"{folder}: {error}") from None
    return found


def _of_side(keys: Iterable[Key], side: Side, folder: Path) -> Iterator[Key]:
    for number, key in enumerate(keys):
        if side == "video" and isinstance(key, str):
            yield key
        elif side == "text" and isinstance(key, tuple | list) and len(key) == 2 and _is_caption(key):
            yield key[0], int(key[1])
        else:
            wanted = "a video_id (str)" if side == "video" else "(video_id, caption_index): (str, int)"
            raise StoreError(f"{folder}: the key {shortened(key)} at position {number} isn't {wanted}.")


def _is_caption(key: Sequence[Any]) -> bool:
    return isinstance(key[0], str) and isinstance(key[1], int | np.integer) and not isinstance(key[1], bool)


def _stored(folder: Path, mode: Mode) -> Rows | None:
    """The variant as it is; None where there is none, or it is to be replaced."""
    if open_published(folder, verify=False) is None or mode == "replace":
        return None
    rows = Rows(Variant(folder), None)
    if set(rows.recipe) != {"source"}:
        raise StoreError(
            f"{folder} wasn't made by `write` (its recipe has {', '.join(map(repr, rows.recipe))}): rows of another "
            "origin aren't mixed with it. Write to another variant, or replace all of it with mode='replace'."
        )
    return rows


def _recipe(folder: Path, stored: Rows | None, source: Source | None) -> dict[str, Any]:
    if source is None:
        return stored.recipe if stored is not None else {"source": "written"}
    if not isinstance(source, str | Mapping):
        raise StoreError(f"{folder}: source is a string or a mapping, not {type(source).__name__}.")
    if isinstance(source, str) and (fault := name_fault(source)) is not None:
        raise StoreError(f"{folder}: source {fault}: {shortened(source)}.")
    try:  # as it will be read
        recipe = parsed_json(as_json_bytes({"source": source if isinstance(source, str) else dict(source)}), folder)
    except (TypeError, ValueError, RecursionError) as error:
        why = str(error).removeprefix(f"{folder} ").rstrip(".")
        raise StoreError(f"{folder}: source isn't what JSON can hold ({why}).") from None
    if stored is not None and stored.recipe != recipe:
        raise StoreError(
            f"{folder} was written with source {stored.recipe['source']!r}, not {recipe['source']!r}. A variant has "
            "one source: leave source out, write to another variant, or use mode='replace'."
        )
    return dict(recipe)


def _spec(
    named: _Named,
    stored: Rows | None,
    shape: GivenShape | None,
    found: str | None,
    dtype: str | None,
    layout: Layout | None,
) -> VariantSpec:
    """What the variant holds: as stored, or by the first values."""
    folder = named.folder
    if stored is not None:
        if dtype is not None and dtype != stored.dtype:
            raise StoreError(
                f"{folder} holds {stored.dtype}, not {dtype}. Use dtype='{stored.dtype}' or mode='replace'."
            )
        if dtype is None and found is not None and found != stored.dtype:
            raise StoreError(
                f"{folder} holds {stored.dtype}, these values are {found}. To round them, say dtype='{stored.dtype}'."
            )
        if layout is not None and layout != stored.layout:
            raise StoreError(f"{folder} is {stored.layout}, not {layout}. Use mode='replace' to change it.")
        return stored.spec
    if shape is None:
        raise StoreError(f"{folder}: there is no value to write: nothing says what the rows are.")
    if dtype is None:
        if found not in _EXACT:
            raise StoreError(
                f"{folder}: these values are {found}; a store holds float16 or float32. "
                "To round them, say dtype='float32'."
            )
        dtype = _EXACT[found]
    n_tokens = shape.n_tokens
    if layout is not None:
        if (layout == "pooled") != (n_tokens == 0):
            raise StoreError(f"{folder}: layout='{layout}', but the values are {_words(shape)}.")
        if layout == "dense" and n_tokens is None:
            raise StoreError(f"{folder}: layout='dense' wants one array (n, n_tokens, dim), not a list.")
        n_tokens = None if layout == "ragged" else n_tokens
    return VariantSpec(named.side, named.encoder, named.variant, shape.dim, n_tokens, dtype, named.recipe)


def _table(
    folder: Path,
    stored: Rows | None,
    keys: Keys,
    splits: str | Sequence[str] | Mapping[Key, str] | None,
    fingerprints: UInt8Array,
    mode: Mode,
) -> tuple[RowTable, IntArray | None]:
    """All rows of the coming version, and where each is among those given; -1 for one that stays.

    None instead of places where they are the rows given.
    """
    old = None if stored is None else stored.table
    row = np.broadcast_to(np.int64(-1), len(keys)) if old is None else old.keys.find(keys)
    named = _splits(folder, keys, splits, row, None if old is None else old.splits)
    if old is None:
        return RowTable(keys, named, fingerprints, checked=True), None
    known, new = np.flatnonzero(row >= 0), np.flatnonzero(row < 0)
    if mode == "append" and len(known):
        key = keys[int(known[0])]
        raise StoreError(f"{folder} has a row {key!r} already. Use mode='update' to change rows that are stored.")
    position = np.full(len(old), -1, dtype=np.int64)
    position[row[known]] = known
    prints = old.fingerprints.copy()
    prints[row[known]] = fingerprints[known]
    both = old.splits.followed_by(named)
    numbers = both.numbers[: len(old)].copy()
    numbers[row[known]] = both.numbers[len(old) + known]
    table = RowTable(
        old.keys.followed_by(keys.at(new)),
        both.at(np.concatenate([numbers, both.numbers[len(old) + new]])),
        np.concatenate([prints, fingerprints[new]]),
        checked=True,
    )
    return table, np.concatenate([position, new])


def _splits(
    folder: Path,
    keys: Keys,
    splits: str | Sequence[str] | Mapping[Key, str] | None,
    row: IntArray,
    stored: SplitNames | None,
) -> SplitNames:
    """The split of each row; `row`: where it is among the stored, -1 where it is new."""
    if isinstance(splits, str):
        return SplitNames.of([splits]).at(np.zeros(len(keys), dtype=np.uint8))
    if splits is None or isinstance(splits, Mapping):
        named = _stored_splits(row, stored)
        if not splits:
            return named
        names = list(named)
        for key, name in splits.items():
            place = keys.position(key)
            if place is None:
                raise StoreError(f"{folder}: splits names the key {key!r}, which isn't among those written.")
            names[place] = name
    elif isinstance(splits, Iterable):
        names = list(splits)
    else:
        raise StoreError(f"{folder}: splits is one name, a name for each key, or a mapping, not {shortened(splits)}.")
    if len(names) != len(keys):
        raise StoreError(f"{folder}: {len(keys)} keys, but {len(names)} splits.")
    for number, split in enumerate(names):
        if not isinstance(split, str):
            raise StoreError(f"{folder}: the split of {keys[number]!r} is {shortened(split)}; it must be a string.")
    return SplitNames.of(map(str, names))


def _stored_splits(row: IntArray, stored: SplitNames | None) -> SplitNames:
    """The stored split of each row, that of rows that are new being DEFAULT_SPLIT."""
    default = SplitNames.of([DEFAULT_SPLIT])
    if stored is None:
        return default.at(np.zeros(len(row), dtype=np.uint8))
    both = stored.followed_by(default)
    return both.at(both.numbers[np.where(row < 0, len(both) - 1, row)])


def _refuse_changed(folder: Path, digest: str | None, mode: Mode) -> None:
    """Raise StoreError where another process has written the variant since it was read; called with its lock held."""
    if mode == "replace":
        return
    published = open_published(folder, verify=False)
    if (None if published is None else published.attributes["digest"]) != digest:
        raise StoreError(f"{folder}: another process wrote it meanwhile. Nothing was changed; write again.")


def _words(shape: GivenShape) -> str:
    return "embeddings (n, dim)" if shape.n_tokens == 0 else "tokens"
