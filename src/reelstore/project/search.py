"""A sentence -> the videos nearest to it, by a fitted aligner: what an evaluation ranks, for a person to look at."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from reelstore.align.items import Items
from reelstore.align.mapping import mapped, mapped_items
from reelstore.align.registry import FittedAligner, load_aligner
from reelstore.arrays import Tokens
from reelstore.datasets.index import read_index
from reelstore.encoders.registry import load_weights
from reelstore.encoders.variants import possible_variants
from reelstore.errors import ParamsError, UnknownNameError
from reelstore.layout import aligned_variant
from reelstore.pooling import pool
from reelstore.project.align.apply import aligned_spec, mappable
from reelstore.project.embed.batches import encode_batch
from reelstore.project.embed.plan import make
from reelstore.project.settings import Params
from reelstore.project.variants import variant_spec
from reelstore.ranking import nearest
from reelstore.records import split_model
from reelstore.store.open import open_store, open_variant
from reelstore.store.read import Rows


@dataclass(frozen=True)
class Hit:
    """One video found: its place from 1, the score, and what the dataset says of it."""

    rank: int
    score: float
    video_id: str
    split: str
    path: str
    caption: str


@dataclass(frozen=True)
class SearchReport:
    """What was found for each sentence, and in what."""

    sentences: tuple[str, ...]
    hits: tuple[tuple[Hit, ...], ...]
    source: str
    n_videos: int

    def summary(self) -> str:
        """A table a sentence."""
        blocks = [f"{self.n_videos} videos, {self.source}"]
        for sentence, hits in zip(self.sentences, self.hits, strict=True):
            rows = [("rank", "score", "video_id", "split", "file", "first caption")]
            rows += [(str(h.rank), f"{h.score:.4f}", h.video_id, h.split, h.path, h.caption) for h in hits]
            widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
            lines = ["  ".join(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
            blocks.append("\n".join([sentence, *lines]))
        return "\n\n".join(blocks)

    def as_json(self) -> str:
        """A line a sentence."""
        return "\n".join(
            json.dumps({"sentence": sentence, "hits": [asdict(hit) for hit in hits]}, ensure_ascii=False)
            for sentence, hits in zip(self.sentences, self.hits, strict=True)
        )


def run_search(
    params: Params,
    model: str,
    sentences: Sequence[str],
    *,
    aligner: str | None = None,
    k: int = 10,
    split: str | None = None,
) -> SearchReport:
    """The videos nearest to each sentence.

    Sentences go the way of captions: the text encoder, the variant the aligner was fitted on, rounded as stored, and
    its map. Videos come from `aligned.<aligner>` where `apply` stored it and it is up to date, else they are mapped
    now. Videos without a value are left out.

    Args:
        params: of the project.
        model: `<video encoder>+<text encoder>`.
        sentences: what is looked for.
        aligner: a fitted one; by default the first of params.yaml that isn't `unaligned`.
        k: videos a sentence.
        split: of the videos; all by default.

    Raises:
        AlignerError: the aligner isn't fitted, or was on embeddings of another encoder.
        ParamsError: a sentence is empty, or there is no such aligner or split.
        LongTextError: a sentence has too many characters.
    """
    video, text = split_model(model)
    name = aligner or _default_aligner(params)
    if name not in params.aligners:
        raise UnknownNameError("aligner", name, params.aligners)
    if not all(sentence.strip() for sentence in sentences):
        raise ParamsError("A sentence is empty: there is nothing to look for.")
    for sentence in sentences:
        params.embed.check_text(sentence)
    fitted = load_aligner(params.layout.aligner(model, name))
    videos, source = _videos(params, fitted, model, video, name)
    if split is not None:
        videos = videos.split(split)
    items: Any = videos if videos.variant == aligned_variant(name) else mapped(fitted.transform_video, videos)
    queries = mapped_items(fitted.transform_text, _sentences(params, fitted, f"text/{text}", sentences))
    found = nearest(queries, items, k)
    described = _described(params, found.item, found.score, videos)
    return SearchReport(tuple(sentences), described, source, len(videos))


def _default_aligner(params: Params) -> str:
    for name, settings in params.aligners.items():
        if settings["kind"] != "unaligned":
            return name
    raise ParamsError("aligners in params.yaml has none but unaligned ones: name one with --aligner.")


def _videos(params: Params, fitted: FittedAligner, model: str, video: str, name: str) -> tuple[Rows, str]:
    """Rows with values, aligned or to be, and where they come from."""
    rows = open_store(params.layout.store)[f"video/{video}/{fitted.pooling['video']}"]
    fitted.check_rows("video", rows)
    folder = params.layout.aligned("video", model, name)
    if (folder / "zarr.json").is_file():
        stored = open_variant(folder)
        spec = aligned_spec(rows, "video", fitted, encoder=model, variant=folder.name, dtype=stored.dtype.name)
        if stored.fingerprint == spec.fingerprint and stored.ids == rows.ids:
            return stored.ok(), f"{folder} (digest {stored.digest[:12]})"
    ids = rows.ids
    there = rows.select([ids[position] for position in np.flatnonzero(mappable(rows))])
    return there, f"{rows.folder} (digest {rows.digest[:12]}), mapped by {name}"


def _sentences(params: Params, fitted: FittedAligner, key: str, sentences: Sequence[str]) -> Items:
    """What captions with these texts would be in the store."""
    encoder = make(params, key)
    wanted = possible_variants(encoder.spec)[fitted.pooling["text"]]
    spec = variant_spec(params, encoder.spec, wanted)
    fitted.check_fingerprint("text", spec.fingerprint)
    load_weights(encoder)
    dtype = np.dtype(spec.dtype)
    values = []
    for sentence in sentences:
        value = encode_batch(encoder, [encoder.prepare(sentence)])[0][wanted.output].astype(dtype)
        values.append(pool(value, wanted.pooling).astype(dtype) if wanted.pooling else value)
    if spec.layout == "pooled":
        return np.stack(values)
    return Tokens(np.concatenate(values), np.cumsum([0, *map(len, values)]))


def _described(params: Params, items: Any, scores: Any, videos: Rows) -> tuple[tuple[Hit, ...], ...]:
    dataset = read_index(params.layout.data, name=params.dataset.name)
    known = {video.video_id: video for video in dataset.videos}
    first: dict[str, str] = {}
    for caption in dataset.captions:
        first.setdefault(caption.video_id, caption.text)
    ids = videos.ids

    def hit(rank: int, position: int, score: float) -> Hit:
        video_id = str(ids[position])
        path = (dataset.clips / known[video_id].path).as_posix() if video_id in known else ""
        return Hit(rank, score, video_id, videos.table.splits[position], path, first.get(video_id, ""))

    return tuple(
        tuple(hit(rank, *of) for rank, of in enumerate(zip(row, score, strict=True), start=1))
        for row, score in zip(items.tolist(), scores.tolist(), strict=True)
    )
