"""Batches for training, straight from the store: a whole batch in one gather a side, the next ones ahead of time."""

import hashlib
import itertools
import os
from collections.abc import Generator, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Literal, TypeVar, cast

import numpy as np
import torch

from reelstore.align.loading.batches import PairBatch, Prepare, SideBatches, check_choice
from reelstore.align.loading.in_memory import InMemoryRows, Source
from reelstore.align.loading.shuffle import block_order, row_order
from reelstore.align.pairing import EpochPairs, LabelledPairs, ListedPairs
from reelstore.arrays import IntArray
from reelstore.errors import AlignerError, ReelstoreError
from reelstore.prefetch import prefetch
from reelstore.store.open import open_variant
from reelstore.store.read import Rows

Item = TypeVar("Item")

BLOCK_ROWS, WINDOW_BLOCKS = 128, 64
"""64 MiB of pooled rows 4,096 wide in pieces of 1 MiB.

8 blocks of 1,024 were read no faster where it was measured, and their batches mix fewer parts of a store.
"""

BATCHES_AHEAD = 2
WINDOWS_AHEAD = 1


class PairLoader:
    """Batches of pairs, epoch after epoch; each `iter()` gives one epoch, and the next one is the next epoch's.

    What is in a batch depends on `seed`, the epoch and the arguments alone. `world_size` ranks share each batch, a
    slice each, so that any number of them sees the same batches; a rank reads only its own rows. What is left over at
    an epoch's end is dropped; the next epoch has another order.

    Rows are shuffled as a whole if both variants fit `memory_bytes`. If not, blocks of neighbouring rows are
    read one after the other into a window of `window_blocks` blocks, and shuffled there (`shuffle` says which).

    Lightning asks for the place in an epoch (`state_dict`), sets the epoch (`sampler`), and as this is no DataLoader
    of torch's, puts no sampler of its own into it.

    Args:
        video: rows of the n_videos videos, of any layout.
        text: rows of the n_captions captions, of any layout.
        pairs: (n_captions,) position in `video` of each caption's video; or positive and negative pairs with labels.
        batch_size: pairs in a batch of all ranks together.
        seed: of order and captions drawn.
        captions_per_video: `one`, drawn again in every epoch, or `all`; of labelled pairs, always all.
        tokens: how tokens whose number varies are handed out.
        dtype: of values; None leaves them as stored.
        prepare: side -> what is done to its rows before they become tensors, in the loader's thread.
        memory_bytes: what rows may take, in the page cache; by default half of the machine's memory.
        block_rows: videos (or pairs, where `all` captions are used) in a block.
        window_blocks: blocks shuffled together; two windows are held in memory.
        rank: which of the ranks this is, from 0.
        world_size: number of ranks.

    Raises:
        AlignerError: there are fewer pairs than a batch has, ranks can't share a batch evenly, or windows are larger
            than `memory_bytes`.

    Example:
        >>> loader = PairLoader(video=video, text=text, pairs=owners, batch_size=1024, seed=0)  # doctest: +SKIP
        >>> for batch in loader:  # doctest: +SKIP
        ...     joint = video_tower(batch.video), text_tower(batch.text)
    """

    def __init__(
        self,
        *,
        video: Rows,
        text: Rows,
        pairs: IntArray | LabelledPairs,
        batch_size: int,
        seed: int,
        captions_per_video: Literal["one", "all"] = "one",
        tokens: Literal["padded", "ragged"] = "padded",
        dtype: torch.dtype | None = torch.float32,
        prepare: Mapping[str, Prepare] | None = None,
        memory_bytes: int | None = None,
        block_rows: int = BLOCK_ROWS,
        window_blocks: int = WINDOW_BLOCKS,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        check_choice("captions_per_video", captions_per_video, ("one", "all"))
        if min(batch_size, block_rows, window_blocks, world_size) < 1 or not 0 <= rank < world_size or seed < 0:
            raise AlignerError(
                f"batch_size ({batch_size}), block_rows ({block_rows}), window_blocks ({window_blocks}) and world_size "
                f"({world_size}) must be at least 1, rank ({rank}) below world_size, seed ({seed}) not negative."
            )
        if batch_size % world_size:
            raise AlignerError(
                f"{world_size} ranks can't share a batch of {batch_size} evenly. Take {batch_size % world_size} off."
            )
        _check_pairs(pairs, len(video), len(text))
        memory = _physical_memory() // 2 if memory_bytes is None else memory_bytes
        n_bytes = _n_bytes(video) + _n_bytes(text)
        in_memory = video.in_memory and text.in_memory
        self.shuffle: Literal["rows", "blocks"] = "rows" if in_memory or n_bytes <= memory else "blocks"
        self.batch_size = batch_size
        self._rows = video, text
        self._given = pairs
        self._seed = seed
        self._block_rows = block_rows
        # Whole batches: none needs two windows.
        self._window_batches = max(1, block_rows * window_blocks // batch_size)
        part = batch_size // world_size
        self._part = slice(rank * part, (rank + 1) * part)
        self._in_place: tuple[_InPlace, _InPlace] | None = None
        if self.shuffle == "blocks":
            self._in_place = _InPlace(video), _InPlace(text)
            for side in self._in_place:
                side.rows.advise("sequential")
        place = self._in_place[0].place if self._in_place else None
        self._pairs: EpochPairs | ListedPairs
        if isinstance(pairs, LabelledPairs):
            self._pairs = ListedPairs(pairs, place_of_video=place)
        else:
            self._pairs = EpochPairs(
                pairs, len(video), captions_per_video=captions_per_video, seed=seed, place_of_video=place
            )
        if len(self._pairs) < batch_size:
            raise AlignerError(f"{len(self._pairs)} pairs don't fill a batch of {batch_size}. Make batch_size smaller.")
        windows = 2 * min(1.0, self._window_batches * part / len(self._pairs)) * n_bytes
        if self._in_place and windows > memory:
            raise AlignerError(
                f"Two windows of {self._window_batches * part} pairs take about {windows:,.0f} bytes, "
                f"memory_bytes is {memory:,}. Make block_rows or window_blocks smaller."
            )
        kind: dict[str, Any] = {"tokens": tokens, "dtype": dtype, "pinned": torch.cuda.is_available()}
        self._side_batches = [
            SideBatches(rows, **kind, prepare=(prepare or {}).get(side))
            for side, rows in zip(("video", "text"), self._rows, strict=True)
        ]
        self._settings: dict[str, Any] = {
            "seed": seed,
            "batch_size": batch_size,
            "captions_per_video": captions_per_video,
            "shuffle": self.shuffle,
        }
        if self._in_place:
            self._settings |= {"block_rows": block_rows, "window_blocks": window_blocks}
        self.epoch = 0
        self._batch = 0  # handed out of this epoch
        self._loaded = False

    def __len__(self) -> int:
        """Batches of an epoch."""
        return len(self._pairs) // self.batch_size

    def __iter__(self) -> Iterator[PairBatch]:
        # Nothing is decided before the first batch is asked for: Lightning sets the epoch after it called iter().
        epoch, first = self.epoch, self._batch if self._loaded else 0
        self._loaded = False
        batches = _ahead(self._batches(epoch, first), BATCHES_AHEAD)
        try:
            for number, batch in enumerate(batches, first + 1):
                # Before it is handed out: after the last one, nobody may ask for more.
                self.epoch, self._batch = epoch + number // len(self), number % len(self)
                yield batch
        finally:
            batches.close()

    @property
    def sampler(self) -> "PairLoader":
        """Itself: Lightning calls `loader.sampler.set_epoch` before every epoch."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """The epoch of the next `iter()`."""
        if epoch != self.epoch:
            self.epoch, self._batch, self._loaded = epoch, 0, False

    def state_dict(self) -> dict[str, Any]:
        """The place in the epoch, the same on all ranks, and what the order of batches depends on."""
        return {"epoch": self.epoch, "batch": self._batch, **self.order_of_batches}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The next `iter()` continues after the last batch that had been handed out.

        Raises:
            AlignerError: the state is of other pairs, or of another order of them.
        """
        for name, mine in self.order_of_batches.items():
            if state.get(name) != mine:
                hint = " memory_bytes decides on the shuffle." if name == "shuffle" else ""
                raise AlignerError(
                    f"Batches can't continue where the checkpoint's ended: their {name} was {state.get(name)!r}, here "
                    f"it is {mine!r}. Resume with what was trained on, or start from the beginning.{hint}"
                )
        self.epoch, self._batch, self._loaded = int(state["epoch"]), int(state["batch"]), True

    @cached_property
    def order_of_batches(self) -> dict[str, Any]:
        """What it depends on, as plain values.

        `pairs` is a sha256 over both variants, the rows of them, and which go together.
        """
        pairs = hashlib.sha256()
        for numbers in self._given if isinstance(self._given, LabelledPairs) else (self._given,):
            pairs.update(np.ascontiguousarray(numbers, dtype=np.int64).tobytes())
        for rows in self._rows:
            pairs.update(repr((rows.digest, list(rows.ids))).encode())
        return {**self._settings, "pairs": pairs.hexdigest()}

    def _batches(self, epoch: int, first: int) -> Generator[PairBatch]:
        """Batches of this rank, in order."""
        videos, captions = self._pairs.of(epoch)
        n, size = len(self._pairs), self.batch_size
        if self._in_place is None:
            order = row_order(n, seed=self._seed, epoch=epoch)
        else:
            rows = self._window_batches * size
            order = block_order(n, seed=self._seed, epoch=epoch, block_rows=self._block_rows, window_rows=rows)
        mine = order[: len(self) * size].reshape(len(self), size)[:, self._part]  # (n_batches, this rank's part)
        if self._in_place is None:
            for pairs in mine[first:]:
                yield self._batch_of(self._rows, (videos[pairs], captions[pairs]), videos, captions, pairs)
            return
        windows = _ahead(self._windows(mine, videos, captions, first), WINDOWS_AHEAD)
        try:
            for start, window_rows in windows:
                window = mine[start : start + self._window_batches]
                places = np.arange(window.size).reshape(window.shape)
                for number in range(max(first - start, 0), len(window)):
                    pairs = window[number]
                    yield self._batch_of(window_rows, (places[number],) * 2, videos, captions, pairs)
        finally:
            windows.close()

    def _windows(
        self, mine: IntArray, videos: IntArray, captions: IntArray, first: int
    ) -> Generator[tuple[int, tuple[InMemoryRows, InMemoryRows]]]:
        """Number of the first batch of each window, and what its batches are made of."""
        assert self._in_place is not None
        of_videos, of_captions = self._in_place
        for start in range(first - first % self._window_batches, len(mine), self._window_batches):
            pairs = mine[start : start + self._window_batches].ravel()
            yield start, (of_videos.hold(videos[pairs]), of_captions.hold(captions[pairs]))

    def _batch_of(
        self,
        sources: Sequence[Source],
        places: Sequence[IntArray],
        videos: IntArray,
        captions: IntArray,
        pairs: IntArray,
    ) -> PairBatch:
        """Pairs of the epoch's `videos` and `captions`, from places in the sources."""
        video, text = (
            side.make(source, at) for side, source, at in zip(self._side_batches, sources, places, strict=True)
        )
        tensors = (torch.from_numpy(numbers[pairs]) for numbers in (videos, captions, self._pairs.labels))
        return PairBatch(video, text, *tensors)


def _check_pairs(pairs: IntArray | LabelledPairs, n_videos: int, n_captions: int) -> None:
    if isinstance(pairs, LabelledPairs):
        for name, positions, n in (("videos", pairs.video, n_videos), ("captions", pairs.caption, n_captions)):
            if len(positions) != len(pairs.label) or not np.isin(positions, np.arange(n)).all():
                raise AlignerError(
                    f"{len(pairs.label)} labels, {len(positions)} {name} up to {max(positions, default=None)}; a "
                    f"position among {n} {name} is expected for each label."
                )
    elif n_captions != len(pairs) or not np.isin(pairs, np.arange(n_videos)).all():
        raise AlignerError(
            f"video_of_caption has {len(pairs)} entries up to {max(pairs, default=None)}; "
            f"expected is a position among {n_videos} videos for each of {n_captions} captions."
        )


class _InPlace:
    """Rows in stored order, opened separately, so that `advise` affects no other reader.

    Attributes:
        rows: of the whole variant.
        place: (n,) row of the variant at each position.
    """

    def __init__(self, rows: Rows) -> None:
        self.rows = open_variant(rows.folder)
        if self.rows.digest != rows.digest:
            raise AlignerError(f"{rows.folder} was rewritten since it was opened. Open it again.")
        self.place: IntArray = self.rows.ids.find(rows.ids)

    def hold(self, positions: IntArray) -> InMemoryRows:
        """Read rows at these positions."""
        return InMemoryRows(self.rows, self.place[positions])


def _ahead(items: Generator[Item], count: int) -> Generator[Item]:
    """The same items, `count` of them made in a thread while one is used."""
    end = object()
    ahead = prefetch(itertools.repeat(end), lambda end: next(items, end), workers=1, depth=count)
    try:
        for _, item in ahead:
            if isinstance(item, ReelstoreError):
                raise item
            if item is end:
                return
            yield cast(Item, item)
    finally:
        ahead.close()
        items.close()


def _n_bytes(rows: Rows) -> int:
    n_vectors = len(rows) if rows.layout == "pooled" else rows.n_tokens_total
    return int(n_vectors * rows.dim * rows.dtype.itemsize)


def _physical_memory() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
