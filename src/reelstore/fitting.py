"""Arrays or rows of two sides -> a fitted aligner, without a project: `reelstore.fit`."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from reelstore.align.base import FitContext, PairedRows, check_layout
from reelstore.align.registry import FittedAligner, all_settings, make_aligner
from reelstore.arrays import Float32Array, IntArray
from reelstore.errors import AlignerError, ParamsError
from reelstore.evaluation import evaluate
from reelstore.settings import MAX_SEED, plain
from reelstore.store.memory import as_rows

HELD_OUT = 0.1
"""Share of the videos that settings are chosen by where no validation pairs are given."""
_PAIRS = ("text", "video", "video_of_caption")


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
            (n_captions, n_tokens, dim), a list of (n_tokens_i, dim), or (values, offsets).
        video: the same of n_videos videos.
        video_of_caption: (n_captions,) int, position in `video` of each caption's video; may be left out where caption
            i is of video i.
        validation: pairs by which settings and epochs are chosen: what `Store.pairs` gives, or any object or mapping
            with `text`, `video` and, as above, `video_of_caption`. Without, a tenth of the videos (at least 2) with all
            their captions is held out for it, drawn by `seed`: the aligner isn't fitted on these. `echo` gets a
            line that says how many.
        seed: of the videos held out, and of a trained kind's weights and order.
        checkpoints: folder in which a trained kind keeps live checkpoints: after a kill, the same call continues from
            there. None: nothing is kept.
        log: called with a mapping of numbers for each setting tried or epoch trained.
        echo: called with lines of progress.
        settings: the kind's own; see docs/aligners.md.

    Returns:
        the fitted aligner: `transform(video=...)`, `transform(text=...)`, `save(folder)`; `history` has what was tried.

    Raises:
        UnknownNameError: there is no such kind.
        ParamsError: a setting isn't the kind's, or is out of range.
        AlignerError: sides don't fit each other, or the kind.
        EmbeddingsError: a side is neither embeddings nor tokens, or holds NaN or infinity.
        MissingExtraError: the kind needs packages that aren't installed.

    Example:
        >>> aligner = fit("ridge", text=text, video=video, video_of_caption=of)    # doctest: +SKIP
        >>> aligner.transform(video=video).shape                                   # doctest: +SKIP
        (100, 64)
    """
    given = plain({"kind": kind, **settings})
    seed = plain(seed)
    if type(seed) is not int or not 0 <= seed <= MAX_SEED:
        raise ParamsError(f"seed is {seed!r:.60}; a whole number from 0 to {MAX_SEED} is expected.", key="seed")
    if "pairs" in given:
        raise ParamsError(
            "pairs is a project's setting, the name of a set in params.yaml; from Python give text=, video= and "
            "video_of_caption=.",
            key="pairs",
        )
    if "seed" in all_settings({"kind": kind}):
        given.setdefault("seed", seed)
    aligner, _ = make_aligner(given)  # before any rows are read: a wrong setting costs nothing
    train, its_validation = _train_and_validation(
        _pairs("training", text, video, video_of_caption), validation, seed, echo or _ignore
    )
    for rows in (*train.by_side().values(), *its_validation.by_side().values()):
        check_layout(rows, aligner.layouts, kind)
    history: list[Mapping[str, float]] = []

    def keep(row: Mapping[str, float]) -> None:
        history.append(dict(row))
        if log is not None:
            log(row)

    folder = None if checkpoints is None else Path(checkpoints)
    context = FitContext(folder, keep, echo or _ignore)
    aligner.fit(train, its_validation, validate=validation_mrr, context=context)
    variants = {side: rows.variant for side, rows in train.by_side().items()}
    data = {
        side: {"digest": rows.digest, "fingerprint": rows.fingerprint}
        for side, rows in train.by_side().items()
        if not rows.in_memory
    }
    return FittedAligner(aligner, kind, {**all_settings(given), **variants}, variants, data, tuple(history))


def validation_mrr(*, text: Float32Array, video: Float32Array, video_of_caption: IntArray) -> float:
    """Text-to-video MRR, by which settings and epochs are chosen."""
    found = evaluate(text=text, video=video, video_of_caption=video_of_caption, ks=(1,), directions="t2v")
    return float(found.metrics["t2v"]["MRR"])


def _ignore(line: str) -> None:
    pass


def _pairs(of: str, text: Any, video: Any, video_of_caption: Any) -> PairedRows:
    videos, captions = as_rows(video, side="video"), as_rows(text, side="text")
    if video_of_caption is None:
        if len(videos) != len(captions):
            raise AlignerError(
                f"{of}: {len(captions)} captions of {len(videos)} videos: say which video each caption is of, with "
                "video_of_caption."
            )
        video_of_caption = np.arange(len(videos))
    owner = np.asarray(video_of_caption)
    if owner.shape != (len(captions),) or owner.dtype.kind not in "iu":
        raise AlignerError(
            f"{of}: video_of_caption is {owner.dtype} {owner.shape}; ({len(captions)},) whole numbers are expected."
        )
    if len(owner) and not (owner.min() >= 0 and owner.max() < len(videos)):
        raise AlignerError(
            f"{of}: video_of_caption has {owner.min()} to {owner.max()}; there are {len(videos)} videos."
        )
    return PairedRows(video=videos, text=captions, video_of_caption=owner.astype(np.int64))


def _train_and_validation(
    pairs: PairedRows, validation: Any, seed: int, echo: Callable[[str], None]
) -> tuple[PairedRows, PairedRows]:
    if validation is None:
        return _hold_out(pairs, seed, echo)
    found = dict(validation) if isinstance(validation, Mapping) else _attributes(validation)
    if not {"text", "video"} <= set(found) <= set(_PAIRS):
        raise AlignerError(
            "validation is what Store.pairs gives, or a mapping with text, video and maybe video_of_caption; it has "
            f"{', '.join(map(str, found)) or 'none of these'}."
        )
    its = _pairs("validation", found["text"], found["video"], found.get("video_of_caption"))
    for side, rows in pairs.by_side().items():
        if rows.dim != its.by_side()[side].dim:
            raise AlignerError(f"{side}: training rows are {rows.dim} wide, validation rows {its.by_side()[side].dim}.")
    return pairs, its


def _attributes(validation: object) -> dict[str, Any]:
    return {name: getattr(validation, name) for name in _PAIRS if hasattr(validation, name)}


def _hold_out(pairs: PairedRows, seed: int, echo: Callable[[str], None]) -> tuple[PairedRows, PairedRows]:
    """Training and validation pairs, without a video in common."""
    captioned = np.unique(pairs.video_of_caption)
    if len(captioned) < 4:
        raise AlignerError(
            f"{len(captioned)} videos with captions are too few to hold some out for validation; give validation=."
        )
    n_held = max(2, round(HELD_OUT * len(captioned)))
    drawn = np.random.default_rng(seed).permutation(captioned)
    echo(f"{n_held} of {len(captioned)} videos are held out for validation.")
    return _of_videos(pairs, np.sort(drawn[n_held:])), _of_videos(pairs, np.sort(drawn[:n_held]))


def _of_videos(pairs: PairedRows, videos: IntArray) -> PairedRows:
    captions = np.flatnonzero(np.isin(pairs.video_of_caption, videos))
    place = np.searchsorted(videos, pairs.video_of_caption[captions])
    return PairedRows(video=pairs.video.at(videos), text=pairs.text.at(captions), video_of_caption=place)
