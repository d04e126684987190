"""An aligner or a scorer of one model on one split -> ranks and metrics, and what they are of."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from reelstore.errors import DatasetError
from reelstore.evaluation import Evaluation, evaluate
from reelstore.evaluation.matched import Matched
from reelstore.project.settings import Params
from reelstore.project.split import matched_split
from reelstore.records import model_name
from reelstore.store.open import open_store
from reelstore.store.read import Rows


@dataclass(frozen=True)
class Measured:
    """What was found, and the rows it was found on.

    Attributes:
        matched: videos and captions of the split.
        evaluation: what `evaluate` found.
        videos: the variant of the videos.
        texts: that of the captions.
        scorer: settings and further variants of a scorer; empty for an aligner.
    """

    matched: Matched
    evaluation: Evaluation
    videos: Rows
    texts: Rows
    scorer: Mapping[str, Any] = field(default_factory=dict)


def measure(params: Params, *, video: str, text: str, name: str) -> Measured:
    """Measure the scorer `name`, or the fitted aligner, on `evaluate.split`."""
    if name in params.scorers:
        return _scored(params, video, text, name)
    return aligned(params, video, text, name, partial(evaluate, ks=params.evaluate.ks, return_hard_negatives=True))


def aligned(
    params: Params, video: str, text: str, aligner: str, evaluate: Callable[..., Evaluation], *, bank: str = ""
) -> Measured:
    """Measure a fitted aligner by `evaluate(text, video, video_of_caption)`, which gets what it maps both sides to.

    Where `bank` names a split, `evaluate` gets that one's as well, batch by batch, as `bank_text` and `bank_video`.

    Raises:
        DatasetError: the split has no captions with values.
    """
    from reelstore.align.mapping import mapped, mapped_batches
    from reelstore.align.registry import load_aligner

    fitted = load_aligner(params.layout.aligner(model_name(video, text), aligner))
    store = open_store(params.layout.store)
    videos: Rows = store[f"video/{video}/{fitted.pooling['video']}"]
    texts: Rows = store[f"text/{text}/{fitted.pooling['text']}"]
    for side, rows in (("video", videos), ("text", texts)):
        fitted.check_rows(side, rows)
    matched = matched_split(params, [videos], [texts], params.evaluate.split)
    banks: dict[str, Iterator[Any]] = {}
    if bank:
        found = matched_split(params, [videos], [texts], bank)
        if not found.captions:
            raise DatasetError(f"The split {bank!r}, the bank of QB-Norm, has no captions with values.")
        for name, transform, rows in (
            ("bank_text", fitted.transform_text, texts.select(found.captions)),
            ("bank_video", fitted.transform_video, videos.select(found.videos)),
        ):
            banks[name] = (values for _, values in mapped_batches(transform, rows))
    evaluation = evaluate(
        text=mapped(fitted.transform_text, texts.select(matched.captions)),
        video=mapped(fitted.transform_video, videos.select(matched.videos)),
        video_of_caption=matched.video_of_caption,
        **banks,
    )
    return Measured(matched, evaluation, videos, texts)


def _scored(params: Params, video: str, text: str, scorer: str) -> Measured:
    from reelstore.evaluation.rerank import Stored, make_reranker
    from reelstore.project.embed.plan import load

    reranker = make_reranker(scorer, params.scorers[scorer])
    store = open_store(params.layout.store)
    variants = reranker.variants()
    videos = {name: store[f"video/{video}/{name}"] for name in variants["video"]}
    texts = {name: store[f"text/{text}/{name}"] for name in variants["text"]}
    matched = matched_split(params, list(videos.values()), list(texts.values()), params.evaluate.split)
    stored = Stored(
        videos={name: rows.select(matched.videos) for name, rows in videos.items()},
        texts={name: rows.select(matched.captions) for name, rows in texts.items()},
        video_encoder=lambda: load(params, f"video/{video}"),
        device=params.embed.device,
    )
    evaluation = evaluate(
        **reranker.scored(stored),
        video_of_caption=matched.video_of_caption,
        ks=params.evaluate.ks,
        return_hard_negatives=True,
    )
    every = [*videos.values(), *texts.values()]
    about = {
        "scorer": dict(params.scorers[scorer]),
        "read": {f"{rows.side}/{rows.encoder}/{rows.variant}": rows.digest for rows in every},
    }
    evaluation = replace(evaluation, similarity=reranker.description)
    return Measured(matched, evaluation, next(iter(videos.values())), next(iter(texts.values())), about)
