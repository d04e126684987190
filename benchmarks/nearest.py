"""Exact search over a store of many rows, against a plain blocked product over the same rows.

    python benchmarks/nearest.py --rows 10000000 --dim 512

Rows are drawn, float16 as stored. Contenders, interleaved in one run: `nearest(queries, rows, k=10)`, exact, with ties
in the store's order; and products alone, in blocks of 32,768 rows, by NumPy and by torch in float32: no neighbours, no
check of values. Medians, and the median ratio to the faster product of the same round. `peak` is the most memory of
the process (ru_maxrss), mapped files among it.
"""

import argparse
import resource
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

import reelstore
from reelstore.ranking.nearest import nearest

BATCH = 32_768


def values_of(n: int, dim: int) -> Iterator[np.ndarray]:
    """Drawn, a batch at a time, each batch another."""
    drawn = np.random.default_rng(0).standard_normal((BATCH, dim), dtype=np.float32).astype(np.float16)
    for number, start in enumerate(range(0, n, BATCH)):
        yield np.roll(drawn, number, axis=1)[: min(BATCH, n - start)]


def main() -> None:
    """Write the store once, then measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--queries", type=int, nargs="+", default=[1, 32])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where the store is written; a temporary one by default")
    given = parser.parse_args()
    with TemporaryDirectory(dir=given.folder) as folder:
        store = reelstore.open(Path(folder) / "store", create=True)
        keys = (f"v{number}" for number in range(given.rows))
        started = time.perf_counter()
        store.write("video/drawn/mean", keys, values_of(given.rows, given.dim))
        print(f"written: {given.rows / (time.perf_counter() - started):,.0f} rows/s")
        rows = store["video/drawn/mean"]
        for n_queries in given.queries:
            measure(rows, n_queries, given.repeats)
    print(f"peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MiB")


def measure(rows: reelstore.Rows, n_queries: int, repeats: int) -> None:
    """One line for so many queries."""
    queries = np.random.default_rng(1).standard_normal((n_queries, rows.dim), dtype=np.float32)
    as_torch = torch.from_numpy(queries.T.copy())
    warnings.filterwarnings("ignore", "The given NumPy array is not writable")

    def by_numpy() -> None:
        for start in range(0, len(rows), BATCH):
            np.asarray(rows[start : min(start + BATCH, len(rows))]).astype(np.float32) @ queries.T

    def by_torch() -> None:
        for start in range(0, len(rows), BATCH):
            block = np.asarray(rows[start : min(start + BATCH, len(rows))])
            torch.from_numpy(block).float() @ as_torch

    contenders: dict[str, Callable[[], object]] = {
        "nearest": lambda: nearest(queries, rows, k=10),
        "numpy": by_numpy,
        "torch": by_torch,
    }
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(repeats + 1):
        for name, work in contenders.items():
            started = time.perf_counter()
            work()
            if number:  # the first round warms up
                taken[name].append(time.perf_counter() - started)
    plain = np.minimum(taken["numpy"], taken["torch"])
    ratio = np.median(np.array(taken["nearest"]) / plain)
    seconds = ", ".join(f"{name} {np.median(of):.2f} s" for name, of in taken.items())
    print(f"{n_queries} queries: {seconds}; ratio {ratio:.2f}")


if __name__ == "__main__":
    main()
