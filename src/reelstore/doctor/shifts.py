"""Are keys off by one? The probe with every video's captions taken from the key before it or after it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from reelstore.arrays import Float64Array, IntArray
from reelstore.doctor.findings import Check
from reelstore.doctor.geometry import unit
from reelstore.doctor.probe import Probe
from reelstore.doctor.sample import Sample

LEAST = 20
"""Videos of a split from which a shift can be detected."""
MOST = 1000
"""Videos of a split that are ranked."""
ERRORS = 4.0
"""Standard errors by which a shift must find more than the keys as they are."""
GAIN = 1.8
"""Times the MRR of the keys as they are."""
ONE_SIDED = 1.25
"""Times the MRR of the opposite shift: neighbours that are alike are found in both directions."""
SHIFTS = (-1, 1)


@dataclass(frozen=True)
class _Shift:
    """What a shift finds on one split."""

    split: str
    kind: str
    by: int
    of_fit: bool
    of_split: bool
    mrr: float
    mrr_as_is: float
    errors: float
    mrr_opposite: float = 0.0

    @property
    def found(self) -> bool:
        return self.errors > ERRORS and self.mrr > max(GAIN * self.mrr_as_is, ONE_SIDED * self.mrr_opposite)


def off_by_one(probe: Probe) -> list[Check]:
    """Shifts of -1 and +1 of all keys, or of one split's, against the keys as they are."""
    sample = probe.sample
    splits = [name for name in sample.names if len(sample.videos_of(name)) >= LEAST]
    tried = [shift for name in splits for shift in _with_opposites(_of_videos(probe, name))]
    rows = list(_of_captions(probe, splits))
    splits = [name for name in splits if any(shift.split == name for shift in tried)]
    if not splits:
        return []
    best = {name: max((t for t in tried if t.split == name), key=lambda t: (t.found, t.errors)) for name in splits}
    found = [shift for shift in best.values() if shift.found]
    if not found:
        shifted = [shift for shift in rows if shift.found]
        return _captions_check(shifted, rows) if shifted else [_fine(list(best.values()))]
    of_fit = [shift for shift in found if shift.of_fit and not shift.of_split]
    places = {probe.fitted_on} if of_fit else {shift.split for shift in found}
    worst = max(of_fit or found, key=lambda shift: shift.errors)
    about = "" if len(places) == len(splits) else ", ".join(sorted(places))
    return [_check(worst, about, "video", worst.split)]


def _with_opposites(shifts: Iterator[_Shift]) -> list[_Shift]:
    every = list(shifts)
    mrr = {(one.kind, one.by): one.mrr for one in every}
    return [replace(one, mrr_opposite=mrr.get((one.kind, -one.by), 0.0)) for one in every]


def _of_videos(probe: Probe, split: str) -> Iterator[_Shift]:
    sample = probe.sample
    rows = sample.videos_of(split)[:MOST]
    same = np.arange(len(sample.video))
    as_is = _reciprocals(probe.means[rows], probe.predicted[rows])
    for by in SHIFTS:
        whole = neighbours_of(sample.video_places, by)
        within = neighbours_in_splits(sample, by)
        fit_rows = sample.splits == probe.fitted_on
        of_fit = np.where(fit_rows, within, same)
        predicted = {
            "whole": probe.predict(_captioned(sample, whole)),
            "fit": probe.predict(_captioned(sample, of_fit)),
        }
        trials = [
            ("row", probe.predicted, whole, False, True),
            ("row of split", probe.predicted, within, False, True),
            ("fit, row", predicted["whole"], whole, True, True),
            ("fit, row of split", predicted["fit"], within, True, True),
        ]
        if split != probe.fitted_on:
            trials += [("fit", predicted["fit"], same, True, False)]
        for kind, values, partners, of_fit_too, of_split in trials:
            partner = _captioned(sample, partners)[rows]
            kept = partner >= 0
            if kept.sum() < LEAST:
                continue
            shifted = _reciprocals(probe.means[partner[kept]], values[rows], np.flatnonzero(kept))
            yield _compared(split, kind, by, of_fit_too, of_split, shifted, as_is[kept])


def _of_captions(probe: Probe, splits: list[str]) -> Iterator[_Shift]:
    """Captions whose neighbour among the captions belongs to another video: whose are they?"""
    sample = probe.sample
    for by in SHIFTS:
        for split in ["", *splits]:
            chosen = np.arange(len(sample.text)) if not split else np.flatnonzero(sample.caption_splits == split)
            places = (sample.caption_split_places if split else sample.caption_places)[chosen]
            partner = neighbours_of(places, by)
            rows, others = chosen[partner >= 0], chosen[partner[partner >= 0]]
            own, other = sample.video_of_caption[rows], sample.video_of_caption[others]
            edge = (own != other) & (sample.n_captions[own] > 1)
            rows, own, other = rows[edge][:MOST], own[edge][:MOST], other[edge][:MOST]
            if len(rows) < LEAST:
                continue
            items = np.unique(np.r_[own, other])
            scores = _scores(probe, rows, items)
            as_is = _reciprocal(scores, np.searchsorted(items, own))
            yield _compared(
                split, "caption", by, False, True, _reciprocal(scores, np.searchsorted(items, other)), as_is
            )


def _scores(probe: Probe, captions: IntArray, videos: IntArray) -> Float64Array:
    """(n, n_videos) cosines of captions and predicted videos, plus those with the videos' other captions."""
    sample, text = probe.sample, unit(probe.text)
    total = np.zeros((len(sample.video), text.shape[1]))
    np.add.at(total, sample.video_of_caption, text)
    scores = text[captions] @ (unit(probe.predicted[videos]) + unit(total[videos])).T
    own = np.searchsorted(videos, sample.video_of_caption[captions])
    alone = unit(total[videos[own]] - text[captions]) + unit(probe.predicted[videos[own]])
    scores[np.arange(len(captions)), own] = (text[captions] * alone).sum(axis=1)
    return np.asarray(scores)


def neighbours_of(places: IntArray, by: int) -> IntArray:
    """(n,) row whose place is `by` further; -1 where there is none. Places ascend."""
    rows = np.searchsorted(places, places + by)
    inside = rows < len(places)
    inside[inside] = places[rows[inside]] == places[inside] + by
    return np.where(inside, rows, -1).astype(np.int64)


def neighbours_in_splits(sample: Sample, by: int) -> IntArray:
    """(n_videos,) the same within each video's split."""
    partners = np.full(len(sample.video), -1, dtype=np.int64)
    for name in np.unique(sample.splits):
        rows = np.flatnonzero(sample.splits == name)
        found = neighbours_of(sample.video_split_places[rows], by)
        partners[rows] = np.where(found >= 0, rows[found], -1)
    return partners


def _captioned(sample: Sample, partners: IntArray) -> IntArray:
    return np.where((partners >= 0) & (sample.n_captions[partners] > 0), partners, -1)


def _reciprocals(queries: Float64Array, items: Float64Array, own: IntArray | None = None) -> Float64Array:
    scores = unit(queries) @ unit(items).T
    return _reciprocal(scores, np.arange(len(queries)) if own is None else own)


def _reciprocal(scores: Float64Array, own: IntArray) -> Float64Array:
    """1 / rank of each query's item, half of the ties above it."""
    relevant = scores[np.arange(len(scores)), own][:, None]
    return np.asarray(1 / (1 + (scores > relevant).sum(axis=1) + ((scores == relevant).sum(axis=1) - 1) / 2))


def _compared(
    split: str, kind: str, by: int, of_fit: bool, of_split: bool, shifted: Float64Array, as_is: Float64Array
) -> _Shift:
    gain = shifted - as_is
    error = max(float(gain.std(ddof=1)) / len(gain) ** 0.5, 1e-9)
    mean = float(gain.mean())
    return _Shift(split, kind, by, of_fit, of_split, float(shifted.mean()), float(as_is.mean()), mean / error)


def _check(shift: _Shift, about: str, side: str, split: str) -> Check:
    what = "Keys are" if not about else f"Keys of {about} are"
    behind = "after" if shift.by > 0 else "before"
    whose = "Each video fits the captions of the key" if side == "video" else "Captions fit the video of the caption"
    return Check(
        "off-by-one",
        about,
        shift.mrr,
        f"below the {shift.mrr_as_is:.2g} of the keys as they are",
        "fatal",
        f"{what} off by one: probe MRR {shift.mrr:.2f} at shift {shift.by:+d} against {shift.mrr_as_is:.2f} at 0"
        f"{f' ({split})' if split and split != about else ''}. {whose} {behind} it.",
        "Look for a header that was read as a row, a skipped first row, or a list that was sorted on one side only; "
        f"then import the {'keys' if side == 'video' else 'captions'} again.",
    )


def _captions_check(found: list[_Shift], tried: list[_Shift]) -> list[Check]:
    worst = max(found, key=lambda shift: shift.errors)
    places = {shift.split for shift in found if shift.split}
    everywhere = not worst.split or places >= {shift.split for shift in tried if shift.split}
    about = "captions" if everywhere or not places else ", ".join(f"captions of {name}" for name in sorted(places))
    return [_check(worst, about, "text", "")]


def _fine(shifts: list[_Shift]) -> Check:
    worst = max(shifts, key=lambda shift: shift.errors)
    meaning = f"At shift {worst.by:+d} the probe has MRR {worst.mrr:.2f}, at 0 {worst.mrr_as_is:.2f}."
    return Check("off-by-one", "", worst.mrr, f"below {max(worst.mrr_as_is, 1e-9) * GAIN:.2g}", "ok", meaning)
