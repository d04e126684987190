"""Two sets of embeddings, or a matrix of scores, and who belongs to whom -> metrics."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np

from reelstore.errors import EvaluationError, UnknownNameError
from reelstore.evaluation.median import median_rank
from reelstore.evaluation.metrics import constant_counts, direction_metrics, mean, query_values
from reelstore.evaluation.relevance import right_pairs
from reelstore.evaluation.ties import Bools, TieGroups, Ties, expected_rank
from reelstore.ranking import (
    DIRECTIONS,
    MEMORY,
    Direction,
    Floats,
    Ints,
    Matrix,
    PairCounts,
    Scorer,
    Similarity,
    count_pairs,
    count_scores,
)
from reelstore.ranking.sources import Reordered, Source

Metrics = dict[str, dict[str, float]]
V2T = Literal["best", "group_max", "first"]
_FORMS = (
    "evaluate takes text, video and video_of_caption (or relevance), or scores and relevance (or video_of_caption); "
    "not a mixture."
)


@dataclass(frozen=True)
class Ranks:
    """One row for each query that has a right item.

    Attributes:
        query: (n,) row of the query: a caption for `t2v`, a video for `v2t`.
        video: (n,) row of the video it belongs to (the first of several); what the bootstrap draws.
        n_right: (n,) right items.
        rank: (n,) expected rank of the best of them, 1 is best.
        greater: (n,) wrong items above the best right one.
        equal: (n,) wrong items that tie with it.
        tied: (n,) whether a metric of this query depends on how ties are broken.
        best_wrong: (n,) row of the wrong item with the highest score; -1 where there is none. None if not asked for.
        gap: (n,) score of the best right item less that of the best wrong one; inf where there is none. None likewise.
        values: metric -> (n,) values whose mean it is, under the tie rule of the evaluation.
    """

    query: Ints
    video: Ints
    n_right: Ints
    rank: Floats
    greater: Ints
    equal: Ints
    tied: Bools
    best_wrong: Ints | None
    gap: Floats | None
    values: dict[str, Floats]

    def __len__(self) -> int:
        return len(self.query)

    def __repr__(self) -> str:
        return f"Ranks({len(self)} queries)"


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` found.

    Attributes:
        metrics: by direction (`t2v`, `v2t`; `retrieval` for a matrix of scores) and `health`, as written to JSON:
            fractions in [0, 1], ranks from 1.
        ranks: direction -> a row for each query that has a right item.
        ks: cut-offs.
        ties: rule behind `metrics`.
        similarity: `cosine`, `dot`, `euclidean`, or how else the scores came about.
        v2t_protocol: `best`, `group_max` or `first`.
    """

    metrics: Metrics
    ranks: Mapping[str, Ranks]
    ks: tuple[int, ...]
    ties: Ties
    similarity: str
    v2t_protocol: V2T
    _counts: Mapping[str, PairCounts]
    _groups: Mapping[str, TieGroups]

    def __repr__(self) -> str:
        scores = ", ".join(
            f"{direction} MRR {self.metrics[direction]['MRR']:.4f} (chance {self.chance[direction]['MRR']:.4f})"
            for direction in self.ranks
        )
        return f"Evaluation({', '.join(f'{n} {what}' for what, n in self.metrics['health'].items() if n)}; {scores})"

    @property
    def t2v(self) -> Ranks:
        """A row for each caption that has a video."""
        return self.ranks["t2v"]

    @property
    def v2t(self) -> Ranks:
        """A row for each video that has captions."""
        return self.ranks["v2t"]

    @cached_property
    def chance(self) -> Metrics:
        """By direction, of towers that say nothing: the expected metric when every score is equal."""
        return {
            direction: direction_metrics(groups, one_right=self._one_right(direction), ks=self.ks, ties="expected")
            for direction, groups in self._constant.items()
        }

    @cached_property
    def bounds(self) -> dict[str, Metrics]:
        """`optimistic` and `pessimistic`, each by direction."""
        sides: tuple[Ties, ...] = ("optimistic", "pessimistic")
        return {
            ties: {
                direction: direction_metrics(groups, one_right=self._one_right(direction), ks=self.ks, ties=ties)
                for direction, groups in self._groups.items()
            }
            for ties in sides
        }

    def curve(self, direction: str, ks: Sequence[int]) -> dict[str, Floats]:
        """`recall` and its `chance` at each k, (n_ks,), without another product; in `t2v` it is R@k."""
        one_right = self._one_right(direction)
        name = "R" if one_right else "recall"
        sides = {"recall": self._groups[direction].settled(self.ties), "chance": self._constant[direction]}
        curves = {}
        for side, groups in sides.items():
            values = query_values(groups, one_right=one_right, ks=ks)
            curves[side] = np.array([mean(values[f"{name}@{k:02d}"]) for k in ks])
        return curves

    @cached_property
    def _constant(self) -> dict[str, TieGroups]:
        return {direction: TieGroups.of(constant_counts(counts)) for direction, counts in self._counts.items()}

    def _one_right(self, direction: str) -> bool:
        return _one_right(direction, self._counts[direction])


def evaluate(
    text: Any = None,
    video: Any = None,
    video_of_caption: Any = None,
    *,
    scores: Any = None,
    relevance: Any = None,
    similarity: Similarity = "cosine",
    ks: Sequence[int] = (1, 5, 10),
    ties: Ties = "expected",
    v2t: V2T = "best",
    directions: Sequence[Direction] = DIRECTIONS,
    answers: bool = False,
    memory: int = MEMORY,
    device: str | None = None,
) -> Evaluation:
    """Retrieval metrics of two sets of embeddings, in both directions from one product, or of a matrix of scores.

    Either `text`, `video` and `video_of_caption` (or `relevance`); or `scores` and `relevance`, which is one direction
    of whatever queries and items, or `scores` and `video_of_caption`, which is captions and videos in both.

    Queries without a right item (a video without captions, a caption of no video) are left out of the means and counted
    in `health`; they stay among the items.

    Args:
        text: (n_captions, dim) array, tensor, memory-mapped file, or rows of a store: whatever can be read by blocks.
        video: (n_videos, dim), of the same width.
        video_of_caption: (n_captions,) int, row of each caption's video; -1 where it has none.
        scores: (n_queries, n_items), higher is closer, compared as they are; infinities are in order. Or a `Scorer`.
        relevance: true where an item is right, (n_captions, n_videos) or (n_queries, n_items): an array, a tensor or
            sparse. A query may have several right items. For scores also (n_queries,) int as `video_of_caption`.
        similarity: `cosine`, `dot` or `euclidean`.
        ks: cut-offs.
        ties: `expected` (the mean of each metric over all orders of equal scores), `optimistic`, `pessimistic`.
        v2t: `best`: all captions are items, a video's own are right, and its rank is that of the best of them.
            `group_max`: the videos that have captions are items, each with the score of its best caption. `first`: only
            the first caption of each video is an item.
        directions: `t2v`, `v2t` or both.
        answers: find each query's best wrong item too, and the gap to it.
        memory: bytes for blocks of rows and scores; changes speed, no number.
        device: torch device of the products; by default the processor, or where the tensors are.

    Raises:
        NonFiniteError: a row holds NaN or infinity, or a score is NaN.
        EvaluationError: shapes don't fit together, or no query has a right item.

    Example:
        >>> text = np.array([[1., 0.], [0., 1.], [1., 1.]])
        >>> video = np.array([[1., 0.], [0., 1.]])
        >>> found = evaluate(text, video, [0, 1, 1], ks=(1,))
        >>> found.metrics["t2v"]["R@01"]      # right, right, and a tie between two videos
        0.8333333333333334
        >>> found.chance["t2v"]["R@01"]
        0.5
        >>> evaluate(scores=[[.9, .1], [.8, .8]], relevance=[0, 1], ks=(1,)).metrics["retrieval"]["hit@01"]
        0.75
    """
    for kind, value, known in (("tie rule", ties, Ties), ("v2t protocol", v2t, V2T)):
        if value not in get_args(known):
            raise UnknownNameError(kind, value, get_args(known))
    for direction in directions:
        if direction not in DIRECTIONS:
            raise UnknownNameError("direction", direction, DIRECTIONS)
    if not ks or min(ks) < 1:
        raise EvaluationError(f"ks must be positive cut-offs, not {list(ks)}.")
    if scores is not None:
        if text is not None or video is not None or (video_of_caption is None) == (relevance is None):
            raise EvaluationError(_FORMS)
        scorer: Scorer = scores if hasattr(scores, "block") else Matrix(scores)
        if relevance is not None:
            return _retrieval(scorer, relevance, ks=ks, ties=ties, answers=answers, memory=memory)
        sides = None
        n_captions, n_videos = scorer.shape
    else:
        if text is None or video is None or (video_of_caption is None) == (relevance is None):
            raise EvaluationError(_FORMS)
        sides = Source(text, "text"), Source(video, "video")
        n_captions, n_videos = len(sides[0]), len(sides[1])
        if sides[0].shape[1] != sides[1].shape[1]:
            raise EvaluationError(
                f"text is {sides[0].shape[1]} wide and video {sides[1].shape[1]}: they share no space. Align them, or "
                "zero-pad the narrower one with pad_to_same_width."
            )
    name, given = ("video_of_caption", video_of_caption) if relevance is None else ("relevance", relevance)
    pairs = right_pairs(given, n_captions, n_videos, name=name, what=("caption", "video"))
    if not len(pairs[0]):
        raise EvaluationError(f"None of the {n_captions} captions has a video among the {n_videos}: nothing to rank.")
    if sides is None:
        if v2t != "best":
            raise EvaluationError(f"The v2t protocol {v2t!r} needs embeddings, not scores.")
        found = count_scores(scorer, *pairs, directions=directions, answers=answers, memory=memory)
        counts: dict[Direction, PairCounts] = found
    else:
        options: dict[str, Any] = {"similarity": similarity, "answers": answers, "memory": memory, "device": device}
        if v2t == "first":
            counts = {}
            if "t2v" in directions:
                counts |= count_pairs(*sides, *pairs, directions=["t2v"], **options)
            if "v2t" in directions:
                counts["v2t"] = _first_captions(*sides, pairs, options)
        elif v2t == "group_max":
            counts = _by_video(*sides, pairs, directions, options)
        else:
            counts = count_pairs(*sides, *pairs, directions=directions, **options)
    ordered: dict[str, PairCounts] = {direction: counts[direction] for direction in DIRECTIONS if direction in counts}
    name = similarity if scores is None else type(scores).__name__
    size = {"captions": n_captions, "videos": n_videos}
    return _evaluation(ordered, pairs, size, ks=ks, ties=ties, similarity=name, v2t=v2t, answers=answers)


def _retrieval(
    scorer: Scorer, relevance: Any, *, ks: Sequence[int], ties: Ties, answers: bool, memory: int
) -> Evaluation:
    n_queries, n_items = scorer.shape
    query, item = right_pairs(relevance, n_queries, n_items, name="relevance", what=("query", "item"))
    if not len(query):
        raise EvaluationError(f"None of the {n_queries} queries has a right item among the {n_items}: nothing to rank.")
    counts = count_scores(scorer, query, item, directions=["t2v"], answers=answers, memory=memory)["t2v"]
    return _evaluation(
        {"retrieval": counts},
        (query, query),
        {"items": n_items},
        ks=ks,
        ties=ties,
        similarity=type(scorer).__name__,
        v2t="best",
        answers=answers,
    )


def _evaluation(
    counts: Mapping[str, PairCounts],
    pairs: tuple[Ints, Ints],
    size: dict[str, int],
    *,
    ks: Sequence[int],
    ties: Ties,
    similarity: str,
    v2t: V2T,
    answers: bool,
) -> Evaluation:
    groups = {direction: TieGroups.of(of) for direction, of in counts.items()}
    ranks = {
        direction: _ranks(of, groups[direction], pairs, direction, ks=tuple(ks), ties=ties, answers=answers)
        for direction, of in counts.items()
    }
    metrics: Metrics = {
        direction: {
            **{name: mean(values) for name, values in of.values.items()},
            "MedR": median_rank(groups[direction].settled(ties)),
        }
        for direction, of in ranks.items()
    }
    queries = sum(len(of) for of in ranks.values())
    metrics["health"] = {
        **size,
        "queries": queries,
        "no_relevant": sum(of.n_queries for of in counts.values()) - queries,
        "tied_queries": sum(int(of.tied.sum()) for of in ranks.values()),
    }
    return Evaluation(metrics, ranks, tuple(ks), ties, similarity, v2t, counts, groups)


def _first_captions(text: Source, video: Source, pairs: tuple[Ints, Ints], options: Mapping[str, Any]) -> PairCounts:
    """Counts of `v2t` with the first caption of each video alone; items keep the rows they have in `text`."""
    caption, video_of = pairs
    order = np.lexsort((caption, video_of))
    first = order[np.r_[True, video_of[order][1:] != video_of[order][:-1]]]
    kept = np.unique(caption[first])
    counts = count_pairs(
        text.take(kept), video, np.searchsorted(kept, caption[first]), video_of[first], directions=["v2t"], **options
    )["v2t"]
    counts.item[:] = kept[counts.item]
    counts.best_wrong[counts.best_wrong >= 0] = kept[counts.best_wrong[counts.best_wrong >= 0]]
    return counts


def _by_video(
    text: Source, video: Source, pairs: tuple[Ints, Ints], directions: Sequence[Direction], options: Mapping[str, Any]
) -> dict[Direction, PairCounts]:
    """Counts whose `v2t` searches the videos that have captions, each with the score of its best one."""
    caption, video_of = pairs
    if len(np.unique(caption)) < len(caption):
        raise EvaluationError(
            "group_max needs captions of one video each: a caption of several would be right in some."
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
        text if straight else Reordered(text, order),
        video,
        place[caption],
        video_of,
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
            **{name: getattr(of, name)[place] for name in ("best_wrong", "best_wrong_score")},
        )
    if "v2t" in counts:
        of = counts["v2t"]
        known = of.best_wrong >= 0
        best = np.where(known, videos[np.where(known, of.best_wrong, 0)], -1)
        counts["v2t"] = replace(of, item=videos[of.item], best_wrong=best)
    return counts


def _one_right(direction: str, counts: PairCounts) -> bool:
    """Whether every caption has one video at most: then there is one number to print where elsewhere there are two."""
    return direction == "t2v" and len(np.unique(counts.query)) == len(counts.query)


def _ranks(
    counts: PairCounts,
    groups: TieGroups,
    pairs: tuple[Ints, Ints],
    direction: str,
    *,
    ks: tuple[int, ...],
    ties: Ties,
    answers: bool,
) -> Ranks:
    query = groups.query[groups.first]
    best = np.full(counts.n_queries, -np.inf)
    np.maximum.at(best, counts.query, counts.score)
    video = query
    if direction == "t2v":
        first = np.full(counts.n_queries, counts.n_items, dtype=np.int64)
        np.minimum.at(first, pairs[0], pairs[1])
        video = first[query]
    with np.errstate(invalid="ignore"):
        gap = best[query] - counts.best_wrong_score[query]
    return Ranks(
        query=query,
        video=video,
        n_right=groups.n_right,
        rank=expected_rank(groups),
        greater=groups.above[groups.first],
        equal=groups.wrong[groups.first],
        tied=groups.tied,
        best_wrong=counts.best_wrong[query] if answers else None,
        gap=gap if answers else None,
        values=query_values(groups.settled(ties), one_right=_one_right(direction, counts), ks=ks),
    )
