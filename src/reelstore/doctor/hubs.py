"""Hubs: items that are among the nearest of most queries, whichever they are."""

import numpy as np
from scipy.stats import skew

from reelstore.arrays import BoolArray, Float64Array
from reelstore.doctor.findings import Check
from reelstore.doctor.geometry import same_width, unit
from reelstore.doctor.probe import Probe
from reelstore.doctor.sample import Sample

NEAREST = 10
LEAST = 40
"""Items from which a hub can be detected."""
MAX_QUERIES = 4000
HUB = 0.95
"""Share of queries that have the largest hub among their nearest, from which it is one."""
FEW = 12
FEW_SHARE = 0.05
MOST_SHARE = 0.15
"""Items that may be hubs together: 12 of few items, a share of many."""
HELD = 0.98
"""Share of queries whose nearest non-relevant item is one of these, from which they are hubs."""
APART = 5.0
GAP = 1.0
"""Robust standard deviations by which a hub's mean score exceeds the median, or the next item's, where the towers share
no space.

There one order of the items for all queries is common, and no item stands apart.
"""
N_PERMUTATIONS = 99


def hubs(sample: Sample, probe: Probe | None, *, shared: bool, stored: bool = True) -> list[Check]:
    """Hubs of every split, both directions, as stored and after the probe: the most severe of each direction.

    Args:
        sample: of the store.
        probe: fitted on it, if it could be.
        shared: whether the towers are better than chance as they are.
        stored: whether to check rows as they are stored too; a common mean or an outlier dimension makes hubs there.
    """
    checks: dict[str, list[Check]] = {"t2v": [], "v2t": []}
    spaces = [("as stored", *same_width(text=sample.text, video=sample.video), not shared)] if stored else []
    if probe is not None:
        spaces.append(("after the probe", probe.text, probe.predicted, False))
    for where, text, video, apart in spaces:
        for split in sample.names:
            rows, owner = sample.captions_of(split)
            videos = sample.videos_of(split)
            if len(rows) > MAX_QUERIES:
                kept = np.sort(np.random.default_rng(0).permutation(len(rows))[:MAX_QUERIES])
                rows, owner = rows[kept], owner[kept]
            scores = unit(text[rows]) @ unit(video[videos]).T
            own = owner[:, None] == np.arange(len(videos))
            about = f"{split}, {where}"
            names = [f"video {sample.video_ids[row]}" for row in videos.tolist()]
            checks["t2v"] += _hubs(f"t2v {about}", scores, own, names, "captions", apart)
            keys = [sample.captions[row] for row in rows.tolist()]
            names = [f"caption {key[0]}/{key[1]}" for key in keys]
            checks["v2t"] += _hubs(f"v2t {about}", scores.T, own.T, names, "videos", apart)
    return [max(of, key=lambda check: (check.level != "ok", check.value)) for of in checks.values() if of]


def _hubs(about: str, scores: Float64Array, own: BoolArray, names: list[str], asked: str, apart: bool) -> list[Check]:
    """Skewness of how often an item is among the `NEAREST`. Source: Radovanovic et al. 2010."""
    n_queries, n_items = scores.shape
    if n_items < LEAST or n_queries < LEAST:
        return []
    scores = np.where(own, -np.inf, scores)
    nearest = min(NEAREST, n_items // 10)
    top = np.argpartition(-scores, nearest - 1, axis=1)[:, :nearest]
    counts = np.bincount(top.ravel(), minlength=n_items)
    hardest = np.bincount(scores.argmax(axis=1), minlength=n_items) / n_queries
    n_few = max(min(FEW, int(MOST_SHARE * n_items)), int(FEW_SHARE * min(n_items, n_queries)))
    few = np.argsort(-hardest, kind="stable")[:n_few]
    held = float(hardest[few].sum())
    largest = int(counts.argmax())
    share = float(counts[largest] / n_queries)
    value = float(skew(counts))
    high = _null(n_queries, n_items, nearest)
    means = np.where(own, np.nan, scores)
    means = np.nanmean(means, axis=0)
    middle = float(np.median(means))
    spread = max(1.4826 * float(np.median(np.abs(means - middle))), 1e-12)
    leading = np.sort(means)[::-1][: int(MOST_SHARE * n_items) + 1]
    gap = float((leading[:-1] - leading[1:]).max()) / spread
    stands_out = not apart or gap > GAP or float(means[largest] - middle) / spread > APART
    # Of few queries, a few items are nearest to all by themselves.
    crowded = held >= HELD and n_queries >= 4 * n_few
    bad = value > high and stands_out and (share >= HUB or crowded)
    n_hubs = int((np.cumsum(hardest[few]) < 0.999 * held).sum()) + 1
    antihubs = float((counts == 0).mean())
    text = (
        f"{names[largest]} is among the {nearest} nearest non-relevant of {share:.0%} of {asked}; "
        f"{n_hubs} hubs are the nearest of {held:.1%}; {antihubs:.0%} are never near (antihubs)."
    )
    return [
        Check(
            "hubs",
            about,
            value,
            f"skewness up to {high:.2g} by chance, and no item near {HUB:.0%} of {asked}",
            "warning" if bad else "ok",
            text[0].upper() + text[1:],
            "Look at these items: blank clips, averages, unnormalised rows. Centre or standardise; measure with dual "
            "softmax or QB-Norm beside it.",
        )
    ]


def _null(n_queries: int, n_items: int, nearest: int) -> float:
    """Largest skewness of permutations: every query has its nearest drawn from all items alike."""
    rng = np.random.default_rng(0)
    counts = rng.multinomial(n_queries * nearest, np.full(n_items, 1 / n_items), size=N_PERMUTATIONS)
    return float(skew(counts, axis=1).max())
