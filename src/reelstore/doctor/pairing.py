"""Do captions belong to their videos? The probe of each split, against shuffled pairs and against the other splits."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import binom, norm

from reelstore.arrays import Array, Float64Array, IntArray
from reelstore.doctor.findings import Check, Level
from reelstore.doctor.geometry import share_below, unit
from reelstore.doctor.permutation import PermutationTest
from reelstore.doctor.probe import Probe

ENOUGH = 20
"""Videos of a split from which its probe says something."""
LEARNED = 0.005
"""Share of permutations of the pairs that find as much, up to which a probe has learned something."""
WORTH = 0.6
"""AUC that a probe must be able to exclude before it says that there is nothing to learn."""
N_SHUFFLES = 20
ERRORS = 5.0
LESS = 0.5
"""Of the other splits' AUC above chance, below which a split was joined or made otherwise."""
SIBLINGS = 3
"""Captions of a video from which one can be compared with the others."""
TAIL = 0.1
MISMATCHED = 0.12
"""Share of mismatched captions from which it is reported, beyond what a healthy set of this AUC has."""
SPARE = 0.03
"""Of it, what is granted before it counts as more than chance."""
MISMATCHED_VIDEOS = 0.2
"""The same of all of a video's captions, of which some are hard to find without being mismatched."""
MISMATCHED_SINGLE = 0.28
"""The same of videos with one or two captions."""


def probe_checks(probe: Probe) -> list[Check]:
    """`probe`, `shuffled` and `split-probe`."""
    found = {name: probe.test(name) for name in probe.sample.names}
    main = found.get("validation", found[probe.fitted_on])
    told = main if main.n_items >= ENOUGH else max(found.values(), key=lambda of: of.n_items)
    if told.p > LEARNED and (fitted := found[probe.fitted_on]).n_items >= ENOUGH and fitted.p <= LEARNED:
        told = fitted  # `split-probe` says what is wrong with the other one
    return [_learned(probe, main, told), _shuffled(probe, told, found), *_splits(probe, found)]


def _learned(probe: Probe, main: PermutationTest, told: PermutationTest) -> Check:
    few = told.n_items < ENOUGH
    learned = told.p <= LEARNED
    sure = told.auc + 2 * told.auc_error < WORTH
    level: Level = "ok" if learned else "note" if few or not sure else "fatal"
    head = f"Ridge regression on {probe.n_train} videos finds captions "
    if few:
        level, head = "note", f"Too few videos to tell: {told.n_items}. {head}"
    elif main.n_items < ENOUGH:
        level = "note" if level == "ok" else level
        head = f"Too few videos to tell in validation, {main.n_items}; cross-validated on {told.n_items}: {head}"
    tail = {
        "ok": "better than chance.",
        "note": "better than chance." if learned else "no better than chance, but a weak signal can't be excluded.",
        "fatal": "no better than chance: there is nothing it can learn.",
    }[level]
    return Check(
        "probe",
        "",
        told.mrr,
        f"above {told.limit:.4f} (chance {told.chance:.4f} among {told.n_items})",
        level,
        head + tail,
        "Check that captions belong to their videos, and which variants are used."
        if not learned
        else "Have more videos in validation.",
    )


def _shuffled(probe: Probe, told: PermutationTest, found: dict[str, PermutationTest]) -> Check:
    """The same after shuffling the training pairs, several times: how far the mean is from chance."""
    split = next(name for name, of in found.items() if of is told)
    train = probe.sample.videos_of(probe.fitted_on)
    rng = np.random.default_rng(0)
    scores = []
    for _ in range(N_SHUFFLES):
        partners = np.arange(len(probe.sample.video))
        partners[train] = train[rng.permutation(len(train))]
        scores.append(probe.mean_caption_auc(split, probe.predict(partners)))
    mean, error = float(np.mean(scores)), float(np.std(scores, ddof=1)) / N_SHUFFLES**0.5
    few = told.n_items < ENOUGH
    leaks = not few and mean - 0.5 > max(ERRORS * error, 0.02)
    return Check(
        "shuffled",
        "",
        mean,
        f"below {0.5 + max(ERRORS * error, 0.02):.3f}, AUC (chance 0.5)",
        "fatal" if leaks else "ok",
        f"After {N_SHUFFLES} shuffles of the training pairs the probe "
        + ("still finds captions: something else gives them away." if leaks else "finds nothing."),
        "Look for what videos and captions share beside their content, such as their order.",
    )


def _splits(probe: Probe, found: dict[str, PermutationTest]) -> list[Check]:
    """Each split's AUC against the best of the others."""
    checks = []
    for name, of in found.items():
        others = [(other, b) for other, b in found.items() if other != name and b.n_items >= ENOUGH]
        if not others or of.n_items < ENOUGH // 2:
            continue
        best, against = max(others, key=lambda pair: (pair[1].auc - 0.5) / pair[1].auc_error)
        lift, usual = of.auc - 0.5, against.auc - 0.5
        error = float(np.hypot(of.auc_error, against.auc_error))
        less = lift < LESS * usual and usual - lift > ERRORS * error
        level: Level = "ok" if not less else "warning" if of.p <= LEARNED else "fatal"
        about = f"{best} (cross-validated)" if best == probe.fitted_on else best
        checks.append(
            Check(
                "split-probe",
                name,
                of.auc,
                f"{0.5 + LESS * usual:.2f} or more, AUC; {about} has {against.auc:.2f}",
                level,
                f"The probe finds captions of {name} with AUC {of.auc:.2f} and MRR {of.mrr:.3f} "
                f"(chance {of.chance:.3f})" + (f", far below {about}." if less else "."),
                f"Compare how {name} was embedded, preprocessed and joined with {best}: its rows may belong to other "
                "keys, or come from other settings.",
            )
        )
    return checks


@dataclass(frozen=True)
class _Mismatched:
    what: str
    share: float
    expected: float
    allowed: float
    n: int

    @property
    def found(self) -> bool:
        if self.share - self.expected < self.allowed:
            return False
        count = round(self.share * TAIL * self.n)
        return bool(binom.sf(count - 1, self.n, min((self.expected + SPARE) * TAIL, 1)) < 0.003)


def mismatched_captions(probe: Probe) -> list[Check]:
    """Share of captions that look like captions of other videos, by the video's other captions and by the probe.

    A caption of another video has a place among the videos that is as likely one as another; one of its own video is
    rarely among the lowest tenth. Ten times the share that is there estimates the share of mismatched captions.
    """
    checks = []
    for split in probe.sample.names:
        rows, owner = probe.sample.captions_of(split)
        videos = probe.sample.videos_of(split)
        if len(videos) < ENOUGH:
            continue
        measured = [_among_siblings(probe.sample.text[rows], owner, len(videos))]
        queries, items = probe.means[videos], probe.predicted[videos]
        allowed = MISMATCHED_VIDEOS if len(rows) >= SIBLINGS * len(videos) else MISMATCHED_SINGLE
        places = share_below(unit(queries) @ unit(items).T, np.arange(len(videos)))
        measured.append(_of("videos' captions", places, allowed))
        known = [one for one in measured if one is not None]
        worst = max(known, key=lambda one: (one.found, one.share - one.expected - one.allowed))
        checks.append(
            Check(
                "wrong-captions",
                split,
                worst.share,
                f"below {worst.expected + worst.allowed:.2f}",
                "warning" if worst.found else "ok",
                f"About {min(worst.share, 1):.0%} of {split}'s {worst.what} look like those of other videos"
                + (": they are paired with other videos than their own." if worst.found else "."),
                "Join captions and videos again by key; look at some of the pairs.",
            )
        )
    return checks


def _among_siblings(text: Array, owner: IntArray, n_videos: int) -> _Mismatched | None:
    """Each caption against the other captions of its video, and against those of others.

    Rows are centred, or standardised too: whichever makes a video's captions more alike.
    """
    chosen = np.flatnonzero(np.bincount(owner, minlength=n_videos)[owner] >= SIBLINGS)
    if len(np.unique(owner[chosen])) < ENOUGH:
        return None
    centred = unit(text) - unit(text).mean(axis=0)
    spread = centred.std(axis=0)
    standardised = centred / np.where(spread > 1e-6 * spread.max(initial=0), spread, 1)
    found = []
    for values in (centred, standardised):
        lengthened = unit(values)
        total = np.zeros((n_videos, text.shape[1]))
        np.add.at(total, owner, lengthened)
        scores = lengthened[chosen] @ unit(total).T
        alone = unit(total[owner[chosen]] - lengthened[chosen])
        scores[np.arange(len(chosen)), owner[chosen]] = (lengthened[chosen] * alone).sum(axis=1)
        found.append(share_below(scores, owner[chosen]))
    return _of("captions", max(found, key=lambda places: float(places.mean())), MISMATCHED)


def _of(what: str, places: Float64Array, allowed: float) -> _Mismatched:
    """The lowest tenth against that of two normal distributions with this AUC (the binormal model of an ROC curve)."""
    auc = float(np.clip(places.mean(), 0.5, 0.999))
    expected = float(norm.cdf(norm.ppf(TAIL) - 2**0.5 * norm.ppf(auc))) / TAIL
    return _Mismatched(what, float((places < TAIL).mean()) / TAIL, expected, allowed, len(places))
