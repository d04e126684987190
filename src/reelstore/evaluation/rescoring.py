"""Rescoring: dual softmax, inverted softmax and QB-Norm. Their numbers aren't retrieval as usual.

A plain score of a caption and a video depends on the two alone. These scale it by how much other queries like the item.
Dual softmax and inverted softmax use the other test queries, which a system that answers one query at a time
doesn't have.
QB-Norm uses a bank of training queries. None is an option of `evaluate`: they have names of their own, and the
pipeline writes them to files of their own.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, get_args

import numpy as np

from reelstore.arrays import Array, BoolArray, Float64Array
from reelstore.errors import EvaluationError
from reelstore.evaluation.relevance import judged_pairs
from reelstore.evaluation.result import Evaluation, result
from reelstore.evaluation.ties import Ties
from reelstore.ranking import DIRECTIONS, Direction, Matrix, PairCounts, Similarity, count_scores, score_matrix
from reelstore.ranking.arguments import cut_offs, finite_number, one_of, truth, whole_number
from reelstore.ranking.sources import Source

_BANK_SCORES = 2**22
"""Scores of the bank held at once."""


class Rescoring(Protocol):
    """Scores of all test queries -> other scores of theirs."""

    @property
    def description(self) -> str:
        """What it is, with its settings."""
        ...

    def normalized(self, scores: Float64Array) -> Float64Array:
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
    def description(self) -> str:
        """With its scale."""
        return f"dual softmax (scale {self.scale:g}), which uses the other test queries,"

    def normalized(self, scores: Float64Array) -> Float64Array:
        """(n_queries, n_items), of scores likewise."""
        return scores * np.exp(self.scale * scores - _log_sum(self.scale * scores))


@dataclass(frozen=True)
class InvertedSoftmax:
    """Each score, as an exponential, divided by the sum over all queries of its item (Smith et al. 2017, arXiv
    1702.03859).

    Args:
        scale: what scores are multiplied with in the exponential.

    Example:
        >>> np.exp(InvertedSoftmax(scale=1.0).normalized(np.log([[3., 1.], [1., 1.]]))).round(3)
        array([[0.75, 0.5 ],
               [0.25, 0.5 ]])
    """

    scale: float = 20.0

    def __post_init__(self) -> None:
        _check_scale(self.scale)

    @property
    def description(self) -> str:
        """With its scale."""
        return f"inverted softmax (scale {self.scale:g}), which uses the other test queries,"

    def normalized(self, scores: Float64Array) -> Float64Array:
        """(n_queries, n_items), of scores likewise; logarithms, which order alike."""
        return self.scale * scores - _log_sum(self.scale * scores)


@dataclass(frozen=True)
class BankStatistics:
    """What QB-Norm needs of a bank and the items.

    Attributes:
        log_sum: (n_items,) logarithm of the sum over the bank of exponentials of the scaled scores.
        activation: (n_items,) bool, whether the item is among the k best of some query of the bank.
    """

    log_sum: Float64Array
    activation: BoolArray


@dataclass(frozen=True)
class QueryBank:
    """QB-Norm with its dynamic inverted softmax (Bogolin et al. 2022, arXiv 2112.12777).

    The bank is queries of the training split: captions for text-to-video, videos for video-to-text. An item that some
    query of the bank has among its `k` best is in the activation set. A test query whose best item is in the set has
    its scores, as exponentials, divided by the sum over the bank of each item's exponentials; all others stay.

    Args:
        scale: what scores are multiplied with in the exponential (beta in the paper).
        k: best items of each query in the bank that are in the activation set; of equal scores all.

    Example:
        >>> norm = QueryBank(scale=1.0, k=1)
        >>> bank = norm.statistics([np.log([[3., 1.], [5., 1.]])])            # both prefer the first item: a hub
        >>> norm.normalized(np.array([[0.2, 0.1], [0.1, 0.2]]), bank).round(3)     # only the first query is near it
        array([[-1.879, -0.593],
               [ 0.1  ,  0.2  ]])
    """

    scale: float = 20.0
    k: int = 1

    def __post_init__(self) -> None:
        _check_scale(self.scale)
        whole_number("k", self.k, 1)

    @property
    def description(self) -> str:
        """With its settings."""
        return f"QB-Norm (scale {self.scale:g}, k {self.k}), whose bank is training queries,"

    def statistics(self, blocks: Iterable[Float64Array]) -> BankStatistics:
        """From the bank's scores of all items, (some queries, n_items) at a time; at least one block."""
        log_sum: Float64Array | None = None
        for scores in blocks:
            n_items = scores.shape[1]
            if log_sum is None:
                log_sum, activation = np.full(n_items, -np.inf), np.zeros(n_items, dtype=bool)
            if not len(scores) or not n_items:
                continue
            k = min(self.k, n_items)
            activation |= (scores >= np.partition(scores, -k, axis=1)[:, -k, None]).any(axis=0)
            log_sum = np.logaddexp(log_sum, _log_sum(self.scale * scores))
        if log_sum is None:
            raise EvaluationError("The bank of QB-Norm is empty: it needs queries of the training split.")
        return BankStatistics(log_sum, activation)

    def normalized(self, scores: Float64Array, bank: BankStatistics) -> Float64Array:
        """(n_queries, n_items), of scores likewise. Normalized rows are logarithms, which order alike."""
        best = scores == scores.max(axis=1, keepdims=True, initial=-np.inf)
        active = (best & bank.activation).any(axis=1)
        rescored = scores.copy()
        rescored[active] = self.scale * scores[active] - bank.log_sum
        return rescored


KINDS = ("dual_softmax", "inverted_softmax", "qb_norm")


def make_rescoring(kind: str, *, scale: float | None = None, k: int = 1) -> "Rescoring | QueryBank":
    """A rescoring by its name: `dual_softmax`, `inverted_softmax` or `qb_norm`.

    Args:
        kind: its name.
        scale: as of its class; None for its default.
        k: of `qb_norm`.

    Raises:
        UnknownNameError: there is none of this name.
        EvaluationError: a setting can't be, or isn't of this kind.
    """
    one_of("rescoring", kind, KINDS)
    if kind == "qb_norm":
        return QueryBank(k=k) if scale is None else QueryBank(scale, k)
    if k != 1:
        raise EvaluationError(f"k is {k}, but {kind} has no k; it is a setting of qb_norm.")
    made = DualSoftmax if kind == "dual_softmax" else InvertedSoftmax
    return made() if scale is None else made(scale)


def evaluate_rescored(
    *,
    text: Any,
    video: Any,
    video_of_caption: Any,
    rescoring: Rescoring | QueryBank,
    bank_text: Any = None,
    bank_video: Any = None,
    similarity: Similarity = "cosine",
    ks: int | Sequence[int] = (1, 5, 10),
    ties: Ties = "expected",
    return_hard_negatives: bool = False,
) -> Evaluation:
    """Metrics of rescored pairs, in both directions.

    All scores of the test queries are held at once, in float64, some four times over. Scores of the bank are not.

    Args:
        text: (n_captions, dim) array.
        video: (n_videos, dim) array.
        video_of_caption: as of `evaluate`.
        rescoring: such as `DualSoftmax()`; in `t2v` queries are captions, in `v2t` videos.
        bank_text: of `QueryBank`: captions of the training split, (n_bank, dim), or an iterator of such blocks.
        bank_video: of `QueryBank`: its videos, likewise.
        similarity, ks, ties, return_hard_negatives: as of `evaluate`.

    Raises:
        NonFiniteError: a row holds NaN or infinity.
        EvaluationError: no caption has a video, or a bank is missing, empty, or not wanted.
    """
    ks, ties, return_hard_negatives = (
        cut_offs(ks),
        one_of("tie rule", ties, get_args(Ties)),
        truth("return_hard_negatives", return_hard_negatives),
    )
    banks = {"t2v": bank_text, "v2t": bank_video}
    wanted = isinstance(rescoring, QueryBank)
    for direction, name in (("t2v", "bank_text"), ("v2t", "bank_video")):
        if wanted is (banks[direction] is None):
            what = "QB-Norm needs it: queries of the training split" if wanted else "only QB-Norm has a bank"
            raise EvaluationError(f"{name} is {'missing' if wanted else 'given'}; {what}.")
    sides = Source(text, "text"), Source(video, "video")
    if sides[0].shape[1] != sides[1].shape[1]:
        raise EvaluationError(f"text is {sides[0].shape[1]} wide and video {sides[1].shape[1]}: they share no space.")
    scores = score_matrix(text=text, video=video, similarity=similarity)
    n_captions, n_videos = scores.shape
    judged = judged_pairs(video_of_caption, n_captions, n_videos, name="video_of_caption", what=("caption", "video"))
    if judged.grade is not None:
        raise EvaluationError("video_of_caption holds grades; a rescoring is measured on relevance of yes or no.")
    counts: dict[Direction, PairCounts] = {}
    for direction in DIRECTIONS:
        own = scores if direction == "t2v" else np.ascontiguousarray(scores.T)
        if isinstance(rescoring, QueryBank):
            items = video if direction == "t2v" else text
            rescored = rescoring.normalized(own, rescoring.statistics(_bank(banks[direction], items, similarity)))
        else:
            rescored = rescoring.normalized(own)
        by_caption = rescored if direction == "t2v" else rescored.T
        counts |= count_scores(
            Matrix(by_caption), *judged.pairs, directions=[direction], return_hard_negatives=return_hard_negatives
        )
    return result(
        {"t2v": counts["t2v"], "v2t": counts["v2t"]},
        judged.pairs,
        {"captions": n_captions, "videos": n_videos},
        ks=ks,
        ties=ties,
        similarity=f"{rescoring.description} of {similarity}",
        v2t="best",
        return_hard_negatives=return_hard_negatives,
    )


def _bank(bank: Any, items: Any, similarity: Similarity) -> Iterator[Float64Array]:
    """Scores of the bank's queries with all items, (some, n_items) at a time."""
    sought = Source(items, "items")
    step = max(1, _BANK_SCORES // max(len(sought), 1))
    n_queries = 0
    for block in _blocks(bank):
        queries = Source(block, "bank")
        n_queries += len(queries)
        if queries.shape[1] != sought.shape[1]:
            raise EvaluationError(
                f"The bank is {queries.shape[1]} wide and the items {sought.shape[1]}: map both by the same aligner."
            )
        for start in range(0, len(queries), step):
            rows: Array = queries.rows(start, start + step)
            yield score_matrix(text=rows, video=items, similarity=similarity)
    if not n_queries:
        raise EvaluationError("The bank of QB-Norm is empty: it needs queries of the training split.")


def _blocks(bank: Any) -> Iterable[Any]:
    return bank if isinstance(bank, Iterator) else [bank]


def _log_sum(values: Float64Array) -> Float64Array:
    """(n_items,) logarithm of the sum over queries of exponentials, the same in any order of the queries."""
    highest = values.max(axis=0)
    summed: Float64Array = np.sort(np.exp(values - highest), axis=0).sum(axis=0)
    logs: Float64Array = highest + np.log(summed)
    return logs


def _check_scale(scale: float) -> None:
    if not finite_number("scale", scale) > 0:
        raise EvaluationError(f"scale is {scale}; it must be above 0.")
