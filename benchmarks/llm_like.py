"""Aligners on llm-like, seed by seed, each tuned over the same preprocessings, with paired intervals against CCA.

    python benchmarks/llm_like.py --work runs/llm-like --seeds 0 1 2 3 4 --out benchmarks/results/llm_like.json

Every choice (preprocessing, settings, epoch) is made on the validation split; the test split is used once for each
method. Embeddings of a seed are drawn into the work folder where they are missing. Results that are there are kept.
"""

import argparse
import json
import os
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from reelstore.align.base import FitContext, PairedRows
from reelstore.align.mapping import mapped
from reelstore.align.registry import make_aligner
from reelstore.datasets import llm_like
from reelstore.project.align.rows import training_rows
from reelstore.project.dataset import build_dataset
from reelstore.project.embed.stage import run_embed
from reelstore.project.pairs import run_pairs
from reelstore.project.settings import PairsParams, load_params
from reelstore.store.open import open_variant

SIDES = ("video", "text")
MODEL = ("llm-like", "llm-like")
N_RESAMPLES = 2000
QUIET = {"enable_progress_bar": False}
PREPROCESSINGS: list[dict[str, Any]] = [
    {"preprocess": ["mean", "unit", "centre", "unit"]},
    {"preprocess": ["mean", "standardise", "unit"]},
    {"preprocess": ["mean", "standardise", "whiten", "unit"], "components": 256, "shrinkage": 0.1},
    {"preprocess": ["mean", "standardise", "whiten", "unit"], "components": 512, "shrinkage": 0.1},
]
"""Tried for every aligner that learns, so that aligners are compared and not what is done to embeddings before."""
CCA = {"kind": "cca", "dims": [256, 512], "regularisations": [0.03, 0.1, 0.3], "powers": [0.5, 1.0]}
SETTINGS: dict[str, dict[str, Any]] = {
    "cca": CCA,
    "cca-infonce": {**CCA, "kind": "cca-infonce", "trainer": QUIET},
    "ridge": {"kind": "ridge", "alphas": [0.03, 0.1, 0.3, 1.0, 3.0]},
    "procrustes": {"kind": "procrustes"},
    "kernel-ridge": {"kind": "kernel-ridge", "landmarks": 4000, "gammas": [0.5, 1.0, 2.0], "alphas": [0.3, 1.0, 3.0]},
    "mlp": {"kind": "mlp", "captions_per_video": "all", "max_epochs": 8, "trainer": QUIET},
}
METHODS: dict[str, list[dict[str, Any]]] = {
    **{name: [{**settings, **steps} for steps in PREPROCESSINGS] for name, settings in SETTINGS.items()},
    "unaligned": [{"kind": "unaligned"}],
    "report": [{
        "kind": "mlp", "pairs": "report", "preprocess": [], "widths": [256, 256], "block": "report", "dropout": 0.1,
        "loss": "mse", "weight_decay": 0.01, "warm_up": 0.0, "batch_size": 32, "max_epochs": 5, "patience": 5,
        "trainer": {**QUIET, "limit_train_batches": 100},
    }],
}  # fmt: skip
"""Method -> settings to choose from, preprocessing among them, by validation MRR for each seed by itself."""


def main() -> None:
    """Run what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder of a project for each seed")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--geometry", type=json.loads, default={}, help="other knobs of the encoders, as JSON")
    parser.add_argument("--knobs", type=json.loads, default={}, help="other knobs of the dataset, as JSON")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/llm_like.json"))
    parser.add_argument("--table", action="store_true", help="print the table of what is done, run nothing")
    given = parser.parse_args()
    torch.set_num_threads(1)
    home = Path.cwd()
    for seed in [] if given.table else given.seeds:
        folder = given.work.absolute() / str(seed)
        project(folder, seed, given.width, given.geometry, given.knobs)
        os.chdir(folder)
        for method in given.methods:
            measured(seed, method)
        os.chdir(home)
    found = {}
    for seed in given.seeds:
        kept = given.work / str(seed) / "runs" / "methods"
        found[seed] = {path.stem: json.loads(path.read_text()) for path in sorted(kept.glob("*.json"))}
    summary = table(found)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(summary, indent=1) + "\n")
    for name, row in summary.items():
        print(name, json.dumps(row))


def project(folder: Path, seed: int, width: int, geometry: dict[str, float], knobs: dict[str, Any]) -> None:
    """Tables and pooled embeddings of one seed."""
    folder.mkdir(parents=True, exist_ok=True)
    home = Path.cwd()
    os.chdir(folder)
    if not Path("params.yaml").is_file():
        frozen = json.loads(Path(llm_like.__file__).with_suffix(".json").read_text())
        source = "knobs.json"
        Path(source).write_text(json.dumps(frozen | knobs))
        options = {"seed": seed, "width": width, "keep": ["mean"]}
        if geometry:
            options["geometry"] = geometry
        params = {
            "dataset": {"name": "llm-like", "kind": "llm-like", "source": source, "seed": seed},
            "streams": {f"{side}/llm-like": options for side in SIDES},
            "model": {side: ["llm-like"] for side in SIDES},
            "tracking": {"wandb": "disabled"},
        }
        Path("params.yaml").write_text(yaml.safe_dump(params))
    params_ = load_params()
    if not Path("data/llm-like/dataset.json").is_file():
        build_dataset(params_.dataset, folder=params_.layout.data, progress=print)
    for side in SIDES:
        if not Path(f"store/llm-like/{side}/llm-like/mean/zarr.json").is_file():
            run_embed(params_, f"{side}/llm-like", retry_failed=False, workers=1, progress=lambda done, total: None)
    os.chdir(home)


def measured(seed: int, method: str) -> None:
    """One method on one seed: validation and test reciprocal ranks, kept in runs/methods."""
    path = Path("runs/methods", f"{method}.json")
    if path.is_file():
        return
    best: tuple[float, dict[str, Any], Transform, PairedRows] | None = None
    tried = []
    for settings in METHODS[method]:
        transform, train, validation = fitted(method, settings)
        mean = mrr(**joint(transform, validation))
        chosen = {key: settings[key] for key in ("preprocess", "components") if key in settings}
        tried.append({**chosen, "validation": mean})
        print(f"seed {seed} {method} {chosen}: validation {mean:.4f}", flush=True)
        if best is None or mean > best[0]:
            best = mean, chosen, transform, train
    assert best is not None
    test = test_rows(best[3])
    scores = reciprocal(**joint(best[2], test))
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = {
        "validation": best[0],
        "chosen": best[1],
        "tried": tried,
        "test": [round(float(value), 6) for value in scores],
        "video": test.video_of_caption.tolist(),
    }
    path.write_text(json.dumps(kept))
    print(f"seed {seed} {method}: validation {best[0]:.4f} test {scores.mean():.4f}", flush=True)


Transform = Callable[[str, Any], Any]


def fitted(method: str, settings: dict[str, Any]) -> tuple[Transform, PairedRows, PairedRows]:
    """(side, items) -> joint rows, and the rows it was fitted on and chosen by."""
    params = load_params()
    sets = {"captions": PairsParams(), "report": PairsParams(positives=1, negatives=1, doubled=True)}
    params = params.model_copy(update={"aligners": {method: settings}, "pairs": sets})
    name = str(settings.get("pairs", "captions"))
    if not Path("pairs/llm-like", name, "train.parquet").is_file():
        run_pairs(params, name)
    rows = training_rows(params, video=MODEL[0], text=MODEL[1], aligner=method)
    aligner, _ = make_aligner(settings)
    digest = sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]
    place = FitContext(Path("runs/checkpoints", f"{method}-{digest}"))
    aligner.fit(rows.train, rows.validation, validate=mrr, context=place)

    def transform(side: str, items: Any) -> Any:
        return aligner.transform_video(items) if side == "video" else aligner.transform_text(items)

    return transform, rows.train, rows.validation


def test_rows(train: PairedRows) -> PairedRows:
    """All of the test split, of the same variants."""
    videos, captions = (open_variant(rows.folder).split("test") for rows in (train.video, train.text))
    place = {video_id: number for number, video_id in enumerate(videos.ids)}
    return PairedRows(
        video=videos, text=captions, video_of_caption=np.array([place[video_id] for video_id in captions.video_ids])
    )


def joint(transform: Transform, rows: PairedRows) -> dict[str, Any]:
    """(n_videos, dim) and (n_captions, dim) of length 1, and each caption's video."""
    video = mapped(lambda items: transform("video", items), rows.video)
    text = mapped(lambda items: transform("text", items), rows.text)
    return {"text": text, "video": video, "video_of_caption": rows.video_of_caption}


def reciprocal(*, text: Any, video: Any, video_of_caption: Any) -> Any:
    """(n_captions,) 1 / rank; ties count half."""
    scores = text @ video.T
    right = scores[np.arange(len(text)), video_of_caption][:, None]
    return 1 / ((scores > right).sum(axis=1) + ((scores == right).sum(axis=1) + 1) / 2)


def mrr(*, text: Any, video: Any, video_of_caption: Any) -> float:
    """Of all captions."""
    return float(reciprocal(text=text, video=video, video_of_caption=video_of_caption).mean())


def table(found: dict[int, dict[str, Any]]) -> dict[str, Any]:
    """Method -> mean test MRR, its spread over seeds, and the paired difference to `cca` over the seeds both have.

    The interval resamples videos within each seed, the same ones for both; seeds count alike.
    """
    rng = np.random.default_rng(0)
    rows = {}
    for method in sorted({name for of_seed in found.values() for name in of_seed}):
        seeds = [seed for seed, of_seed in found.items() if method in of_seed and "cca" in of_seed]
        if not seeds:
            continue
        means = [float(np.mean(found[seed][method]["test"])) for seed in seeds]
        draws, differences = np.zeros(N_RESAMPLES), []
        for seed in seeds:
            own = np.array(found[seed]["cca"]["video"])
            change = np.array(found[seed][method]["test"]) - np.array(found[seed]["cca"]["test"])
            differences.append(float(change.mean()))
            of_video = np.bincount(own, change)
            counts = np.bincount(own)
            n = len(counts)
            for number in range(N_RESAMPLES):
                drawn = rng.integers(n, size=n)
                draws[number] += of_video[drawn].sum() / counts[drawn].sum() / len(seeds)
        low, high = np.quantile(draws, [0.025, 0.975])
        rows[method] = {
            "seeds": seeds,
            "test_MRR": round(float(np.mean(means)), 4),
            "spread": round(float(np.std(means, ddof=1)), 4) if len(means) > 1 else 0.0,
            "less_cca": round(float(np.mean(differences)), 4),
            "low": round(float(low), 4),
            "high": round(float(high), 4),
            "by_seed": [round(value, 4) for value in differences],
            "chosen": [found[seed][method]["chosen"] for seed in seeds],
        }
    return rows


if __name__ == "__main__":
    main()
