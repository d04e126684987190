"""Every check of a sample of pairs: what `reelstore doctor` says beyond rows of one variant and what splits share."""

from collections.abc import Sequence

import numpy as np

from reelstore.arrays import IntArray
from reelstore.doctor import embeddings
from reelstore.doctor.drift import drift
from reelstore.doctor.findings import Check
from reelstore.doctor.geometry import same_width
from reelstore.doctor.hubs import hubs
from reelstore.doctor.pairing import LEARNED, mismatched_captions, probe_checks
from reelstore.doctor.permutation import PermutationTest, permutation_test
from reelstore.doctor.probe import LEAST, Probe
from reelstore.doctor.sample import Sample
from reelstore.doctor.shifts import off_by_one
from reelstore.doctor.values import repeats, value_checks
from reelstore.ranking import count_pairs

HARMLESS = 0.9
"""Of the probe's MRR, that the towers have as they are, from which a common mean does no harm."""
MAX_AGREEING = 1000
"""Videos whose neighbours are compared across towers."""


def examine(
    sample: Sample,
    *,
    video: str = "video",
    text: str = "text",
    split: str = "test",
    files: Sequence[str] | None = None,
    texts: Sequence[str] | None = None,
) -> list[Check]:
    """All checks of a sample.

    Args:
        sample: of a store.
        video: what checks of videos are about.
        text: what checks of captions are about.
        split: whose scores are checked as they are.
        files: (n_videos,) digests of the files, where they're known.
        texts: (n_captions,) texts, where they're known.
    """
    keys = [f"{key[0]}/{key[1]}" for key in sample.captions]
    sides = (
        (video, sample.video, sample.splits, list(sample.video_ids), files),
        (text, sample.text, sample.caption_splits, keys, texts),
    )
    checks: list[Check] = []
    for about, values, splits, _, _ in sides:
        checks += value_checks(values, splits, about)
    if any(check.name == "values" for check in checks):
        return checks  # nothing can be said of rows that aren't numbers
    told_apart = True
    for about, values, splits, names, contents in sides:
        if len(values) < 2 or (values == values[0]).all():
            told_apart = False  # `constant` says it
            continue
        checks += [embeddings.outliers(values[_spread(len(values))], about), embeddings.lengths(values, names, about)]
        checks += repeats(values, splits, names, contents, about)
        if sample.names:
            rows = np.arange(len(values)) if values is sample.video else sample.one_caption
            some = rows[_spread(len(rows))]
            checks.append(embeddings.kinds(values[some], [names[row] for row in some.tolist()], about))
            checks += drift(values[rows], splits[rows], sample.names[0], about)
    if not told_apart or not sample.names:
        return [*checks, *_common(sample, (video, text), harmless=False)]
    found, n_tied, n_asked = _unaligned(sample, split if split in sample.names else sample.names[0])
    checks += [embeddings.chance(found), embeddings.ties(n_tied, n_asked)]
    probe = Probe(sample) if len(sample.videos_of(sample.names[0])) >= LEAST else None
    best = found.mrr
    if probe is None:
        n_videos = len(sample.videos_of(sample.names[0]))
        meaning = f"Too few videos to tell: {sample.names[0]} has {n_videos} with captions."
        checks.append(Check("probe", "", n_videos, f"{LEAST} videos or more", "note", meaning, "Have more videos."))
    else:
        of_probe = probe_checks(probe)
        best = max(found.mrr, probe.test(split if split in sample.names else sample.names[0]).mrr)
        hopeless = any(check.level == "fatal" for check in of_probe if check.name == "probe")
        rows = sample.videos_of(probe.fitted_on)[:MAX_AGREEING]
        checks += embeddings.agreement(text=sample.mean_captions[rows], video=sample.video[rows], learned=not hopeless)
        checks += [*of_probe, *off_by_one(probe), *mismatched_captions(probe)]
    shared = found.p <= LEARNED
    checks += _common(sample, (video, text), harmless=shared and found.mrr >= HARMLESS * best)
    known = any(check.level == "warning" for check in checks if check.name in ("common-mean", "outliers"))
    return [*checks, *hubs(sample, probe, shared=shared, stored=shared or not known)]


def _common(sample: Sample, about: tuple[str, str], *, harmless: bool) -> list[Check]:
    sides = zip(about, (sample.video, sample.text), strict=True)
    return [
        embeddings.common_mean(values[_spread(len(values))], name, harmless=harmless)
        for name, values in sides
        if len(values) >= 2
    ]


def _unaligned(sample: Sample, split: str) -> tuple[PermutationTest, int, int]:
    """How captions find videos as both are stored, and how many have their video tied with another."""
    rows, owner = sample.captions_of(split)
    text, video = same_width(text=sample.text[rows], video=sample.video[sample.videos_of(split)])
    counts = count_pairs(np.arange(len(rows)), owner, text=text, video=video, directions=("t2v",))["t2v"]
    return permutation_test(text, video, owner), int((counts.equal > 0).sum()), len(rows)


def _spread(n_rows: int) -> IntArray:
    """At most `MAX_ROWS` places, evenly spaced."""
    return np.linspace(0, n_rows - 1, min(n_rows, embeddings.MAX_ROWS)).astype(np.int64)
