"""What an aligner of params.yaml is fitted on: rows of a store, paired by a set of pairs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from reelstore.align.base import Aligner, LabelledRows, PairedRows, check_layout
from reelstore.align.pairing import LabelledPairs
from reelstore.align.registry import all_settings, make_aligner
from reelstore.errors import ParamsError
from reelstore.pairs.build import Pair
from reelstore.pairs.files import read_pairs
from reelstore.project.settings import Params
from reelstore.records import model_name
from reelstore.store.open import open_store
from reelstore.store.read import Rows


@dataclass(frozen=True)
class TrainingRows:
    """An aligner to be fitted, and what on.

    Attributes:
        name: <dataset>/<model>/<aligner>.
        aligner: not yet fitted.
        settings: all of its settings.
        pooling: side -> variant.
        train: pairs of the training split.
        validation: pairs of the validation split.
        data: side -> digest and fingerprint of its variant.
    """

    name: str
    aligner: Aligner
    settings: Mapping[str, Any]
    pooling: Mapping[str, str]
    train: PairedRows
    validation: PairedRows
    data: Mapping[str, Mapping[str, str]]


def training_rows(params: Params, *, video: str, text: str, aligner: str) -> TrainingRows:
    """Open what the aligner that params name is fitted on, of one model."""
    if aligner not in params.aligners:
        raise ParamsError(f"aligners has no {aligner!r}. Known: {', '.join(params.aligners)}.")
    dataset = params.dataset.name
    unfitted, pooling = make_aligner(params.aligners[aligner], name=aligner)
    settings = all_settings(params.aligners[aligner])
    store = open_store(params.layout.store)
    videos, captions = store[f"video/{video}/{pooling['video']}"], store[f"text/{text}/{pooling['text']}"]
    for rows in (videos, captions):
        check_layout(rows, unfitted.layouts, settings["kind"])
    pairs = params.layout.pairs(str(settings["pairs"]))
    return TrainingRows(
        name=f"{dataset}/{model_name(video, text)}/{aligner}",
        aligner=unfitted,
        settings=settings,
        pooling=pooling,
        train=paired_rows(videos, captions, read_pairs(pairs / "train.parquet")),
        validation=paired_rows(videos, captions, read_pairs(pairs / "validation.parquet")),
        data={
            side: {"digest": rows.digest, "fingerprint": rows.fingerprint}
            for side, rows in (("video", videos), ("text", captions))
        },
    )


def paired_rows(videos: Rows, captions: Rows, pairs: Iterable[Pair]) -> PairedRows:
    """The rows of the positive pairs, each caption once, without rows that failed.

    Where there are negative pairs too, `labelled` has all pairs, as often as they are given.
    """
    videos, captions = videos.ok(), captions.ok()
    given = list(pairs)
    has_video = videos.ids.find([pair.video_id for pair in given]) >= 0
    has_caption = captions.ids.find([(pair.caption_video_id, pair.caption_index) for pair in given]) >= 0
    kept = [pair for pair, here in zip(given, has_video & has_caption, strict=True) if here]
    positive = list(dict.fromkeys(pair for pair in kept if pair.label == 1))
    labelled = None
    if any(pair.label != 1 for pair in kept):
        labelled = _labelled_rows(videos, captions, kept)
    rows = _labelled_rows(videos, captions, positive)
    return PairedRows(video=rows.video, text=rows.text, video_of_caption=rows.pairs.video, labelled=labelled)


def _labelled_rows(videos: Rows, captions: Rows, pairs: Sequence[Pair]) -> LabelledRows:
    """Videos and captions of the pairs, each once, in the order in which they come."""
    video_ids = [pair.video_id for pair in pairs]
    caption_keys = [(pair.caption_video_id, pair.caption_index) for pair in pairs]
    video_at = {key: number for number, key in enumerate(dict.fromkeys(video_ids))}
    caption_at = {key: number for number, key in enumerate(dict.fromkeys(caption_keys))}
    labelled = LabelledPairs(
        np.array([video_at[key] for key in video_ids], dtype=np.int64),
        np.array([caption_at[key] for key in caption_keys], dtype=np.int64),
        np.array([pair.label for pair in pairs], dtype=np.float32),
    )
    return LabelledRows(video=videos.select(list(video_at)), text=captions.select(list(caption_at)), pairs=labelled)
