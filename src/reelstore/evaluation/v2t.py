"""Counts of video-to-text retrieval where v2t is `first` or `group_max`."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from reelstore.arrays import IntArray
from reelstore.errors import EvaluationError
from reelstore.ranking import Direction, PairCounts, count_pairs
from reelstore.ranking.sources import Reordered, Source


def first_captions(
    pairs: tuple[IntArray, IntArray], options: Mapping[str, Any], *, text: Source, video: Source
) -> PairCounts:
    """Counts of `v2t` with the first caption of each video alone; items keep the rows they have in `text`."""
    caption, video_of = pairs
    order = np.lexsort((caption, video_of))
    first = order[np.r_[True, video_of[order][1:] != video_of[order][:-1]]]
    kept = np.unique(caption[first])
    counts = count_pairs(
        np.searchsorted(kept, caption[first]),
        video_of[first],
        text=text.take(kept),
        video=video,
        directions=["v2t"],
        **options,
    )["v2t"]
    counts.item[:] = kept[counts.item]
    counts.hardest_negative[counts.hardest_negative >= 0] = kept[counts.hardest_negative[counts.hardest_negative >= 0]]
    return counts


def group_max(
    pairs: tuple[IntArray, IntArray],
    directions: Sequence[Direction],
    options: Mapping[str, Any],
    *,
    text: Source,
    video: Source,
) -> dict[Direction, PairCounts]:
    """Counts whose `v2t` searches the videos that have captions, each with the score of its best one."""
    caption, video_of = pairs
    if len(np.unique(caption)) < len(caption):
        raise EvaluationError(
            "group_max needs captions of one video each: a caption of several videos would be in several groups."
        )
    owner = np.full(len(text), len(video), dtype=np.int64)
    owner[caption] = video_of
    # Captions of one video must be neighbours; where they aren't, they are read in that order.
    order = np.argsort(owner, kind="stable")
    straight = bool((owner[1:] >= owner[:-1]).all())
    videos, group = np.unique(owner[order], return_inverse=True)
    group[videos[group] == len(video)] = -1
    place = np.argsort(order)
    counts = count_pairs(
        place[caption],
        video_of,
        text=text if straight else Reordered(text, order),
        video=video,
        directions=directions,
        group=group,
        **options,
    )
    if "t2v" in counts:
        of = counts["t2v"]
        counts["t2v"] = replace(
            of,
            query=np.sort(order[of.query]),
            **{name: getattr(of, name)[np.argsort(order[of.query])] for name in ("item", "score", "greater", "equal")},
            **{name: getattr(of, name)[place] for name in ("hardest_negative", "hardest_negative_score")},
        )
    if "v2t" in counts:
        of = counts["v2t"]
        known = of.hardest_negative >= 0
        best = np.where(known, videos[np.where(known, of.hardest_negative, 0)], -1)
        counts["v2t"] = replace(of, item=videos[of.item], hardest_negative=best)
    return counts
