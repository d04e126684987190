"""Confidence intervals of means and medians whose values come in clusters: queries of one video aren't independent."""

import numpy as np

from reelstore.arrays import Float64Array, IntArray

_DOUBT = 5.0
"""An estimated variance of so many degrees of freedom has the weight 3/4 beside the largest possible one."""
_NOTHING = 1e-12
"""A mean, or a distance of one from 1, that is a rounding error."""


def mean_interval(
    totals: Float64Array, sizes: Float64Array, *, level: float = 0.95
) -> tuple[Float64Array, Float64Array]:
    """Interval of the mean of values in [0, 1], for independent clusters of dependent values.

    Korn and Graubard's interval (1998): that of Clopper and Pearson (1934) for a proportion, with an effective number
    of values in place of their number. That is how many independent values of 0 or 1 would have the variance of the
    mean, times the squared ratio of the normal quantile to that of t. The variance is the delete-one-cluster
    jackknife's, with two additions for few clusters and for means near 0 or 1, where it is unreliable or 0:

    - It is mixed with the largest variance the mean allows, that of clusters which are all 0 or all 1. The largest has
      the weight (5 / (5 + f)) ** 2, where f are the degrees of freedom that the kurtosis over clusters leaves the
      jackknife's. The rule and its 5 were chosen by simulation (benchmarks/coverage.py).
    - Where all values are 0, or all are 1, only the largest variance counts: n clusters are n values.

    With many clusters the ends converge to the mean plus and minus 1.96 standard errors.

    Args:
        totals: (..., n_clusters) sum of the values of each cluster.
        sizes: (..., n_clusters) number of values of each cluster, above 0.
        level: of the interval.

    Returns:
        low, high, each (...), in [0, 1].

    References:
        Clopper and Pearson 1934, The use of confidence or fiducial limits illustrated in the case of the binomial,
        Biometrika 26. Korn and Graubard 1998, Confidence intervals for proportions with small expected number of
        positive counts estimated from survey data, Survey Methodology 24. Dean and Pagano 2015, Evaluating confidence
        interval methods for binomial proportions in clustered surveys, Journal of Survey Statistics and Methodology 3.

    Example:
        >>> low, high = mean_interval(np.ones(40), np.ones(40))       # 40 of 40
        >>> round(float(low), 3), float(high)
        (0.912, 1.0)
    """
    mean, left_out = _means(totals, sizes)
    return _exact(mean, _effective(mean, left_out, sizes, level), level)


def difference_interval(
    gains: Float64Array, losses: Float64Array, sizes: Float64Array, *, level: float = 0.95
) -> tuple[Float64Array, Float64Array]:
    """Interval of the mean of paired differences in [-1, 1].

    Positive and negative parts are means in [0, 1], each with its `mean_interval`. Both intervals are combined by the
    method of variance estimates recovery (Zou and Donner 2008; of two proportions: Newcombe 1998), with the
    correlation of the two means as the jackknife over clusters has it. So clusters without any difference don't give
    an interval of [0, 0].

    Args:
        gains: (..., n_clusters) sum of the positive differences of each cluster.
        losses: (..., n_clusters) sum of the negative ones, without their sign.
        sizes: (..., n_clusters) number of values of each cluster, above 0.
        level: of the interval.

    Returns:
        low, high, each (...), in [-1, 1].

    References:
        Zou and Donner 2008, Construction of confidence limits about effect measures: a general approach, Statistics in
        Medicine 27. Newcombe 1998, Improved confidence intervals for the difference between binomial proportions based
        on paired data, Statistics in Medicine 17.
    """
    (up, up_left_out), (down, down_left_out) = _means(gains, sizes), _means(losses, sizes)
    variances = _variance(up_left_out), _variance(down_left_out)
    product = np.sqrt(variances[0] * variances[1])
    covariance = _covariance(up_left_out, down_left_out)
    correlation = np.clip(_ratio(covariance, product, otherwise=0.0), -1, 1)
    up_low, up_high = _exact(up, _effective(up, up_left_out, sizes, level), level)
    down_low, down_high = _exact(down, _effective(down, down_left_out, sizes, level), level)
    below = _length(up - up_low, down_high - down, correlation)
    above = _length(up_high - up, down - down_low, correlation)
    return np.maximum(up - down - below, -1.0), np.minimum(up - down + above, 1.0)


def median_interval(
    values: Float64Array, cluster: IntArray, *, lowest: float, highest: float, level: float = 0.95
) -> tuple[float, float]:
    """Interval of a median, for independent clusters of dependent values.

    The interval of Woodruff (1952, Confidence intervals for medians and other position measures, Journal of the
    American Statistical Association 47): the values at the ends of the interval of a share of one half, with the
    effective number of values of the share below the median. Where that asks for more than the values have, as it does
    for five or fewer independent ones, the end is the lowest or highest possible value.

    Args:
        values: (n,) values, such as ranks.
        cluster: (n,) int from 0, without holes.
        lowest: smallest possible value.
        highest: largest possible value.
        level: of the interval.
    """
    ordered = np.sort(values)
    n = len(ordered)
    below = np.bincount(cluster, values <= np.median(values)).astype(np.float64)
    sizes = np.bincount(cluster).astype(np.float64)
    share, left_out = _means(below, sizes)
    effective = _effective(share, left_out, sizes, level)
    low, high = _exact(np.asarray(0.5), np.minimum(effective, n), level)
    before, behind = int(low * n), int((1 - high) * n)
    return (
        float(ordered[before - 1]) if before else lowest,
        float(ordered[n - behind]) if behind else highest,
    )


def _means(totals: Float64Array, sizes: Float64Array) -> tuple[Float64Array, Float64Array]:
    """(...) mean, and (..., n_clusters) what it differs by without each cluster; 0 for a single cluster."""
    total, n = totals.sum(axis=-1, keepdims=True), sizes.sum(axis=-1, keepdims=True)
    mean = total / n
    rest = n - sizes
    left_out = (total - totals) / np.maximum(rest, 1) - mean if sizes.shape[-1] > 1 else np.zeros_like(totals)
    return np.clip(mean[..., 0], 0.0, 1.0), np.where(np.abs(left_out) > _NOTHING * mean, left_out, 0.0)


def _variance(left_out: Float64Array) -> Float64Array:
    return _covariance(left_out, left_out)


def _covariance(first: Float64Array, second: Float64Array) -> Float64Array:
    n = first.shape[-1]
    covariance: Float64Array = (n - 1) / n * (first * second).sum(axis=-1)
    return covariance


def _effective(mean: Float64Array, left_out: Float64Array, sizes: Float64Array, level: float) -> Float64Array:
    """(...) independent values of 0 or 1 that are as informative about the mean."""
    from scipy.special import ndtri, stdtrit

    n_clusters = sizes.shape[-1]
    equal_clusters = sizes.sum(axis=-1) ** 2 / (sizes**2).sum(axis=-1)  # as many of one size (Kish 1965)
    largest = mean * (1 - mean) / equal_clusters
    variance = _variance(left_out)
    inside = (mean > _NOTHING) & (mean < 1 - _NOTHING)
    # The variance of n values of this kurtosis has 2 n / (kurtosis - 1) degrees of freedom.
    square = (left_out**2).sum(axis=-1) ** 2
    excess = n_clusters * (left_out**4).sum(axis=-1) - square
    freedom = np.maximum(equal_clusters - 1, 1)
    known = np.minimum(freedom, _ratio(2 * n_clusters * square, excess, otherwise=np.inf))
    known = np.where(inside, known, 0.0)
    share = _ratio(variance, np.where(inside, largest, 0.0), otherwise=1.0)
    doubt = (_DOUBT / (_DOUBT + known)) ** 2
    mixed = (1 - doubt) * share + doubt
    tail = (1 + level) / 2
    narrower = np.where(inside, (ndtri(tail) / stdtrit(freedom, tail)) ** 2, 1.0)
    effective: Float64Array = equal_clusters / mixed * narrower
    return effective


def _exact(mean: Float64Array, n: Float64Array, level: float) -> tuple[Float64Array, Float64Array]:
    """Clopper and Pearson's interval for this share of n values, which needn't be whole numbers."""
    from scipy.special import betaincinv

    yes, no = mean * n, (1 - mean) * n
    tail = (1 - level) / 2
    low = betaincinv(np.maximum(yes, _NOTHING), no + 1, tail)
    high = betaincinv(yes + 1, np.maximum(no, _NOTHING), 1 - tail)
    return np.where(mean <= _NOTHING, 0.0, low), np.where(1 - mean <= _NOTHING, 1.0, high)


def _ratio(numerator: Float64Array, denominator: Float64Array, *, otherwise: float) -> Float64Array:
    """Their ratio; `otherwise` where the denominator isn't above 0."""
    numerator, denominator = np.broadcast_arrays(numerator, denominator)
    ratio: Float64Array = np.divide(
        numerator, denominator, out=np.full(denominator.shape, otherwise), where=denominator > 0
    )
    return ratio


def _length(first: Float64Array, second: Float64Array, correlation: Float64Array) -> Float64Array:
    return np.sqrt(np.maximum(first**2 + second**2 - 2 * correlation * first * second, 0.0))
