"""What one split gives away of another: files, texts, near-duplicate embeddings."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np

from reelstore.arrays import Float32Array, Float64Array, unit_rows
from reelstore.errors import DatasetError
from reelstore.records import Dataset, same_text
from reelstore.store.keys import Key
from reelstore.store.read import Rows

Kind = Literal["file", "caption", "near-video", "near-caption"]
KINDS: tuple[Kind, ...] = ("file", "caption", "near-video", "near-caption")
_ROWS = 2048


@dataclass(frozen=True)
class Leakage:
    """Rows of the second split of which the first has one like it: the same file, the same text, a near-duplicate.

    Attributes:
        kind: what is shared.
        splits: names, in alphabetical order.
        rows: (key in the second split, key in the first, cosine; 1 where they're equal).
    """

    kind: Kind
    splits: tuple[str, str]
    rows: Sequence[tuple[Key, Key, float]]

    def __str__(self) -> str:
        first, second = self.splits
        what = {
            "file": f"videos of {second} are files of {first} too",
            "caption": f"captions of {second} have a text of {first}",
            "near-video": f"videos of {second} have a near-duplicate in {first}",
            "near-caption": f"captions of {second} have a near-duplicate in {first}",
        }[self.kind]
        key, like, _ = self.rows[0]
        return f"{len(self.rows)} {what}, such as {_shown(key)} and {_shown(like)}"


def leakage(dataset: Dataset) -> list[Leakage]:
    """Files and texts (case and blanks ignored) that two splits share.

    That groups don't straddle splits a `Dataset` makes sure of itself.
    """
    split_of = {video.video_id: video.split for video in dataset.videos}
    files = [(video.split, video.sha256, video.video_id) for video in dataset.videos]
    texts = [(split_of[c.video_id], same_text(c.text), (c.video_id, c.caption_index)) for c in dataset.captions]
    return [*_equal("file", files), *_equal("caption", texts)]


def near_duplicates(rows: Rows, *, near: float) -> list[Leakage]:
    """Rows whose cosine with a row of another split is `near` or more, once the mean of all rows is subtracted.

    Without the mean, as language models' states share a large one: rows that have nothing in common would be near.

    Raises:
        DatasetError: the variant isn't pooled.
    """
    if rows.layout != "pooled":
        raise DatasetError(
            f"{rows.side}/{rows.encoder}/{rows.variant} holds tokens; near-duplicates are found in a pooled variant."
        )
    rows = rows.ok()
    mean = np.zeros(rows.dim)
    for values in _blocks(rows):
        mean += unit_rows(values).sum(axis=0, dtype=np.float64)
    mean /= max(len(rows), 1)
    kind: Kind = "near-video" if rows.side == "video" else "near-caption"
    found = []
    for first, second in combinations(sorted(set(rows.splits)), 2):
        known, asked = rows.split(first), rows.split(second)
        best, like = np.full(len(asked), -2.0), np.zeros(len(asked), dtype=np.int64)
        for start, others in _numbered(_centred_blocks(known, mean)):
            for at, values in _numbered(_centred_blocks(asked, mean)):
                scores = values @ others.T
                nearest = scores.argmax(axis=1)
                score = np.take_along_axis(scores, nearest[:, None], axis=1)[:, 0]
                part = slice(at, at + len(values))
                better = score > best[part]
                like[part] = np.where(better, start + nearest, like[part])
                best[part] = np.maximum(score, best[part])
        keys, known_keys = asked.ids, known.ids
        shared = [(keys[n], known_keys[like[n]], float(best[n])) for n in np.flatnonzero(best >= near).tolist()]
        if shared:
            found.append(Leakage(kind, (first, second), shared))
    return found


def _equal(kind: Kind, items: Sequence[tuple[str, str, Key]]) -> list[Leakage]:
    """Of (split, content, key), what two splits have both."""
    by_split: dict[str, dict[str, Key]] = {}
    for split, content, key in items:
        by_split.setdefault(split, {}).setdefault(content, key)
    found = []
    for first, second in combinations(sorted(by_split), 2):
        known = by_split[first]
        rows = [(key, known[content], 1.0) for split, content, key in items if split == second and content in known]
        if rows:
            found.append(Leakage(kind, (first, second), rows))
    return found


def _blocks(rows: Rows) -> Iterator[Float32Array]:
    for start in range(0, len(rows), _ROWS):
        yield np.asarray(rows.take(np.arange(start, min(start + _ROWS, len(rows))))).astype(np.float32)


def _centred_blocks(rows: Rows, mean: Float64Array) -> Iterator[Float32Array]:
    for values in _blocks(rows):
        yield unit_rows(unit_rows(values) - mean.astype(np.float32))


def _numbered(blocks: Iterator[Float32Array]) -> Iterator[tuple[int, Float32Array]]:
    start = 0
    for block in blocks:
        yield start, block
        start += len(block)


def _shown(key: Key) -> str:
    return key if isinstance(key, str) else f"{key[0]}/{key[1]}"
