"""Closed-form aligners fitted straight from a store: how long it takes, and how much memory.

    python benchmarks/closed_forms.py --small
    python benchmarks/closed_forms.py --out closed_forms.json

10,000 training videos with 18 captions each (180,000), both sides pooled, float16, 4,096 wide, plus 500 validation
videos; each kind with its default settings in a process of its own, its choice of settings by validation included. Two
sides drawn over 64 shared latents with noise, a common mean and a few outlier dimensions: numbers to compute with,
not a result.

Memory is the peak of what the process holds by itself (RssAnon, sampled), what Python and numpy take among it; pages of
the store's mapped files, which the system drops when it needs the room, aren't. `CPU` is
processor time, of all threads, which a busy machine doesn't stretch.

`apply` maps the validation videos' captions with the fitted aligner; rows a second.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

import reelstore
from reelstore.align.base import FitContext, PairedRows
from reelstore.align.mapping import mapped
from reelstore.align.registry import make_aligner
from reelstore.evaluation import evaluate
from reelstore.store.open import open_variant
from reelstore.store.read import Rows

KINDS = ("procrustes", "ridge", "cca", "kernel-ridge", "asif")
CAPTIONS, N_LATENTS = 18, 64


class Side:
    """Rows of one side, drawn block by block."""

    def __init__(self, dim: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self._loadings = rng.standard_normal((N_LATENTS, dim), dtype=np.float32)
        self._mean = 3 * rng.standard_normal(dim, dtype=np.float32)
        self._mean[:3] *= 20  # outlier dimensions, as language models have
        self._rng = rng

    def draw(self, latents: np.ndarray) -> np.ndarray:
        """(n, dim) float16 of (n, latents)."""
        noise = self._rng.standard_normal((len(latents), self._loadings.shape[1]), dtype=np.float32)
        return (latents @ self._loadings / 4 + 2 * noise + self._mean).astype(np.float16)


def write(folder: Path, side: str, keys: list[Any], dim: int, latents: np.ndarray) -> None:
    """One row a key, as a variant of a store."""
    drawn = Side(dim, seed=len(side))
    values = (drawn.draw(latents[start : start + 1024]) for start in range(0, len(keys), 1024))
    reelstore.open(folder, create=True).write(f"{side}/drawn/mean", keys, values)


def write_store(folder: Path, n_videos: int, n_validation: int, dim: int) -> None:
    """Training and validation videos, with their captions."""
    latents = np.random.default_rng(0).standard_normal((n_videos + n_validation, N_LATENTS), dtype=np.float32)
    ids = [f"v{number}" for number in range(len(latents))]
    write(folder, "video", ids, dim, latents)
    keys = [(video_id, index) for video_id in ids for index in range(CAPTIONS)]
    write(folder, "text", keys, dim, np.repeat(latents, CAPTIONS, axis=0))


def paired(videos: Rows, captions: Rows, first: int, last: int) -> PairedRows:
    """Videos first (inclusive) to last (exclusive), with their captions."""
    ids = [f"v{number}" for number in range(first, last)]
    keys = [(video_id, index) for video_id in ids for index in range(CAPTIONS)]
    return PairedRows(
        video=videos.select(ids),
        text=captions.select(keys),
        video_of_caption=np.repeat(np.arange(len(ids)), CAPTIONS),
    )


class PeakMemory:
    """The most bytes of memory of its own that this process has had since it was made."""

    def __init__(self) -> None:
        self.peak = 0
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while True:
            status = Path("/proc/self/status").read_text()
            held = next(line for line in status.splitlines() if line.startswith("RssAnon"))
            self.peak = max(self.peak, int(held.split()[1]) * 1024)
            time.sleep(0.02)


def fit_one(kind: str, folder: Path, n_videos: int, n_validation: int) -> dict[str, float]:
    """Fit one kind here, in this process."""
    memory = PeakMemory()
    videos, captions = (open_variant(folder / side / "drawn" / "mean") for side in ("video", "text"))
    train = paired(videos, captions, 0, n_videos)
    validation = paired(videos, captions, n_videos, n_videos + n_validation)
    tried: list[float] = []

    def validate(*, video: np.ndarray, text: np.ndarray, video_of_caption: np.ndarray) -> float:
        found = evaluate(
            text=text, video=video, video_of_caption=video_of_caption, ks=(1,), directions=("t2v",)
        ).metrics["t2v"]["MRR"]
        tried.append(float(found))
        return tried[-1]

    aligner, _ = make_aligner({"kind": kind})
    context = FitContext(folder / "checkpoints")
    start, worked = time.perf_counter(), time.process_time()
    aligner.fit(train, validation, validate=validate, context=context)
    seconds, worked = time.perf_counter() - start, time.process_time() - worked
    peak = memory.peak
    start = time.perf_counter()
    n_mapped = len(mapped(aligner.transform_text, validation.text))
    return {
        "fit_seconds": seconds,
        "cpu_seconds": worked,
        "peak_bytes": float(peak),
        "n_tried": float(len(tried)),
        "validation_MRR": max(tried),
        "applied_rows_per_second": n_mapped / (time.perf_counter() - start),
    }


def in_own_process(kind: str, folder: Path, sizes: tuple[int, int]) -> dict[str, float]:
    command = [sys.executable, __file__, "--fit", kind, "--folder", str(folder)]
    command += ["--videos", str(sizes[0]), "--validation", str(sizes[1])]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def table(results: dict[str, dict[str, float]]) -> str:
    """Markdown."""
    columns = ["kind", "fit", "CPU", "settings tried", "memory", "apply, rows/s"]
    lines = ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    for kind, found in results.items():
        lines.append(
            f"| `{kind}` | {found['fit_seconds']:,.0f} s | {found['cpu_seconds']:,.0f} s | {found['n_tried']:.0f} | "
            f"{found['peak_bytes'] / 2**20:,.0f} MiB | {found['applied_rows_per_second']:,.0f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=10_000, help="training videos (default %(default)s)")
    parser.add_argument("--validation", type=int, default=500, help="validation videos (default %(default)s)")
    parser.add_argument("--dim", type=int, default=4096, help="width of both sides (default %(default)s)")
    parser.add_argument("--kinds", nargs="+", default=KINDS, help="which aligners (default: all)")
    parser.add_argument("--small", action="store_true", help="200 + 50 videos, 128 wide: to see that it runs")
    parser.add_argument("--folder", type=Path, help="where to write (default: the system's)")
    parser.add_argument("--out", type=Path, help="write all figures to this JSON file")
    parser.add_argument("--fit", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.fit:
        print(json.dumps(fit_one(given.fit, given.folder, given.videos, given.validation)))
        return
    sizes, dim = ((200, 50), 128) if given.small else ((given.videos, given.validation), given.dim)
    results = {}
    with tempfile.TemporaryDirectory(prefix="closed-forms-", dir=given.folder) as folder:
        place = Path(folder, "store", "drawn")
        write_store(place, *sizes, dim)
        for kind in given.kinds:
            results[kind] = in_own_process(kind, place, sizes)
            print(f"{kind}: {results[kind]}", file=sys.stderr, flush=True)
    if given.out:
        about = {
            "python": platform.python_version(), "numpy": np.__version__, "n_cpus": os.cpu_count(),
            "load_average": os.getloadavg(), "command": ["python", "benchmarks/closed_forms.py", *sys.argv[1:]],
            "videos": sizes[0], "captions": sizes[0] * CAPTIONS, "dim": dim,
        }  # fmt: skip
        given.out.write_text(json.dumps({**about, "results": results}, indent=1) + "\n")
    print(table(results))


if __name__ == "__main__":
    main()
