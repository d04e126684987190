"""How often 95 % confidence intervals hold the true value, and how often paired tests are wrong, by simulation.

    python benchmarks/coverage.py --small
    python benchmarks/coverage.py --out coverage.json

A population of videos has captions whose ranks among 1,000 items follow P(rank <= r) = (r / 1000) ** s; s is chosen for
the true value of a metric. Captions of one video are dependent through a Gaussian copula with correlation `rho`: at 0
they are independent, at 1 all captions of a video have the same rank. A video has 1 caption, or 1 to 20. Samples of
`n_videos` are drawn, and the intervals of the library are compared with the true value. Beside them stands the former
method: the percentile bootstrap over videos.

Text-to-video: R@1, MRR and MedR, whose true values follow from s. (R@k of any k has the distribution of R@1 with the
same true value.) Video-to-text: MAP over the captions of a video, whose true value is a mean over 100,000 videos; hit@k
has the distribution of R@1 with one caption a video. Differences: R@1 and MRR of two systems.
"""

import argparse
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import ndtr

from reelstore.evaluation.clustered import difference_interval, mean_interval, median_interval
from reelstore.evaluation.compare import compare

N_ITEMS = 1000
N_VIDEOS = (5, 10, 15, 20, 30, 50, 100, 1000)
TRUE = (0.02, 0.1, 0.5, 0.9, 0.98)
MEDIANS = (2, 10, 100)
RHO = (0.0, 0.3, 0.8, 1.0)
CASES = [(1, 0.0), *((20, rho) for rho in RHO)]
"""Most captions of a video (it has 1 to so many), and the correlation within a video."""
N_RESAMPLES = 500
N_TESTS = 400
"""Draws of each case that are tested for a difference, at most."""
BLOCK = 2_000_000
"""Captions drawn at once."""


def exponent(metric: str, value: float) -> float:
    """The s at which R@1, MRR or MedR has this true value."""
    if metric == "R@1":
        return float(np.log(value) / -np.log(N_ITEMS))
    if metric == "MedR":  # the middle between two ranks, so that the median is that rank
        return float(np.log(0.5) / np.log((value - 0.5) / N_ITEMS))
    ranks = np.arange(1, N_ITEMS + 1)
    low, high = 1e-6, 8.0
    for _ in range(60):
        middle = (low + high) / 2
        mrr = (np.diff(np.r_[0, (ranks / N_ITEMS) ** middle]) / ranks).sum()
        low, high = (middle, high) if mrr > value else (low, middle)
    return low


def uniforms(
    rng: np.random.Generator, n_draws: int, n_videos: int, most: int, rho: float, n_systems: int = 1
) -> tuple[list[np.ndarray], np.ndarray]:
    """(n_draws, n_videos, most) uniform numbers of each system, correlated within videos; (n_draws, n_videos) sizes.

    Two systems are correlated by 0.9.
    """
    sizes = rng.integers(1, most + 1, (n_draws, n_videos)) if most > 1 else np.ones((n_draws, n_videos), dtype=int)

    def normals() -> np.ndarray:
        shared = rng.standard_normal((n_draws, n_videos, 1), dtype=np.float32)
        own = rng.standard_normal((n_draws, n_videos, most), dtype=np.float32)
        return np.sqrt(rho) * shared + np.sqrt(1 - rho) * own

    first = normals()
    systems = [first, *(0.9 * first + np.sqrt(1 - 0.9**2) * normals() for _ in range(n_systems - 1))]
    return [ndtr(z) for z in systems], sizes


def blocks(n_draws: int, n_videos: int, most: int) -> Iterator[int]:
    """Draws of each block."""
    size = max(1, BLOCK // (n_videos * most))
    for start in range(0, n_draws, size):
        yield min(size, n_draws - start)


def bootstrap(totals: np.ndarray, sizes: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The former method, for (n_draws, n_videos) totals."""
    n_videos = totals.shape[1]
    weights = rng.multinomial(n_videos, np.full(n_videos, 1 / n_videos), size=N_RESAMPLES).astype(np.float64)
    means = (totals @ weights.T) / (sizes @ weights.T)
    low, high = np.quantile(means, [0.025, 0.975], axis=1)
    return low, high


class Tally:
    """Coverage and width of several methods."""

    def __init__(self) -> None:
        self.n, self.held, self.width = 0, {}, {}  # type: ignore[var-annotated]

    def add(self, name: str, low: np.ndarray, high: np.ndarray, true: float) -> None:
        """Intervals of one block of draws."""
        # A hair of slack for true values of 0 and 1, and for a difference of 0.
        held = (low <= true + 1e-12) & (high >= true - 1e-12)
        self.held[name] = self.held.get(name, 0) + int(held.sum())
        self.width[name] = self.width.get(name, 0.0) + float((high - low).sum())

    def row(self, **of: Any) -> dict[str, Any]:
        """What was found, of these settings."""
        return {
            **of,
            "coverage": {name: held / self.n for name, held in self.held.items()},
            "width": {name: width / self.n for name, width in self.width.items()},
        }


def means(n_videos: int, n_draws: int, seed: int) -> Iterator[dict[str, Any]]:
    """R@1 and MRR, text-to-video, at every true value."""
    for most, rho in CASES:
        rng = np.random.default_rng([seed, n_videos, most, int(10 * rho)])
        wanted = [(metric, value, exponent(metric, value)) for metric in ("R@1", "MRR") for value in TRUE]
        tallies = {(metric, value): Tally() for metric, value, _ in wanted}
        constant = {value: Tally() for value in (0.0, 1.0)}
        for size in blocks(n_draws, n_videos, most):
            (uniform,), sizes = uniforms(rng, size, n_videos, most, rho)
            there = np.arange(most) < sizes[..., None]
            n = sizes.astype(np.float64)
            for metric, value, s in wanted:
                ranks = np.maximum(np.ceil(N_ITEMS * uniform ** (1 / s)), 1)
                values = (ranks == 1).astype(np.float64) if metric == "R@1" else 1 / ranks
                tally = tallies[metric, value]
                tally.n += size
                totals = (values * there).sum(axis=-1)
                tally.add("now", *mean_interval(totals, n), value)
                tally.add("percentile", *bootstrap(totals, n, rng), value)
            for value, tally in constant.items():
                tally.n += size
                tally.add("now", *mean_interval(value * n, n), value)
        for (metric, value), tally in tallies.items():
            yield tally.row(metric=metric, true=value, n_videos=n_videos, most_captions=most, rho=rho)
        for value, tally in constant.items():
            yield tally.row(metric="R@1", true=value, n_videos=n_videos, most_captions=most, rho=rho)


def average_precision(uniform: np.ndarray, sizes: np.ndarray, s: float) -> np.ndarray:
    """(...) average precision of a video whose (..., most) captions are among 1,000 others."""
    most = uniform.shape[-1]
    above = np.floor(N_ITEMS * uniform ** (1 / s))
    above = np.sort(np.where(np.arange(most) < sizes[..., None], above, np.inf), axis=-1)
    place = np.arange(1, most + 1)
    return np.asarray((place / (above + place)).sum(axis=-1) / sizes)


@cache
def true_map(s: float, rho: float, seed: int) -> float:
    """MAP of the population."""
    (uniform,), sizes = uniforms(np.random.default_rng(seed), 100, 1000, 20, rho)
    return float(average_precision(uniform, sizes, s).mean())


def map_v2t(n_videos: int, n_draws: int, seed: int) -> Iterator[dict[str, Any]]:
    """MAP, video-to-text: one value a video."""
    for rho in RHO:
        rng = np.random.default_rng([seed, n_videos, int(10 * rho), 1])
        for s in (0.02, 0.1, 0.3, 1.0):
            true, tally = true_map(s, rho, seed), Tally()
            for size in blocks(n_draws, n_videos, 20):
                (uniform,), sizes = uniforms(rng, size, n_videos, 20, rho)
                values, ones = average_precision(uniform, sizes, s), np.ones((size, n_videos))
                tally.n += size
                tally.add("now", *mean_interval(values, ones), true)
                tally.add("percentile", *bootstrap(values, ones, rng), true)
            yield tally.row(metric="MAP", true=true, n_videos=n_videos, most_captions=20, rho=rho)


def medians(n_videos: int, n_draws: int, seed: int) -> Iterator[dict[str, Any]]:
    """MedR, text-to-video."""
    for most, rho in CASES:
        rng = np.random.default_rng([seed, n_videos, most, int(10 * rho), 2])
        for median in MEDIANS:
            s, tally = exponent("MedR", median), Tally()
            for size in blocks(n_draws, n_videos, most):
                (uniform,), sizes = uniforms(rng, size, n_videos, most, rho)
                ranks = np.maximum(np.ceil(N_ITEMS * uniform ** (1 / s)), 1)
                ends = []
                for one, n in zip(ranks, sizes, strict=True):
                    values = one[np.arange(most) < n[:, None]]
                    cluster = np.repeat(np.arange(n_videos), n)
                    ends.append(median_interval(values, cluster, lowest=1.0, highest=float(N_ITEMS)))
                low, high = np.array(ends).T
                tally.n += size
                tally.add("now", low, high, median)
            yield tally.row(metric="MedR", true=median, n_videos=n_videos, most_captions=most, rho=rho)


def differences(n_videos: int, n_draws: int, seed: int) -> Iterator[dict[str, Any]]:
    """Of two systems: the interval, and how often the test finds a difference at p <= 0.05.

    `equal` systems have the same distribution; `unequal` ones differ by 0.1; `rare` are identical but for 3 % of the
    videos, on which the second one is right; `spread` have the same mean, but captions of a video agree in one only.
    """
    for most, rho in CASES:
        for kind in ("equal", "unequal", "rare", "spread"):
            rng = np.random.default_rng([seed, n_videos, most, int(10 * rho), 3])
            tallies = {metric: Tally() for metric in ("R@1", "MRR")}
            found: dict[str, list[bool]] = {metric: [] for metric in tallies}
            true = {"equal": 0.0, "spread": 0.0, "unequal": 0.1, "rare": 0.03 * 0.6}[kind]
            for size in blocks(n_draws, n_videos, most):
                (first, second), sizes = uniforms(rng, size, n_videos, most, rho, n_systems=2)
                if kind == "rare":
                    second = np.where(rng.random((size, n_videos, 1)) < 0.03, 0.0, first)
                if kind == "spread":
                    second = uniforms(rng, size, n_videos, most, 1.0 - rho)[0][0]
                there = np.arange(most) < sizes[..., None]
                for metric, tally in tallies.items():
                    before, after = exponent(metric, 0.4), exponent(metric, 0.5 if kind == "unequal" else 0.4)
                    ranks = [
                        np.maximum(np.ceil(N_ITEMS * of ** (1 / s)), 1) for of, s in ((first, before), (second, after))
                    ]
                    a, b = ((of == 1) * 1.0 if metric == "R@1" else 1 / of for of in ranks)
                    gains, losses = ((np.maximum(one, 0) * there).sum(axis=-1) for one in (b - a, a - b))
                    n = sizes.astype(np.float64)
                    tally.n += size
                    tally.add("now", *difference_interval(gains, losses, n), true)
                    tally.add("percentile", *bootstrap(gains - losses, n, rng), true)
                    for row in range(min(size, N_TESTS - len(found[metric])) if true == 0 else 0):
                        of = there[row]
                        video = np.repeat(np.arange(n_videos), sizes[row])
                        one = compare({"m": a[row][of]}, {"m": b[row][of]}, video, n_resamples=199, seed=row)["m"]
                        found[metric].append(one.p <= 0.05)
            for metric, tally in tallies.items():
                row = tally.row(metric=f"{metric}, {kind}", true=true, n_videos=n_videos, most_captions=most, rho=rho)
                if found[metric]:
                    row["false_positives"] = float(np.mean(found[metric]))
                yield row


def table(rows: list[dict[str, Any]]) -> str:
    """For every metric and number of videos: the lowest coverage of any case, the mean, and the width."""
    lines = [
        "| | videos | coverage, lowest | mean | bootstrap, lowest | mean | width / bootstrap's | false positives |"
    ]
    lines.append("|" + "---|" * 8)
    groups: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["metric"], row["n_videos"]), []).append(row)
    for (metric, n_videos), of in groups.items():
        now = [row["coverage"]["now"] for row in of]
        old = [row["coverage"]["percentile"] for row in of if "percentile" in row["coverage"]]
        ratio = [row["width"]["now"] / row["width"]["percentile"] for row in of if row["width"].get("percentile")]
        wrong = [row["false_positives"] for row in of if "false_positives" in row]
        cells = [metric, f"{n_videos:,}", f"{min(now):.3f}", f"{np.mean(now):.3f}"]
        cells += [f"{min(old):.3f}", f"{np.mean(old):.3f}", f"{np.median(ratio):.2f}"] if old else ["", "", ""]
        cells.append(f"{min(wrong):.3f} to {max(wrong):.3f}" if wrong else "")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, print the table, and write every case to a file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=2000, help="Samples of each case.")
    parser.add_argument("--videos", type=int, nargs="+", default=N_VIDEOS, help="Numbers of videos.")
    parser.add_argument("--only", choices=["means", "map", "medians", "differences"], help="One kind of interval.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--small", action="store_true", help="Few draws of few videos, to try it.")
    parser.add_argument("--out", type=Path, help="JSON file for every case.")
    args = parser.parse_args()
    n_draws, n_videos = (20, (5, 10)) if args.small else (args.draws, args.videos)
    kinds = {"means": means, "map": map_v2t, "medians": medians, "differences": differences}
    rows = [
        row
        for name, kind in kinds.items()
        if args.only in (None, name)
        for n in n_videos
        for row in kind(n, n_draws, args.seed)
    ]
    print(table(rows))
    if args.out:
        args.out.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
