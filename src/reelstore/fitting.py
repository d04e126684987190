"""Arrays or rows of two sides -> a fitted aligner, without a project: `reelstore.fit`."""

from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from reelstore.align.base import FitContext, PairedRows, check_layout
from reelstore.align.registry import FittedAligner, all_settings, make_aligner
from reelstore.arrays import Float32Array, IntArray
from reelstore.errors import AlignerError
from reelstore.evaluation import evaluate
from reelstore.records import SIDES
from reelstore.store.memory import as_rows
from reelstore.store.pairs import PairedVariants
from reelstore.store.read import Rows

HELD_OUT = 0.1
"""Share of the videos that settings are chosen by where no validation pairs are given."""


def fit(
    kind: str,
    *,
    text: Any,
    video: Any,
    video_of_caption: Any = None,
    validation: Any = None,
    seed: int = 0,
    checkpoints: str | Path | None = None,
    log: Callable[[Mapping[str, float]], None] | None = None,
    echo: Callable[[str], None] | None = None,
    **settings: Any,
) -> FittedAligner:
    """Fit an aligner: a map of each side into a joint space, where a caption is near its video.

    Args:
        kind: `ridge`, `cca`, `kernel-ridge`, `procrustes`, `asif`, `ensemble`, `unaligned` (closed forms: NumPy alone),
            `mlp`, `cca-infonce`, `transformer`, `attention-pool` (trained by Lightning), or a plug-in's.
        text: captions: an array or tensor (n_captions, dim), or rows of a store. Kinds that take tokens take tokens:
            (n_captions, n_tokens, dim), or a list of (n_tokens_i, dim).
        video: the same of n_videos videos.
        video_of_caption: (n_captions,) int, position in `video` of each caption's video; may be left out where caption
            i is of video i.
        validation: pairs by which settings and epochs are chosen: what `Store.pairs` gives, or a mapping with `text`,
            `video` and maybe `video_of_caption`. Without, a tenth of the videos, drawn by `seed`, is held out for it.
        seed: of the videos held out, and of a trained kind's weights and order.
        checkpoints: folder that a trained kind goes on from after it was killed; a temporary one by default.
        log: called with a mapping of numbers for each setting tried or epoch trained.
        echo: called with lines of progress.
        settings: the kind's own; see docs/aligners.md.

    Returns:
        the fitted aligner: `transform(video=...)`, `transform(text=...)`, `save(folder)`; `history` has what was tried.

    Raises:
        UnknownNameError: there is no such kind.
        ParamsError: a setting isn't the kind's, or is out of range.
        AlignerError: sides don't fit each other, or the kind.
        EmbeddingsError: what is given as embeddings can't be.
        MissingExtraError: the kind needs packages that aren't installed.

    Example:
        >>> aligner = fit("ridge", text=text, video=video, video_of_caption=of)    # doctest: +SKIP
        >>> aligner.transform(video=video).shape                                   # doctest: +SKIP
        (100, 64)
    """
    train = _pairs("train", text, video, video_of_caption)
    if validation is None:
        train, held_out = _held_out(train, seed)
    else:
        held_out = _validation(validation)
    for side, one, other in (("video", train.videos, held_out.videos), ("text", train.captions, held_out.captions)):
        if one.dim != other.dim:
            raise AlignerError(f"{side}: training rows are {one.dim} wide, validation rows {other.dim}.")
    given = {"kind": kind, **settings}
    if "seed" in all_settings({"kind": kind}):
        given.setdefault("seed", seed)
    aligner, _ = make_aligner(given)
    for rows in (train.videos, train.captions):
        check_layout(rows, aligner.layouts, kind)
    history: list[Mapping[str, float]] = []

    def watch(row: Mapping[str, float]) -> None:
        history.append(dict(row))
        if log is not None:
            log(row)

    with TemporaryDirectory() as temporary:
        context = FitContext(Path(checkpoints or temporary), watch, echo or (lambda line: None))
        aligner.fit(train, held_out, validate=_mrr, context=context)
    rows_of = {"video": train.videos, "text": train.captions}
    return FittedAligner(
        aligner,
        kind,
        {**all_settings(given), **{side: rows_of[side].variant for side in SIDES}},
        {side: rows_of[side].variant for side in SIDES},
        {
            side: {"digest": rows.digest, "fingerprint": rows.fingerprint}
            for side, rows in rows_of.items()
            if not rows.in_memory
        },
        tuple(history),
    )


def _mrr(video: Float32Array, text: Float32Array, video_of_caption: IntArray) -> float:
    found = evaluate(text=text, video=video, video_of_caption=video_of_caption, ks=(1,), directions="t2v")
    return float(found.metrics["t2v"]["MRR"])


def _pairs(what: str, text: Any, video: Any, video_of_caption: Any) -> PairedRows:
    videos, captions = as_rows(video, side="video"), as_rows(text, side="text")
    if video_of_caption is None:
        if len(videos) != len(captions):
            raise AlignerError(
                f"{what}: {len(captions)} captions of {len(videos)} videos: say which video each caption is of, with "
                "video_of_caption."
            )
        video_of_caption = np.arange(len(videos))
    of = np.asarray(video_of_caption)
    if of.shape != (len(captions),) or of.dtype.kind not in "iu":
        raise AlignerError(
            f"{what}: video_of_caption is {of.dtype} {of.shape}; ({len(captions)},) whole numbers are expected."
        )
    if len(of) and not (of.min() >= 0 and of.max() < len(videos)):
        raise AlignerError(f"{what}: video_of_caption has {of.min()} to {of.max()}; there are {len(videos)} videos.")
    return PairedRows(videos, captions, of.astype(np.int64))


def _validation(given: Any) -> PairedRows:
    if isinstance(given, PairedVariants):
        return _pairs("validation", given.text, given.video, given.video_of_caption)
    if not isinstance(given, Mapping) or not {"text", "video"} <= set(given) <= {"text", "video", "video_of_caption"}:
        raise AlignerError(
            "validation is what Store.pairs gives, or a mapping with text, video and maybe video_of_caption."
        )
    return _pairs("validation", given["text"], given["video"], given.get("video_of_caption"))


def _held_out(pairs: PairedRows, seed: int) -> tuple[PairedRows, PairedRows]:
    """Training and validation pairs, without a video in common."""
    captioned = np.unique(pairs.video_of_caption)
    if len(captioned) < 4:
        raise AlignerError(
            f"{len(captioned)} videos with captions are too few to hold some out for validation; give validation=."
        )
    n_held = max(2, round(HELD_OUT * len(captioned)))
    drawn = np.random.default_rng(seed).permutation(captioned)
    return _of_videos(pairs, np.sort(drawn[n_held:])), _of_videos(pairs, np.sort(drawn[:n_held]))


def _of_videos(pairs: PairedRows, videos: IntArray) -> PairedRows:
    captions = np.flatnonzero(np.isin(pairs.video_of_caption, videos))
    place = np.searchsorted(videos, pairs.video_of_caption[captions])
    return PairedRows(_at(pairs.videos, videos), _at(pairs.captions, captions), place)


def _at(rows: Rows, positions: IntArray) -> Rows:
    return rows.at(positions)
