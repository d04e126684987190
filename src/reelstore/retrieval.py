"""Find the videos nearest to a sentence or a vector: `reelstore.search`."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, overload

import numpy as np

from reelstore.align.registry import FittedAligner, load_aligner
from reelstore.arrays import Array
from reelstore.bounds import ItemBounds
from reelstore.datasets.index import read_index
from reelstore.encoders.registry import load_weights
from reelstore.encoders.use import ReadyEncoder, unloaded_encoder
from reelstore.encoders.variants import possible_variants
from reelstore.errors import SearchError
from reelstore.layout import Layout, is_store_root, layout_of
from reelstore.pooling import pool
from reelstore.ranking import nearest
from reelstore.records import split_model
from reelstore.store.memory import as_rows
from reelstore.store.open import Store, open_store
from reelstore.store.read import Rows


@dataclass(frozen=True)
class Hit:
    """A video found.

    Attributes:
        rank: from 1.
        score: cosine; higher is closer.
        video_id: its key in the store.
        split: of its row.
        path: of its clip, where the store is a project's and its dataset has tables; else empty.
        caption: its first one, likewise.
    """

    rank: int
    score: float
    video_id: str
    split: str
    path: str = ""
    caption: str = ""


@overload
def search(
    query: str,
    *,
    store: Store | str | Path,
    model: str,
    aligner: FittedAligner | str | Path | None = None,
    k: int = 10,
    split: str | None = None,
    pooling: str = "mean",
    **options: Any,
) -> list[Hit]: ...
@overload
def search(
    query: Sequence[str] | Array | Rows,
    *,
    store: Store | str | Path,
    model: str,
    aligner: FittedAligner | str | Path | None = None,
    k: int = 10,
    split: str | None = None,
    pooling: str = "mean",
    **options: Any,
) -> list[list[Hit]]: ...
def search(
    query: Any,
    *,
    store: Store | str | Path,
    model: str,
    aligner: FittedAligner | str | Path | None = None,
    k: int = 10,
    split: str | None = None,
    pooling: str = "mean",
    **options: Any,
) -> list[Hit] | list[list[Hit]]:
    """The videos of a store nearest to each query, exactly, ties in the store's order.

    Args:
        query: a sentence, or a list of sentences; or embeddings as the text encoder gives them: (n, dim), or rows.
        store: a dataset's store, or its folder.
        model: `VIDEO+TEXT`, names of encoders in the store: `clip+clip`.
        aligner: fitted on these, or its folder; without one, both sides must be in one space already.
        k: videos for each query.
        split: of the videos; all by default.
        pooling: variant of both sides, where there is no aligner to say which.
        options: of the text encoder, as in params.yaml, where a sentence has to be embedded.

    Returns:
        hits of a sentence, best first; of several queries, a list of these.

    Raises:
        UnknownVariantError: the store has no such variant.
        SearchError: a sentence can't be embedded as the store's captions were: their encoder isn't known, or gives
            other numbers.
        AlignerError: the aligner was fitted on other embeddings.
        MissingExtraError: the encoder needs packages that aren't installed.

    Example:
        >>> search("a smiling cat", store="store/emoji", model="efficientnet-lite0+minilm-l6",    # doctest: +SKIP
        ...        aligner="models/emoji/efficientnet-lite0+minilm-l6/cca", k=5)
    """
    store = store if isinstance(store, Store) else open_store(store)
    fitted = load_aligner(aligner) if isinstance(aligner, str | Path) else aligner
    video_name, text_name = split_model(model)
    variants = {"video": pooling, "text": pooling} if fitted is None else fitted.pooling
    videos = store[f"video/{video_name}/{variants['video']}"]
    videos = (videos if split is None else videos.split(split)).ok()
    texts = [query] if isinstance(query, str) else query
    if isinstance(texts, list | tuple) and texts and isinstance(texts[0], str):
        name = f"text/{text_name}/{variants['text']}"
        queries: Any = _embedded(texts, store[name], name, options)
    elif options:
        raise SearchError(f"{', '.join(options)}: options of the text encoder are for sentences; the query is vectors.")
    else:
        queries = np.asarray(query)[None] if getattr(query, "ndim", 0) == 1 else query
    text_rows = as_rows(queries, side="text")
    if fitted is None and text_rows.dim != videos.dim:
        raise SearchError(
            f"Videos of {videos.folder} are {videos.dim} wide, queries {text_rows.dim}: they aren't of one space. Fit "
            "an aligner (reelstore.fit) and give it as aligner=."
        )
    if not len(videos):
        raise SearchError(f"{videos.folder} has no video with a value{f' in the split {split}' if split else ''}.")
    items = videos if fitted is None else fitted.transform(video=videos)
    hits = find_videos(text_rows if fitted is None else fitted.transform(text=text_rows), items, videos, k)
    return hits[0] if isinstance(query, str) else hits


def find_videos(queries: Any, items: Any, videos: Rows, k: int) -> list[list[Hit]]:
    """The k videos nearest to each query.

    Args:
        queries: (n_queries, dim) in the space of the items.
        items: (n_videos, dim): the videos in that space.
        videos: rows of these videos: what the hits say of them.
        k: videos for each query.
    """
    found = nearest(queries, items, k)
    ids, splits = videos.ids, videos.splits
    paths, captions = _tables(videos.folder)
    hits = []
    for positions, scores in zip(found.item.tolist(), found.score.tolist(), strict=True):
        ranked = enumerate(zip(positions, scores, strict=True), start=1)
        named = [(rank, score, str(ids[at]), splits[at]) for rank, (at, score) in ranked]
        hits.append([Hit(*one, paths.get(one[2], ""), captions.get(one[2], "")) for one in named])
    return hits


def embed_sentences(ready: ReadyEncoder, texts: Sequence[str], variant: str, dtype: np.dtype[Any]) -> Any:
    """What captions with these texts would be in a variant of this dtype, rounded as stored.

    Returns:
        (n, dim), or where the variant holds tokens, a list of (n_tokens_i, dim).
    """
    request = possible_variants(ready.spec)[variant]
    values = [value.astype(dtype) for value in ready.encode_items(texts)[request.output]]
    if request.pooling is None:
        return np.stack(values) if values[0].ndim == 1 else values
    return np.stack([pool(value, request.pooling).astype(dtype) for value in values])


def _embedded(texts: Sequence[str], rows: Rows, name: str, options: dict[str, Any]) -> Any:
    """What captions with these texts would be among the rows."""
    if not all(isinstance(text, str) and text.strip() for text in texts):
        raise SearchError("A sentence is empty, or isn't text: there is nothing to look for.")
    recipe = rows.recipe.get("encoder")
    if not isinstance(recipe, dict):
        raise SearchError(
            f"{name}: which encoder made these rows isn't known (they were written or imported), so a sentence "
            "can't be embedded as they were. Embed it yourself and give the vectors as the query."
        )
    ready = unloaded_encoder(str(recipe.get("name")), side="text", threads=int(recipe.get("threads", 1)), **options)
    differs = sorted(key for key, value in ready.spec.as_json().items() if recipe.get(key) != value)
    if differs:
        raise SearchError(
            f"{name} was made by {recipe.get('name')} with other {', '.join(differs)}. Give the encoder's options "
            "as they were, or embed the sentence yourself and give the vectors as the query."
        )
    for text in texts:
        ItemBounds().check_text(text)
    load_weights(ready.encoder)
    return embed_sentences(ready, texts, rows.variant, rows.dtype)


def _tables(variant: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Path and first caption of each video, where the variant is in a project's store and its dataset has tables."""
    if len(variant.absolute().parents) < 5 or not is_store_root(variant.absolute().parents[3]):
        return {}, {}
    layout = layout_of(variant.parents[2] if len(variant.parts) > 4 else variant.absolute().parents[2])
    if not (layout.data / "dataset.json").is_file():
        return {}, {}
    written = tuple((layout.data / f"{name}.jsonl").stat().st_mtime_ns for name in ("videos", "captions"))
    return _read_tables(layout, written)


@lru_cache(maxsize=2)
def _read_tables(layout: Layout, written: tuple[int, ...]) -> tuple[dict[str, str], dict[str, str]]:
    dataset = read_index(layout.data, name=layout.dataset)
    clips = layout.root / dataset.clips
    captions: dict[str, str] = {}
    for caption in dataset.captions:
        captions.setdefault(caption.video_id, caption.text)
    return {video.video_id: (clips / video.path).as_posix() for video in dataset.videos}, captions
