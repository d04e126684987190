"""Reading a store larger than memory, cold, beside a plain read of the same files.

    sudo python benchmarks/beyond_memory.py --small
    sudo python benchmarks/beyond_memory.py --out beyond-memory.json

Pooled float16 videos and captions 4,096 wide, one caption a video. Every contender runs in a process of its own that
may use `--memory` bytes, the page cache of what it reads included (a control group's limit, version 1 or 2, hence
root); the store is four times as large. Before each, the system is told to forget the files, and `mincore` counts the
pages that it still holds; more than 1 in 1,000 is an error.

`read` reads every file once, in order, 4 MiB at a time into one buffer: what the disk and the system give. `loader` is
an epoch of the block shuffle, as stored, with a consumer that does nothing. `random rows` are batches of 256 under the
advice `random`, a hundredth of the store.

Contenders take turns in one run, in a new random order each round; a ratio is of two speeds of one round. That
the machine below forgets, too, nobody can tell from inside: on a virtual one, its host may keep what it has read.
"""

import argparse
import ctypes
import gc
import json
import mmap
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from loading import BATCH, DIM, forget, quartiles, write

from reelstore.align.loading.loader import PairLoader
from reelstore.store.open import open_variant
from reelstore.store.read import Rows

ROW_BYTES = 2 * DIM
SIDES = ("video", "text")
CONTENDERS = ("read", "loader", "random rows")
GROUP = f"reelstore-benchmark-{os.getpid()}"


def write_store(folder: Path, n_rows: int) -> None:
    """Random rows; the same for both sides, as nothing here looks at them."""
    part = np.random.default_rng(0).standard_normal((4096, DIM), dtype=np.float32).astype(np.float16)
    for side in SIDES:
        write(folder, side, np.concatenate([part] * (n_rows // len(part))))


def variants(folder: Path) -> list[Rows]:
    return [open_variant(folder / side / "drawn" / "mean") for side in SIDES]


def plain_read(folder: Path, memory: int) -> int:
    """Bytes of all files of values."""
    buffer, n_bytes = memoryview(bytearray(2**22)), 0
    for path in sorted(folder.rglob("values/c/*/*")):
        with open(path, "rb", buffering=0) as file:
            while count := file.readinto(buffer):
                n_bytes += count
    return n_bytes


def loader(folder: Path, memory: int) -> int:
    """Bytes of an epoch in blocks; what rows may take is a quarter of memory."""
    videos, captions = variants(folder)
    batches = PairLoader(
        video=videos, text=captions, pairs=np.arange(len(videos)), batch_size=BATCH, seed=0, dtype=None,
        memory_bytes=memory // 2,
        window_blocks=memory // 16 // ROW_BYTES // 128,
    )  # fmt: skip
    assert batches.shuffle == "blocks"
    return sum(batch.video.nbytes + batch.text.nbytes for batch in batches)


def random_rows(folder: Path, memory: int) -> int:
    """Bytes of random batches."""
    n_bytes = 0
    for rows in variants(folder):
        rows.advise("random")
        out = np.empty((256, DIM), dtype=rows.dtype)
        order = np.random.default_rng(0).permutation(len(rows))[: max(256, len(rows) // 100 // 256 * 256)]
        for indices in order.reshape(-1, 256):
            n_bytes += rows.take(indices, out=out).nbytes
    return n_bytes


def resident_share(folder: Path) -> float:
    """Share of the pages of all files that the system holds, by mincore(2)."""
    libc = ctypes.CDLL(None, use_errno=True)
    held = total = 0
    for path in folder.rglob("*"):
        if path.is_file() and path.stat().st_size:
            with open(path, "rb") as file:
                mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ | mmap.PROT_WRITE, flags=mmap.MAP_PRIVATE)
            n_pages = -(-len(mapped) // mmap.PAGESIZE)
            pages = (ctypes.c_ubyte * n_pages)()
            start = ctypes.c_char.from_buffer(mapped)
            if libc.mincore(ctypes.byref(start), ctypes.c_size_t(len(mapped)), pages):
                raise OSError(ctypes.get_errno(), f"mincore({path})")
            held, total = held + sum(page & 1 for page in pages), total + n_pages
            del start
            mapped.close()
    return held / total


class Limit:
    """A control group whose processes may use so many bytes, their page cache included."""

    def __init__(self, n_bytes: int) -> None:
        new = Path("/sys/fs/cgroup/cgroup.controllers")
        if new.is_file():
            Path("/sys/fs/cgroup/cgroup.subtree_control").write_text("+memory")
        top, name = (new.parent, "memory.max") if new.is_file() else (new.parent / "memory", "memory.limit_in_bytes")
        self._folder = top / GROUP
        self._folder.mkdir()
        (self._folder / name).write_text(str(n_bytes))

    def enter(self) -> None:
        """Put this process, and what it starts, under the limit."""
        (self._folder / "cgroup.procs").write_text(str(os.getpid()))

    def remove(self) -> None:
        self._folder.rmdir()


def timed(name: str, folder: Path, memory: int) -> None:
    """In a process of its own: print bytes and seconds."""
    ways: dict[str, Callable[[Path, int], int]] = dict(zip(CONTENDERS, (plain_read, loader, random_rows), strict=True))
    gc.collect()
    start = time.perf_counter()
    n_bytes = ways[name](folder, memory)
    print(json.dumps([n_bytes, time.perf_counter() - start]))


def measure(folder: Path, *, memory: int, repeats: int, seed: int) -> dict[str, Any]:
    """MB/s of each contender, and its ratio to the plain read of the same round."""
    speeds: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    resident: list[float] = []
    rng = np.random.default_rng(seed)
    limit = Limit(memory)
    try:
        for _ in range(repeats):
            for name in rng.permutation(list(CONTENDERS)).tolist():
                forget(folder)
                resident.append(resident_share(folder))
                if resident[-1] > 0.001:
                    raise SystemExit(f"{resident[-1]:.1%} of the store is still in memory; nothing here would be cold.")
                command = [sys.executable, __file__, "--timed", name, "--folder", str(folder), "--memory", str(memory)]
                said = subprocess.run(command, preexec_fn=limit.enter, stdout=subprocess.PIPE, check=True).stdout
                n_bytes, seconds = json.loads(said)
                speeds[name].append(n_bytes / seconds)
    finally:
        limit.remove()
    base = np.array(speeds["read"])
    contenders = {
        name: {
            "mb_per_second": float(np.median(found)) / 1e6,
            "ratio_to_read": quartiles(np.array(found) / base),
            "n_samples": len(found),
        }
        for name, found in speeds.items()
    }
    return {"largest_share_resident_before": max(resident), "contenders": contenders}


def table(results: dict[str, Any]) -> str:
    """Markdown."""
    lines = ["| | MB/s | ratio to the plain read |", "|---|---|---|"]
    for name, found in results["contenders"].items():
        ratio = found["ratio_to_read"]
        spread = f"{ratio['median']:.2f} ({ratio['q1']:.2f}-{ratio['q3']:.2f})"
        lines.append(f"| {name} | {found['mb_per_second']:,.0f} | {spread} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--memory", type=int, default=2**30, help="bytes a process may use (default: 1 GiB)")
    parser.add_argument("--repeats", type=int, default=9, help="rounds (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--small", action="store_true", help="1 GiB of store, 3 rounds: to see that it runs")
    parser.add_argument("--folder", type=Path, help="where to write, on a disk (default: the system's)")
    parser.add_argument("--out", type=Path, help="write all figures to this JSON file")
    parser.add_argument("--timed", choices=CONTENDERS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.timed:
        return timed(given.timed, given.folder, given.memory)
    memory, repeats = (given.memory, given.repeats) if not given.small else (given.memory, 3)
    n_bytes = 2**30 if given.small else 4 * memory
    n_rows = n_bytes // 2 // ROW_BYTES // 4096 * 4096
    with tempfile.TemporaryDirectory(prefix="beyond-memory-", dir=given.folder) as folder:
        place = Path(folder, "store", "drawn")
        write_store(place, n_rows)
        results = measure(place, memory=memory, repeats=repeats, seed=given.seed)
    if given.out:
        about = {
            "python": platform.python_version(), "numpy": np.__version__, "torch": torch.__version__,
            "n_cpus": os.cpu_count(), "load_average": os.getloadavg(),
            "command": ["python", "benchmarks/beyond_memory.py", *sys.argv[1:]],
        }  # fmt: skip
        given.out.write_text(json.dumps({**about, "bytes": n_bytes, "memory": memory, **results}, indent=1) + "\n")
    print(f"at most {results['largest_share_resident_before']:.2%} of the store was in memory before a contender began")
    print(table(results))


if __name__ == "__main__":
    main()
