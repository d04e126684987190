"""A store's folder -> rows by key: the one way anything reads embeddings."""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from reelstore.errors import FailedRowError, MissingRowError, SchemaError, StoreError, StoreNotFoundError
from reelstore.store.schema import FAILED, OK, STATUS_NAMES, VariantSpec, check_schema_version
from reelstore.store.table import Key, RowTable

Array = npt.NDArray[Any]


def open_store(path: str | Path) -> "Store":
    """The variants of one dataset's store, read only.

    Raises:
        StoreNotFoundError: there is no such folder.

    Example:
        >>> store = open_store("store/emoji")                          # doctest: +SKIP
        >>> store["video/efficientnet-lite0/mean"]["1f600"].shape      # doctest: +SKIP
        (1280,)
    """
    path = Path(path)
    if not path.is_dir():
        raise StoreNotFoundError(f"No store at {path}. Make it with dvc repro, or fetch it with dvc pull.")
    return Store(path)


def open_variant(folder: Path) -> "Rows":
    """One variant by its folder."""
    return Rows(_Variant(folder), None)


class Store(Mapping[str, "Rows"]):
    """`side/encoder/variant` -> rows."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __getitem__(self, name: str) -> "Rows":
        parts = name.split("/")
        folder = self.path.joinpath(*parts)
        if len(parts) != 3 or ".." in parts or not (folder / "zarr.json").is_file():
            known = ", ".join(self) or "none"
            raise StoreNotFoundError(
                f"No variant {name!r} in {self.path}. It has: {known}. "
                "Make it with dvc repro, or fetch it with dvc pull."
            )
        return open_variant(folder)

    def __iter__(self) -> Iterator[str]:
        for path in sorted(self.path.glob("*/*/*/zarr.json")):
            yield path.parent.relative_to(self.path).as_posix()

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        return f"Store({str(self.path)!r}, {len(self)} variants)"


class _Variant:
    """One variant's arrays and metadata, opened on use."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            group = json.loads((folder / "zarr.json").read_text())
        except FileNotFoundError:
            raise StoreNotFoundError(f"No variant at {folder}: it has no zarr.json.") from None
        except ValueError as error:
            raise SchemaError(f"{folder}/zarr.json isn't JSON: {error}.") from error
        self.attributes = check_schema_version(group.get("attributes", {}), folder)

    def array(self, name: str) -> Any:
        import zarr

        try:
            return zarr.open_array(self.folder / name, mode="r")
        except FileNotFoundError:
            raise StoreError(f"{self.folder}: the array {name!r} is missing. Fetch it again with dvc pull.") from None

    def read(self, name: str) -> Array:
        return np.asarray(self.array(name)[:])

    @cached_property
    def values(self) -> Any:
        return self.array("values")

    @cached_property
    def loaded(self) -> Array:
        return np.asarray(self.values[:])

    @cached_property
    def offsets(self) -> Array:
        return self.read("offsets")

    @cached_property
    def status(self) -> Array:
        return self.read("status")

    @cached_property
    def table(self) -> RowTable:
        data, ends = self.read("video_id").tobytes(), self.read("video_id_offsets")
        video_ids = [data[start:stop].decode() for start, stop in pairwise(ends)]
        keys: list[Key] = list(video_ids)
        if self.attributes["side"] == "text":
            keys = list(zip(video_ids, self.read("caption_index").tolist(), strict=True))
        names = self.attributes["splits"]
        return RowTable(keys, [names[number] for number in self.read("split")], self.read("fingerprint"))

    @cached_property
    def failures(self) -> dict[Key, str]:
        return {
            key if isinstance(key, str) else (key[0], key[1]): reason for key, reason in self.attributes["failures"]
        }


class Rows:
    """Rows of one variant, or a view of some of them, in a fixed order.

    `rows["7010"]` is one embedding, (dim,), or one item's tokens, (n_tokens, dim); `rows[["7010", "1"]]` and
    `rows.take([3, 0])` are several, in the order asked: one array (k, dim) or (k, n_tokens, dim), a list where the
    number of tokens varies. Values have the stored dtype. A caption's key is (`video_id`, `caption_index`).
    """

    def __init__(self, variant: _Variant, index: Array | None) -> None:
        self._variant = variant
        self._index = index

    def __repr__(self) -> str:
        return f"Rows({self.side}/{self.encoder}/{self.variant}, {len(self)} rows, {self.layout}, dim {self.dim})"

    def __len__(self) -> int:
        return len(self._variant.table) if self._index is None else len(self._index)

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
        return VariantSpec.of(self._variant.attributes)

    @property
    def n_tokens(self) -> int | None:
        """Tokens of every row; 0 for a pooled variant, None where their number varies."""
        n_tokens: int | None = self._variant.attributes["n_tokens"]
        return n_tokens

    @property
    def n_tokens_total(self) -> int:
        """Tokens of all rows of the whole variant."""
        return int(self._variant.offsets[-1]) if self.layout == "ragged" else len(self) * (self.n_tokens or 0)

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

    def split(self, name: str) -> "Rows":
        """A view of one split's rows, failed ones among them."""
        splits = np.array(self.table.splits)
        if name not in self._variant.attributes["splits"]:
            known = ", ".join(self._variant.attributes["splits"])
            raise StoreError(f"{self.folder}: no split {name!r}. It has: {known}.")
        return self._view(np.flatnonzero(splits == name))

    def ok(self) -> "Rows":
        """A view of the rows that have values."""
        return self._view(np.flatnonzero(self.status == OK))

    def select(self, keys: Sequence[Key]) -> "Rows":
        """A view of these keys' rows, in this order."""
        return self._view(np.array([self.index_of(key) for key in keys], dtype=np.int64))

    def take(self, indices: Sequence[int] | Array, out: Array | None = None) -> Any:
        """Values of the rows at these positions, in this order; positions may repeat.

        Args:
            indices: (k,) integers within the view.
            out: where to put them, (k, dim) or (k, n_tokens, dim) of the stored dtype; not for ragged tokens.

        Raises:
            FailedRowError: a row has no value; the message gives its reason.
        """
        positions = np.asarray(indices, dtype=np.int64).reshape(-1)
        if positions.size and (positions.min() < -len(self) or positions.max() >= len(self)):
            raise IndexError(f"{self.folder}: positions {positions.min()}..{positions.max()} of {len(self)} rows")
        rows = positions % max(len(self), 1) if self._index is None else self._index[positions]
        self._refuse_failed(rows)
        if self.layout == "ragged":
            if out is not None:
                raise StoreError(f"{self.folder}: out= isn't possible where the number of tokens varies.")
            offsets = self._variant.offsets
            return [np.asarray(self._variant.values[offsets[row] : offsets[row + 1]]) for row in rows]
        return np.take(self._variant.loaded, rows, axis=0, out=out)

    def array(self) -> Array:
        """Values of all rows of the view, (n, dim) or (n, n_tokens, dim); failed rows are refused."""
        if self.layout == "ragged":
            raise StoreError(f"{self.folder}: the number of tokens varies; use take(), or tokens_of() to walk through.")
        if self._index is None:
            self._refuse_failed(np.arange(len(self)))
            return self._variant.loaded
        return np.asarray(self.take(np.arange(len(self))))

    def walk(self, positions: Sequence[int] | Array) -> Iterator[Array]:
        """Values row after row, read block by block: for going through more than memory holds.

        Args:
            positions: (k,) rows of the whole variant or view, ascending for speed.
        """
        block = self._variant.values.shards or self._variant.values.chunks
        held: tuple[int, Array] | None = None
        for position in positions:
            row = int(position) if self._index is None else int(self._index[position])
            self._refuse_failed(np.array([row]))
            if self.layout == "ragged":
                start, stop = (int(offset) for offset in self._variant.offsets[row : row + 2])
            else:
                start, stop = row, row + 1
            if held is None or not held[0] <= start <= stop <= held[0] + len(held[1]):
                first = start // block[0] * block[0]
                held = (first, np.asarray(self._variant.values[first : max(stop, first + block[0])]))
            value = held[1][start - held[0] : stop - held[0]]
            yield value if self.layout == "ragged" else value[0]

    @overload
    def __getitem__(self, key: Key) -> Array: ...
    @overload
    def __getitem__(self, key: Sequence[Key]) -> Any: ...
    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, list):
            return self.take([self.index_of(one) for one in key])
        return self.take([self.index_of(key)])[0]

    @cached_property
    def _positions(self) -> dict[Key, int]:
        return self.table.row_of

    def _view(self, positions: Array) -> "Rows":
        return Rows(self._variant, positions if self._index is None else self._index[positions])

    def _refuse_failed(self, rows: Array) -> None:
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
