"""Training batches straight from a store, beside the same loader over arrays in memory.

    python benchmarks/loading.py --small
    python benchmarks/loading.py --out loading.json

Pooled float16 videos and captions 4,096 wide, one caption a video, batches of 1,024 pairs, pages warm, and a consumer
that does nothing but take them: what the loader can give at most. `as stored` are float16 tensors, `float32` is cast in
the loader's thread, as aligners take it. `blocks` is the shuffle for stores beyond memory, its reading included.

`cold` is the first epoch out of files the system was told to forget, as every epoch is of a store beyond memory:
blocks, and single rows without reading ahead, which such a store has no room for.

Contenders take turns in one run, in a new random order each round; a sample is a whole epoch, a ratio is of two
times of one round. Beside it stands the ratio of processor time, which a busy machine moves less. Every contender's
epoch is compared with memory's first.
"""

import argparse
import gc
import json
import os
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

import reelstore
from reelstore.align.loading.loader import BLOCK_ROWS, WINDOW_BLOCKS, PairLoader
from reelstore.store.arrays import aligned_empty
from reelstore.store.open import open_variant
from reelstore.store.read import Rows

DIM, BATCH = 4096, 1024


class MemoryRows:
    """An array in memory, as far as the loader asks `Rows`."""

    layout, n_tokens, dim, dtype, in_memory = "pooled", 0, DIM, np.dtype("float16"), True

    def __init__(self, values: np.ndarray) -> None:
        self._values = values

    def __len__(self) -> int:
        return len(self._values)

    def take(self, indices: np.ndarray, out: np.ndarray) -> np.ndarray:
        return np.take(self._values, indices, axis=0, out=out, mode="clip")


def write(folder: Path, side: str, values: np.ndarray) -> Rows:
    """The array as a variant of a store."""
    numbers = range(len(values))
    keys: list[Any] = [f"v{n}" if side == "video" else (f"v{n}", 0) for n in numbers]
    store = reelstore.open(folder, create=True)
    store.write(f"{side}/drawn/mean", keys, values)
    return store[f"{side}/drawn/mean"]


def draw(n_rows: int, seed: int) -> np.ndarray:
    """(n_rows, DIM) float16: random bits, none of them NaN or infinity."""
    values = aligned_empty((n_rows, DIM), "float16")
    rng = np.random.default_rng(seed)
    for row in values.view(np.uint16):
        row[:] = rng.integers(0, 0x7C00, DIM, dtype=np.uint16)
    return values


def seconds_of_epoch(loader: PairLoader) -> tuple[float, float]:
    """What an epoch takes, by the clock and of all processors' time."""
    loader.set_epoch(0)
    start, busy = time.perf_counter(), time.process_time()
    for _ in loader:
        pass
    return time.perf_counter() - start, time.process_time() - busy


def checksum(loader: PairLoader) -> int:
    """Of all values of an epoch, each batch's and each item's place aside."""
    loader.set_epoch(0)
    return sum(int(side.half().view(torch.int16).long().sum()) for batch in loader for side in batch[:2])


def window_blocks(n_rows: int) -> int:
    """The loader's own, or fewer where two windows of them would be all rows."""
    return max(1, min(WINDOW_BLOCKS, n_rows // BLOCK_ROWS // 4))


def forget(folder: Path) -> None:
    """Have the system drop its copies of all files; those that are mapped stay."""
    for path in folder.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


def measure_cold(folder: Path, *, n_rows: int, repeats: int, seed: int) -> dict[str, dict[str, Any]]:
    """Pairs a second of an epoch out of forgotten files, and ratios to blocks'."""
    settings: dict[str, Any] = {"batch_size": BATCH, "seed": seed, "dtype": None}
    ways: dict[str, dict[str, Any]] = {
        "cold, blocks": {"memory_bytes": 2 * n_rows * DIM * 2 - 1, "window_blocks": window_blocks(n_rows)},
        "cold, rows": {"memory_bytes": 2**60},
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    rng = np.random.default_rng(seed)
    for _ in range(repeats):
        for name in rng.permutation(list(ways)).tolist():
            gc.collect()  # mapped files can't be forgotten
            forget(folder)
            sides = [open_variant(folder / side / "drawn" / "mean") for side in ("video", "text")]
            if "rows" in name:
                for rows in sides:
                    rows.advise("random")
            loader = PairLoader(video=sides[0], text=sides[1], pairs=np.arange(n_rows), **settings, **ways[name])
            seconds[name].append(seconds_of_epoch(loader)[0])
    n_pairs, base = n_rows // BATCH * BATCH, np.array(seconds["cold, blocks"])
    return {
        name: {
            "pairs_per_second": n_pairs / float(np.median(times)),
            "ratio_to_cold_blocks": quartiles(base / np.array(times)),
            "n_samples": len(times),
        }
        for name, times in seconds.items()
    }


def quartiles(values: np.ndarray) -> dict[str, float]:
    low, median, high = np.quantile(values, [0.25, 0.5, 0.75])
    return {"median": float(median), "q1": float(low), "q3": float(high)}


def measure(folder: Path, *, n_rows: int, repeats: int, seed: int) -> dict[str, dict[str, Any]]:
    """Pairs a second of each contender, and its ratio to memory's of the same dtype."""
    arrays = draw(n_rows, seed), draw(n_rows, seed + 1)
    sides = dict(zip(("video", "text"), arrays, strict=True))
    memory: dict[str, Any] = {side: MemoryRows(values) for side, values in sides.items()}
    store: dict[str, Any] = {side: write(folder, side, values) for side, values in sides.items()}
    own = np.arange(n_rows)
    little = sum(values.nbytes for values in arrays) - 1
    loaders: dict[str, PairLoader] = {}
    for name, dtype in (("as stored", None), ("float32", torch.float32)):
        settings: dict[str, Any] = {"batch_size": BATCH, "seed": seed, "dtype": dtype}
        plenty, scarce = {**settings, "memory_bytes": 2**60}, {**settings, "memory_bytes": little}
        loaders[f"memory, {name}"] = PairLoader(**memory, pairs=own, **plenty)
        loaders[f"store, rows, {name}"] = PairLoader(**store, pairs=own, **plenty)
        loaders[f"store, blocks, {name}"] = PairLoader(
            **store, pairs=own, **scarce, window_blocks=window_blocks(n_rows)
        )
    sums = {checksum(loader) for name, loader in loaders.items() if "blocks" not in name}
    assert len(sums) == 1, "the store's batches aren't memory's"
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in loaders}
    rng = np.random.default_rng(seed)
    for _ in range(repeats):
        for name in rng.permutation(list(loaders)).tolist():
            seconds[name].append(seconds_of_epoch(loaders[name]))
    n_pairs = n_rows // BATCH * BATCH
    results = {}
    for name, samples in seconds.items():
        base, base_busy = np.array(seconds[f"memory, {name.rpartition(', ')[2]}"]).T
        times, busy = np.array(samples).T
        results[name] = {
            "pairs_per_second": n_pairs / float(np.median(times)),
            "ratio_to_memory": quartiles(base / times),
            "ratio_of_processor_time": quartiles(base_busy / busy),
            "n_samples": len(samples),
        }
    return results


def table(results: dict[str, dict[str, Any]]) -> str:
    """Markdown."""
    lines = ["| | pairs/s | ratio to memory; cold, to blocks | the same of processor time |", "|---|---|---|---|"]
    for name, found in results.items():
        ratio = found["ratio_to_cold_blocks" if name.startswith("cold") else "ratio_to_memory"]
        spread = f"{ratio['median']:.2f} ({ratio['q1']:.2f}-{ratio['q3']:.2f})"
        busy = found.get("ratio_of_processor_time")
        shared = f"{busy['median']:.2f} ({busy['q1']:.2f}-{busy['q3']:.2f})" if busy else ""
        lines.append(f"| {name} | {found['pairs_per_second']:,.0f} | {spread} | {shared} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=40_000, help="videos, and captions (default %(default)s)")
    parser.add_argument("--repeats", type=int, default=15, help="rounds (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--small", action="store_true", help="4,096 rows, 3 rounds: to see that it runs")
    parser.add_argument("--folder", type=Path, help="where to write (default: the system's)")
    parser.add_argument("--out", type=Path, help="write all figures to this JSON file")
    given = parser.parse_args()
    n_rows, repeats = (4096, 3) if given.small else (given.rows, given.repeats)
    if n_rows < BATCH:
        parser.error(f"--rows must be at least a batch, {BATCH}")
    with tempfile.TemporaryDirectory(prefix="loading-", dir=given.folder) as folder:
        place = Path(folder, "store", "drawn")
        results = measure(place, n_rows=n_rows, repeats=repeats, seed=given.seed)
        results |= measure_cold(place, n_rows=n_rows, repeats=max(1, repeats // 3), seed=given.seed)
    if given.out:
        about = {
            "python": platform.python_version(), "numpy": np.__version__, "torch": torch.__version__,
            "n_threads": torch.get_num_threads(), "n_cpus": os.cpu_count(), "load_average": os.getloadavg(),
            "command": ["python", "benchmarks/loading.py", *sys.argv[1:]],
        }  # fmt: skip
        given.out.write_text(json.dumps({**about, "rows": n_rows, "results": results}, indent=1) + "\n")
    print(table(results))


if __name__ == "__main__":
    main()
