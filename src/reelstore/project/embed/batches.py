"""Encode preprocessed items in batches of one shape, and give the outputs in order."""

from collections import deque
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from reelstore.arrays import Float32Array
from reelstore.encoders.base import Encoder
from reelstore.errors import BatchMemoryError, UnusableItemError

Outputs = dict[str, Float32Array]


@dataclass
class _Place:
    """Where an item's outputs will be, until it is its turn."""

    bucket: Hashable = None
    outcome: Outputs | UnusableItemError | None = None


def encoded(encoder: Encoder, prepared: Iterable[Any], held: int) -> Iterator[Outputs | UnusableItemError]:
    """The outputs of each item, in order.

    Items of one bucket wait for each other until they fill a batch. Once `held` items wait, the first one's batch goes
    as it is, its last places empty: batches have one shape, so who shares one with whom changes no item's numbers.

    Args:
        encoder: that encodes them.
        prepared: its inputs, or why there is none.
        held: items that wait at most.

    Raises:
        BatchMemoryError: memory doesn't suffice for a batch.
    """
    waiting: deque[_Place] = deque()
    filling: dict[Hashable, list[tuple[_Place, Any]]] = {}

    def encode(bucket: Hashable) -> None:
        places, inputs = zip(*filling.pop(bucket), strict=True)
        for place, outputs in zip(places, encode_batch(encoder, list(inputs)), strict=True):
            place.outcome = outputs

    for item in prepared:
        if isinstance(item, UnusableItemError):
            waiting.append(_Place(outcome=item))
        else:
            place = _Place(encoder.bucket(item))
            waiting.append(place)
            batch = filling.setdefault(place.bucket, [])
            batch.append((place, item))
            if len(batch) == encoder.batch_size:
                encode(place.bucket)
        if len(waiting) >= held and waiting[0].outcome is None:
            encode(waiting[0].bucket)
        yield from _done(waiting)
    for bucket in list(filling):
        encode(bucket)
    yield from _done(waiting)


def encode_batch(encoder: Encoder, batch: list[Any]) -> list[Outputs]:
    """`encoder.encode`, which names what to set where memory doesn't suffice.

    Raises:
        BatchMemoryError: it doesn't.
    """
    try:
        return encoder.encode(batch)
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        key, size = f"{encoder.spec.side}/{encoder.spec.name}", encoder.batch_size
        less = f"batch_size to {size // 2} or less" if size > 1 else "fewer frames or shorter captions: it is 1 already"
        raise BatchMemoryError(
            f"{key}: out of memory at batches of {encoder.spec.batch}. In params.yaml, set {key}: {less}, or "
            "embed.device to one with more. What is staged stays; another batch shape embeds all rows again, since it "
            "moves the last bits."
        ) from error


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that a device, or this machine, has no memory left."""
    import torch

    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def _done(waiting: deque[_Place]) -> Iterator[Outputs | UnusableItemError]:
    while waiting and waiting[0].outcome is not None:
        outcome = waiting.popleft().outcome
        assert outcome is not None
        yield outcome
