"""Relevance, in the forms it comes in -> pairs of query and item with their grades."""

from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any, NamedTuple

import numpy as np

from reelstore.arrays import Array, BoolArray, Float64Array, IntArray
from reelstore.errors import EvaluationError
from reelstore.ranking.arguments import whole_number
from reelstore.ranking.arrays import as_array, is_sparse_tensor


class Pairs(NamedTuple):
    """Relevance as pairs, for `evaluate(relevance=Pairs(query, item))`.

    Attributes:
        query: (n_pairs,) int, row of the query.
        item: (n_pairs,) int, row of the item.
        grade: (n_pairs,) number of each pair; all are relevant where it is None.
    """

    query: Any
    item: Any
    grade: Any = None


@dataclass(frozen=True)
class Judged:
    """Pairs with a grade above 0, each once, by query and then item.

    Attributes:
        n_items: items.
        query: (n_pairs,) row of the query.
        item: (n_pairs,) row of the item.
        grade: (n_pairs,) float64; None where every pair is relevant and all have the same grade.
        relevant: (n_pairs,) bool, whether the grade reaches `relevant_from`.
    """

    n_items: int
    query: IntArray
    item: IntArray
    grade: Float64Array | None
    relevant: BoolArray

    @property
    def pairs(self) -> tuple[IntArray, IntArray]:
        """Query and item of the relevant pairs."""
        return self.query[self.relevant], self.item[self.relevant]

    def at(self, query: IntArray, item: IntArray) -> IntArray:
        """Position of each of these pairs."""
        return np.searchsorted(self.query * self.n_items + self.item, query * self.n_items + item)


def judged_pairs(
    relevance: Any, n_queries: int, n_items: int, *, name: str, what: tuple[str, str], relevant_from: float = 1.0
) -> Judged:
    """Read relevance.

    Args:
        relevance: by its form
            - one axis: (n_queries,) whole numbers, the relevant item of each query, -1 where it has none.
            - two axes: a matrix (n_queries, n_items) of grades or truth values. An array, a tensor, a data frame,
              sparse, or nested lists or tuples.
            - `Pairs(query, item, grade)`, or two arrays (query, item) as `np.nonzero` gives them. Two arrays are
              refused where there are two queries: they may be the rows of a matrix.
            - a dict {query: {item: grade}}, {query: [items]} or {query: item}, by row number.
        n_queries: queries.
        n_items: items.
        name: what messages call it.
        what: what messages call a query and an item.
        relevant_from: lowest grade that counts as relevant, above 0.

    Raises:
        EvaluationError: it has another form, or a value is no finite number, or masked.
    """
    read = _Reader(n_queries, n_items, name, what)
    query, item, grade = read(relevance)
    kept = grade > 0
    query, item, grade = query[kept], item[kept], grade[kept]
    key = query * n_items + item
    if (key[1:] <= key[:-1]).any():
        order = np.argsort(key, kind="stable")
        again = np.flatnonzero(key[order][1:] == key[order][:-1])
        for first, second in zip(order[again].tolist(), order[again + 1].tolist(), strict=True):
            if grade[first] != grade[second]:
                raise EvaluationError(
                    f"{name} gives {what[0]} {query[first]} and {what[1]} {item[first]} two grades: "
                    f"{grade[first]:g} and {grade[second]:g}."
                )
        kept = np.delete(order, again + 1)
        query, item, grade = query[kept], item[kept], grade[kept]
    relevant = grade >= relevant_from
    if not len(query) or not relevant.any():
        known = f" Its highest grade is {grade.max():g}, and relevant_from is {relevant_from:g}." if len(grade) else ""
        raise EvaluationError(
            f"None of the {n_queries} {_several(what[0])} has a relevant {what[1]} among the {n_items}: nothing to "
            f"rank.{known}"
        )
    alike = relevant.all() and (grade == grade[0]).all()
    return Judged(n_items, query, item, None if alike else grade, relevant)


def refuse_other_labels(values: Any, relevance: Any, *, names: tuple[str, str], axes: tuple[int, int] = (0, 0)) -> None:
    """Raise EvaluationError where two pandas objects name their rows, or columns, otherwise: rows go by position.

    Args:
        values: embeddings or scores.
        relevance: what belongs to them.
        names: what messages call the two.
        axes: of each, the axis that must have the same labels.
    """
    labels = [
        getattr(of, "axes", [])[axis : axis + 1] if hasattr(of, "iloc") else []
        for of, axis in zip((values, relevance), axes, strict=True)
    ]
    if all(labels) and not labels[0][0].equals(labels[1][0]):
        raise EvaluationError(
            f"{names[0]} and {names[1]} are pandas objects whose labels differ. Rows are matched by position: bring "
            "both into one order (.reindex), or give .to_numpy() where they have one already."
        )


@dataclass(frozen=True)
class _Reader:
    """Query, item and grade of all that is given."""

    n_queries: int
    n_items: int
    name: str
    what: tuple[str, str]

    def __call__(self, relevance: Any) -> tuple[IntArray, IntArray, Float64Array]:
        if isinstance(relevance, Pairs):
            return self._pairs(relevance)
        if isinstance(relevance, Mapping):
            return self._mapping(relevance)
        if hasattr(relevance, "tocoo"):
            self._check_shape(relevance.shape)
            entries = relevance.tocoo(copy=True)
            return self._sparse(entries.row, entries.col, entries.data)
        if is_sparse_tensor(relevance):
            self._check_shape(relevance.shape)
            entries = relevance.detach().cpu().to_sparse_coo()
            query, item = entries._indices().numpy()  # not coalesced, which may overflow
            return self._sparse(query, item, as_array(entries._values(), self.name))
        if _are_two_arrays(relevance):
            if self.n_queries == 2:
                raise EvaluationError(
                    f"{self.name} is two arrays, which may be the rows of a matrix, or {self.what[0]} and "
                    f"{self.what[1]} of pairs. Give np.stack({self.name}) or Pairs(*{self.name})."
                )
            return self._pairs(Pairs(*relevance))
        values = as_array(relevance, self.name)
        if values.ndim == 2:
            self._check_shape(values.shape)
            return self._matrix(values)
        return self._owners(values)

    def _matrix(self, values: Array) -> tuple[IntArray, IntArray, Float64Array]:
        values = self._numbers(values)
        query, item = np.nonzero(values > 0)
        return query.astype(np.int64), item.astype(np.int64), values[query, item].astype(np.float64)

    def _sparse(self, query: Any, item: Any, values: Array) -> tuple[IntArray, IntArray, Float64Array]:
        """What is given twice adds up, as it does when the matrix is made dense."""
        grades = self._numbers(values)
        key = np.asarray(query, dtype=np.int64) * self.n_items + np.asarray(item, dtype=np.int64)
        key, place = np.unique(key, return_inverse=True)
        total: Float64Array = np.bincount(place.reshape(-1), grades.astype(np.float64), minlength=len(key)).astype(
            np.float64
        )
        if grades.dtype.kind == "b":
            total = np.minimum(total, 1.0)
        return key // max(self.n_items, 1), key % max(self.n_items, 1), total

    def _pairs(self, pairs: Pairs) -> tuple[IntArray, IntArray, Float64Array]:
        sides = []
        for values, n, kind in ((pairs.query, self.n_queries, self.what[0]), (pairs.item, self.n_items, self.what[1])):
            rows = as_array(values, f"{self.name}: {_several(kind)}")
            if rows.ndim != 1 or (rows.dtype.kind not in "iu" and len(rows)):
                raise EvaluationError(
                    f"{self.name}: {_several(kind)} of pairs must be whole numbers (n_pairs,), not {rows.dtype} "
                    f"{rows.shape}."
                )
            if len(rows) and not 0 <= int(rows.min()) <= int(rows.max()) < n:
                row = next(int(row) for row in rows if not 0 <= row < n)
                raise EvaluationError(f"{self.name}: pairs name {kind} {row}, but {_several(kind)} are 0 to {n - 1}.")
            sides.append(rows.astype(np.int64))
        n_pairs = len(sides[0])
        grade = np.ones(n_pairs) if pairs.grade is None else as_array(pairs.grade, f"{self.name}: grades")
        if len(sides[1]) != n_pairs or grade.shape != (n_pairs,):
            raise EvaluationError(
                f"{self.name}: pairs have {n_pairs} {_several(self.what[0])}, {len(sides[1])} {_several(self.what[1])} "
                f"and grades of shape {grade.shape}; as many of each are expected."
            )
        return sides[0], sides[1], self._numbers(grade).astype(np.float64)

    def _mapping(self, mapping: Mapping[Any, Any]) -> tuple[IntArray, IntArray, Float64Array]:
        query, item, grade = [], [], []
        for key, values in mapping.items():
            row = whole_number(f"{self.name}: a key, which must be a row number,", key, 0, self.n_queries - 1)
            if not isinstance(values, Mapping):
                alone = np.ndim(values) == 0 and not isinstance(values, set | frozenset)
                values = dict.fromkeys([values] if alone else values, 1)
            for one, value in values.items():
                of = f"{self.name}[{row}]: {self.what[1]}"
                query.append(row)
                item.append(whole_number(of, one, 0, self.n_items - 1))
                grade.append(value)
        grades = np.empty(len(grade), dtype=object)
        grades[:] = grade
        return np.array(query, dtype=np.int64), np.array(item, dtype=np.int64), self._numbers(grades).astype(np.float64)

    def _owners(self, values: Array) -> tuple[IntArray, IntArray, Float64Array]:
        n, (query_name, item_name) = self.n_queries, self.what
        if values.ndim == 1 and values.dtype == object:
            values = self._numbers(values)
        if values.shape != (n,) or (values.dtype.kind not in "iu" and len(values)):
            raise EvaluationError(
                f"{self.name} must be {n} whole numbers, one for each {query_name} (-1 where it has no {item_name}), "
                f"or a matrix ({n}, {self.n_items}), not {values.shape} {values.dtype}. For pairs: Pairs(query, item)."
            )
        wrong = np.flatnonzero((values < -1) | (values >= self.n_items))
        if len(wrong):
            row = int(wrong[0])
            raise EvaluationError(
                f"{query_name.capitalize()} {row} names {item_name} {values[row]}, but {item_name}s are 0 to "
                f"{self.n_items - 1}."
            )
        owner = values.astype(np.int64)
        query = np.flatnonzero(owner >= 0)
        return query, owner[query], np.ones(len(query))

    def _numbers(self, values: Array) -> Array:
        """The values, if all are truth values or finite real numbers."""
        if values.dtype == object:
            for place, value in np.ndenumerate(values):
                if not isinstance(value, Real | np.bool_):
                    raise EvaluationError(f"{self.name}{_at(place)} is {value!r:.60}; a number is expected.")
            whole = all(isinstance(value, int | np.integer) and abs(int(value)) < 2**63 for value in values.flat)
            values = values.astype(np.int64 if whole else np.float64)
        if values.dtype.kind not in "biuf":
            raise EvaluationError(
                f"{self.name} holds {values.dtype}; truth values or numbers are expected, above 0 where an item is "
                "relevant."
            )
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            place = tuple(np.argwhere(~np.isfinite(values))[0])
            raise EvaluationError(
                f"{self.name}{_at(place)} is {values[place]}; a finite number is expected, 0 where an item isn't "
                "relevant."
            )
        return values

    def _check_shape(self, shape: Any) -> None:
        if tuple(shape) != (self.n_queries, self.n_items):
            raise EvaluationError(
                f"{self.name} is {tuple(shape)}, but there are {self.n_queries} x {self.n_items} pairs. Pairs of row "
                "numbers are given as Pairs(query, item)."
            )


def _are_two_arrays(relevance: Any) -> bool:
    """Two arrays of one axis, as `np.nonzero` gives them; lists of lists are a matrix."""
    return (
        isinstance(relevance, list | tuple)
        and len(relevance) == 2
        and all(not isinstance(side, list | tuple) and getattr(side, "ndim", None) == 1 for side in relevance)
    )


def _several(what: str) -> str:
    return "queries" if what == "query" else f"{what}s"


def _at(place: tuple[int, ...]) -> str:
    return f"[{', '.join(str(int(axis)) for axis in place)}]"
