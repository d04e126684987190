"""How much of an epoch of `mlp` is spent waiting for data, straight from a store.

    python benchmarks/training.py --small
    python benchmarks/training.py --out training.json

9,000 videos with 20 captions each, pooled, float16, 4,096 wide: 180,000 pairs, all shown in an epoch, in batches of
1,024, through the aligner's own `fit` with its default towers and preprocessing. Waiting is the time in the loader's
`__next__`; an epoch is counted from the first batch asked for to the end of the last step, measuring validation aside.
All rows are read before the first step (means for preprocessing, which captions repeat), so pages are warm.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

import reelstore
from reelstore.align.base import FitContext, PairedRows
from reelstore.align.loading.batches import PairBatch
from reelstore.align.loading.loader import PairLoader
from reelstore.align.trained.mlp import Mlp
from reelstore.align.training.module import Training
from reelstore.store.read import Rows

N_VALIDATION = 100


def write(folder: Path, side: str, keys: list[Any], dim: int, seed: int) -> Rows:
    """Rows of random numbers, as many as there are keys."""
    rng, store = np.random.default_rng(seed), reelstore.open(folder, create=True)
    sizes = (min(1024, len(keys) - start) for start in range(0, len(keys), 1024))
    values = (rng.standard_normal((size, dim), dtype=np.float32) for size in sizes)
    store.write(f"{side}/drawn/mean", keys, values, dtype="float16")
    return store[f"{side}/drawn/mean"]


class Watch:
    """Takes times of an aligner's training, epoch by epoch."""

    def __init__(self) -> None:
        self.epochs: list[dict[str, float]] = []
        self._waits: list[float] = []
        self._first = 0.0

    def install(self) -> None:
        """From here on, of every loader and training of this process."""
        batches, epoch_end, watch = PairLoader.__iter__, Training.on_train_epoch_end, self

        def timed(loader: PairLoader) -> Iterator[PairBatch]:
            it = batches(loader)
            while True:
                asked = time.perf_counter()
                try:
                    batch = next(it)
                except StopIteration:
                    return
                watch._waits.append(time.perf_counter() - asked)
                if len(watch._waits) == 1:
                    watch._first = asked
                yield batch

        def at_end(training: Training) -> None:
            seconds = time.perf_counter() - watch._first
            waits = np.array(watch._waits)
            watch._waits.clear()
            watch.epochs.append(
                {
                    "seconds": seconds,
                    "waiting_seconds": float(waits.sum()),
                    "waiting_share": float(waits.sum() / seconds),
                    "longest_wait_seconds": float(waits.max()),
                    "n_steps": len(waits),
                }
            )
            epoch_end(training)

        PairLoader.__iter__ = timed  # type: ignore[method-assign]
        Training.on_train_epoch_end = at_end  # type: ignore[method-assign]


def measure(
    videos: Rows, captions: Rows, folder: Path, *, threads: int, batch_size: int, epochs: int, steps: int | None
) -> dict[str, Any]:
    """Epochs of one training, or their first steps."""
    watch = Watch()
    batches, epoch_end = PairLoader.__iter__, Training.on_train_epoch_end
    watch.install()
    own = np.array([videos.index_of(video_id) for video_id in captions.video_ids])
    some = np.flatnonzero(own < N_VALIDATION)
    validation = PairedRows(
        video=videos.at(np.arange(N_VALIDATION)), text=captions.at(some), video_of_caption=own[some]
    )
    aligner = Mlp(
        captions_per_video="all", batch_size=batch_size, max_epochs=epochs, threads=threads, checkpoint_steps=0,
        trainer={"accelerator": "cpu", "enable_progress_bar": False, "limit_train_batches": steps or 1.0},
    )  # fmt: skip
    started = time.perf_counter()
    context = FitContext(folder / "checkpoints")
    train = PairedRows(video=videos, text=captions, video_of_caption=own)
    try:
        aligner.fit(train, validation, validate=lambda **_: 0.5, context=context)
    finally:
        PairLoader.__iter__, Training.on_train_epoch_end = batches, epoch_end  # type: ignore[method-assign]
    seconds = time.perf_counter() - started
    for epoch in watch.epochs:
        epoch["pairs_per_second"] = epoch["n_steps"] * batch_size / epoch["seconds"]
    return {"epochs": watch.epochs, "whole_fit_seconds": seconds}


def table(results: dict[str, dict[str, Any]]) -> str:
    """Markdown."""
    lines = [
        "| | epoch | steps | s | pairs/s | waiting, s | share | longest wait, s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, result in results.items():
        for number, epoch in enumerate(result["epochs"]):
            lines.append(
                f"| {name} | {number} | {epoch['n_steps']} | {epoch['seconds']:.1f} "
                f"| {epoch['pairs_per_second']:,.0f} | {epoch['waiting_seconds']:.2f} "
                f"| {epoch['waiting_share']:.1%} | {epoch['longest_wait_seconds']:.2f} |"
            )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=9000)
    parser.add_argument("--captions", type=int, default=20, help="of each video (default %(default)s)")
    parser.add_argument("--dim", type=int, default=4096)
    parser.add_argument("--batch-size", type=int, default=1024)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--steps", type=int, help="of an epoch, from its beginning (default: all)")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="of torch (default 1 2)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--small", action="store_true", help="300 videos, 256 wide, batches of 256: to see that it runs"
    )
    parser.add_argument("--folder", type=Path, help="where to write (default: the system's)")
    parser.add_argument("--out", type=Path, help="write all figures to this JSON file")
    given = parser.parse_args()
    n_videos, dim, batch_size = (300, 256, 256) if given.small else (given.videos, given.dim, given.batch_size)
    with tempfile.TemporaryDirectory(prefix="training-", dir=given.folder) as place:
        folder = Path(place)
        ids = [f"v{number}" for number in range(n_videos)]
        keys = [(video_id, index) for video_id in ids for index in range(given.captions)]
        sides = write(folder, "video", ids, dim, given.seed), write(folder, "text", keys, dim, given.seed + 1)
        results = {
            f"{threads} thread{'s' * (threads > 1)}": measure(
                *sides, folder, threads=threads, batch_size=batch_size, epochs=given.epochs, steps=given.steps
            )
            for threads in given.threads
        }
    if given.out:
        about = {
            "python": platform.python_version(), "numpy": np.__version__, "torch": torch.__version__,
            "n_cpus": os.cpu_count(), "load_average": os.getloadavg(), "n_pairs": len(keys), "dim": dim,
            "command": ["python", "benchmarks/training.py", *sys.argv[1:]],
        }  # fmt: skip
        given.out.write_text(json.dumps({**about, "results": results}, indent=1) + "\n")
    print(table(results))


if __name__ == "__main__":
    main()
