"""Keys of rows, kept as arrays: Python objects are made only of those asked for."""

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import islice, pairwise
from typing import TYPE_CHECKING, Any, overload

import google_crc32c
import numpy as np
import numpy.typing as npt

from reelstore.arrays import Array, IntArray, UInt8Array
from reelstore.errors import SchemaError, StoreError
from reelstore.records import MAX_CAPTION_INDEX, MAX_NAME_BYTES, first_fault, shortened
from reelstore.store.arrays import ranges
from reelstore.store.key_index import BLOCK, KeyIndex, first_double

if TYPE_CHECKING:
    import pyarrow as pa

Key = str | tuple[str, int]
"""A video's `video_id`, or a caption's (`video_id`, `caption_index`)."""


class Keys(Sequence[Key]):
    """Keys in order; equal to any sequence of the same keys.

    Args:
        data: (n_bytes,) uint8, UTF-8 of ids, one behind the other.
        ends: (n_ids + 1,) int64: id i is `data[ends[i]:ends[i + 1]]`.
        indices: (n_ids,) int32, `caption_index`; None for videos.
        rows: (n,) which of the ids these are; all by default.
        index: by which keys are found; made of all of them when it is needed.
        where: what messages call their folder.

    Raises:
        SchemaError: when keys are read whose bytes aren't where `ends` says, or aren't UTF-8.
    """

    def __init__(
        self,
        data: Array,
        ends: Array,
        indices: Array | None = None,
        *,
        rows: IntArray | None = None,
        index: KeyIndex | None = None,
        where: object = "keys",
    ) -> None:
        self.data, self.ends, self.indices, self.rows, self.where = data, ends, indices, rows, where
        self._given_index = index

    @classmethod
    def of_arrow(cls, array: "pa.Array | pa.ChunkedArray") -> "Keys":
        """From an Arrow array of ids, or a struct of `video_id` and `caption_index`, as `to_arrow` gives.

        Raises:
            StoreError: it is of another type, or has nulls.
        """
        import pyarrow as pa

        if not isinstance(array, pa.Array | pa.ChunkedArray):
            raise StoreError(f"keys are an Arrow array of text or of structs, not {type(array).__name__}.")
        whole = pa.concat_arrays(array.chunks) if isinstance(array, pa.ChunkedArray) and array.num_chunks else array
        if isinstance(whole, pa.ChunkedArray):
            whole = pa.array([], whole.type)
        ids, indices = whole, None
        if pa.types.is_struct(whole.type):
            if {field.name for field in whole.type} != {"video_id", "caption_index"}:
                raise StoreError(f"keys are a struct of video_id and caption_index, not {whole.type}.")
            ids, numbers = whole.field("video_id"), whole.field("caption_index")
            if not pa.types.is_integer(numbers.type) or numbers.null_count or whole.null_count:
                raise StoreError(f"caption_index is whole numbers, none of them null, not {numbers.type}.")
            indices = numbers.to_numpy(zero_copy_only=False)
            if len(indices) and not (indices.min() >= 0 and indices.max() <= MAX_CAPTION_INDEX):
                raise StoreError(f"caption_index {indices.max()}; a store keeps 0 to {MAX_CAPTION_INDEX}.")
            indices = indices.astype(np.int32, copy=False)
        if not (pa.types.is_string(ids.type) or pa.types.is_large_string(ids.type)) or ids.null_count:
            raise StoreError(f"keys are text, none of them null, not {ids.type} ({ids.null_count} nulls).")
        if not len(ids):
            return cls(np.zeros(0, np.uint8), np.zeros(1, np.int64), indices)
        large = ids.cast(pa.large_string())  # a slice may keep its place in the buffers, or not
        _, ends, data = large.buffers()
        offsets = np.frombuffer(ends, np.int64)[large.offset : large.offset + len(large) + 1]
        text = np.zeros(0, np.uint8) if data is None else np.frombuffer(data, np.uint8)[offsets[0] : offsets[-1]]
        return cls(text, offsets - offsets[0] if offsets[0] else offsets, indices)

    @classmethod
    def of(cls, keys: Iterable[Key]) -> "Keys":
        """From Python objects, which are gone through once."""
        if isinstance(keys, Keys):
            return keys
        parts: list[bytes] = []
        sizes, numbers = [np.zeros(0, dtype=np.int64)], []
        iterator = iter(keys)
        while block := list(islice(iterator, BLOCK)):
            names = [one if isinstance(one, str) else one[0] for one in block]
            encoded = [name.encode(errors="surrogatepass") for name in names]  # what isn't text is refused later
            parts.append(b"".join(encoded))
            sizes.append(np.fromiter(map(len, encoded), np.int64, len(encoded)))
            here = [one[1] for one in block if not isinstance(one, str)]
            if len(here) not in (0, len(block)):
                raise TypeError("keys of videos and of captions are mixed")
            if here:
                numbers.append(_as_indices(here))
        ends = np.concatenate([[0], np.cumsum(np.concatenate(sizes))])
        return cls(np.frombuffer(b"".join(parts), np.uint8), ends, np.concatenate(numbers) if numbers else None)

    def __len__(self) -> int:
        return len(self.ends) - 1 if self.rows is None else len(self.rows)

    def __repr__(self) -> str:
        shown = ", ".join(map(repr, self[:3]))
        return f"Keys([{shown}{', ...' if len(self) > 3 else ''}], {len(self)} in all)"

    @overload
    def __getitem__(self, index: int) -> Key: ...
    @overload
    def __getitem__(self, index: slice) -> "Keys": ...
    def __getitem__(self, index: int | slice) -> "Key | Keys":
        if isinstance(index, slice):
            return self.at(np.arange(*index.indices(len(self))))
        count = len(self)
        if not -count <= index < count:
            raise IndexError(f"key {index} of {count}")
        return self._decoded(np.array([index % count]))[0]

    def __iter__(self) -> Iterator[Key]:
        for start in range(0, len(self), BLOCK):
            yield from self._decoded(np.arange(start, min(start + BLOCK, len(self))))

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Keys):
            return self._equals(other)
        if isinstance(other, Sequence) and not isinstance(other, str | bytes):
            return len(self) == len(other) and all(mine == theirs for mine, theirs in zip(self, other, strict=True))
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __contains__(self, key: object) -> bool:
        return self.position(key) is not None

    def index(self, key: Any, start: int = 0, stop: int | None = None) -> int:
        """Position of a key, as of a list's.

        Raises:
            ValueError: it isn't among them.
        """
        found = self.position(key)
        if found is None or not start <= found < (len(self) if stop is None else stop):
            raise ValueError(f"{key!r} isn't among the keys")
        return found

    def __add__(self, other: Iterable[Key]) -> list[Key]:
        return [*self, *other]

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> Array:
        if self.indices is not None:
            found = np.empty(len(self), dtype=object)
            found[:] = list(self)
            return found
        return np.array(list(self), dtype=dtype)

    def to_arrow(self) -> "pa.Array":
        """Ids as an Arrow array, large_string (n,); of captions a struct of `video_id` and `caption_index`.

        Of all rows of a variant it is a view of the files, without a copy. It takes pyarrow.
        """
        import pyarrow as pa

        lengths, data = (None, self.data) if self.rows is None else self.bytes_of(self.rows)
        ends = self.ends if lengths is None else np.concatenate([[0], np.cumsum(lengths)])
        buffers = [None, pa.py_buffer(np.ascontiguousarray(ends, np.int64)), pa.py_buffer(np.ascontiguousarray(data))]
        ids = pa.Array.from_buffers(pa.large_string(), len(self), buffers)
        if self.indices is None:
            return ids
        numbers = pa.array(self.indices if self.rows is None else self.indices[self.rows])
        return pa.StructArray.from_arrays([ids, numbers], ["video_id", "caption_index"])

    @property
    def video_ids(self) -> "Keys":
        """The video of each."""
        return self if self.indices is None else Keys(self.data, self.ends, rows=self.rows, where=self.where)

    def at(self, positions: IntArray) -> "Keys":
        """Those at positions, in this order."""
        rows = positions if self.rows is None else self.rows[positions]
        return Keys(self.data, self.ends, self.indices, rows=rows, where=self.where)

    def packed(self) -> "Keys":
        """The same with arrays of their own, of no more than these."""
        if self.rows is None:
            return self
        lengths, data = self.bytes_of(self.rows)
        ends = np.concatenate([[0], np.cumsum(lengths)])
        return Keys(data, ends, None if self.indices is None else self.indices[self.rows])

    def followed_by(self, other: "Keys") -> "Keys":
        """These and others, one behind the other."""
        first, second = self.packed(), other.packed()
        if not len(first) or not len(second):
            return first if len(first) else second
        ends = np.concatenate([first.ends, first.ends[-1] + second.ends[1:]])
        indices = None
        if first.indices is not None and second.indices is not None:
            indices = np.concatenate([first.indices, second.indices])
        return Keys(np.concatenate([first.data, second.data]), ends, indices)

    def hashes(self, start: int, stop: int) -> npt.NDArray[np.uint32]:
        """crc32c of keys from one position to, without, another: of the id's bytes, and for a caption of four bytes of
        its index behind them, little endian."""
        encoded = self._encoded(np.arange(start, stop))
        if self.indices is not None:
            numbers = self._numbers(np.arange(start, stop)).astype("<i4").tobytes()
            encoded = [one + numbers[4 * n : 4 * n + 4] for n, one in enumerate(encoded)]
        return np.fromiter(map(google_crc32c.value, encoded), np.uint32, len(encoded))

    @cached_property
    def key_index(self) -> KeyIndex:
        """By which keys are found."""
        return self._given_index or KeyIndex.of(self)

    def find(self, keys: Iterable[Key]) -> IntArray:
        """(k,) position of each key among these; -1 where it isn't among them."""
        return self.key_index.find(self, Keys.of(keys))

    def position(self, key: object) -> int | None:
        """Position of one key; None where it isn't among them."""
        if self.indices is None:
            if not isinstance(key, str):
                return None
        elif not (
            isinstance(key, tuple)
            and len(key) == 2
            and isinstance(key[0], str)
            and isinstance(key[1], int | np.integer)
            and 0 <= key[1] <= MAX_CAPTION_INDEX
        ):
            return None
        name, index = (key, None) if isinstance(key, str) else (key[0], int(key[1]))
        return self.key_index.find_one(self, name.encode(errors="surrogatepass"), index)

    def check(self) -> None:
        """See that a store can keep these keys, and that each occurs once; that an index stored for them is theirs.

        Raises:
            StoreError: which key it can't keep, or which occurs twice.
            SchemaError: the same of stored keys.
        """
        lengths = self.lengths
        for start in range(0, len(self), BLOCK):
            here = np.arange(start, min(start + BLOCK, len(self)))
            data, sizes = b"".join(self._encoded(here)), lengths[here]
            if data.isascii() and b"\0" not in data and sizes.min() > 0 and sizes.max() <= MAX_NAME_BYTES:
                continue
            names = [one.decode(errors="surrogatepass") for one in self.video_ids._checked(here)]
            if (found := first_fault(names)) is not None:
                row, fault = found
                raise self._refused(f"The video_id of row {start + row} {fault}: {shortened(names[row])}")
        double = first_double(self)
        if double is not None:
            raise self._refused(f"The key {self[double]!r} occurs twice, again at {double}. Keys must be unique")
        if self._given_index is not None and not self._given_index.fits(self):
            raise self.contradicts("key_index", "isn't the index of these keys")

    def _checked(self, positions: IntArray) -> list[bytes]:
        encoded = self._encoded(positions)
        for one in encoded:
            try:
                one.decode(errors="surrogatepass" if self.where == "keys" else "strict")
            except UnicodeDecodeError:
                raise self.contradicts("video_id", f"has an id that isn't UTF-8, {one[:80]!r}") from None
        return encoded

    def _refused(self, what: str) -> StoreError:
        return self.contradicts("video_id", f"can't be: {what}") if self.where != "keys" else StoreError(f"{what}.")

    @property
    def lengths(self) -> IntArray:
        """(n,) bytes of each id."""
        if self.rows is None:
            return np.diff(self.ends)
        return self.ends[self.rows + 1] - self.ends[self.rows]

    def _equals(self, other: "Keys") -> bool:
        if len(self) != len(other) or ((self.indices is None) != (other.indices is None) and len(self)):
            return False
        for start in range(0, len(self), BLOCK):
            here = np.arange(start, min(start + BLOCK, len(self)))
            mine, theirs = (one.bytes_of(here if one.rows is None else one.rows[here]) for one in (self, other))
            if not (np.array_equal(mine[0], theirs[0]) and np.array_equal(mine[1], theirs[1])):
                return False
            if self.indices is not None and not np.array_equal(self._numbers(here), other._numbers(here)):
                return False
        return True

    def bytes_of(self, rows: IntArray) -> tuple[IntArray, UInt8Array]:
        """Bytes of each id of some rows, and all of them one behind the other."""
        starts, stops = self.ends[rows], self.ends[rows + 1]
        if len(rows) and not (starts.min() >= 0 and (starts <= stops).all() and stops.max() <= len(self.data)):
            raise self.contradicts("video_id_offsets", "doesn't ascend from 0 to the bytes there are")
        lengths = stops - starts
        if len(rows) and int(rows[-1]) - int(rows[0]) + 1 == len(rows) and (np.diff(rows) == 1).all():
            return lengths, np.asarray(self.data[int(starts[0]) : int(stops[-1])])
        return lengths, self.data[ranges(starts, lengths)]

    def _numbers(self, positions: IntArray) -> Array:
        """`caption_index` of the keys at these positions."""
        assert self.indices is not None, "these are keys of videos"
        found: Array = self.indices[positions if self.rows is None else self.rows[positions]]
        if found.min(initial=0) < 0:
            raise self.contradicts("caption_index", f"has the number {found.min()}; they count from 0")
        return found

    def contradicts(self, name: str, what: str) -> SchemaError:
        """The error about an array of these keys."""
        return SchemaError(f"{self.where}/{name} {what}. Fetch it again with dvc checkout.")

    def _encoded(self, positions: IntArray) -> list[bytes]:
        lengths, data = self.bytes_of(positions if self.rows is None else self.rows[positions])
        joined, ends = data.tobytes(), np.concatenate([[0], np.cumsum(lengths)]).tolist()
        return [joined[start:stop] for start, stop in pairwise(ends)]

    def _decoded(self, positions: IntArray) -> list[Key]:
        encoded = self._encoded(positions)
        try:
            names = [one.decode() for one in encoded]
        except UnicodeDecodeError as error:
            raise self.contradicts("video_id", f"has an id that isn't UTF-8, {bytes(error.object)[:80]!r}") from None
        if self.indices is None:
            return list(names)
        return list(zip(names, self._numbers(positions).tolist(), strict=True))


def _as_indices(numbers: list[Any]) -> Array:
    found = np.array(numbers)
    if found.dtype.kind not in "iub" or not (found.min() >= 0 and found.max() <= MAX_CAPTION_INDEX):
        worst = max(numbers, key=abs)
        raise StoreError(f"caption_index {shortened(worst)}; a store keeps 0 to {MAX_CAPTION_INDEX}.")
    return found.astype(np.int32)
