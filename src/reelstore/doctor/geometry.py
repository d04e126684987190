"""Geometry of rows: mean cosine, effective rank, common neighbours."""

import numpy as np

from reelstore.arrays import Array, BoolArray, Float64Array, IntArray, unit_rows, widened


def unit(values: Array) -> Float64Array:
    """(n, dim) float64 rows of length 1; a zero row stays zero."""
    return unit_rows(values, np.float64)


def share_below(scores: Float64Array, own: IntArray) -> Float64Array:
    """(n_queries,) share of other items that score lower than the item `own` (n_queries,); a tie counts half."""
    relevant = scores[np.arange(len(scores)), own][:, None]
    lower = (scores < relevant).sum(axis=1) + ((scores == relevant).sum(axis=1) - 1) / 2
    return np.asarray(lower / max(scores.shape[1] - 1, 1))


def same_width(*, text: Array, video: Array) -> tuple[Array, Array]:
    """Text and video with the width of the wider one: zeros are added at the end, no length or product changes."""
    width = max(text.shape[1], video.shape[1])
    return widened(text, width), widened(video, width)


def usual_nearest(values: Array) -> float:
    """Median cosine of rows and their nearest other row, after centring."""
    wide = unit(values)
    scores = unit(wide - wide.mean(axis=0))
    similar = scores @ scores.T
    np.fill_diagonal(similar, -1)
    return float(np.median(similar.max(axis=1)))


def two_kinds(values: Array) -> tuple[float, BoolArray]:
    """How far rows fall into two groups by their cosine with the common direction, and the smaller group.

    Returns:
        The share of the cosines' variance that is between the two best groups: 0.64 of a normal distribution, 0.75
        of a uniform one, 1 of two points. Source: Otsu 1979.
        (n,) True in the smaller group.
    """
    spread = values.astype(np.float64).std(axis=0)
    wide = unit(values / np.where(spread > 0, spread, 1))  # or one wide dimension's sign makes two groups
    cosines = wide @ unit(np.median(wide, axis=0)[None])[0]
    order = np.argsort(cosines)
    ranked = cosines[order]
    n = len(ranked)
    below = np.arange(1, n)
    sums = np.cumsum(ranked)[:-1]
    gap = sums / below - (ranked.sum() - sums) / (n - below)
    between = below * (n - below) / n**2 * gap**2
    whole = float(ranked.var())
    if n < 2 or whole <= 1e-12:
        return 0.0, np.zeros(n, dtype=bool)
    cut = int(between.argmax())
    lower = np.zeros(n, dtype=bool)
    lower[order[: cut + 1]] = True
    return float(between[cut] / whole), lower if 2 * lower.sum() <= n else ~lower


def mean_cosine(values: Array) -> float:
    """Mean cosine of all pairs of different rows.

    Example:
        >>> mean_cosine(np.array([[1., 0.], [0., 1.], [0., 2.]]))  # of 0, 0 and 1
        0.3333333333333333
    """
    n = len(values)
    total = unit(values).sum(axis=0)
    return float((total @ total - n) / max(n * (n - 1), 1))


def effective_rank(values: Array) -> float:
    """exp of the entropy of the centred rows' variances along principal directions: 1 where they are on a line, 0
    where they are one point. Source: Roy and Vetterli 2007.
    """
    centred = values.astype(np.float64) - values.astype(np.float64).mean(axis=0)
    variances = np.linalg.svd(centred, compute_uv=False) ** 2
    scale = float((values.astype(np.float64) ** 2).sum())
    if not scale or variances.sum() < 1e-12 * scale:
        return 0.0
    shares = variances / variances.sum()
    shares = shares[shares > 0]
    return float(np.exp(-(shares * np.log(shares)).sum()))


def top_share(values: Array, n_dims: int) -> float:
    """Share of the variance, summed over dimensions, that the `n_dims` widest dimensions hold."""
    variances = np.sort(values.astype(np.float64).var(axis=0))[::-1]
    total = variances.sum()
    return float(variances[:n_dims].sum() / total) if total else 0.0


def kernel_alignment(first: Array, second: Array) -> tuple[Float64Array, Float64Array]:
    """Gram matrices (n, n) of centred rows, made ready for `alignment`."""
    return _debiased(first), _debiased(second)


def alignment(first: Float64Array, second: Float64Array) -> float:
    """Debiased linear CKA of two Gram matrices from `kernel_alignment`: 0 for rows that have nothing in common, 1 for
    the same up to rotation and scale. Sources: Kornblith et al. 2019; Song et al. 2012 for the estimator.
    """
    scale = np.sqrt((first * first).sum() * (second * second).sum())
    return float((first * second).sum() / scale) if scale else 0.0


def neighbours(values: Array, k: int) -> IntArray:
    """(n, k) positions of each row's nearest other rows by cosine, after centring."""
    wide = unit(values)
    scores = unit(wide - wide.mean(axis=0))
    similar = scores @ scores.T
    np.fill_diagonal(similar, -np.inf)
    return np.argpartition(-similar, k, axis=1)[:, :k]


def mutual_neighbours(first: IntArray, second: IntArray) -> float:
    """Share of rows' neighbours that both sides have. Source: Huh et al. 2024, mutual nearest-neighbour alignment."""
    n, k = first.shape
    rows = np.repeat(np.arange(n), k)
    flags = np.zeros((n, n), dtype=bool)
    flags[rows, first.ravel()] = True
    return float(flags[rows, second.ravel()].mean())


def permuted(indices: IntArray, order: IntArray) -> IntArray:
    """Neighbours as they would be if row i were row order[i]."""
    place = np.argsort(order)
    return np.asarray(place[indices[order]])


def _debiased(values: Array) -> Float64Array:
    """A Gram matrix with its diagonal out and rows and columns centred so that unrelated rows give 0 on average."""
    wide = unit(values)
    wide = wide - wide.mean(axis=0)
    gram = wide @ wide.T
    np.fill_diagonal(gram, 0)
    n = len(gram)
    sums = gram.sum(axis=0) / (n - 2)
    gram = gram - sums[:, None] - sums[None, :] + sums.sum() / (n - 1)
    np.fill_diagonal(gram, 0)
    return np.asarray(gram)
