"""Rows of a variant and their values: by key or position, concatenated, padded, or one item after the other."""

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar, cast, get_args, overload

import numpy as np
import numpy.typing as npt

from reelstore.arrays import Array, BoolArray, FloatArray, IntArray, UInt8Array
from reelstore.errors import FailedRowError, MissingRowError, RowPositionError, StoreError
from reelstore.records import Side
from reelstore.store.arrays import Pattern, aligned_empty, gather, gather_padded
from reelstore.store.format import FAILED, OK, STATUS_NAMES, Layout, VariantSpec
from reelstore.store.keys import Key, Keys
from reelstore.store.mmap import MappedArray
from reelstore.store.split_names import SplitNames
from reelstore.store.table import RowTable
from reelstore.store.variant import Variant

if TYPE_CHECKING:
    import pandas as pd

Values = FloatArray | list[FloatArray]
"""Of several rows: one array (k, dim) or (k, n_tokens, dim); a list of arrays where the number of tokens varies."""
Buffer = TypeVar("Buffer", bound=Array)
_COMPARED, _COMPLETED = 20_000, 1000
"""Keys that a suggestion looks through, and that are offered for completion."""


class ArrayLike(Protocol):
    """An array, tensor, column of a data frame, or anything else that NumPy makes an array of."""

    def __array__(self) -> Array: ...


class View:
    """Rows of one variant, all or some of them; see `Rows`, which adds their values."""

    def __init__(self, variant: Variant, index: IntArray | None) -> None:
        self._variant = variant
        self._index = index

    def __getstate__(self) -> dict[str, Any]:
        return {"_variant": self._variant, "_index": self._index}

    def __repr__(self) -> str:
        name = f"{self.side}/{self.encoder}/{self.variant}"
        return f"{type(self).__name__}({name}, {len(self)} rows, {self.layout}, dim {self.dim})"

    def __len__(self) -> int:
        return self._variant.n_rows if self._index is None else len(self._index)

    @property
    def side(self) -> Side:
        """`video` or `text`."""
        return "video" if self._variant.attributes["side"] == "video" else "text"

    @property
    def encoder(self) -> str:
        """Name of the encoder."""
        return str(self._variant.attributes["encoder"])

    @property
    def variant(self) -> str:
        """`tokens` or a pooling."""
        return str(self._variant.attributes["variant"])

    @property
    def layout(self) -> Layout:
        """`pooled`, `dense` or `ragged`."""
        return self._variant.spec.layout

    @property
    def dim(self) -> int:
        """Width of an embedding or token."""
        return int(self._variant.attributes["dim"])

    @property
    def dtype(self) -> np.dtype[np.floating[Any]]:
        """Stored dtype, float16 or float32."""
        dtype: np.dtype[np.floating[Any]] = np.dtype(self._variant.attributes["dtype"])
        return dtype

    @property
    def digest(self) -> str:
        """sha256 over the whole variant's files."""
        return str(self._variant.attributes["digest"])

    @property
    def fingerprint(self) -> str:
        """What determines all rows' numbers, hex."""
        return str(self._variant.attributes["fingerprint"])

    @property
    def recipe(self) -> dict[str, object]:
        """What determines all rows' numbers, as plain values of JSON."""
        return dict(self._variant.attributes["recipe"])

    @property
    def spec(self) -> VariantSpec:
        """What the whole variant holds and what determined it."""
        return self._variant.spec

    @property
    def n_tokens(self) -> int | None:
        """Tokens of every row; 0 for a pooled variant, None where their number varies."""
        n_tokens: int | None = self._variant.attributes["n_tokens"]
        return n_tokens

    @property
    def token_counts(self) -> IntArray:
        """(n,) int64: tokens of each row; 0 for a pooled variant and where a row failed."""
        if self.layout != "ragged":
            return np.full(len(self), self.n_tokens or 0, dtype=np.int64)
        counts = np.diff(self._variant.offsets)
        return counts if self._index is None else counts[self._index]

    @property
    def n_tokens_total(self) -> int:
        """Tokens of all these rows."""
        return int(self.token_counts.sum())

    @property
    def folder(self) -> Path:
        """The variant's folder."""
        return self._variant.folder

    @property
    def file_digests(self) -> Mapping[str, str]:
        """File -> sha256 (hex), for every file of the variant but its zarr.json."""
        digests: Mapping[str, str] = self._variant.attributes["digests"]
        return digests

    @property
    def table(self) -> RowTable:
        """Keys, splits and fingerprints of these rows."""
        whole = self._variant.table
        if self._index is None:
            return whole
        return RowTable(self.ids, self.splits, whole.fingerprints[self._index], checked=True)

    @property
    def shape(self) -> tuple[int | None, ...]:
        """(n, dim), (n, n_tokens, dim), or of a ragged variant (n, None, dim)."""
        return (len(self), self.dim) if self.layout == "pooled" else (len(self), self.n_tokens, self.dim)

    @property
    def splits(self) -> Sequence[str]:
        """The split of each row; `np.asarray` of it is an array of names."""
        return SplitNames(self._variant.attributes["splits"], self._variant.splits).at(self._split_numbers)

    @property
    def ids(self) -> Keys:
        """Keys in order: `video_id`, or (`video_id`, `caption_index`).

        A sequence over the files: a key is made when it is asked for. `ids.to_arrow()` is an Arrow array of them.
        """
        return self._variant.keys if self._index is None else self._variant.keys.at(self._index)

    @property
    def video_ids(self) -> Sequence[str]:
        """The video each row belongs to."""
        return cast(Sequence[str], self.ids.video_ids)

    @property
    def status(self) -> UInt8Array:
        """(n,) uint8: 0 missing, 1 ok, 2 failed."""
        status: UInt8Array = self._variant.status
        return status if self._index is None else status[self._index]

    @property
    def failures(self) -> dict[Key, str]:
        """Key -> reason of the failed rows among these."""
        failures = self._variant.failures
        if self._index is None or not failures:
            return dict(failures)
        here = self._find(list(failures)) >= 0
        return {key: reason for (key, reason), found in zip(failures.items(), here, strict=True) if found}

    def index_of(self, key: Key) -> int:
        """Position of a key among these rows."""
        row = self._variant.keys.position(key)
        found = -1 if row is None else int(self._places(np.array([row]))[0])
        if found < 0:
            raise MissingRowError(self._missing(key))
        return found

    def __contains__(self, key: object) -> bool:
        """Whether there is a row with this key."""
        row = self._variant.keys.position(key)
        return row is not None and bool(self._places(np.array([row]))[0] >= 0)

    def _missing(self, key: object) -> str:
        where = "" if self._index is None else " in this view"
        says = f"{self.folder}: no row {key!r:.100}{where} among its {len(self)} rows."
        if self.side == "text" and isinstance(key, str):
            return f"{says} A caption's key is (video_id, caption_index), such as {self._example()}."
        if self.side == "video" and isinstance(key, tuple):
            return f"{says} A video's key is its video_id, such as {self._example()}."
        if self._index is not None and key in type(self)(self._variant, None):
            return f"{says} The whole variant has it."
        name = key if isinstance(key, str) else key[0] if isinstance(key, tuple) and key else ""
        if isinstance(key, tuple) and isinstance(name, str) and (indices := self._captions_of(name)):
            more = ", ..." if len(indices) > 10 else ""
            return f"{says} {name!r} has captions {', '.join(map(str, sorted(indices)[:10]))}{more}."
        near = get_close_matches(str(name), dict.fromkeys(self.video_ids[:_COMPARED]), n=3)
        return f"{says} Did you mean {' or '.join(map(repr, near))}?" if near else says

    def _captions_of(self, video_id: str) -> list[int]:
        """Some `caption_index` of a video among these rows."""
        some = range(_COMPARED)
        rows = self._variant.keys.find([(video_id, index) for index in some])
        return [index for index, place in zip(some, self._places(rows).tolist(), strict=True) if place >= 0]

    def _example(self) -> str:
        return repr(self.at([0]).ids[0]) if len(self) else "none: there are no rows"

    def split(self, name: str) -> Self:
        """A view of one split's rows, failed ones among them."""
        names = list(self._variant.attributes["splits"])
        if name not in names:
            raise StoreError(f"{self.folder}: no split {name!r}. It has: {', '.join(names)}.")
        return self._view(np.flatnonzero(self._split_numbers == names.index(name)))

    def ok(self) -> Self:
        """A view of the rows that have values."""
        return self._view(np.flatnonzero(self.status == OK))

    def select(self, keys: Sequence[Key]) -> Self:
        """A view of these keys' rows, in this order."""
        return self._view(self._positions_of(keys))

    def at(self, positions: Sequence[int] | IntArray) -> Self:
        """A view of the rows at these positions, in this order, failed ones among them."""
        given = np.asarray(positions, dtype=np.int64)
        if given.size and not (given.min() >= 0 and given.max() < len(self)):
            raise RowPositionError(f"{self.folder}: positions {given.min()} to {given.max()} of {len(self)} rows.")
        return self._view(given)

    def _positions_of(self, keys: Sequence[Key]) -> IntArray:
        """(k,) position of each key; MissingRowError where one isn't there."""
        try:
            found = self._find(keys)
        except (AttributeError, TypeError, IndexError, StoreError):  # something in it is no key
            return np.array([self.index_of(key) for key in keys], dtype=np.int64)
        if len(found) and found.min() < 0:
            raise MissingRowError(self._missing(keys[int(found.argmin())]))
        return found

    def _find(self, keys: Sequence[Key]) -> IntArray:
        return self._places(self._variant.keys.find(keys))

    def _places(self, rows: IntArray) -> IntArray:
        """Position in this view of rows of the variant, the last one where there are several; -1 where there is none,
        and for -1."""
        if self._index is None:
            return rows
        if not len(self._index):
            return np.full(len(rows), -1)
        ordered = self._index if self._order is None else self._index[self._order]
        at = np.searchsorted(ordered, rows, side="right") - 1
        found = (at >= 0) & (ordered[at] == rows)
        return np.where(found, at if self._order is None else self._order[at], -1)

    @cached_property
    def _order(self) -> IntArray | None:
        """Which positions bring the rows of the view into order; None where they are."""
        assert self._index is not None, "all rows are in order"
        if (self._index[1:] > self._index[:-1]).all():
            return None
        order: IntArray = np.argsort(self._index, kind="stable")
        return order

    @property
    def _split_numbers(self) -> UInt8Array:
        splits: UInt8Array = self._variant.splits
        return splits if self._index is None else splits[self._index]

    def _view(self, positions: IntArray) -> Self:
        return type(self)(self._variant, positions if self._index is None else self._index[positions])

    def _rows_at(self, positions: Sequence[int] | Array) -> IntArray:
        """Rows of the whole variant at positions of the view, none of them failed."""
        given = np.asarray(positions)
        if given.ndim != 1 or (given.size and given.dtype.kind not in "iu"):
            raise RowPositionError(
                f"{self.folder}: positions are a list of integers, not {given.dtype} {given.shape}. "
                "Rows are found by key or by a mask with rows[...]."
            )
        rows: IntArray = given.astype(np.int64, copy=False)
        count = len(self)
        # Read without a sign, a negative number is huge: one pass finds both kinds of exceptions.
        if rows.size and rows.view(np.uint64).max() >= count:
            if rows.min() < -count or rows.max() >= count:
                raise RowPositionError(f"{self.folder}: positions {rows.min()} to {rows.max()} of {count} rows.")
            rows = np.where(rows < 0, rows + count, rows)
        if self._index is not None:
            rows = self._index[rows]
        self._refuse_failed(rows)
        return rows

    def _refuse_failed(self, rows: IntArray) -> None:
        if self._variant.all_ok:
            return
        bad = rows[self._variant.status[rows] != OK]
        if not len(bad):
            return
        key = self._variant.keys[int(bad[0])]
        status = int(self._variant.status[bad[0]])
        reason = self._variant.failures.get(key, "") if status == FAILED else "it was never embedded"
        raise FailedRowError(
            f"{self.folder}: {len(bad)} of the rows asked for have no value, {key!r} first "
            f"({STATUS_NAMES[status]}: {reason}). Skip them with .ok()."
        )


class Rows(View):
    """Rows of one variant, or a view of some of them, in a fixed order.

    `rows["7010"]`, or by position `rows[3]`, is one embedding, (dim,), or one item's tokens, (n_tokens, dim). Several,
    in the order asked, are `rows[["7010", "1"]]`, `rows[3:9]`, `rows[mask]` and `rows.take([3, 0])`: one array (k, dim)
    or (k, n_tokens, dim), a list where the number of tokens varies. `np.asarray(rows)` and iteration give all. Values
    have the stored dtype; those read from mapped files may be read-only. A caption's key is (`video_id`,
    `caption_index`).

    Files are mapped on first use where they hold the rows as they are, and read through zarr-python elsewhere; where
    the system maps no more, they are read with pread. `mapped` says whether they are mapped. Rows can be pickled and
    sent to another process, which opens the variant again; in a forked one they read on. Threads may share them.
    """

    @property
    def mapped(self) -> bool:
        """Whether values are read from memory-mapped files, rather than with pread or through zarr-python."""
        return isinstance(self._variant.values, MappedArray)

    @overload
    def take(self, indices: Sequence[int] | Array, out: Buffer) -> Buffer: ...
    @overload
    def take(self, indices: Sequence[int] | Array, out: None = None) -> Values: ...
    def take(self, indices: Sequence[int] | Array, out: Array | None = None) -> Values:
        """Values of the rows at these positions, in this order; positions may repeat.

        Args:
            indices: (k,) integers within the view; negative ones count from its end.
            out: where to put them, (k, dim) or (k, n_tokens, dim) of the stored dtype, C order; fastest if it begins
                where `aligned_empty` lets it. Not for ragged tokens.

        Returns:
            `out` or a new array; for ragged tokens a list of k arrays (n_tokens, dim).

        Raises:
            RowPositionError: a position isn't a whole number within the view.
            FailedRowError: a row has no value; the message gives its reason.
        """
        rows = self._rows_at(indices)
        if self.layout == "ragged":
            if out is not None:
                raise StoreError(
                    f"{self.folder}: the number of tokens varies; give out= to take_ragged() or take_padded()."
                )
            values, offsets = self._ragged(rows, None)
            return [values[start:stop] for start, stop in pairwise(offsets.tolist())]
        out = self._buffer(out, (len(rows), *self._row_shape))
        self._variant.values.take(rows, out, scattered=self.layout == "pooled")
        return out

    @property
    def in_memory(self) -> bool:
        """Whether these are arrays in memory (`store.memory.as_rows`), which no other process can open."""
        return self._variant.in_memory

    def take_ragged(self, indices: Sequence[int] | Array, *, out: Array | None = None) -> tuple[FloatArray, IntArray]:
        """Tokens of the rows at these positions, concatenated.

        Args:
            indices: (k,) as of `take`.
            out: (at least n_tokens_total of them, dim) of the stored dtype, C order.

        Returns:
            values: (n_tokens_total of them, dim); the beginning of `out` if that is given.
            offsets: (k + 1,) int64; item i is `values[offsets[i]:offsets[i + 1]]`.

        Example:
            >>> tokens, offsets = captions.take_ragged([5, 3])     # doctest: +SKIP
            >>> tokens[offsets[1] : offsets[2]].shape              # doctest: +SKIP
            (12, 384)
        """
        return self._ragged(self._rows_at(indices), out)

    def take_padded(
        self, indices: Sequence[int] | Array, length: int | None = None, *, out: Array | None = None
    ) -> tuple[FloatArray, BoolArray]:
        """Tokens of the rows at these positions, padded with zeros to one length.

        Args:
            indices: (k,) as of `take`.
            length: tokens there is room for; by default `out`'s, else the longest item's.
            out: (k, length, dim) of the stored dtype, C order.

        Returns:
            values: (k, length, dim).
            mask: (k, length) bool, True where there is a token.

        Raises:
            StoreError: an item has more than `length` tokens.
        """
        rows = self._rows_at(indices)
        starts, counts = self._extents(rows)
        longest = int(counts.max(initial=self.n_tokens or 0))
        if length is None:
            length = out.shape[1] if out is not None and out.ndim == 3 else longest
        if longest > length:
            key = self._variant.keys[int(rows[counts.argmax()])]
            raise StoreError(f"{self.folder}: row {key!r} has {longest} tokens, there is room for {length}.")
        out = self._buffer(out, (len(rows), length, self.dim))
        if self.layout == "ragged":
            return out, gather_padded(self._variant.values, starts, counts, out)
        self._variant.values.take(rows, out[:, :longest])
        out[:, longest:] = 0
        return out, np.broadcast_to(np.arange(length) < longest, (len(rows), length)).copy()

    def array(self) -> FloatArray:
        """Values of all rows of the view, (n, dim) or (n, n_tokens, dim); failed rows are refused.

        Of a whole variant it is read-only. Where `mapped`, and the rows of each file fill its pages, it takes
        no additional memory.
        """
        if self.layout == "ragged":
            raise StoreError(f"{self.folder}: the number of tokens varies; use take_ragged(), or walk() through.")
        if self._index is not None:
            return np.asarray(self.take(np.arange(len(self))))
        if not self._variant.all_ok:
            self._refuse_failed(np.arange(len(self)))
        return self._read(0, len(self))

    def walk(self, positions: Sequence[int] | Array) -> Iterator[FloatArray]:
        """Values row after row, read-only, from the files in blocks: for variants larger than memory.

        A file that is cut short meanwhile is an error that names it, as it can't be where files are mapped.

        Args:
            positions: (k,) as of `take`, ascending for speed.
        """
        rows = self._rows_at(positions)
        if self.layout == "ragged":
            yield from self._variant.walk(*self._extents(rows))
        else:
            for values in self._variant.walk(rows, np.ones(len(rows), dtype=np.int64)):
                yield values[0]

    def advise(self, pattern: Pattern) -> None:
        """How this variant will be read from here on, where it is mapped.

        The default is `normal`: reading one row reads ahead the rows around it, so that a store which
        fits into memory warms up soon. `random` reads no more than the row, for random rows of a store beyond memory;
        it is chosen for one larger than all of the machine's. `sequential` reads ahead more and keeps less, and takes
        ascending rows from the files in several threads; `walk` reads so by itself. A wrong choice is slow: a cold scan
        under `random` took 20 times as long when measured.
        """
        if pattern not in get_args(Pattern):
            raise StoreError(f"No pattern {pattern!r}. There are: {', '.join(get_args(Pattern))}.")
        self._variant.advice = pattern
        self._variant.values.advise(pattern)

    @overload
    def __getitem__(self, key: Key | int | np.integer[Any]) -> FloatArray: ...
    @overload
    def __getitem__(self, key: slice | Sequence[Key] | Sequence[int] | ArrayLike) -> Values: ...
    def __getitem__(self, key: Any) -> Values:
        """Values of one row, by key or position, or of several, by a list or array of these, a slice or a mask.

        Raises:
            MissingRowError: a `KeyError`: there is no row with a key; the message suggests others.
            RowPositionError: an `IndexError`: a position is beyond the rows, or a mask isn't (n,).
            FailedRowError: a row has no value.
        """
        if isinstance(key, slice):
            return self._between(key)
        if isinstance(key, str | tuple):
            return self.take([self.index_of(key)])[0]
        if isinstance(key, int | np.integer) and not isinstance(key, bool):
            return self._at(int(key))
        return self._several(key)

    def _at(self, position: int) -> FloatArray:
        if -len(self) <= position < len(self):
            return self.take([position])[0]
        hint = f" Did you mean the key {str(position)!r}?" if str(position) in self else ""
        raise RowPositionError(f"{self.folder}: position {position} of {len(self)} rows.{hint}")

    def _several(self, keys: Any) -> Values:
        """Rows by a sequence or array of keys or positions, or by a mask; also of pandas and tensors."""
        if hasattr(keys, "__array__") or (keys and isinstance(keys, list) and all(isinstance(k, bool) for k in keys)):
            keys = np.asarray(keys)
            if keys.dtype == np.bool_:
                if keys.shape != (len(self),):
                    raise RowPositionError(f"{self.folder}: a mask of shape {keys.shape} for {len(self)} rows.")
                return self.take(np.flatnonzero(keys))
            if not keys.ndim:
                one: FloatArray = self[keys.item()]
                return one
            if keys.dtype.kind not in "OUT":
                return self.take(keys)
            keys = keys.tolist() if keys.ndim < 2 else list(map(tuple, keys.tolist()))
        if not isinstance(keys, Sequence):
            raise MissingRowError(
                f"{self.folder}: a row is found by key or position, several by a list of these, a slice or a "
                f"mask; not by {type(keys).__name__}."
            )
        if all(isinstance(one, int | np.integer) for one in keys):
            return self.take(keys)
        return self.take(self._positions_of(keys))

    def _between(self, key: slice) -> Values:
        start, stop, step = key.indices(len(self))
        if self._index is None and step == 1 and self.layout != "ragged" and start < stop and self._variant.all_ok:
            return self._read(start, stop)
        return self.take(np.arange(start, stop, step))

    def _read(self, start: int, stop: int) -> FloatArray:
        """Rows of the whole variant, a view of mapped files where they are one array; read-only, view or copy."""
        values = self._variant.values.read(start, stop)
        values.flags.writeable = False
        return values

    def __iter__(self) -> Iterator[FloatArray]:
        """Values in order, as of `walk`; failed rows are refused."""
        return self.walk(np.arange(len(self)))

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> Array:
        is_view = self._index is None and self.layout != "ragged" and self._variant.values.whole is not None
        other = dtype is not None and np.dtype(dtype) != self.dtype
        if copy is False and (other or not is_view):
            raise ValueError(f"{self.folder}: a copy is needed for an array of these rows in {dtype or self.dtype}.")
        values = self.array()
        if other:
            return values.astype(dtype)
        return values.copy() if copy and self._index is None else values

    def __dlpack__(self, **options: Any) -> object:
        """All values as a tensor library takes them; a copy, which may be written to as mapped files may not."""
        capsule: object = np.array(self).__dlpack__(**options)
        return capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        return 1, 0  # DLPack's kDLCPU

    def to_pandas(self, *, tables: str | Path | None = None) -> "pd.DataFrame":
        """What is known of each row besides its values: keys, split, status, failure, n_tokens, and captions' texts.

        Args:
            tables: of captions, to read their texts from: a file with the columns video_id, caption_index and text, or
                the folder of a dataset's tables. By default a project's tables, where they are beside its store:
                data/<dataset>/captions.jsonl for store/<dataset>.

        Returns:
            a row each: `video_id`, of captions `caption_index`, `split`, `status` (ok, failed, missing), `failure` (the
            reason, else None), `n_tokens` (0 where pooled), and `text` of captions where there are tables (None where
            these don't have the caption).

        Raises:
            ForeignFileError: a table isn't there, can't be read, or lacks a column.
        """
        from reelstore.store.frame import rows_frame

        return rows_frame(self, None if tables is None else Path(tables))

    def _repr_html_(self) -> str:
        """The first and last rows, for notebooks."""
        from reelstore.store.frame import rows_html

        return rows_html(self)

    def _ipython_key_completions_(self) -> list[Key]:
        return list(self.ids[:_COMPLETED])

    @property
    def _row_shape(self) -> tuple[int, ...]:
        return (self.n_tokens, self.dim) if self.n_tokens else (self.dim,)

    def _extents(self, rows: IntArray) -> tuple[IntArray, IntArray]:
        """First token and number of tokens of each row."""
        if self.layout == "pooled":
            raise StoreError(f"{self.folder}: its rows are pooled, they have no tokens; use take().")
        if self.layout == "dense":
            n_tokens = self.n_tokens or 0
            return rows * n_tokens, np.full(len(rows), n_tokens, dtype=np.int64)
        starts = self._variant.offsets[rows]
        return starts, self._variant.offsets[rows + 1] - starts

    def _ragged(self, rows: IntArray, out: Array | None) -> tuple[FloatArray, IntArray]:
        starts, counts = self._extents(rows)
        offsets = np.zeros(len(rows) + 1, dtype=np.int64)
        np.cumsum(counts, out=offsets[1:])
        total = int(offsets[-1])
        out = self._buffer(None if out is None else out[:total], (total, self.dim))
        if self.layout == "ragged":
            gather(self._variant.values, starts, counts, out)
        else:
            self._variant.values.take(rows, out.reshape(len(rows), *self._row_shape))
        return out, offsets

    def _buffer(self, out: Array | None, shape: tuple[int, ...]) -> Array:
        if out is None:
            return aligned_empty(shape, self.dtype)
        if out.shape != shape or out.dtype != self.dtype or not (out.flags.c_contiguous and out.flags.writeable):
            raise StoreError(
                f"{self.folder}: out= must be {shape} {self.dtype}, in C order and writable; it is {out.shape} "
                f"{out.dtype}, {'' if out.flags.c_contiguous else 'not '}in C order."
            )
        return out
