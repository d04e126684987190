"""What several views of a clip, both directions of regression, and a fit on validation too add on all emoji.

    python benchmarks/emoji_views.py --data data/emoji-all --out runs/emoji_views.json

`--data` is a folder that the dataset stage wrote with `dataset.still: true`. The two encoders stay frozen. A clip is
seen as eight frames, and its first frame mirrored, larger, smaller, turned and grey; outputs of the head and of the
stages are kept beside `--out`, so that a second run, of seconds, only fits.

A query is a clip's captions together: the weighted mean of their embeddings, centred and partly whitened. Kernel ridge
regresses it from the mean of four Gaussian kernels over the views, and, the other way, the videos' kernel features from
a Gaussian kernel over queries; the score is the cosine of the first plus some of the cosine of the second, summed over
a few whitenings and widths. How much of the second, and how much the first caption (the label) weighs, is chosen by
text-to-video MRR on validation, for each seed by itself. Test is scored by what train gave, and by the same settings
fitted on train and validation.
"""

import argparse
import json
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from emoji_goal import SHARES, read_lines, spread
from PIL import Image

import reelstore
from reelstore.align.closed_form.kernel_ridge import squared_distances
from reelstore.arrays import Float64Array
from reelstore.datasets.splits import split_of_group
from reelstore.doctor.geometry import unit
from reelstore.evaluation import Evaluation, confidence_intervals, evaluate
from reelstore.video import Sampling
from reelstore.video.decode import decode

Rows = npt.NDArray[np.intp]
FRAMES = 8
TEXTS = ((0.0, 0.3), (0.0, 0.5), (0.0, 0.7), (0.25, 0.7))
"""Power of a caption's frequency that its weight is divided by; share of the whitening."""
LABEL_WEIGHTS = (1.0, 3.0)
BACK_WEIGHTS = (0.3, 0.5, 0.8)
GAMMAS = (1.5, 3.0)
ALPHA, TEXT_ALPHA, TEXT_GAMMA = 0.2, 0.4, 2.0


def main() -> None:
    """Encode what isn't kept, then choose, fit and evaluate for every seed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/emoji_views.json"))
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(10)), help="of splits (default 0 to 9)")
    args = parser.parse_args()
    args.out.parent.mkdir(parents=True, exist_ok=True)
    videos, captions = (read_lines(args.data / f"{name}.jsonl") for name in ("videos", "captions"))
    features = encoded(args.data, videos, captions, kept=args.out.parent / "emoji_views.npz")
    found = []
    for seed in args.seeds:
        splits = np.array([split_of_group(v["group"], SHARES, seed=seed) for v in videos])
        part = {name: np.flatnonzero(splits == name) for name in SHARES}
        settings, validation = chosen(features, captions, videos, part)
        run: dict[str, Any] = {"seed": seed, "videos": len(part["test"]), "chosen": settings, "validation": validation}
        for name, train in (
            ("train", part["train"]),
            ("train and validation", np.concatenate([part["train"], part["validation"]])),
        ):
            scores = Members(features, captions, videos, train).scores(part["test"], *settings)
            evaluation = evaluated(scores)
            run[name] = {
                direction: {
                    **evaluation.metrics[direction],
                    "interval": confidence_intervals(evaluation)[direction]["MRR"],
                }
                for direction in ("t2v", "v2t")
            }
        found.append(run)
        print(json.dumps(run), flush=True)
    args.out.write_text(json.dumps(found, indent=1) + "\n")
    for name in ("train", "train and validation"):
        cells = [spread([run[name][direction]["MRR"] for run in found]) for direction in ("t2v", "v2t")]
        print(f"| fitted on {name} | {' | '.join(cells)} |")


def chosen(
    features: dict[str, Any], captions: list[Any], videos: list[Any], part: dict[str, Rows]
) -> tuple[tuple[tuple[float, ...], float], float]:
    """Label weights and weight of the way back with the highest text-to-video MRR on validation, and that MRR."""
    members = Members(features, captions, videos, part["train"])
    tried = {}
    for labels, back in product([*((weight,) for weight in LABEL_WEIGHTS), LABEL_WEIGHTS], BACK_WEIGHTS):
        tried[labels, back] = evaluated(members.scores(part["validation"], labels, back)).metrics["t2v"]["MRR"]
    best = max(tried, key=lambda setting: tried[setting])
    return best, tried[best]


def evaluated(scores: Float64Array) -> Evaluation:
    """Of (n, n) scores of each clip's query with each clip."""
    return evaluate(scores=scores, video_of_caption=np.arange(len(scores)), ks=(1, 5, 10))


class Members:
    """All regressions fitted on some clips.

    Args:
        features: what `encoded` gave.
        captions, videos: the dataset's rows.
        train: positions of the clips to fit on.
    """

    def __init__(self, features: dict[str, Any], captions: list[Any], videos: list[Any], train: Rows) -> None:
        self._text, self._captions, self._train = features["text"], captions, train
        position = {video["video_id"]: number for number, video in enumerate(videos)}
        self._owner = np.array([position[caption["video_id"]] for caption in captions])
        self._n = len(videos)
        sides = [unit(values - values[train].mean(axis=0)) for values in combined(features)]
        self._kernels = []
        for gamma in GAMMAS:
            kernel = np.mean([gaussian(side, side[train], gamma, train) for side in sides], axis=0)
            values, vectors = np.linalg.eigh(kernel[train])
            self._kernels.append((kernel, np.maximum(values, 1e-6), vectors))
        self._cosines: dict[Any, list[tuple[Float64Array, Float64Array, Float64Array, Float64Array]]] = {}

    def scores(self, rows: Rows, labels: tuple[float, ...], back: float) -> Float64Array:
        """(n, n) of the queries of some clips with these clips."""
        total = np.zeros((len(rows), len(rows)))
        for label, text in product(labels, TEXTS):
            for query, forward, mapped, kernel in self._fitted(label, *text):
                total += query[rows] @ forward[rows].T + back * mapped[rows] @ kernel[rows].T
        return total

    def _fitted(
        self, label: float, power: float, share: float
    ) -> list[tuple[Float64Array, Float64Array, Float64Array, Float64Array]]:
        key = label, power, share
        if key not in self._cosines:
            query, train = self._queries(*key), self._train
            between = gaussian(query, query[train], TEXT_GAMMA, train)
            inverse = np.linalg.inv(between[train] + TEXT_ALPHA * np.eye(len(train)))
            self._cosines[key] = []
            for kernel, values, vectors in self._kernels:
                forward = kernel @ (vectors @ (vectors.T @ query[train] / (values + ALPHA)[:, None]))
                mapped = between @ (inverse @ (vectors * np.sqrt(values)))
                own = kernel @ (vectors / np.sqrt(values))
                self._cosines[key].append((query, unit(forward), unit(mapped), unit(own)))
        return self._cosines[key]

    def _queries(self, label: float, power: float, share: float) -> Float64Array:
        """(n_videos, dim), each clip's captions together, length 1."""
        seen = np.isin(self._owner, self._train)
        texts = unit(unit(self._text) - unit(self._text)[seen].mean(axis=0))
        values, vectors = np.linalg.eigh(texts[seen].T @ texts[seen] / seen.sum())
        texts = unit(texts @ (vectors / np.sqrt((1 - share) * values.mean() + share * np.maximum(values, 0) + 1e-9)))
        _, number, times = np.unique(
            [caption["text"].lower() for caption in self._captions], return_inverse=True, return_counts=True
        )
        weights = np.array([label if caption["caption_index"] == 0 else 1.0 for caption in self._captions])
        weights /= times[number] ** power
        together = np.zeros((self._n, texts.shape[1]))
        np.add.at(together, self._owner, texts * weights[:, None])
        return unit(together)


def combined(features: dict[str, Any]) -> list[Float64Array]:
    """What kernels are taken of: stages of frames, stages and head over all views in colour, stages with the grey."""
    coloured = {
        part: np.mean([unit(values) for name, values in features.items() if name.endswith(part) and name[0] != "g"], 0)
        for part in ("stages", "head")
    }
    grey = (coloured["stages"] + unit(features["grey stages"])) / 2
    return [unit(features["frames stages"]), coloured["stages"], coloured["head"], grey]


def gaussian(values: Float64Array, others: Float64Array, gamma: float, train: Rows) -> Float64Array:
    """Kernel of rows of length 1, its width relative to the median squared distance in train."""
    distances = squared_distances(values, others)
    kernel: Float64Array = np.exp(-gamma * distances / np.median(distances[train]))
    return kernel


def encoded(data: Path, videos: list[Any], captions: list[Any], *, kept: Path) -> dict[str, Any]:
    """`<view> head` (n_videos, 1280) and `<view> stages` (n_videos, 2048), `text` (n_captions, 384), float16."""
    if kept.exists():
        with np.load(kept) as arrays:
            return dict(arrays)
    one = reelstore.encoder("efficientnet-lite0", n_frames=1, stages=True)
    several = reelstore.encoder("efficientnet-lite0", n_frames=FRAMES, stages=True)
    rows: dict[str, list[Any]] = {}
    for number, video in enumerate(videos):
        sampling = Sampling(policy="uniform", n_frames=FRAMES, step=None)
        frames = decode(data / "clips" / video["path"], sampling=sampling).pixels
        still = bool((frames == frames[:1]).all())
        outputs = {"frames": (one if still else several).encode_frames(frames[:1][None] if still else frames[None])}
        for name, view in views(Image.fromarray(frames[0])).items():
            outputs[name] = one.encode_frames(np.asarray(view)[None, None])
        for name, output in outputs.items():
            rows.setdefault(f"{name} head", []).append(output["tokens"][0].mean(axis=0))
            rows.setdefault(f"{name} stages", []).append(output["stages"][0].mean(axis=0))
        if number % 200 == 0:
            print(f"{number} of {len(videos)} clips", flush=True)
    sentences, of = np.unique([caption["text"] for caption in captions], return_inverse=True)
    states = reelstore.encoder("minilm-l6", side="text").encode_texts(sentences.tolist())["tokens"]
    rows["text"] = list(np.stack([tokens.mean(axis=0) for tokens in states])[of])
    arrays = {name: np.stack(values).astype(np.float16) for name, values in rows.items()}
    np.savez(kept, **arrays)
    return arrays


def views(picture: Image.Image) -> dict[str, Image.Image]:
    """The picture mirrored, larger, smaller, turned by 12 degrees, and grey; a corner's colour fills what comes in."""
    corner = picture.getpixel((1, 1))
    width, height = picture.size
    edge = width // 10, height // 10
    smaller = Image.new("RGB", (width * 4 // 3, height * 4 // 3), corner)
    smaller.paste(picture, (width // 6, height // 6))
    return {
        "mirrored": picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        "larger": picture.crop((edge[0], edge[1], width - edge[0], height - edge[1])),
        "smaller": smaller,
        "turned": picture.rotate(12, resample=Image.Resampling.BILINEAR, fillcolor=corner),
        "grey": picture.convert("L").convert("RGB"),
    }


if __name__ == "__main__":
    main()
