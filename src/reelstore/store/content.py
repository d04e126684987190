"""Embeddings that somebody has -> a variant: rows are compared by content, and only those that changed are written."""

from collections.abc import Iterable, Mapping, Sequence
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
from reelstore.store.read import Rows
from reelstore.store.stored import open_published
from reelstore.store.table import Key, RowTable
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


def _checked_keys(keys: Iterable[Key], side: Side, folder: Path) -> list[Key]:
    if isinstance(keys, str | bytes) or not isinstance(keys, Iterable):
        raise StoreError(f"{folder}: keys are a sequence of keys, not one {type(keys).__name__}.")
    found: list[Key] = []
    for key in keys:
        if side == "video" and isinstance(key, str):
            found.append(str(key))
        elif side == "text" and isinstance(key, tuple | list) and len(key) == 2 and _is_caption(key):
            found.append((str(key[0]), int(key[1])))
        else:
            wanted = "a video_id (str)" if side == "video" else "(video_id, caption_index): (str, int)"
            raise StoreError(f"{folder}: the key {shortened(key)} at position {len(found)} isn't {wanted}.")
    seen: set[Key] = set()
    for number, key in enumerate(found):
        if key in seen:
            raise StoreError(f"{folder}: the key {key!r} occurs twice, again at {number}. Keys must be unique.")
        seen.add(key)
    return found


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
    keys: Sequence[Key],
    splits: str | Sequence[str] | Mapping[Key, str] | None,
    fingerprints: UInt8Array,
    mode: Mode,
) -> tuple[RowTable, IntArray]:
    """All rows of the coming version, and where each of them is among those given; -1 for one that stays."""
    old = None if stored is None else stored.table
    named = _splits(folder, keys, splits, {} if old is None else old.row_of, [] if old is None else old.splits)
    if old is None:
        return RowTable(keys, named, fingerprints), np.arange(len(keys), dtype=np.int64)
    known = [old.row_of.get(key, -1) for key in keys]
    if mode == "append" and any(row >= 0 for row in known):
        key = next(key for key, row in zip(keys, known, strict=True) if row >= 0)
        raise StoreError(f"{folder} has a row {key!r} already. Use mode='update' to change rows that are stored.")
    all_keys, all_splits = list(old.keys), list(old.splits)
    position = np.full(len(old), -1, dtype=np.int64)
    prints, new = old.fingerprints.copy(), []
    for number, row in enumerate(known):
        if row < 0:
            new.append(number)
        else:
            position[row], prints[row], all_splits[row] = number, fingerprints[number], named[number]
    all_keys += [keys[number] for number in new]
    all_splits += [named[number] for number in new]
    table = RowTable(all_keys, all_splits, np.concatenate([prints, fingerprints[new]]))
    return table, np.concatenate([position, np.array(new, dtype=np.int64)])


def _splits(
    folder: Path,
    keys: Sequence[Key],
    splits: str | Sequence[str] | Mapping[Key, str] | None,
    stored_row: Mapping[Key, int],
    stored: Sequence[str],
) -> list[str]:
    if isinstance(splits, str):
        return [splits] * len(keys)
    if splits is None or isinstance(splits, Mapping):
        of, known = splits or {}, set(keys)
        unknown = next((key for key in of if key not in known), None)
        if unknown is not None:
            raise StoreError(f"{folder}: splits names the key {unknown!r}, which isn't among those written.")
        named = [
            of[key] if key in of else stored[stored_row[key]] if key in stored_row else DEFAULT_SPLIT for key in keys
        ]
    elif isinstance(splits, Iterable):
        named = list(splits)
    else:
        raise StoreError(f"{folder}: splits is one name, a name for each key, or a mapping, not {shortened(splits)}.")
    if len(named) != len(keys):
        raise StoreError(f"{folder}: {len(keys)} keys, but {len(named)} splits.")
    for key, split in zip(keys, named, strict=True):
        if not isinstance(split, str):
            raise StoreError(f"{folder}: the split of {key!r} is {shortened(split)}; it must be a string.")
    return [str(split) for split in named]


def _refuse_changed(folder: Path, digest: str | None, mode: Mode) -> None:
    """Raise StoreError where another process has written the variant since it was read; called with its lock held."""
    if mode == "replace":
        return
    published = open_published(folder, verify=False)
    if (None if published is None else published.attributes["digest"]) != digest:
        raise StoreError(f"{folder}: another process wrote it meanwhile. Nothing was changed; write again.")


def _words(shape: GivenShape) -> str:
    return "embeddings (n, dim)" if shape.n_tokens == 0 else "tokens"
