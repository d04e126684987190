"""How long it takes to know the metrics, as a ratio to the bare float32 matrix product of the same size.

    python benchmarks/evaluation.py                       # a few minutes
    python benchmarks/evaluation.py --only 1k-t2v --rounds 5
    python benchmarks/evaluation.py --stream 10000 200000 # from a store: seconds, peak memory
    python benchmarks/evaluation.py --out evaluation.json

Workloads are drawn, 512 wide, float32. Contenders take turns in one run, in a new random order each round; a
ratio is of two times of one round. Printed are medians with the lowest and highest, and `best`, the ratio of the
shortest times of all rounds: on a machine that does other things too, a product that needs all processors at once
suffers more from them than one that doesn't. 1 is `text @ video.T` by numpy. A turn is a pause, in which the threads of
the one before go to sleep, a call that isn't timed, and one that is; what takes seconds is called once. reelstore does
everything it does by default: checks for NaN, exact ranks, all metrics; `float32` keeps it from bfloat16. Others do
what gives R@1 or MRR; `agrees` says whether that is ours to 1e-6, as it should be where nothing ties. What isn't
installed is left out. torch is loaded, as it is where embeddings are made; for these sizes reelstore wouldn't load it.
"""

import argparse
import importlib.util
import json
import platform
import resource
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import reelstore

DIM = 512
PAUSE_SECONDS = 0.1
Metric = tuple[str, float] | None


@dataclass(frozen=True)
class Workload:
    """Captions and videos; `noise` is how far a caption is from its video, `spread` how far apart videos are."""

    name: str
    n_captions: int
    n_videos: int
    noise: float
    directions: tuple[str, ...] = ("t2v",)
    spread: float | None = None
    rounds: int = 9

    def draw(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Text, video, and the video of each caption; several captions a video where there are more of them."""
        rng = np.random.default_rng(0)
        video = rng.standard_normal((self.n_videos, DIM), dtype=np.float32)
        if self.n_captions > self.n_videos:
            owner = np.arange(self.n_captions) // (self.n_captions // self.n_videos)
        else:
            owner = rng.choice(self.n_videos, size=self.n_captions, replace=False)
        text = video[owner] + self.noise * rng.standard_normal((self.n_captions, DIM), dtype=np.float32)
        if self.spread is not None:
            centre = rng.standard_normal(DIM, dtype=np.float32)
            text, video = centre + self.spread * text, centre + self.spread * video
        return text, video, owner


WORKLOADS = [
    Workload("1k-t2v", 1_000, 1_000, 5.0, rounds=25),
    Workload("1k-both", 1_000, 1_000, 5.0, ("t2v", "v2t"), rounds=25),
    Workload("1k-poorly", 1_000, 1_000, 60.0, rounds=25),
    Workload("20k-both", 20_000, 1_000, 6.0, ("t2v", "v2t")),
    Workload("20k-poorly", 20_000, 1_000, 60.0, ("t2v", "v2t")),
    Workload("200k-well", 512, 200_000, 3.0),
    Workload("200k-poorly", 512, 200_000, 6.0),
    Workload("200k-collapsed-1e-2", 512, 200_000, 3.0, spread=1e-2),
    Workload("200k-collapsed-1e-4", 512, 200_000, 3.0, spread=1e-4),
]


def normalized(values: np.ndarray) -> np.ndarray:
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def bare(text, video, owner, workload) -> Metric:
    text @ video.T
    return None


def ours(text, video, owner, workload) -> Metric:
    found = reelstore.evaluate(text=text, video=video, video_of_caption=owner, directions=workload.directions)
    return "R@1", found.metrics["t2v"]["R@01"]


def ours_with_answers(text, video, owner, workload) -> Metric:
    found = reelstore.evaluate(
        text=text, video=video, video_of_caption=owner, directions=workload.directions, return_hard_negatives=True
    )
    return "R@1", found.metrics["t2v"]["R@01"]


def ours_in_float32(text, video, owner, workload) -> Metric:
    from unittest.mock import patch

    with patch("reelstore.ranking.counter.bfloat16_pays", lambda n_products: False):
        return ours(text, video, owner, workload)


def argsort(text, video, owner, workload) -> Metric:
    scores = normalized(text) @ normalized(video).T
    rank = np.argmax(np.argsort(-scores, axis=1) == owner[:, None], axis=1)
    if "v2t" in workload.directions:
        np.argsort(-scores.T, axis=1)
    return "R@1", float(np.mean(rank == 0))


def topk(text, video, owner, workload) -> Metric:
    import torch

    scores = torch.from_numpy(normalized(text)) @ torch.from_numpy(normalized(video)).T
    best = scores.topk(min(1000, scores.shape[1]), dim=1).indices.numpy()
    if "v2t" in workload.directions:
        scores.T.topk(min(1000, scores.shape[0]), dim=1)
    return "R@1", float(np.mean(best[:, 0] == owner))


def faiss(text, video, owner, workload) -> Metric:
    import faiss

    index = faiss.IndexFlatIP(DIM)
    index.add(normalized(video))
    _, best = index.search(normalized(text), 100)
    if "v2t" in workload.directions:
        other = faiss.IndexFlatIP(DIM)
        other.add(normalized(text))
        other.search(normalized(video), 100)
    return "R@1", float(np.mean(best[:, 0] == owner))


def scikit_learn(text, video, owner, workload) -> Metric:
    from sklearn.metrics import label_ranking_average_precision_score

    scores = normalized(text) @ normalized(video).T
    relevant = owner[:, None] == np.arange(len(video))
    found = label_ranking_average_precision_score(relevant, scores)
    if "v2t" in workload.directions:
        label_ranking_average_precision_score(relevant.T, scores.T)
    return "MRR", float(found)


def torchmetrics(text, video, owner, workload) -> Metric:
    import torch
    from torchmetrics.retrieval import RetrievalHitRate

    scores = torch.from_numpy(normalized(text) @ normalized(video).T)
    target = torch.from_numpy(owner[:, None] == np.arange(len(video)))
    query = torch.arange(len(text))[:, None].expand_as(scores)
    found = RetrievalHitRate(top_k=1)(scores.flatten(), target.flatten(), indexes=query.flatten())
    return "R@1", float(found)


def sentence_transformers(text, video, owner, workload) -> Metric:
    import torch
    from sentence_transformers.util import semantic_search

    hits = semantic_search(torch.from_numpy(text), torch.from_numpy(video), top_k=100)
    return "R@1", float(np.mean([hit[0]["corpus_id"] == of for hit, of in zip(hits, owner, strict=True)]))


def pytrec_eval(text, video, owner, workload) -> Metric:
    import pytrec_eval

    scores = normalized(text) @ normalized(video).T
    best = np.argpartition(-scores, min(1000, len(video) - 1), axis=1)[:, :1000]
    run = {
        str(q): {str(i): float(scores[q, i]) for i in row} for q, row in enumerate(best.tolist())
    }  # cut at 1,000: more would be slower still
    judged = {str(q): {str(of): 1} for q, of in enumerate(owner.tolist())}
    found = pytrec_eval.RelevanceEvaluator(judged, {"success.1"}).evaluate(run)
    return "R@1", float(np.mean([one["success_1"] for one in found.values()]))


def ranx(text, video, owner, workload) -> Metric:
    from ranx import Qrels, Run, evaluate

    scores = normalized(text) @ normalized(video).T
    best = np.argpartition(-scores, min(1000, len(video) - 1), axis=1)[:, :1000]
    run = Run({str(q): {str(i): float(scores[q, i]) for i in row} for q, row in enumerate(best.tolist())})
    judged = Qrels({str(q): {str(of): 1} for q, of in enumerate(owner.tolist())})
    return "R@1", float(evaluate(judged, run, "hit_rate@1"))


CONTENDERS: dict[str, tuple[Callable[..., Metric], str]] = {
    "bare product": (bare, "numpy"),
    "reelstore": (ours, "numpy"),
    "reelstore, answers": (ours_with_answers, "numpy"),
    "reelstore, float32": (ours_in_float32, "numpy"),
    "numpy argsort": (argsort, "numpy"),
    "torch topk 1000": (topk, "torch"),
    "faiss flat, 100": (faiss, "faiss"),
    "scikit-learn": (scikit_learn, "sklearn"),
    "torchmetrics": (torchmetrics, "torchmetrics"),
    "sentence-transformers": (sentence_transformers, "sentence_transformers"),
    "pytrec_eval, 1000": (pytrec_eval, "pytrec_eval"),
    "ranx, 1000": (ranx, "ranx"),
}
SLOW = {"scikit-learn", "torchmetrics", "sentence-transformers", "pytrec_eval, 1000", "ranx, 1000"}
TOO_MUCH = {"scikit-learn": 3e7, "torchmetrics": 3e7}
"""Pairs beyond which a contender takes minutes, or more memory than there is."""


def measure(workload: Workload, rounds: int, names: list[str]) -> list[dict]:
    text, video, owner = workload.draw()
    truth = reelstore.evaluate(text=text, video=video, video_of_caption=owner, directions=workload.directions).metrics[
        "t2v"
    ]
    expected = {"R@1": truth["R@01"], "MRR": truth["MRR"]}
    print(
        f"\n{workload.name}: {len(text)} captions, {len(video)} videos, {' and '.join(workload.directions)}, ", end=""
    )
    print(f"R@1 {truth['R@01']:.3f}, MedR {truth['MedR']:g}")
    chosen = [n for n in names if len(text) * len(video) <= TOO_MUCH.get(n, np.inf)]
    seconds: dict[str, dict[int, float]] = {name: {} for name in chosen}
    first: dict[str, float] = {}
    agrees: dict[str, bool | None] = {}
    rng = np.random.default_rng(0)
    for number in range(rounds):
        for name in rng.permutation(chosen).tolist():
            if name in SLOW and number:
                continue
            time.sleep(PAUSE_SECONDS)
            if name not in SLOW:
                start = time.perf_counter()
                CONTENDERS[name][0](text, video, owner, workload)
                first.setdefault(name, time.perf_counter() - start)
            start = time.perf_counter()
            metric = CONTENDERS[name][0](text, video, owner, workload)
            seconds[name][number] = time.perf_counter() - start
            first.setdefault(name, seconds[name][number])
            if name not in agrees:
                agrees[name] = None if metric is None else abs(metric[1] - expected[metric[0]]) < 1e-6
    rows = []
    base = statistics.median(seconds["bare product"].values())
    for name in chosen:
        ratios = sorted(s / (seconds["bare product"].get(n, base)) for n, s in seconds[name].items())
        row = {
            "workload": workload.name,
            "contender": name,
            "median_ms": 1e3 * statistics.median(seconds[name].values()),
            "first_ms": 1e3 * first[name],
            "ratio": statistics.median(ratios),
            "ratio_low": ratios[0],
            "ratio_high": ratios[-1],
            "best_ms": 1e3 * min(seconds[name].values()),
            "best_ratio": min(seconds[name].values()) / min(seconds["bare product"].values()),
            "agrees": agrees[name],
        }
        rows.append(row)
        shown = {None: "", True: "agrees", False: "DIFFERS"}[agrees[name]]
        print(
            f"  {name:22} {row['median_ms']:10.1f} ms   x {row['ratio']:7.2f}  ({ratios[0]:.2f} to {ratios[-1]:.2f})"
            f"   best {row['best_ms']:9.1f} ms   x {row['best_ratio']:7.2f}"
            f"   first call {row['first_ms']:9.1f} ms   {shown}"
        )
    return rows


def write_store(folder: Path, n_captions: int, n_videos: int) -> None:
    """Both sides in float16, drawn and written block by block; a caption is near its video."""
    import reelstore

    owner = np.sort(np.random.default_rng(0).integers(n_videos, size=n_captions))
    first = np.searchsorted(owner, owner)
    starts = range(0, n_videos, 10_000)

    def videos(start: int) -> np.ndarray:
        shape = (min(10_000, n_videos - start), DIM)
        return np.random.default_rng((1, start)).standard_normal(shape, dtype=np.float32)

    def captions(start: int) -> np.ndarray:
        own = owner[slice(*np.searchsorted(owner, [start, start + 10_000]))]
        noise = np.random.default_rng((2, start)).standard_normal((len(own), DIM), dtype=np.float32)
        return videos(start)[own - start] + 4 * noise

    store, split = reelstore.open(folder, create=True), {"splits": "test", "dtype": "float16"}
    store.write("video/drawn/mean", [str(number) for number in range(n_videos)], map(videos, starts), **split)
    keys = [(str(owner[n]), int(n - first[n])) for n in range(n_captions)]
    store.write("text/drawn/mean", keys, map(captions, starts), **split)
    np.save(folder / "owner.npy", owner)


class PeakMemory(threading.Thread):
    """Highest memory of this process, MiB, sampled a hundred times a second: its own, and mapped pages of files."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.own = self.mapped = 0.0
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.wait(0.01):
            lines = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
            own, mapped = (int(lines[name].split()[0]) / 1024 for name in ("RssAnon", "RssFile"))
            self.own, self.mapped = max(self.own, own), max(self.mapped, mapped)

    def stop(self) -> None:
        self._over.set()
        self.join()


def stream(n_captions: int, n_videos: int, memory: int, folder: Path | None) -> None:
    """Both sides from a store, which a process of its own has written; seconds and memory."""
    import multiprocessing

    with tempfile.TemporaryDirectory(dir=folder) as made:
        store = Path(made)
        writer = multiprocessing.get_context("spawn").Process(target=write_store, args=(store, n_captions, n_videos))
        writer.start()
        writer.join()
        rows = reelstore.open(store)
        text, video = rows["text/drawn/mean"], rows["video/drawn/mean"]
        owner = np.load(store / "owner.npy")
        peak = PeakMemory()
        peak.start()
        time.sleep(0.1)
        before = peak.own
        begin = time.perf_counter()
        found = reelstore.evaluate(text=text, video=video, video_of_caption=owner, memory=memory)
        seconds = time.perf_counter() - begin
        peak.stop()
    highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{n_captions} captions, {n_videos} videos, {DIM} wide, float16 in a store, both directions, memory="
        f"{memory / 2**20:.0f} MiB: {seconds:.1f} s, {2e-9 * n_captions * n_videos * DIM / seconds:.0f} GFLOP/s; own "
        f"memory {peak.own:.0f} MiB at its highest ({before:.0f} MiB before), mapped pages {peak.mapped:.0f} MiB, "
        f"resident {highest:.0f} MiB; t2v R@1 {found.metrics['t2v']['R@01']:.4f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", help="workloads, by name")
    parser.add_argument("--against", nargs="*", help="contenders, by name")
    parser.add_argument("--rounds", type=int, help="rounds of each workload")
    parser.add_argument("--stream", nargs=2, type=int, metavar=("CAPTIONS", "VIDEOS"))
    parser.add_argument("--memory", type=int, default=2**30, help="bytes, of --stream")
    parser.add_argument("--folder", type=Path, help="where --stream writes its store, for the time it takes")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.stream:
        stream(*options.stream, options.memory, options.folder)
        return
    import torch  # noqa: F401

    names = [name for name, (_, module) in CONTENDERS.items() if importlib.util.find_spec(module)]
    missing = sorted(set(CONTENDERS) - set(names))
    if options.against is not None:
        names = ["bare product", *(name for name in names if name in options.against)]
    print(f"{platform.platform()}, {platform.processor() or platform.machine()}; not installed: {missing or 'none'}")
    rows = []
    for workload in WORKLOADS:
        if not options.only or workload.name in options.only:
            rows += measure(workload, options.rounds or workload.rounds, names)
    if options.out:
        options.out.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
