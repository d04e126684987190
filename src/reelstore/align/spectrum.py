"""Leading directions of rows that needn't fit into memory."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from reelstore.arrays import Array, Float64Array

EXACT_DIM = 1024
"""Up to this width all eigenvectors are computed, which takes seconds; beyond it, the wanted ones are iterated to."""
_OVERSAMPLED, _RESIDUAL, _GAIN, _MAX_ITERATIONS = 32, 1e-6, 1e-4, 60


@dataclass(frozen=True)
class Directions:
    """Principal components.

    Attributes:
        mean: (dim,) of the rows.
        directions: (dim, k) orthonormal columns, the largest variance first.
        variances: (k,) of the rows along them.
        mean_variance: over all `dim` dimensions, those without a direction too.
    """

    mean: Float64Array
    directions: Float64Array
    variances: Float64Array
    mean_variance: float


def covariance_directions(blocks: Iterator[Array], k: int) -> Directions:
    """The k leading principal components of rows that come in blocks (n, dim); fewer where the rows span fewer.

    One pass; products are float32, sums over blocks float64.
    """
    count = 0
    shift: Any = 0.0
    total: Any = 0.0
    square: Any = 0.0
    for block in blocks:
        if not count:
            shift = block.mean(axis=0, dtype=np.float64)
        near = (block - shift).astype(np.float32)  # about the origin: nothing cancels later
        count += len(near)
        total = total + near.sum(axis=0, dtype=np.float64)
        square = square + near.T @ near
    offset = total / count
    covariance = square / count - np.outer(offset, offset)
    values, vectors = top_eigenpairs(covariance, min(k, max(count - 1, 1), len(offset)))
    kept = values > 1e-6 * values[0] if values[0] > 0 else np.arange(len(values)) < 1
    mean_variance = float(np.trace(covariance)) / len(offset)
    return Directions(shift + offset, vectors[:, kept], np.maximum(values[kept], 0), mean_variance)


def top_eigenpairs(symmetric: Float64Array, k: int) -> tuple[Float64Array, Float64Array]:
    """The k largest eigenvalues, descending, and their eigenvectors as columns.

    Where k is a small part of a wide matrix, by block iteration with a fixed start, until each residual is within 1e-6
    of the largest eigenvalue, or the eigenvalues' sum no longer grows by 1e-4 of itself: what is left to gain is then
    among eigenvalues that hardly differ, whose vectors are as good as any of their span. Else all of them by LAPACK.
    """
    dim = len(symmetric)
    if dim <= EXACT_DIM or k + _OVERSAMPLED > dim // 3:
        values, vectors = np.linalg.eigh(symmetric)
        return values[::-1][:k].copy(), vectors[:, ::-1][:, :k].copy()
    captured = 0.0
    basis = np.random.default_rng(0).normal(size=(dim, k + _OVERSAMPLED))
    for _ in range(_MAX_ITERATIONS):
        basis = _orthonormal(_orthonormal(symmetric @ basis))  # the second time, to rounding
        image = symmetric @ basis
        values, rotation = np.linalg.eigh(basis.T @ image)
        values, rotation = values[::-1], rotation[:, ::-1]
        basis, image = basis @ rotation, image @ rotation
        residual = np.linalg.norm(image[:, :k] - basis[:, :k] * values[:k], axis=0).max()
        before, captured = captured, float(values[:k].sum())
        if residual <= _RESIDUAL * values[0] or captured - before <= _GAIN * captured:
            break
    return values[:k].copy(), basis[:, :k].copy()


def _orthonormal(columns: Float64Array) -> Float64Array:
    """The same span; by products alone, which take a fraction of the time of reflections."""
    try:
        triangle = np.linalg.cholesky(columns.T @ columns)
    except np.linalg.LinAlgError:  # columns that are nearly dependent
        return np.linalg.qr(columns)[0]
    span: Float64Array = columns @ np.linalg.inv(triangle).T
    return span
