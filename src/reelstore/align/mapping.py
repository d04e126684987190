"""An aligner's map of one side, applied to rows of a store by batches: memory stays bounded, and equal rows tie."""

import hashlib
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import numpy as np

from reelstore.align.base import Aligner, PairedRows, Validate
from reelstore.align.items import BATCH_ROWS, Items, batches, read_items
from reelstore.arrays import Float32Array, IntArray, Tokens
from reelstore.store.read import Rows

REPEATED_BYTES = 256 * 2**20
"""Of mapped rows that are kept because they occur again; beyond that they wait in a temporary file."""

Transform = Callable[[Items], Float32Array]


def mapped(transform: Transform, rows: Rows) -> Float32Array:
    """All rows mapped, (n, joint dim) float32, in memory.

    Args:
        transform: an aligner's `transform_video` or `transform_text`.
        rows: without failed ones.
    """
    parts = [values for _, values in mapped_batches(transform, rows)]
    return np.concatenate(parts) if parts else np.zeros((0, 0), dtype=np.float32)


def measured_mrr(aligner: Aligner, pairs: PairedRows, validate: Validate) -> float:
    """Text-to-video MRR of pairs in an aligner's joint space."""
    text, video = mapped(aligner.transform_text, pairs.text), mapped(aligner.transform_video, pairs.video)
    return validate(text=text, video=video, video_of_caption=pairs.video_of_caption)


def mapped_batches(transform: Transform, rows: Rows) -> Iterator[tuple[IntArray, Float32Array]]:
    """Positions and their mapped rows, (k, joint dim) float32, batch after batch, in order.

    A matrix product may round a row differently at different places, and equal embeddings, such as those of a caption
    that repeats, must tie: so each distinct row is mapped once, where it first occurs, and batches of embeddings are
    filled up to one size, so that a row's numbers don't depend on how many others came with it.
    """
    first = first_equal(rows)
    repeated = np.unique(first[first != np.arange(len(first))])
    with ExitStack() as stack:
        kept: Float32Array | None = None
        for positions in batches(rows):
            new = positions[first[positions] == positions]
            fresh = mapped_items(transform, read_items(rows, new)) if len(new) else None
            if kept is None:
                assert fresh is not None, "the first row is always new"
                kept = _space((len(repeated), fresh.shape[1]), stack)
            if fresh is not None:
                slots, places = _found(repeated, new)
                kept[slots] = fresh[places]
            out = np.empty((len(positions), kept.shape[1]), dtype=np.float32)
            out[np.searchsorted(positions, new)] = fresh if fresh is not None else 0
            again = np.flatnonzero(first[positions] != positions)
            out[again] = kept[np.searchsorted(repeated, first[positions[again]])]
            yield positions, out


def mapped_items(transform: Transform, items: Items) -> Float32Array:
    """Some items mapped as they would be among a store's rows, (n, joint dim) float32."""
    if isinstance(items, Tokens) or len(items) == BATCH_ROWS:
        return transform(items)
    parts = []
    for start in range(0, len(items), BATCH_ROWS):
        some = items[start : start + BATCH_ROWS]
        filled = np.concatenate([some, np.repeat(some[:1], BATCH_ROWS - len(some), axis=0)])
        parts.append(transform(filled)[: len(some)])
    return np.concatenate(parts)


def first_equal(rows: Rows) -> IntArray:
    """(n,) position of the first row with the very same values, itself where there is none before it."""
    seen: dict[bytes, int] = {}
    first = np.empty(len(rows), dtype=np.int64)
    for positions in batches(rows):
        items = read_items(rows, positions)
        for number, position in enumerate(positions.tolist()):
            if isinstance(items, Tokens):
                row = items.values[items.offsets[number] : items.offsets[number + 1]]
            else:
                row = items[number]
            digest = hashlib.blake2b(row.tobytes(), digest_size=16).digest()
            first[position] = seen.setdefault(digest, position)
    return first


def _found(repeated: IntArray, new: IntArray) -> tuple[IntArray, IntArray]:
    """Places in `repeated` and in `new` of what both have."""
    slots = np.searchsorted(repeated, new)
    there = slots < len(repeated)
    there[there] = repeated[slots[there]] == new[there]
    return slots[there], np.flatnonzero(there)


def _space(shape: tuple[int, int], stack: ExitStack) -> Float32Array:
    if shape[0] * shape[1] * 4 <= REPEATED_BYTES:
        return np.empty(shape, dtype=np.float32)
    return np.memmap(stack.enter_context(tempfile.TemporaryFile()), dtype=np.float32, mode="w+", shape=shape)
