"""Counts -> what an evaluation found: metrics, a row a query, chance, and what ties leave open."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from reelstore.arrays import BoolArray, Float64Array, IntArray
from reelstore.evaluation.gains import Gains
from reelstore.evaluation.median import median_rank
from reelstore.evaluation.metrics import constant_counts, direction_metrics, mean, query_values
from reelstore.evaluation.ties import TieGroups, Ties, expected_rank
from reelstore.ranking import PairCounts
from reelstore.ranking.arguments import cut_offs

Metrics = dict[str, dict[str, float]]
V2T = Literal["best", "group_max", "first"]


@dataclass(frozen=True)
class Ranks:
    """One row for each query that has a relevant item.

    Attributes:
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
    """

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
        ranks: direction -> a row for each query that has a relevant item.
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

    def n_items(self, direction: str) -> int:
        """Items that a query of this direction searches."""
        return self._counts[direction].n_items

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
    ranks = {
        direction: _ranks(
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
    not_retrieved = sum(int((of.score == -np.inf).sum()) for of in counts.values())
    if not_retrieved:
        metrics["health"]["not_retrieved"] = not_retrieved
    return Evaluation(metrics, ranks, tuple(ks), ties, similarity, v2t, counts, groups)


def _one_relevant(direction: str, counts: PairCounts) -> bool:
    """Whether every caption has one video at most: then there is one number to print where elsewhere there are two."""
    return direction == "t2v" and counts.one_relevant


def _ranks(
    counts: PairCounts,
    groups: TieGroups,
    pairs: tuple[IntArray, IntArray],
    direction: str,
    *,
    ks: tuple[int, ...],
    ties: Ties,
    return_hard_negatives: bool,
) -> Ranks:
    query = groups.query[groups.first]
    video = query
    if direction != "v2t":
        first = np.full(counts.n_queries, counts.n_items, dtype=np.int64)
        np.minimum.at(first, pairs[0], pairs[1])
        video = first[query]
    return Ranks(
        query=query,
        video=video,
        n_relevant=groups.n_relevant,
        rank=expected_rank(groups),
        greater=groups.above[groups.first],
        equal=groups.non_relevant[groups.first],
        tied=groups.tied,
        hardest_negative=counts.hardest_negative[query] if return_hard_negatives else None,
        gap=_gap(counts)[query] if return_hard_negatives else None,
        values=query_values(groups.settled(ties), one_relevant=_one_relevant(direction, counts), ks=ks),
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
