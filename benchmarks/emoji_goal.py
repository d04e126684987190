"""How far alignment gets on all emoji: closed forms on the head of EfficientNet-Lite0, and on its stages.

    python benchmarks/emoji_goal.py --data data/emoji-all --out runs/emoji_goal.json

`--data` is a folder that the dataset stage wrote with `dataset.still: true`. What the encoders give for the first frame
of each clip and for each sentence is kept beside `--out`, so that a second run only fits. Settings are chosen on
validation, test is evaluated once for each aligner and seed of split. Three conventions: `own`, that of
`reelstore evaluate` (only a caption's own video is right); `sentence`: a video is right for a sentence if one of
its captions is that sentence, and each sentence counts once among the answers; `together`: a video's captions are one
query, the mean of what they are mapped to.
"""

import argparse
import json
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

import reelstore
from reelstore.align.base import FitContext, PairedRows
from reelstore.align.mapping import mapped
from reelstore.align.registry import make_aligner
from reelstore.datasets.splits import split_of_group
from reelstore.evaluation import Evaluation, confidence_intervals, evaluate
from reelstore.evaluation.compare import compare
from reelstore.store.read import Rows
from reelstore.video import Sampling
from reelstore.video.decode import decode

SHARES = {"train": 0.7, "validation": 0.1, "test": 0.2}
CONTENDERS: dict[str, tuple[str, dict[str, Any]]] = {
    "unaligned": ("head", {"kind": "unaligned"}),
    "ridge": ("head", {"kind": "ridge"}),
    "cca": ("head", {"kind": "cca"}),
    "kernel-ridge": ("head", {"kind": "kernel-ridge"}),
    "kernel-ridge, stages": ("stages", {"kind": "kernel-ridge"}),
    "ensemble, stages": ("stages", {"kind": "ensemble"}),
    "kernel-ridge, stages, whitened text": (
        "stages",
        {
            "kind": "kernel-ridge",
            "preprocess": {"video": ["mean", "unit", "centre", "unit"], "text": ["mean", "unit", "whiten", "unit"]},
            "components": 384,
            "shrinkage": 0.3,
        },
    ),
}
SIMPLEST = "kernel-ridge, stages"


def main() -> None:
    """Encode what isn't kept, then fit and evaluate every contender for every seed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/emoji_goal.json"))
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(10)), help="of splits (default 0 to 9)")
    parser.add_argument("--only", choices=list(CONTENDERS), nargs="+", help="some contenders instead of all")
    args = parser.parse_args()
    contenders = {name: how for name, how in CONTENDERS.items() if not args.only or name in args.only}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    videos, captions = (read_lines(args.data / f"{name}.jsonl") for name in ("videos", "captions"))
    features = encoded(args.data, videos, captions, kept=args.out.parent / "emoji_goal.npz")
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in contenders}
    with TemporaryDirectory() as folder:
        store = reelstore.open(folder, create=True)  # aligners read rows of a store
        for name in ("head", "stages"):
            store.write(f"video/emoji-goal/{name}", [v["video_id"] for v in videos], features[name], dtype="float16")
        keys = [(c["video_id"], c["caption_index"]) for c in captions]
        store.write("text/emoji-goal/mean", keys, features["text"], dtype="float16")
        texts = store["text/emoji-goal/mean"]
        for seed in args.seeds:
            split_of = {v["video_id"]: split_of_group(v["group"], SHARES, seed=seed) for v in videos}
            evaluations: dict[str, Evaluation] = {}
            for name, (variant, settings) in contenders.items():
                numbers, evaluations[name] = measured(
                    store[f"video/emoji-goal/{variant}"], texts, captions, split_of, settings
                )
                if SIMPLEST in evaluations and name != SIMPLEST:
                    numbers["beyond " + SIMPLEST] = beyond(evaluations[SIMPLEST], evaluations[name])
                found[name].append({"seed": seed, **numbers})
                print(f"seed {seed} {name}: {json.dumps(found[name][-1])}", flush=True)
            args.out.write_text(json.dumps(found, indent=1) + "\n")
    for name, runs in found.items():
        print(f"| {name} | " + " | ".join(spread([run[key] for run in runs]) for key in KEYS) + " |")


KEYS = ("validation", "own t2v", "own v2t", "sentence t2v", "sentence v2t", "together t2v", "together v2t")


def measured(
    videos: Rows, texts: Rows, captions: list[dict[str, Any]], split_of: dict[str, str], settings: dict[str, Any]
) -> tuple[dict[str, Any], Evaluation]:
    """An aligner fitted on train, chosen on validation, evaluated once on test: its numbers, and `own` by query."""
    started = time.perf_counter()
    aligner, _ = make_aligner(settings)
    parts = {split: paired(videos, texts, captions, split_of, split) for split in SHARES}
    tried: list[dict[str, float]] = []
    context = FitContext(Path("runs"), lambda row: tried.append(dict(row)))

    def validate(*, video: Any, text: Any, video_of_caption: Any) -> float:
        return float(evaluate(text=text, video=video, video_of_caption=video_of_caption, ks=(1,)).metrics["t2v"]["MRR"])

    aligner.fit(parts["train"], parts["validation"], validate=validate, context=context)
    seconds = time.perf_counter() - started
    test = parts["test"]
    video, text = mapped(aligner.transform_video, test.video), mapped(aligner.transform_text, test.text)
    own = evaluate(text=text, video=video, video_of_caption=test.video_of_caption, ks=(1, 5, 10))
    sentences, first, number = np.unique(
        [c["text"] for c in captions if split_of[c["video_id"]] == "test"], return_index=True, return_inverse=True
    )
    relevance = np.zeros((len(sentences), len(video)), dtype=bool)
    relevance[number, test.video_of_caption] = True
    shared = evaluate(text=text[first], video=video, relevance=relevance, ks=(1, 5, 10))
    # A sentence is asked as often as it is a caption.
    asked = float(shared.t2v.values["MRR"][number].mean())
    together = np.zeros((len(video), text.shape[1]))
    np.add.at(together, test.video_of_caption, text)
    joined = evaluate(text=together, video=video, video_of_caption=np.arange(len(video)), ks=(1, 5, 10))
    ensemble = settings["kind"] == "ensemble"  # its own row comes after its members'
    best = tried[-1] if ensemble else max(tried, key=lambda row: row["validation_MRR"])
    numbers = {
        "validation": best["validation_MRR"],
        "own t2v": own.metrics["t2v"]["MRR"],
        "own v2t": own.metrics["v2t"]["MRR"],
        "sentence t2v": asked,
        "sentence v2t": shared.metrics["v2t"]["MRR"],
        "together t2v": joined.metrics["t2v"]["MRR"],
        "together v2t": joined.metrics["v2t"]["MRR"],
        "together t2v R@1, 5, 10": [joined.metrics["t2v"][f"R@{k:02d}"] for k in (1, 5, 10)],
        "intervals": {side: confidence_intervals(own)[side]["MRR"] for side in ("t2v", "v2t")},
        "chosen": {key: value for key, value in best.items() if key != "validation_MRR"},
        "videos": len(video),
        "captions": len(text),
        "seconds": round(seconds, 1),
    }
    return numbers, own


def beyond(first: Evaluation, second: Evaluation) -> dict[str, list[float]]:
    """side -> how much higher the second's MRR is, and the 95 % interval of that: the same videos drawn for both."""
    found = {}
    for side in ("t2v", "v2t"):
        values = [{"MRR": evaluation.directions[side].values["MRR"]} for evaluation in (first, second)]
        difference = compare(*values, first.directions[side].video)["MRR"]
        found[side] = [difference.difference, difference.low, difference.high]
    return found


def paired(
    videos: Rows, texts: Rows, captions: list[dict[str, Any]], split_of: dict[str, str], split: str
) -> PairedRows:
    """The pairs of one split."""
    ids = [video_id for video_id, of in split_of.items() if of == split]
    position = {video_id: number for number, video_id in enumerate(ids)}
    keys = [(c["video_id"], c["caption_index"]) for c in captions if c["video_id"] in position]
    return PairedRows(
        video=videos.select(ids),
        text=texts.select(keys),
        video_of_caption=np.array([position[video_id] for video_id, _ in keys]),
    )


def encoded(
    data: Path, videos: list[dict[str, Any]], captions: list[dict[str, Any]], *, kept: Path
) -> dict[str, np.ndarray]:
    """`head` (n_videos, 1280), `stages` (n_videos, 2048) of first frames, `text` (n_captions, 384), float16."""
    if kept.exists():
        with np.load(kept) as arrays:
            return dict(arrays)
    network = reelstore.encoder("efficientnet-lite0", n_frames=1, stages=True)
    outputs = []
    for video in videos:
        frames = decode(data / "clips" / video["path"], sampling=Sampling(policy="uniform", n_frames=1, step=None))
        outputs.append(network.encode_frames(frames.pixels[None]))
    sentences, number = np.unique([c["text"] for c in captions], return_inverse=True)
    states = reelstore.encoder("minilm-l6", side="text").encode_texts(sentences.tolist())["tokens"]
    arrays = {
        "head": np.stack([output["tokens"][0].mean(axis=0) for output in outputs]),
        "stages": np.stack([output["stages"][0].mean(axis=0) for output in outputs]),
        "text": np.stack([tokens.mean(axis=0) for tokens in states])[number],
    }
    arrays = {name: values.astype(np.float16) for name, values in arrays.items()}
    np.savez(kept, **arrays)
    return arrays


def read_lines(path: Path) -> list[dict[str, Any]]:
    """A JSON object a line."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def spread(values: list[float]) -> str:
    """Mean and standard deviation (n - 1) over seeds."""
    deviation = np.std(values, ddof=1) if len(values) > 1 else 0.0
    return f"{np.mean(values):.3f} ± {deviation:.3f}"


if __name__ == "__main__":
    main()
