"""What an aligner's batches hold, how fast they come, and whether they come in the same order again."""

import itertools
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from reelstore.align.loading.batches import Padded, PairBatch, SideBatch
from reelstore.align.loading.loader import PairLoader
from reelstore.align.trained.base import Trained
from reelstore.errors import ParamsError
from reelstore.project.align.rows import training_rows
from reelstore.project.settings import Params
from reelstore.store.keys import Key

N_READ = 50
"""Batches of an epoch that are timed and compared, at most."""
N_KEYS = 3


@dataclass(frozen=True)
class BatchSummary:
    """One batch.

    Attributes:
        video: shape and dtype.
        text: shape and dtype.
        pairs: keys of its first pairs: a video, a caption.
        n_positive: pairs with label 1.
        n_negative: pairs with label 0.
        padding: share of places in `text` and `video` that hold no token; 0 where there is no padding.
    """

    video: str
    text: str
    pairs: Sequence[tuple[Key, Key]]
    n_positive: int
    n_negative: int
    padding: float

    def __str__(self) -> str:
        pairs = ", ".join(f"{video} with {caption[0]}/{caption[1]}" for video, caption in self.pairs)
        return (
            f"video {self.video}, text {self.text}; {self.n_positive} positive and {self.n_negative} negative pairs; "
            f"{self.padding:.0%} padding; {pairs}, …"
        )


@dataclass(frozen=True)
class LoaderReport:
    """An epoch's first batches.

    Attributes:
        name: <dataset>/<model>/<aligner>.
        n_pairs: of an epoch.
        n_batches: of an epoch.
        shuffle: see `PairLoader`.
        batches: some of them.
        pairs_per_second: read, prepared and cast, with a consumer that does nothing.
        same_order: whether a second pass gave the same pairs and values in the same order.
        next_differs: whether the next epoch has another order.
    """

    name: str
    n_pairs: int
    n_batches: int
    shuffle: str
    batches: Sequence[BatchSummary]
    pairs_per_second: float
    same_order: bool
    next_differs: bool

    def summary(self) -> str:
        """For people."""
        lines = [
            f"{self.name}: {self.n_pairs:,} pairs and {self.n_batches} batches an epoch, shuffled by {self.shuffle}"
        ]
        lines += [f"batch {number}: {batch}" for number, batch in enumerate(self.batches)]
        lines += [
            f"{self.pairs_per_second:,.0f} pairs a second",
            f"a second pass gives {'the same batches' if self.same_order else 'OTHER BATCHES: the order is not kept'}",
            f"the next epoch has {'another order' if self.next_differs else 'the same order'}",
        ]
        return "\n".join(lines)


def check_loader(params: Params, *, video: str, text: str, aligner: str, n_described: int) -> LoaderReport:
    """Read what the aligner that params name would be trained on.

    Raises:
        ParamsError: it isn't trained from batches.
    """
    rows = training_rows(params, video=video, text=text, aligner=aligner)
    if not isinstance(rows.aligner, Trained):
        raise ParamsError(f"{aligner} is of the kind {rows.settings['kind']}, which isn't trained from batches.")
    torch.set_num_threads(rows.aligner.threads)
    data = rows.aligner.batches(rows.train)
    videos, captions = data.train.video.ids, data.train.text.ids
    loader = data.train_dataloader()
    n_read = min(N_READ, len(loader))
    started = time.perf_counter()
    for _ in _first(loader, n_read):
        pass
    seconds = time.perf_counter() - started
    described, marks = [], []
    for number, batch in enumerate(_first(data.train_dataloader(), n_read)):
        marks.append(_mark(batch))
        if number < n_described:
            described.append(_described(batch, videos, captions))
    following = data.train_dataloader()
    following.set_epoch(1)
    return LoaderReport(
        name=rows.name,
        n_pairs=data.n_pairs,
        n_batches=len(loader),
        shuffle=loader.shuffle,
        batches=described,
        pairs_per_second=n_read * loader.batch_size / seconds,
        same_order=[_mark(batch) for batch in _first(data.train_dataloader(), n_read)] == marks,
        next_differs=[_mark(batch) for batch in _first(following, n_read)] != marks,
    )


def _first(loader: PairLoader, n: int) -> Iterator[PairBatch]:
    return itertools.islice(iter(loader), n)


def _mark(batch: PairBatch) -> int:
    """A checksum over pairs, labels and values, in order."""
    mark = 0
    for part in batch:
        for tensor in part if isinstance(part, tuple) else (part,):
            mark = zlib.crc32(tensor.numpy().tobytes(), mark)
    return mark


def _described(batch: PairBatch, videos: Sequence[Key], captions: Sequence[Key]) -> BatchSummary:
    n_positive = int(batch.label.sum())
    masks = [side.mask for side in (batch.video, batch.text) if isinstance(side, Padded)]
    n_places = sum(mask.numel() for mask in masks)
    return BatchSummary(
        video=_shape(batch.video),
        text=_shape(batch.text),
        pairs=[
            (videos[v], captions[c])
            for v, c in zip(
                batch.video_positions[:N_KEYS].tolist(), batch.caption_positions[:N_KEYS].tolist(), strict=True
            )
        ],
        n_positive=n_positive,
        n_negative=len(batch.label) - n_positive,
        padding=sum(int((~mask).sum()) for mask in masks) / n_places if n_places else 0.0,
    )


def _shape(side: SideBatch) -> str:
    values = side if isinstance(side, Tensor) else side.values
    return f"{tuple(values.shape)} {str(values.dtype).removeprefix('torch.')}"
