"""Rows of a variant and their values: by key or position, concatenated, padded, or one item after the other."""

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import cached_property
from itertools import islice, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, get_args, overload

import numpy as np
import numpy.typing as npt

from reelstore.arrays import Array, BoolArray, IntArray, UInt8Array
from reelstore.errors import FailedRowError, MissingRowError, RowPositionError, StoreError
from reelstore.records import Side
from reelstore.store.arrays import Pattern, aligned_empty, gather, gather_padded
from reelstore.store.format import FAILED, OK, STATUS_NAMES, Layout, VariantSpec
from reelstore.store.mmap import MappedArray
from reelstore.store.table import Key, RowTable
from reelstore.store.variant import Variant

if TYPE_CHECKING:
    import pandas as pd

Values = Array | list[Array]
"""Of several rows: one array (k, dim) or (k, n_tokens, dim); a list of arrays where the number of tokens varies."""
_COMPARED, _COMPLETED = 20_000, 1000
"""Keys that a suggestion looks through, and that are offered for completion."""


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
    def dtype(self) -> np.dtype[Any]:
        """Stored dtype."""
        dtype: np.dtype[Any] = np.dtype(self._variant.attributes["dtype"])
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
    def recipe(self) -> dict[str, Any]:
        """What determines all rows' numbers, as a mapping."""
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
        rows = self._index.tolist()
        return RowTable([whole.keys[r] for r in rows], [whole.splits[r] for r in rows], whole.fingerprints[self._index])

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, dim) or (n, n_tokens, dim); of a ragged variant (n_tokens_total, dim), all items concatenated."""
        if self.layout == "ragged":
            return self.n_tokens_total, self.dim
        return (len(self), self.n_tokens, self.dim) if self.n_tokens else (len(self), self.dim)

    @property
    def splits(self) -> list[str]:
        """The split of each row."""
        return list(self.table.splits)

    @property
    def ids(self) -> list[Key]:
        """Keys in order: `video_id`, or (`video_id`, `caption_index`)."""
        return list(self.table.keys)

    @property
    def video_ids(self) -> list[str]:
        """The video each row belongs to."""
        return [key if isinstance(key, str) else key[0] for key in self.table.keys]

    @property
    def status(self) -> UInt8Array:
        """(n,) uint8: 0 missing, 1 ok, 2 failed."""
        status: UInt8Array = self._variant.status
        return status if self._index is None else status[self._index]

    @property
    def failures(self) -> dict[Key, str]:
        """Key -> reason of the failed rows among these."""
        keys = self.table.row_of
        return {key: reason for key, reason in self._variant.failures.items() if key in keys}

    def index_of(self, key: Key) -> int:
        """Position of a key among these rows."""
        position = self._positions.get(key)
        if position is None:
            raise MissingRowError(self._missing(key))
        return position

    def __contains__(self, key: object) -> bool:
        """Whether there is a row with this key."""
        return key in self._positions

    def _missing(self, key: object) -> str:
        where = "" if self._index is None else " in this view"
        says = f"{self.folder}: no row {key!r}{where} among its {len(self)} rows."
        if self.side == "text" and isinstance(key, str):
            return f"{says} A caption's key is (video_id, caption_index), such as {self._example()}."
        if self.side == "video" and isinstance(key, tuple):
            return f"{says} A video's key is its video_id, such as {self._example()}."
        name = key if isinstance(key, str) else key[0] if isinstance(key, tuple) and key else ""
        if isinstance(key, tuple) and (
            indices := [k[1] for k in self._positions if isinstance(k, tuple) and k[0] == name]
        ):
            return f"{says} {name!r} has captions {', '.join(map(str, sorted(indices)[:10]))}."
        near = get_close_matches(str(name), dict.fromkeys(islice(self.video_ids, _COMPARED)), n=3)
        return f"{says} Did you mean {' or '.join(map(repr, near))}?" if near else says

    def _example(self) -> str:
        return repr(self.ids[0]) if len(self) else "none: there are no rows"

    def split(self, name: str) -> Self:
        """A view of one split's rows, failed ones among them."""
        names = list(self._variant.attributes["splits"])
        if name not in names:
            raise StoreError(f"{self.folder}: no split {name!r}. It has: {', '.join(names)}.")
        splits = self._variant.splits if self._index is None else self._variant.splits[self._index]
        return self._view(np.flatnonzero(splits == names.index(name)))

    def ok(self) -> Self:
        """A view of the rows that have values."""
        return self._view(np.flatnonzero(self.status == OK))

    def select(self, keys: Sequence[Key]) -> Self:
        """A view of these keys' rows, in this order."""
        return self._view(np.array([self.index_of(key) for key in keys], dtype=np.int64))

    def at(self, positions: Sequence[int] | IntArray) -> Self:
        """A view of the rows at these positions, in this order, failed ones among them."""
        given = np.asarray(positions, dtype=np.int64)
        if given.size and not (given.min() >= 0 and given.max() < len(self)):
            raise RowPositionError(f"{self.folder}: positions {given.min()} to {given.max()} of {len(self)} rows.")
        return self._view(given)

    @cached_property
    def _positions(self) -> dict[Key, int]:
        return self.table.row_of

    def _view(self, positions: IntArray) -> Self:
        return type(self)(self._variant, positions if self._index is None else self._index[positions])

    def _rows_at(self, positions: Sequence[int] | Array) -> IntArray:
        """Rows of the whole variant at positions of the view, none of them failed."""
        given = np.asarray(positions)
        if given.ndim != 1 or (given.size and given.dtype.kind not in "iu"):
            raise RowPositionError(
                f"{self.folder}: positions are a list of integers, not {given.dtype} {given.shape}. "
                "Rows are asked for by key with rows[...], by a mask with np.flatnonzero."
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
        key = self._variant.table.keys[int(bad[0])]
        status = int(self._variant.status[bad[0]])
        reason = self._variant.failures.get(key, "") if status == FAILED else "it was never embedded"
        raise FailedRowError(
            f"{self.folder}: {len(bad)} of the rows asked for have no value, {key!r} first "
            f"({STATUS_NAMES[status]}: {reason}). Leave them out with .ok()."
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
        """Whether values are read where they lie in mapped files, rather than with pread or through zarr-python."""
        return isinstance(self._variant.values, MappedArray)

    @overload
    def take(self, indices: Sequence[int] | Array, out: Array) -> Array: ...
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

    def take_ragged(self, indices: Sequence[int] | Array, *, out: Array | None = None) -> tuple[Array, IntArray]:
        """Tokens of the rows at these positions, one item behind the other.

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
    ) -> tuple[Array, BoolArray]:
        """Tokens of the rows at these positions, side by side, zeros behind the shorter ones.

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
            key = self._variant.table.keys[int(rows[counts.argmax()])]
            raise StoreError(f"{self.folder}: row {key!r} has {longest} tokens, there is room for {length}.")
        out = self._buffer(out, (len(rows), length, self.dim))
        if self.layout == "ragged":
            return out, gather_padded(self._variant.values, starts, counts, out)
        self._variant.values.take(rows, out[:, :longest])
        out[:, longest:] = 0
        return out, np.broadcast_to(np.arange(length) < longest, (len(rows), length)).copy()

    def array(self) -> Array:
        """Values of all rows of the view, (n, dim) or (n, n_tokens, dim); failed rows are refused.

        Of a whole variant it is read-only, and where `mapped`, as large as it may be, takes no memory of its own.
        """
        if self.layout == "ragged":
            raise StoreError(f"{self.folder}: the number of tokens varies; use take_ragged(), or walk() through.")
        if self._index is not None:
            return np.asarray(self.take(np.arange(len(self))))
        self._refuse_failed(np.arange(len(self)))
        return self._variant.values.read(0, len(self))

    def walk(self, positions: Sequence[int] | Array) -> Iterator[Array]:
        """Values row after row, read-only, from the files in blocks: for going through more than memory holds.

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

        Until told otherwise it is `normal`: reading one row reads ahead what lies around it, so that a store which
        fits into memory warms up soon. `random` reads no more than the row, for random rows of a store beyond memory;
        it is chosen for one larger than all of the machine's. `sequential` reads ahead more and keeps less, and takes
        ascending rows from the files in several threads; `walk` reads so by itself. The wrong one is felt: a cold scan
        under `random` took 20 times as long where it was measured.
        """
        if pattern not in get_args(Pattern):
            raise StoreError(f"No pattern {pattern!r}. There are: {', '.join(get_args(Pattern))}.")
        self._variant.advice = pattern
        self._variant.values.advise(pattern)

    @overload
    def __getitem__(self, key: Key | int) -> Array: ...
    @overload
    def __getitem__(self, key: slice | Sequence[Key] | Sequence[int] | IntArray | BoolArray) -> Values: ...
    def __getitem__(self, key: Any) -> Values:
        if isinstance(key, slice):
            return self._between(key)
        if isinstance(key, np.ndarray) and key.dtype == np.bool_:
            if key.shape != (len(self),):
                raise RowPositionError(f"{self.folder}: a mask of shape {key.shape} for {len(self)} rows.")
            return self.take(np.flatnonzero(key))
        if isinstance(key, list | np.ndarray):
            if all(isinstance(one, int | np.integer) and not isinstance(one, bool) for one in key):
                return self.take(np.asarray(key, dtype=np.int64))
            return self.take([self.index_of(one) for one in key])
        if isinstance(key, int | np.integer) and not isinstance(key, bool):
            return self.take([int(key)])[0]
        if not isinstance(key, str | tuple):
            raise MissingRowError(
                f"{self.folder}: a row is found by key or position, several by a list of these, a slice or a "
                f"mask; not by {type(key).__name__}."
            )
        return self.take([self.index_of(key)])[0]

    def _between(self, key: slice) -> Values:
        start, stop, step = key.indices(len(self))
        if self._index is None and step == 1 and self.layout != "ragged" and start < stop and self._variant.all_ok:
            return self._variant.values.read(start, stop)
        return self.take(np.arange(start, stop, step))

    def __iter__(self) -> Iterator[Array]:
        """Values in order, as of `walk`; failed rows are refused."""
        return self.walk(np.arange(len(self)))

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> Array:
        values = self.array()
        if dtype is not None and np.dtype(dtype) != values.dtype:
            if copy is False:
                raise ValueError(f"{self.folder} holds {values.dtype}; {np.dtype(dtype)} needs a copy.")
            return values.astype(dtype)
        return values.copy() if copy else values

    def __dlpack__(self, **options: Any) -> Any:
        """All values as a tensor library takes them; a copy, which may be written to as mapped files may not."""
        return np.array(self.array()).__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return 1, 0  # DLPack's kDLCPU

    def to_pandas(self) -> "pd.DataFrame":
        """What is known of each row besides its values: keys, split, status, failure, n_tokens, and captions' texts.

        Returns:
            a row each: `video_id`, of captions `caption_index`, `split`, `status` (ok, failed, missing), `failure` (the
            reason, else None), `n_tokens` (0 where pooled), and `text` of captions where the dataset's table is beside
            the store (data/<dataset>/captions.jsonl for store/<dataset>).
        """
        from reelstore.store.frame import rows_frame

        return rows_frame(self)

    def _repr_html_(self) -> str:
        """The first and last rows, for notebooks."""
        from reelstore.store.frame import rows_html

        return rows_html(self)

    def _ipython_key_completions_(self) -> list[Key]:
        return list(islice(self._positions, _COMPLETED))

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

    def _ragged(self, rows: IntArray, out: Array | None) -> tuple[Array, IntArray]:
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
