"""A sentence, or a vector -> the videos nearest to it: `reelstore.search`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np

from reelstore.align.registry import FittedAligner, load_aligner
from reelstore.arrays import Array
from reelstore.encoders.registry import load_weights
from reelstore.encoders.use import unloaded_encoder
from reelstore.encoders.variants import possible_variants
from reelstore.errors import SearchError
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
    """

    rank: int
    score: float
    video_id: str
    split: str


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
        k: videos a query.
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
    if isinstance(query, str) or (isinstance(query, list | tuple) and query and isinstance(query[0], str)):
        name = f"text/{text_name}/{variants['text']}"
        queries: Any = _embedded(texts, store[name], name, options)
    else:
        queries = np.asarray(query)[None] if getattr(query, "ndim", 0) == 1 else query
    text_rows = as_rows(queries, side="text")
    if fitted is None and text_rows.dim != videos.dim:
        raise SearchError(
            f"Videos of {videos.folder} are {videos.dim} wide, queries {text_rows.dim}: they aren't of one space. Fit "
            "an aligner (reelstore.fit) and give it as aligner=."
        )
    items = videos if fitted is None else fitted.transform(video=videos)
    found = nearest(text_rows if fitted is None else fitted.transform(text=text_rows), items, k)
    ids, splits = videos.ids, videos.splits
    hits = [
        [Hit(rank, float(score), str(ids[item]), splits[item]) for rank, (item, score) in enumerate(line, start=1)]
        for line in (
            list(zip(items_of, scores, strict=True))
            for items_of, scores in zip(found.item.tolist(), found.score.tolist(), strict=True)
        )
    ]
    return hits[0] if isinstance(query, str) else hits


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
    load_weights(ready.encoder)
    request = possible_variants(ready.spec)[rows.variant]
    values = [value.astype(rows.dtype) for value in ready.encode_texts(texts)[request.output]]
    if request.pooling is None:
        return np.stack(values) if values[0].ndim == 1 else values
    return np.stack([pool(value, request.pooling).astype(rows.dtype) for value in values])
