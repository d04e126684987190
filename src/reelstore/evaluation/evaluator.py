"""Two sets of embeddings and who belongs to whom -> metrics of both directions."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from reelstore.errors import EvaluationError, UnknownNameError
from reelstore.evaluation.metrics import constant_counts, direction_metrics, mean, query_values
from reelstore.evaluation.ties import Bools, TieGroups, Ties, expected_rank
from reelstore.ranking import TILE, Floats, Ints, PairCounts, Similarity, count_pairs

Metrics = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Ranks:
    """One row for each query that has a right item.

    Attributes:
        query: (n,) row of the query: a caption for `t2v`, a video for `v2t`.
        video: (n,) row of the video it belongs to; what the bootstrap draws.
        n_right: (n,) right items.
        rank: (n,) expected rank of the best of them, 1 is best.
        greater: (n,) wrong items above the best right one.
        equal: (n,) wrong items that tie with it.
        tied: (n,) whether a metric of this query depends on how ties are broken.
        best_wrong: (n,) row of the wrong item with the highest score; -1 where there is none.
        gap: (n,) score of the best right item less that of the best wrong one; inf where there is none.
        values: metric -> (n,) values whose mean it is, under the tie rule of the evaluation.
    """

    query: Ints
    video: Ints
    n_right: Ints
    rank: Floats
    greater: Ints
    equal: Ints
    tied: Bools
    best_wrong: Ints
    gap: Floats
    values: dict[str, Floats]

    def __len__(self) -> int:
        return len(self.query)

    def __repr__(self) -> str:
        return f"Ranks({len(self)} queries)"


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` found.

    Attributes:
        metrics: `t2v`, `v2t` and `health`, as written to JSON: fractions in [0, 1], ranks from 1.
        chance: `t2v` and `v2t` of towers that say nothing: the expected metric when every score is equal.
        bounds: `optimistic` and `pessimistic`, each with `t2v` and `v2t`.
        t2v: a row for each caption.
        v2t: a row for each video that has captions.
        ties: rule behind `metrics`.
        similarity: `cosine` or `dot`.
    """

    metrics: Metrics
    chance: Metrics
    bounds: dict[str, Metrics]
    t2v: Ranks
    v2t: Ranks
    ties: Ties
    similarity: Similarity
    _groups: dict[str, TieGroups]
    _constant: dict[str, TieGroups]

    def __repr__(self) -> str:
        health = self.metrics["health"]
        return (
            f"Evaluation({health['captions']} captions, {health['videos']} videos, "
            f"t2v R@1 {float(self.curve('t2v', [1])['recall'][0]):.4f}, MRR {self.metrics['t2v']['MRR']:.4f}, "
            f"chance {self.chance['t2v']['MRR']:.4f})"
        )

    def curve(self, direction: str, ks: Sequence[int]) -> dict[str, Floats]:
        """`recall` and its `chance` at each k, (n_ks,), without another product; in `t2v` it is R@k."""
        name = "R" if direction == "t2v" else "recall"
        sides = {"recall": self._groups[direction].settled(self.ties), "chance": self._constant[direction]}
        curves = {}
        for side, groups in sides.items():
            values = query_values(groups, direction, ks=ks)
            curves[side] = np.array([mean(values[f"{name}@{k:02d}"]) for k in ks])
        return curves


def evaluate(
    text: Any,
    video: Any,
    video_of_caption: Any,
    *,
    similarity: Similarity = "cosine",
    ks: Sequence[int] = (1, 5, 10),
    ties: Ties = "expected",
    tile: int = TILE,
) -> Evaluation:
    """Text-to-video and video-to-text retrieval metrics from one product.

    Video-to-text is the `best` protocol: all captions are items, a video's own captions are right, and its rank is
    that of the best of them. Queries without a right item (a video without captions, a caption of no video) are left
    out of the means and counted in `health`; they stay among the items.

    Args:
        text: (n_captions, dim) array or tensor; scored in float64.
        video: (n_videos, dim), of the same width.
        video_of_caption: (n_captions,) int, row of each caption's video; -1 where it has none.
        similarity: `cosine` or `dot`.
        ks: cut-offs.
        ties: `expected` (the mean of each metric over all orders of equal scores), `optimistic`, `pessimistic`.
        tile: captions and videos scored at once; bounds memory, changes no number.

    Raises:
        NonFiniteError: a row holds NaN or infinity.
        EvaluationError: shapes don't fit together, or no caption has a video.

    Example:
        >>> text = np.array([[1., 0.], [0., 1.], [1., 1.]])
        >>> video = np.array([[1., 0.], [0., 1.]])
        >>> found = evaluate(text, video, [0, 1, 1], ks=(1,))
        >>> found.metrics["t2v"]["R@01"]      # right, right, and a tie between two videos
        0.8333333333333334
        >>> found.chance["t2v"]["R@01"]
        0.5
    """
    if ties not in get_args(Ties):
        raise UnknownNameError("tie rule", ties, get_args(Ties))
    if not ks or min(ks) < 1:
        raise EvaluationError(f"ks must be positive cut-offs, not {list(ks)}.")
    text, video = _matrix(text, "text"), _matrix(video, "video")
    owner = _owners(video_of_caption, len(text), len(video))
    if text.shape[1] != video.shape[1]:
        raise EvaluationError(
            f"text is {text.shape[1]} wide and video {video.shape[1]}: they share no space. Align them, or zero-pad "
            "the narrower one with pad_to_same_width."
        )
    captions = np.flatnonzero(owner >= 0)
    if not len(captions):
        raise EvaluationError(f"None of the {len(text)} captions has a video among the {len(video)}: nothing to rank.")
    both = dict(
        zip(
            ("t2v", "v2t"),
            count_pairs(text, video, captions, owner[captions], similarity=similarity, tile=tile),
            strict=True,
        )
    )
    groups = {direction: TieGroups.of(counts) for direction, counts in both.items()}
    constant = {direction: TieGroups.of(constant_counts(counts)) for direction, counts in both.items()}
    ranks = {
        direction: _ranks(counts, groups[direction], owner, direction, ks=ks, ties=ties)
        for direction, counts in both.items()
    }
    return Evaluation(
        metrics={**_both_directions(groups, ks=ks, ties=ties), "health": _health(ranks, len(text), len(video))},
        chance=_both_directions(constant, ks=ks, ties="expected"),
        bounds={
            "optimistic": _both_directions(groups, ks=ks, ties="optimistic"),
            "pessimistic": _both_directions(groups, ks=ks, ties="pessimistic"),
        },
        t2v=ranks["t2v"],
        v2t=ranks["v2t"],
        ties=ties,
        similarity=similarity,
        _groups=groups,
        _constant=constant,
    )


def _both_directions(groups: dict[str, TieGroups], *, ks: Sequence[int], ties: Ties) -> Metrics:
    return {name: direction_metrics(of, name, ks=ks, ties=ties) for name, of in groups.items()}


def _health(ranks: dict[str, Ranks], n_captions: int, n_videos: int) -> dict[str, float]:
    """Counts over both directions together: a query is a caption or a video."""
    queries = sum(len(of) for of in ranks.values())
    return {
        "captions": n_captions,
        "videos": n_videos,
        "queries": queries,
        "no_relevant": n_captions + n_videos - queries,
        "tied_queries": sum(int(of.tied.sum()) for of in ranks.values()),
    }


def _ranks(
    counts: PairCounts, groups: TieGroups, owner: Ints, direction: str, *, ks: Sequence[int], ties: Ties
) -> Ranks:
    query = groups.query[groups.first]
    best = np.full(counts.n_queries, -np.inf)
    np.maximum.at(best, counts.query, counts.score)
    return Ranks(
        query=query,
        video=owner[query] if direction == "t2v" else query,
        n_right=groups.n_right,
        rank=expected_rank(groups),
        greater=groups.above[groups.first],
        equal=groups.wrong[groups.first],
        tied=groups.tied,
        best_wrong=counts.best_wrong[query],
        gap=best[query] - counts.best_wrong_score[query],
        values=query_values(groups.settled(ties), direction, ks=ks),
    )


def _matrix(values: Any, name: str) -> npt.NDArray[Any]:
    """A plain real matrix of an array or of a tensor on any device, without importing torch."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        if str(values.dtype) == "torch.bfloat16":  # numpy has no such type; widening is exact
            values = values.float()
    matrix = np.asarray(values)
    if matrix.ndim != 2 or matrix.dtype.kind not in "fiu":
        raise EvaluationError(f"{name} must be a real matrix (n, dim), not {matrix.shape} {matrix.dtype}.")
    return matrix


def _owners(video_of_caption: Any, n_captions: int, n_videos: int) -> Ints:
    if hasattr(video_of_caption, "detach"):
        video_of_caption = video_of_caption.detach().cpu()
    owner = np.asarray(video_of_caption)
    if owner.shape != (n_captions,) or (owner.dtype.kind not in "iu" and len(owner)):
        raise EvaluationError(
            f"video_of_caption must be {n_captions} whole numbers, one a caption, not {owner.shape} {owner.dtype}."
        )
    owner = owner.astype(np.int64)
    if len(owner) and not -1 <= owner.min() <= owner.max() < n_videos:
        row = int(np.flatnonzero((owner < -1) | (owner >= n_videos))[0])
        raise EvaluationError(f"Caption {row} names video {owner[row]}, but videos are 0 to {n_videos - 1}.")
    return owner
