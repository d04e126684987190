"""Who belongs to whom, in the forms it comes in -> pairs of query and item."""

from typing import Any

import numpy as np

from reelstore.errors import EvaluationError
from reelstore.ranking import Ints


def right_pairs(relevance: Any, n_queries: int, n_items: int, *, name: str, what: tuple[str, str]) -> tuple[Ints, Ints]:
    """Query and item of each right pair.

    Args:
        relevance: (n_queries,) whole numbers, the right item of each query, -1 where it has none; or a matrix
            (n_queries, n_items), an array, a tensor or sparse, that is true (or not zero) where an item is right; or a
            tuple of two arrays (n_pairs,), query and item of each right pair.
        n_queries: queries.
        n_items: items.
        name: what messages call it.
        what: what messages call a query and an item.
    """
    if hasattr(relevance, "detach"):
        relevance = relevance.detach().cpu()
        if str(getattr(relevance, "layout", "")) != "torch.strided":
            _check_shape(relevance.shape, n_queries, n_items, name)
            entries = relevance.to_sparse_coo().coalesce()
            query, item = entries.indices().numpy()
            return _stored(query, item, entries.values().numpy(), name)
    if hasattr(relevance, "tocoo"):
        _check_shape(relevance.shape, n_queries, n_items, name)
        entries = relevance.tocsr().tocoo()  # which adds up what is given twice
        return _stored(entries.row, entries.col, entries.data, name)
    if isinstance(relevance, tuple) and len(relevance) == 2 and np.ndim(relevance[0]) == 1:
        query, item = (np.asarray(side, dtype=np.int64) for side in relevance)
        for side, n, kind in ((query, n_queries, what[0]), (item, n_items, what[1])):
            if query.shape != item.shape or (len(side) and not 0 <= side.min() <= side.max() < n):
                raise EvaluationError(f"{name}: pairs must name {kind}s 0 to {n - 1}, as many as of the other side.")
        return query, item
    values = np.asarray(relevance)
    if values.ndim == 2:
        _check_shape(values.shape, n_queries, n_items, name)
        if values.dtype.kind == "f" and np.isnan(values).any():
            raise EvaluationError(f"{name} holds NaN.")
        query, item = np.nonzero(values)
        return query.astype(np.int64), item.astype(np.int64)
    if values.shape != (n_queries,) or (values.dtype.kind not in "iu" and len(values)):
        raise EvaluationError(
            f"{name} must be {n_queries} whole numbers, one a {what[0]}, or a matrix ({n_queries}, {n_items}), "
            f"not {values.shape} {values.dtype}."
        )
    owner = values.astype(np.int64)
    if len(owner) and not -1 <= owner.min() <= owner.max() < n_items:
        row = int(np.flatnonzero((owner < -1) | (owner >= n_items))[0])
        raise EvaluationError(
            f"{what[0].capitalize()} {row} names {what[1]} {owner[row]}, but {what[1]}s are 0 to {n_items - 1}."
        )
    query = np.flatnonzero(owner >= 0)
    return query, owner[query]


def _stored(query: Any, item: Any, values: Any, name: str) -> tuple[Ints, Ints]:
    """Pairs of a sparse matrix whose value isn't zero."""
    values = np.asarray(values)
    if values.dtype.kind == "f" and np.isnan(values).any():
        raise EvaluationError(f"{name} holds NaN.")
    kept = values != 0
    return np.asarray(query)[kept].astype(np.int64), np.asarray(item)[kept].astype(np.int64)


def _check_shape(shape: Any, n_queries: int, n_items: int, name: str) -> None:
    if tuple(shape) != (n_queries, n_items):
        raise EvaluationError(f"{name} is {tuple(shape)}, but there are {n_queries} x {n_items} pairs.")
