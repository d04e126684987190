"""Metrics, per-query ranks, chance level and tie bounds of an evaluation."""

from collections.abc import Callable, Iterator, KeysView, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from html import escape
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from reelstore.arrays import BoolArray, Float64Array, IntArray
from reelstore.errors import UnknownNameError
from reelstore.evaluation.gains import Gains
from reelstore.evaluation.median import median_rank
from reelstore.evaluation.metrics import constant_counts, direction_metrics, mean, query_values
from reelstore.evaluation.ties import TieGroups, Ties, discounted_gain, expected_rank, hit, recall
from reelstore.ranking import PairCounts
from reelstore.ranking.arguments import MAX_CUT_OFF, cut_offs, whole_number

if TYPE_CHECKING:
    import pandas as pd

Metrics = dict[str, dict[str, float]]
V2T = Literal["best", "group_max", "first"]


class Row(NamedTuple):
    """One line of a printed evaluation."""

    metric: str
    value: float
    low: float
    high: float
    n_videos: int
    chance: float


@dataclass(frozen=True)
class DirectionResult:
    """Metrics of one direction, and one row for each query that has a relevant item.

    A metric is found by its name, `result.t2v["R@1"]`, with or without the zero that JSON has (`R@01`).

    Attributes:
        direction: `t2v`, `v2t` or `retrieval`.
        metrics: name -> value, as in JSON.
        n_items: items that a query searches.
        query: (n,) row of the query: a caption for `t2v`, a video for `v2t`.
        video: (n,) row of the video it belongs to: its first relevant item, in `v2t` the query itself. Queries of one
            video aren't independent; confidence intervals and paired tests treat them as one cluster.
        n_relevant: (n,) relevant items.
        rank: (n,) expected rank of the best of them, 1 is best.
        greater: (n,) non-relevant items above the best relevant one.
        equal: (n,) non-relevant items that tie with it.
        tied: (n,) whether a metric of this query depends on how ties are broken.
        hardest_negative: (n,) row of the non-relevant item with the highest score; -1 where there is none. None if
            not asked for.
        gap: (n,) score of the best relevant item less that of the hardest negative; inf where there is none. None
            likewise.
        values: metric -> (n,) values whose mean it is, under the tie rule of the evaluation.

    Example:
        >>> result = evaluate(text=np.eye(3), video=np.eye(3)[[0, 2, 1]], video_of_caption=[0, 1, 2])
        >>> result.t2v["R@1"], result.t2v.recall(3), result.t2v.rank
        (0.3333333333333333, 1.0, array([1. , 2.5, 2.5]))
    """

    direction: str
    metrics: dict[str, float]
    n_items: int
    query: IntArray
    video: IntArray
    n_relevant: IntArray
    rank: Float64Array
    greater: IntArray
    equal: IntArray
    tied: BoolArray
    hardest_negative: IntArray | None
    gap: Float64Array | None
    values: dict[str, Float64Array]
    _groups: TieGroups = field(repr=False)

    def __repr__(self) -> str:
        found = ", ".join(f"{name} {value:.4f}" for name, value in self.metrics.items())
        return f"DirectionResult({self.direction}, {self.n_queries} queries, {self.n_items} items; {found})"

    def __getitem__(self, name: str) -> float:
        name, at, k = str(name).partition("@")
        key = f"{name}@{int(k):02d}" if at and k.isdecimal() else name + at + k
        if key not in self.metrics:
            raise UnknownNameError(f"metric of {self.direction}", key, self.metrics)
        return self.metrics[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.metrics)

    def __len__(self) -> int:
        return len(self.metrics)

    def keys(self) -> KeysView[str]:
        """Names of the metrics, so that `dict(result.t2v)` has them all."""
        return self.metrics.keys()

    @property
    def n_queries(self) -> int:
        """Queries that have a relevant item."""
        return len(self.query)

    def hit(self, k: int) -> float:
        """Share of queries with a relevant item among the first k, for any k; CLIP papers call it R@k."""
        return self._mean(hit, k)

    def recall(self, k: int) -> float:
        """Mean share of the relevant items that are among the first k, for any k.

        Where each query has one relevant item, as a caption has one video, this is R@k.
        """
        return self._mean(recall, k)

    def ndcg(self, k: int) -> float:
        """Mean nDCG of the first k items, for any k."""
        return self._mean(discounted_gain, k)

    @property
    def mrr(self) -> float:
        """Mean of 1 / rank of the best-ranked relevant item."""
        return self.metrics["MRR"]

    @property
    def median_rank(self) -> float:
        """Median rank of the best-ranked relevant item, from 1."""
        return self.metrics["MedR"]

    @property
    def mean_rank(self) -> float:
        """Mean rank of the best-ranked relevant item, from 1."""
        return self.metrics["MeanR"]

    def to_pandas(self) -> "pd.DataFrame":
        """One row for each query: row numbers, rank, counts, and its value of each metric."""
        import pandas as pd

        names = ("query", "video", "n_relevant", "rank", "greater", "equal", "tied", "hardest_negative", "gap")
        columns = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        return pd.DataFrame({**columns, **self.values})

    def _mean(self, metric: Callable[[TieGroups, int], Float64Array], k: int) -> float:
        return mean(metric(self._groups, whole_number("k", k, 1, MAX_CUT_OFF)))


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` found: `result.t2v`, `result.v2t`, or `result["retrieval"]` for a matrix of scores.

    Printed, it is a table of all metrics beside chance and their 95 % intervals.

    Attributes:
        metrics: by direction, and `health`, as written to JSON: fractions in [0, 1], ranks from 1.
        directions: direction -> its metrics and its queries.
        ks: cut-offs.
        ties: rule behind `metrics`.
        similarity: `cosine`, `dot`, `euclidean`, or how else the scores came about.
        v2t_rule: `best`, `group_max` or `first`, as of `evaluate`.
    """

    metrics: Metrics
    directions: Mapping[str, DirectionResult]
    ks: tuple[int, ...]
    ties: Ties
    similarity: str
    v2t_rule: V2T
    _counts: Mapping[str, PairCounts]
    _groups: Mapping[str, TieGroups]

    def __repr__(self) -> str:
        scores = ", ".join(
            f"{direction} MRR {self.metrics[direction]['MRR']:.4f} (chance {self.chance[direction]['MRR']:.4f})"
            for direction in self.directions
        )
        return f"Evaluation({', '.join(f'{n} {what}' for what, n in self.metrics['health'].items() if n)}; {scores})"

    def __str__(self) -> str:
        health = ", ".join(f"{n} {what}" for what, n in self.metrics["health"].items())
        lines = [f"{health}; {self.similarity}, ties {self.ties}"]
        for direction, rows in self._table().items():
            lines += ["", f"{direction:10} {'':>9} {'chance':>9}   95 % interval, {rows[0].n_videos} videos"]
            lines += [
                f"{row.metric:10} {row.value:9.4f} {row.chance:9.4f}   [{row.low:.4f}, {row.high:.4f}]" for row in rows
            ]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        head, *_ = str(self).split("\n", 1)
        rows = [
            f"<tr><td>{direction}</td><td>{row.metric}</td><td>{row.value:.4f}</td>"
            f"<td>[{row.low:.4f}, {row.high:.4f}]</td><td>{row.chance:.4f}</td></tr>"
            for direction, of in self._table().items()
            for row in of
        ]
        heads = "".join(f"<th>{name}</th>" for name in ("", "metric", "value", "95 % interval", "chance"))
        return f"<div>{escape(head)}</div><table><thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table>"

    def to_pandas(self) -> "pd.DataFrame":
        """One row for each direction and metric: value, 95 % interval (low, high), videos behind it, and chance."""
        import pandas as pd

        rows = [(direction, *row) for direction, of in self._table().items() for row in of]
        return pd.DataFrame(rows, columns=["direction", *Row._fields]).set_index(["direction", "metric"])

    def __getitem__(self, direction: str) -> DirectionResult:
        if direction not in self.directions:
            raise UnknownNameError("direction", direction, self.directions)
        return self.directions[direction]

    def __iter__(self) -> Iterator[str]:
        return iter(self.directions)

    @property
    def t2v(self) -> DirectionResult:
        """Text-to-video: a query for each caption that has a video."""
        return self["t2v"]

    @property
    def v2t(self) -> DirectionResult:
        """Video-to-text: a query for each video that has captions."""
        return self["v2t"]

    def _table(self) -> dict[str, list[Row]]:
        from reelstore.evaluation.intervals import confidence_intervals

        intervals = confidence_intervals(self)
        return {
            direction: [
                Row(name, value, **intervals[direction][name], chance=self.chance[direction][name])
                for name, value in self.metrics[direction].items()
            ]
            for direction in self.directions
        }

    @cached_property
    def chance(self) -> Metrics:
        """By direction, the expected metric when every score is equal."""
        return {
            direction: direction_metrics(
                groups, one_relevant=self._one_relevant(direction), ks=self.ks, ties="expected"
            )
            for direction, groups in self._constant.items()
        }

    @cached_property
    def bounds(self) -> dict[str, Metrics]:
        """`optimistic` and `pessimistic`, each by direction."""
        sides: tuple[Ties, ...] = ("optimistic", "pessimistic")
        return {
            ties: {
                direction: direction_metrics(groups, one_relevant=self._one_relevant(direction), ks=self.ks, ties=ties)
                for direction, groups in self._groups.items()
            }
            for ties in sides
        }

    def curve(self, direction: str, ks: Sequence[int]) -> dict[str, Float64Array]:
        """`recall` and its `chance` at each k, (n_ks,), without another product; in `t2v` it is R@k."""
        ks = cut_offs(ks)
        one_relevant = self._one_relevant(direction)
        name = "R" if one_relevant else "recall"
        sides = {"recall": self._groups[direction].settled(self.ties), "chance": self._constant[direction]}
        curves = {}
        for side, groups in sides.items():
            values = query_values(groups, one_relevant=one_relevant, ks=ks)
            curves[side] = np.array([mean(values[f"{name}@{k:02d}"]) for k in ks])
        return curves

    @cached_property
    def _constant(self) -> dict[str, TieGroups]:
        return {
            direction: self._groups[direction].all_tied(constant_counts(counts))
            for direction, counts in self._counts.items()
        }

    def _one_relevant(self, direction: str) -> bool:
        return _one_relevant(direction, self._counts[direction])


def result(
    counts: Mapping[str, PairCounts],
    pairs: tuple[IntArray, IntArray],
    size: dict[str, int],
    *,
    ks: Sequence[int],
    ties: Ties,
    similarity: str,
    v2t: V2T,
    return_hard_negatives: bool,
    gains: Mapping[str, Gains | None] | None = None,
) -> Evaluation:
    groups = {direction: TieGroups.of(of, (gains or {}).get(direction)) for direction, of in counts.items()}
    directions = {
        direction: _direction_result(
            of,
            groups[direction],
            pairs,
            direction,
            ks=tuple(ks),
            ties=ties,
            return_hard_negatives=return_hard_negatives,
        )
        for direction, of in counts.items()
    }
    metrics: Metrics = {direction: of.metrics for direction, of in directions.items()}
    queries = sum(of.n_queries for of in directions.values())
    metrics["health"] = {
        **size,
        "queries": queries,
        "no_relevant": sum(of.n_queries for of in counts.values()) - queries,
        "tied_queries": sum(int(of.tied.sum()) for of in directions.values()),
    }
    not_retrieved = sum(int((of.score == -np.inf).sum()) for of in counts.values())
    if not_retrieved:
        metrics["health"]["not_retrieved"] = not_retrieved
    return Evaluation(metrics, directions, tuple(ks), ties, similarity, v2t, counts, groups)


def _one_relevant(direction: str, counts: PairCounts) -> bool:
    """Whether every caption has one video at most: then there is one number to print where elsewhere there are two."""
    return direction == "t2v" and counts.one_relevant


def _direction_result(
    counts: PairCounts,
    groups: TieGroups,
    pairs: tuple[IntArray, IntArray],
    direction: str,
    *,
    ks: tuple[int, ...],
    ties: Ties,
    return_hard_negatives: bool,
) -> DirectionResult:
    query = groups.query[groups.first]
    video = query
    if direction != "v2t":
        first = np.full(counts.n_queries, counts.n_items, dtype=np.int64)
        np.minimum.at(first, pairs[0], pairs[1])
        video = first[query]
    settled = groups.settled(ties)
    values = query_values(settled, one_relevant=_one_relevant(direction, counts), ks=ks)
    return DirectionResult(
        direction=direction,
        metrics={**{name: mean(of) for name, of in values.items()}, "MedR": median_rank(settled)},
        n_items=counts.n_items,
        query=query,
        video=video,
        n_relevant=groups.n_relevant,
        rank=expected_rank(groups),
        greater=groups.above[groups.first],
        equal=groups.non_relevant[groups.first],
        tied=groups.tied,
        hardest_negative=counts.hardest_negative[query] if return_hard_negatives else None,
        gap=_gap(counts)[query] if return_hard_negatives else None,
        values=values,
        _groups=settled,
    )


def _gap(counts: PairCounts) -> Float64Array:
    """(n_queries,) score of the best relevant item less that of the hardest negative; 0 for equal infinities."""
    best = np.full(counts.n_queries, -np.inf)
    np.maximum.at(best, counts.query, counts.score)
    with np.errstate(invalid="ignore"):
        gap = np.asarray(best - counts.hardest_negative_score)
    gap[np.isinf(best) & (best == counts.hardest_negative_score)] = 0.0
    gap[counts.hardest_negative < 0] = np.inf
    return gap
