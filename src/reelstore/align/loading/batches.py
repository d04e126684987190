"""What a batch of pairs is, and how a side of it is made of stored rows."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from reelstore.align.items import Items
from reelstore.align.loading.in_memory import Source
from reelstore.arrays import IntArray, Tokens
from reelstore.errors import AlignerError
from reelstore.store.arrays import aligned_empty
from reelstore.store.read import Rows

Prepare = Callable[[Items], Items]
"""What is done to a side's rows before they become tensors, such as `Preprocessing.apply`."""


class Padded(NamedTuple):
    """Tokens of a batch's items side by side, zeros behind shorter ones.

    Attributes:
        values: (batch, longest, dim).
        mask: (batch, longest) bool, True where there is a token.
    """

    values: Tensor
    mask: Tensor


class Ragged(NamedTuple):
    """Tokens of a batch's items one behind the other.

    Attributes:
        values: (n_tokens_total, dim).
        offsets: (batch + 1,) int64; item i is `values[offsets[i]:offsets[i + 1]]`.
    """

    values: Tensor
    offsets: Tensor


SideBatch = Tensor | Padded | Ragged
"""One side of a batch."""


class PairBatch(NamedTuple):
    """Videos and captions; item i of one is paired with item i of the other.

    Attributes:
        video: (batch, dim) or (batch, n_tokens, dim); `Padded` or `Ragged` where the number of tokens varies.
        text: the same of the captions.
        video_positions: (batch,) int64, which of the loader's videos.
        caption_positions: (batch,) int64, which of its captions.
        label: (batch,) float32, 1 where the caption is the video's own, 0 where it isn't.
    """

    video: SideBatch
    text: SideBatch
    video_positions: Tensor
    caption_positions: Tensor
    label: Tensor


def check_choice(what: str, value: object, known: tuple[str, ...]) -> None:
    """Refuse a value that is none of those known.

    Raises:
        AlignerError: it isn't.
    """
    if value not in known:
        raise AlignerError(f"{what} is {value!r}; it must be one of {', '.join(known)}.")


class SideBatches:
    """One side's rows -> tensors.

    Args:
        rows: of that side.
        tokens: what becomes of tokens whose number varies.
        dtype: of values; None leaves them as stored.
        pinned: whether tensors are in memory that a GPU copies from by itself.
        prepare: what is done to rows first; None for nothing.
    """

    def __init__(
        self,
        rows: Rows,
        *,
        tokens: Literal["padded", "ragged"],
        dtype: torch.dtype | None,
        pinned: bool,
        prepare: Prepare | None = None,
    ) -> None:
        check_choice("tokens", tokens, ("padded", "ragged"))
        self._ragged = rows.layout == "ragged"
        self._tokens = tokens
        self._row_shape = (rows.n_tokens, rows.dim) if rows.n_tokens else (rows.dim,)
        self._stored_dtype = rows.dtype
        self._dtype = dtype
        self._pinned = pinned
        self._prepare = prepare

    def make(self, source: Source, positions: IntArray) -> SideBatch:
        """The rows at these positions of the source."""
        if self._prepare is not None:
            return self._prepared(self._prepare, source, positions)
        if not self._ragged:
            out = aligned_empty((len(positions), *self._row_shape), self._stored_dtype)
            source.take(positions, out)
            return self._as_wanted(torch.from_numpy(out))
        if self._tokens == "padded":
            values, mask = source.take_padded(positions)
            return Padded(self._as_wanted(torch.from_numpy(values)), torch.from_numpy(mask))
        values, offsets = source.take_ragged(positions)
        return Ragged(self._as_wanted(torch.from_numpy(values)), torch.from_numpy(offsets))

    def _prepared(self, prepare: Prepare, source: Source, positions: IntArray) -> SideBatch:
        if len(self._row_shape) == 1 and not self._ragged:
            out = aligned_empty((len(positions), *self._row_shape), self._stored_dtype)
            source.take(positions, out)
            items = prepare(out)
        else:
            items = prepare(Tokens(*source.take_ragged(positions)))
        if not isinstance(items, Tokens):
            return self._as_wanted(torch.from_numpy(np.ascontiguousarray(items)))
        if self._tokens == "ragged":
            return Ragged(self._as_wanted(torch.from_numpy(items.values)), torch.from_numpy(items.offsets))
        values, mask = items.padded()
        return Padded(self._as_wanted(torch.from_numpy(values)), torch.from_numpy(mask))

    def _as_wanted(self, values: Tensor) -> Tensor:
        values = values if self._dtype is None else values.to(self._dtype)
        return values.pin_memory() if self._pinned else values
