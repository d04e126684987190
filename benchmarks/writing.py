"""How fast a store is written beside a plain write of the same files, both down to the disk.

    python benchmarks/writing.py --small
    python benchmarks/writing.py --out writing.json

Pooled rows (n, 4096) and ragged tokens, float16, drawn. Plain: every file of the finished variant written whole, closed
after fsync, one after the other, no digests. Contenders take turns; a ratio is of two times of one round. Rows go
straight to the writer that `embed` uses (`VariantUpdate`); `store.write` hashes each row besides.
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import cache
from hashlib import sha256
from pathlib import Path

import numpy as np

from reelstore.store.format import VariantSpec
from reelstore.store.table import RowTable
from reelstore.store.update import VariantUpdate
from reelstore.store.write import row_fingerprints

DIM = 4096
TOKENS_PER_ROW = 10
BLOCK_ROWS = 256


@cache
def drawn(n_values: int) -> np.ndarray:
    """Values to write, (n_values, 4096) float16; drawn once, before anything is timed."""
    return np.random.default_rng(0).standard_normal((n_values, DIM), dtype=np.float32).astype(np.float16)


def write_store(folder: Path, n_rows: int, *, ragged: bool) -> None:
    """A variant of captions, given in blocks of rows."""
    spec = VariantSpec("text", "drawn", "tokens" if ragged else "mean", DIM, None if ragged else 0, "float16", {})
    keys = [(f"video{number // 20}", number % 20) for number in range(n_rows)]
    contents = [sha256(str(key).encode()).hexdigest() for key in keys]
    table = RowTable(keys, ["train"] * n_rows, row_fingerprints(spec.fingerprint, contents))
    update = VariantUpdate(folder, spec, table)
    per_row = TOKENS_PER_ROW if ragged else 1
    block = drawn(BLOCK_ROWS * per_row)
    for start in range(0, n_rows, BLOCK_ROWS):
        rows = update.todo[start : start + BLOCK_ROWS]
        counts = np.full(len(rows), per_row) if ragged else None
        update.put_rows(rows, block[: len(rows) * per_row], counts)
    update.finish()


def write_plain(folder: Path, files: dict[str, bytes]) -> None:
    """The same files, as plainly as it goes."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())


def seconds(work: Callable[[Path], None], folder: Path) -> float:
    """How long `work` takes in an empty folder."""
    shutil.rmtree(folder, ignore_errors=True)
    os.sync()
    started = time.perf_counter()
    work(folder)
    return time.perf_counter() - started


def measure(folder: Path, n_rows: int, repeats: int, *, ragged: bool) -> dict[str, float]:
    """Medians of both, and the ratio of their rates with its quartiles."""
    made = folder / "drawn" / "video" / "drawn" / "made"
    write_store(made, n_rows, ragged=ragged)
    files = {path.relative_to(made).as_posix(): path.read_bytes() for path in made.rglob("*") if path.is_file()}
    n_bytes = sum(map(len, files.values()))
    times = []
    for _ in range(repeats):
        plain = seconds(lambda where: write_plain(where, files), folder / "plain")
        times.append((seconds(lambda where: write_store(where, n_rows, ragged=ragged), made), plain))
    ratios = statistics.quantiles([plain / store for store, plain in times], n=4)
    return {
        "bytes": n_bytes,
        "store_bytes_per_second": n_bytes / statistics.median(store for store, _ in times),
        "plain_bytes_per_second": n_bytes / statistics.median(plain for _, plain in times),
        "ratio_lower": ratios[0],
        "ratio": ratios[1],
        "ratio_upper": ratios[2],
    }


def peak_memory(folder: Path, n_rows: int) -> int:
    """Bytes that writing so many ragged rows takes at most, of a process of its own."""
    command = [sys.executable, __file__, "--memory-of", str(n_rows), "--folder", str(folder)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def main() -> None:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=60_000, help="pooled rows; a tenth as many ragged ones")
    parser.add_argument("--repeats", type=int, default=7, help="rounds")
    parser.add_argument("--small", action="store_true", help="a tenth of the rows, three rounds")
    parser.add_argument("--folder", type=Path, help="where to write; a temporary folder otherwise")
    parser.add_argument("--out", type=Path, help="JSON file for the results")
    parser.add_argument("--memory-of", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory_of is not None:
        write_store(options.folder / "drawn" / "video" / "drawn" / "memory", options.memory_of, ragged=True)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
        return
    n_rows, repeats = (options.rows // 10, 3) if options.small else (options.rows, options.repeats)
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        for kind, count in (("pooled", n_rows), ("ragged", n_rows // TOKENS_PER_ROW)):
            found[kind] = measure(folder, count, repeats, ragged=kind == "ragged")
            line = found[kind]
            print(
                f"| {kind} | {line['bytes'] / 1e6:.0f} MB | {line['store_bytes_per_second'] / 1e6:.0f} MB/s | "
                f"{line['plain_bytes_per_second'] / 1e6:.0f} MB/s | "
                f"{line['ratio']:.2f} ({line['ratio_lower']:.2f}-{line['ratio_upper']:.2f}) |",
                flush=True,
            )
            for made in folder.iterdir():
                shutil.rmtree(made)
        sizes = {str(count): float(peak_memory(folder / str(count), count)) for count in (n_rows // 20, n_rows // 5)}
        found["peak_bytes_of_ragged_rows"] = sizes
        print("peak memory:", ", ".join(f"{count} ragged rows {size / 2**20:.0f} MiB" for count, size in sizes.items()))
    if options.out:
        options.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
