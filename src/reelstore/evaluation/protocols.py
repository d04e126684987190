"""Protocols that look at the other test queries: dual softmax and QB-Norm. Their numbers aren't retrieval as usual.

A plain score of a caption and a video depends on the two alone. These scale it by how much all the other queries like
the item, which nobody knows who answers one query at a time. So they are never an option of `evaluate`: they have
names of their own, and the pipeline writes them to files of their own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from reelstore.errors import EvaluationError, UnknownNameError
from reelstore.evaluation.relevance import right_pairs
from reelstore.evaluation.result import Evaluation, result
from reelstore.evaluation.ties import Ties
from reelstore.ranking import Direction, Floats, Matrix, PairCounts, Similarity, count_scores, score_matrix


class Transductive(Protocol):
    """Scores of all queries at once -> other scores of theirs."""

    @property
    def words(self) -> str:
        """What it is, with its settings."""
        ...

    def normalized(self, scores: Floats) -> Floats:
        """(n_queries, n_items) -> (n_queries, n_items)."""
        ...


@dataclass(frozen=True)
class DualSoftmax:
    """Each score times the softmax over all queries of its item (Cheng et al. 2021, arXiv 2109.04290).

    Args:
        scale: what scores are multiplied with in the softmax; the inverse of a temperature.

    Example:
        >>> DualSoftmax(scale=1.0).normalized(np.log([[3., 1.], [1., 1.]])).round(3)     # 3/4 of log 3; log 1 is 0
        array([[0.824, 0.   ],
               [0.   , 0.   ]])
    """

    scale: float = 100.0

    def __post_init__(self) -> None:
        _check_scale(self.scale)

    @property
    def words(self) -> str:
        """With its scale."""
        return f"dual softmax (scale {self.scale:g}), which uses the other test queries,"

    def normalized(self, scores: Floats) -> Floats:
        """(n_queries, n_items), of scores likewise."""
        return scores * np.exp(self.scale * scores - _log_sum(self.scale * scores))


@dataclass(frozen=True)
class QueryBank:
    """QB-Norm with its dynamic inverted softmax (Bogolin et al. 2022, arXiv 2112.12777), the bank being the test's own
    queries.

    An item that some query of the bank has among its `k` best is a hub. A query whose best item is a hub has its scores
    divided (as exponentials) by the sum over the bank of each item's; all others stay.

    Args:
        scale: what scores are multiplied with in the exponential.
        k: best items of each query in the bank that count as hubs; of equal scores all.
    """

    scale: float = 20.0
    k: int = 1

    def __post_init__(self) -> None:
        _check_scale(self.scale)
        if self.k < 1:
            raise EvaluationError(f"k is {self.k}; it must be at least 1.")

    @property
    def words(self) -> str:
        """With its settings."""
        return f"QB-Norm (scale {self.scale:g}, k {self.k}), which uses the other test queries,"

    def normalized(self, scores: Floats) -> Floats:
        """(n_queries, n_items), of scores likewise. Normalized rows are logarithms, which order alike."""
        k = min(self.k, scores.shape[1])
        kth = np.partition(scores, -k, axis=1)[:, -k]
        hub = (scores >= kth[:, None]).any(axis=0)  # (n_items,)
        best = scores == scores.max(axis=1, keepdims=True)
        near_hub = (best & hub).any(axis=1)  # (n_queries,)
        logs = self.scale * scores - _log_sum(self.scale * scores)
        return np.where(near_hub[:, None], logs, scores)


def make_protocol(kind: str, *, scale: float | None = None, k: int = 1) -> Transductive:
    """A protocol by its name, `dual_softmax` or `qb_norm`.

    Args:
        kind: its name.
        scale: as of its class; None for its default.
        k: of `qb_norm`.
    """
    if kind == "dual_softmax":
        return DualSoftmax() if scale is None else DualSoftmax(scale)
    if kind == "qb_norm":
        return QueryBank(k=k) if scale is None else QueryBank(scale, k)
    raise UnknownNameError("protocol", kind, ("dual_softmax", "qb_norm"))


def evaluate_transductive(
    text: Any,
    video: Any,
    video_of_caption: Any,
    *,
    protocol: Transductive,
    similarity: Similarity = "cosine",
    ks: Sequence[int] = (1, 5, 10),
    ties: Ties = "expected",
    answers: bool = False,
) -> Evaluation:
    """Metrics under a protocol that uses the other test queries, in both directions.

    All scores are held at once, in float64, some four times over.

    Args:
        text: (n_captions, dim) array.
        video: (n_videos, dim) array.
        video_of_caption: as of `evaluate`.
        protocol: such as `DualSoftmax()`; in `t2v` queries are captions, in `v2t` videos.
        similarity, ks, ties, answers: as of `evaluate`.

    Raises:
        NonFiniteError: a row holds NaN or infinity.
        EvaluationError: no caption has a video.
    """
    scores = score_matrix(text, video, similarity=similarity)
    n_captions, n_videos = scores.shape
    pairs = right_pairs(video_of_caption, n_captions, n_videos, name="video_of_caption", what=("caption", "video"))
    if not len(pairs[0]):
        raise EvaluationError(f"None of the {n_captions} captions has a video among the {n_videos}: nothing to rank.")
    counts: dict[Direction, PairCounts] = {}
    counts |= count_scores(Matrix(protocol.normalized(scores)), *pairs, directions=["t2v"], answers=answers)
    turned = protocol.normalized(np.ascontiguousarray(scores.T)).T
    counts |= count_scores(Matrix(turned), *pairs, directions=["v2t"], answers=answers)
    return result(
        {"t2v": counts["t2v"], "v2t": counts["v2t"]},
        pairs,
        {"captions": n_captions, "videos": n_videos},
        ks=ks,
        ties=ties,
        similarity=f"{protocol.words} of {similarity}",
        v2t="best",
        answers=answers,
    )


def _log_sum(values: Floats) -> Floats:
    """(n_items,) logarithm of the sum over queries of exponentials, the same in whatever order queries come."""
    highest = values.max(axis=0)
    summed: Floats = np.sort(np.exp(values - highest), axis=0).sum(axis=0)
    logs: Floats = highest + np.log(summed)
    return logs


def _check_scale(scale: float) -> None:
    if not 0 < scale < np.inf:
        raise EvaluationError(f"scale is {scale}; it must be above 0.")
