"""Search the videos of a project by sentences, with a fitted aligner: `reelstore search`."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from reelstore.align.registry import FittedAligner, load_aligner
from reelstore.encoders.registry import load_weights
from reelstore.encoders.use import ReadyEncoder
from reelstore.encoders.variants import possible_variants
from reelstore.errors import ParamsError, UnknownNameError
from reelstore.layout import aligned_variant
from reelstore.project.align.apply import aligned_spec, mappable
from reelstore.project.embed.plan import make
from reelstore.project.settings import Params
from reelstore.project.variants import variant_spec
from reelstore.records import split_model
from reelstore.retrieval import Hit, embed_sentences, find_videos
from reelstore.store.open import open_store, open_variant
from reelstore.store.read import Rows


@dataclass(frozen=True)
class SearchReport:
    """What was found for each sentence, and in what."""

    sentences: tuple[str, ...]
    hits: tuple[tuple[Hit, ...], ...]
    source: str
    n_videos: int

    def summary(self) -> str:
        """One table for each sentence."""
        blocks = [f"{self.n_videos} videos, {self.source}"]
        for sentence, hits in zip(self.sentences, self.hits, strict=True):
            rows = [("rank", "score", "video_id", "split", "file", "first caption")]
            rows += [(str(h.rank), f"{h.score:.4f}", h.video_id, h.split, h.path, h.caption) for h in hits]
            widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
            lines = ["  ".join(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
            blocks.append("\n".join([sentence, *lines]))
        return "\n\n".join(blocks)

    def as_json(self) -> str:
        """One line for each sentence."""
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

    Sentences are embedded as captions are: by the text encoder, into the variant that the aligner was fitted on,
    rounded as stored, and mapped. Videos come from `aligned.<aligner>` if `apply` stored it and it is up to date, else
    they are mapped now. Videos without a value are skipped.

    Args:
        params: of the project.
        model: `<video encoder>+<text encoder>`.
        sentences: what is looked for.
        aligner: a fitted one; by default the first of params.yaml that isn't `unaligned`.
        k: videos for each sentence.
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
    queries = fitted.transform(text=_embedded(params, fitted, f"text/{text}", sentences))
    items: Any = videos if videos.variant == aligned_variant(name) else fitted.transform(video=videos)
    hits = find_videos(queries, items, videos, k)
    return SearchReport(tuple(sentences), tuple(map(tuple, hits)), source, len(videos))


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
    there = rows.at(np.flatnonzero(mappable(rows)))
    return there, f"{rows.folder} (digest {rows.digest[:12]}), mapped by {name}"


def _embedded(params: Params, fitted: FittedAligner, key: str, sentences: Sequence[str]) -> Any:
    """What captions with these texts would be in the store."""
    encoder = make(params, key)
    spec = variant_spec(params, encoder.spec, possible_variants(encoder.spec)[fitted.pooling["text"]])
    fitted.check_fingerprint("text", spec.fingerprint)
    load_weights(encoder)
    return embed_sentences(ReadyEncoder(encoder), sentences, fitted.pooling["text"], np.dtype(spec.dtype))
