"""Many rows: writing, opening, finding keys and views at 0.1, 1 and 10 million rows, each in a process of its own.

    python benchmarks/rows.py --rows 100000 1000000 10000000

Rows are captions of width 64, float16; keys are given as an Arrow array, values as a generator of batches. `peak` is
the most memory that the process had (ru_maxrss, all it imports included), `keys` the same before the write began.
`held` is anonymous memory a row, beside mapped files, after opening and finding keys (RssAnon). `searchsorted` is what
NumPy takes to find the hashes of a million keys in one sorted array of all hashes, in the same run.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa

DIM, BATCH, PER_VIDEO = 64, 65_536, 10


def keys_of(n: int) -> pa.Array:
    """Captions `video<number>`, ten a video."""
    rows = np.arange(n)
    names = pa.array(np.char.add("video", (rows[::PER_VIDEO] // PER_VIDEO).astype(str)), pa.large_string())
    return pa.StructArray.from_arrays(
        [names.take(pa.array(rows // PER_VIDEO)), pa.array((rows % PER_VIDEO).astype(np.int32))],
        ["video_id", "caption_index"],
    )


def values_of(n: int) -> Iterator[np.ndarray]:
    """Drawn, a batch at a time."""
    drawn = np.random.default_rng(0).standard_normal((BATCH, DIM), dtype=np.float32).astype(np.float16)
    for start in range(0, n, BATCH):
        yield drawn[: min(BATCH, n - start)]


def write(folder: Path, n: int) -> dict[str, Any]:
    """Write n rows."""
    import reelstore

    keys = keys_of(n)
    given = peak_mib()
    started = time.perf_counter()
    reelstore.open(folder, create=True).write("text/drawn/mean", keys, values_of(n))
    seconds = time.perf_counter() - started
    n_files = sum(1 for path in folder.rglob("*") if path.is_file())
    return {"rows_per_s": n / seconds, "keys_mib": given, "peak_mib": peak_mib(), "files": n_files}


def read(folder: Path, n: int) -> dict[str, Any]:
    """Open, find keys, make views."""
    import reelstore

    reelstore.open(folder)
    before = anonymous()
    found: dict[str, Any] = {}
    started = time.perf_counter()
    rows = reelstore.open(folder)["text/drawn/mean"]
    found["open_ms"] = 1000 * (time.perf_counter() - started)
    started = time.perf_counter()
    _ = rows[f"video{n // PER_VIDEO // 2}", 3]
    found["first_key_ms"] = 1000 * (time.perf_counter() - started)
    rng = np.random.default_rng(1)
    some = [(f"video{n_ // PER_VIDEO}", n_ % PER_VIDEO) for n_ in rng.integers(0, n, 1000).tolist()]
    found["thousand_keys_ms"], _ = timed(lambda: rows[some])
    started = time.perf_counter()
    for key in some:
        rows.index_of(key)
    found["thousand_keys_one_by_one_ms"] = 1000 * (time.perf_counter() - started)
    found["held_bytes_a_row"] = (anonymous() - before) / n
    found["split_ms"], _ = timed(lambda: rows.split("all"))
    found["ok_ms"], _ = timed(rows.ok)
    many = [(f"video{n_ // PER_VIDEO}", n_ % PER_VIDEO) for n_ in rng.integers(0, n, 10**6).tolist()]
    found["select_million_ms"], _ = timed(lambda: rows.select(many))
    hashes = np.sort(rng.integers(0, 2**32, n, dtype=np.uint32))
    wanted = rng.integers(0, 2**32, 10**6, dtype=np.uint32)
    found["searchsorted_million_ms"], _ = timed(lambda: np.searchsorted(hashes, wanted))
    found["peak_mib"] = peak_mib()
    return found


def timed(work: Callable[[], Any], repeats: int = 3) -> tuple[float, Any]:
    """Milliseconds, the median of some, and what it gave."""
    taken, found = [], None
    for _ in range(repeats):
        started = time.perf_counter()
        found = work()
        taken.append(1000 * (time.perf_counter() - started))
    return float(np.median(taken)), found


def anonymous() -> int:
    """Bytes of anonymous memory of this process."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) * 1024


def peak_mib() -> float:
    """Of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Run each part in a process of its own, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--folder", type=Path, help="where the stores are written; a temporary one by default")
    parser.add_argument("--part", choices=["write", "read"], help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.part:
        print(json.dumps({"write": write, "read": read}[given.part](given.folder, given.rows[0])))
        return
    with TemporaryDirectory(dir=given.folder) as folder:
        for n in given.rows:
            store = Path(folder) / "store"
            for part in ("write", "read"):
                words = [sys.executable, __file__, "--part", part, "--rows", str(n), "--folder", str(store)]
                done = subprocess.run(words, check=True, capture_output=True, text=True, env=dict(os.environ))
                print(f"\n{n:,} rows, {part}:")
                for name, value in json.loads(done.stdout).items():
                    print(f"  {name.replace('_', ' '):30} {value:,.2f}")
            shutil.rmtree(store)


if __name__ == "__main__":
    main()
