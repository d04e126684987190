"""Rows of a variant and their values: by key or position, one behind the other, padded, or item after item."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, get_args, overload

import numpy as np
import numpy.typing as npt

from reelstore.errors import StoreError
from reelstore.store.aligned import aligned_empty
from reelstore.store.mapped import MappedArray, Pattern
from reelstore.store.ragged import gather, gather_padded
from reelstore.store.table import Key
from reelstore.store.view import View

Array = npt.NDArray[Any]
Indices = npt.NDArray[np.int64]


class Rows(View):
    """Rows of one variant, or a view of some of them, in a fixed order.

    `rows["7010"]` is one embedding, (dim,), or one item's tokens, (n_tokens, dim); `rows[["7010", "1"]]` and
    `rows.take([3, 0])` are several, in the order asked: one array (k, dim) or (k, n_tokens, dim), a list where the
    number of tokens varies. Values have the stored dtype. A caption's key is (`video_id`, `caption_index`).

    Files are mapped on first use where they hold the rows as they are, and read through zarr-python elsewhere; where
    the system maps no more, they are read with pread. `mapped` says whether they are mapped. Rows can be pickled and
    sent to another process, which opens the variant again; in a forked one they read on. Threads may share them.
    """

    @property
    def mapped(self) -> bool:
        """Whether values are read where they lie in mapped files, rather than with pread or through zarr-python."""
        return isinstance(self._variant.values, MappedArray)

    def take(self, indices: Sequence[int] | Array, out: Array | None = None) -> Any:
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

    def take_ragged(self, indices: Sequence[int] | Array, *, out: Array | None = None) -> tuple[Array, Indices]:
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
    ) -> tuple[Array, npt.NDArray[np.bool_]]:
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
    def __getitem__(self, key: Key) -> Array: ...
    @overload
    def __getitem__(self, key: Sequence[Key]) -> Any: ...
    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, list):
            return self.take([self.index_of(one) for one in key])
        return self.take([self.index_of(key)])[0]

    @property
    def _row_shape(self) -> tuple[int, ...]:
        return (self.n_tokens, self.dim) if self.n_tokens else (self.dim,)

    def _extents(self, rows: Indices) -> tuple[Indices, Indices]:
        """First token and number of tokens of each row."""
        if self.layout == "pooled":
            raise StoreError(f"{self.folder}: its rows are pooled, they have no tokens; use take().")
        if self.layout == "dense":
            n_tokens = self.n_tokens or 0
            return rows * n_tokens, np.full(len(rows), n_tokens, dtype=np.int64)
        starts = self._variant.offsets[rows]
        return starts, self._variant.offsets[rows + 1] - starts

    def _ragged(self, rows: Indices, out: Array | None) -> tuple[Array, Indices]:
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
