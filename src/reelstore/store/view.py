"""Which rows of a variant, in which order, and what is known of them without their values."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from reelstore.errors import FailedRowError, MissingRowError, RowPositionError, StoreError
from reelstore.store.schema import FAILED, OK, STATUS_NAMES, VariantSpec
from reelstore.store.table import Key, RowTable
from reelstore.store.variant import Variant

Array = npt.NDArray[Any]
Indices = npt.NDArray[np.int64]


class View:
    """Rows of one variant, all or some of them; see `Rows`, which adds their values."""

    def __init__(self, variant: Variant, index: Indices | None) -> None:
        self._variant = variant
        self._index = index

    def __getstate__(self) -> dict[str, Any]:
        return {"_variant": self._variant, "_index": self._index}

    def __repr__(self) -> str:
        name = f"{self.side}/{self.encoder}/{self.variant}"
        return f"{type(self).__name__}({name}, {len(self)} rows, {self.layout}, dim {self.dim})"

    def __len__(self) -> int:
        return self._variant.n_rows if self._index is None else len(self._index)

    side = property(lambda self: str(self._variant.attributes["side"]), doc="`video` or `text`.")
    encoder = property(lambda self: str(self._variant.attributes["encoder"]), doc="Name of the encoder.")
    variant = property(lambda self: str(self._variant.attributes["variant"]), doc="`tokens` or a pooling.")
    layout = property(lambda self: str(self._variant.attributes["layout"]), doc="`pooled`, `dense` or `ragged`.")
    dim = property(lambda self: int(self._variant.attributes["dim"]), doc="Width of an embedding or token.")
    dtype = property(lambda self: np.dtype(self._variant.attributes["dtype"]), doc="Stored dtype.")
    digest = property(
        lambda self: str(self._variant.attributes["digest"]), doc="sha256 over the whole variant's files."
    )
    fingerprint = property(
        lambda self: str(self._variant.attributes["fingerprint"]), doc="What determines all rows' numbers, hex."
    )
    recipe = property(lambda self: dict(self._variant.attributes["recipe"]), doc="The same, in words.")

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
    def token_counts(self) -> Indices:
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
        """Where the variant lies."""
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
    def ids(self) -> list[Key]:
        """Keys in order: `video_id`, or (`video_id`, `caption_index`)."""
        return list(self.table.keys)

    @property
    def video_ids(self) -> list[str]:
        """The video each row belongs to."""
        return [key if isinstance(key, str) else key[0] for key in self.table.keys]

    @property
    def status(self) -> npt.NDArray[np.uint8]:
        """(n,) uint8: 0 missing, 1 ok, 2 failed."""
        status: npt.NDArray[np.uint8] = self._variant.status
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
            where = "" if self._index is None else " in this view"
            raise MissingRowError(f"{self.folder}: no row {key!r}{where} among its {len(self)} rows.")
        return position

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

    @cached_property
    def _positions(self) -> dict[Key, int]:
        return self.table.row_of

    def _view(self, positions: Indices) -> Self:
        return type(self)(self._variant, positions if self._index is None else self._index[positions])

    def _rows_at(self, positions: Sequence[int] | Array) -> Indices:
        """Rows of the whole variant at positions of the view, none of them failed."""
        given = np.asarray(positions)
        if given.ndim != 1 or (given.size and given.dtype.kind not in "iu"):
            raise RowPositionError(
                f"{self.folder}: positions are a list of integers, not {given.dtype} {given.shape}. "
                "Rows are asked for by key with rows[...], by a mask with np.flatnonzero."
            )
        rows: Indices = given.astype(np.int64, copy=False)
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

    def _refuse_failed(self, rows: Indices) -> None:
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
