"""Random problems of ranking; run as a script, it prints what each of them gives, with torch or as if it weren't there.

python tests/ranking/problems.py FIRST STOP          # a line of JSON a problem
python tests/ranking/problems.py FIRST STOP --without-torch
"""

import json
import sys
from hashlib import sha256
from importlib.abc import MetaPathFinder
from typing import Any

import numpy as np

LEVELS = ["bfloat16", "float32", "float64", "exact"]


def drawn(kind: str, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Both sides of a problem in which one kind of thing goes wrong."""
    n_text, n_video, dim = generator.integers(70, 200), generator.integers(70, 200), generator.integers(1, 40)
    text, video = generator.normal(size=(n_text, dim)), generator.normal(size=(n_video, dim))
    centre = generator.normal(size=dim)
    if kind == "collapsed":
        return centre + 1e-3 * text, centre + 1e-3 * video
    if kind == "nearly constant videos":
        return text, centre + 1e-7 * video
    if kind == "constant text":
        return np.ones_like(text), video
    if kind == "whole numbers":
        return generator.integers(-1, 2, size=text.shape).astype(float), np.sign(video)
    if kind == "repeats, multiples and zeros":
        video[generator.integers(n_video, size=n_video // 2)] = video[0]
        video[::4] *= 2
        text[::3], video[1::5] = 0, -0.0
    if kind == "norms far apart":
        text *= 10.0 ** generator.integers(-12, 12, size=(n_text, 1))
        video *= 10.0 ** generator.integers(-12, 12, size=(n_video, 1))
    return text, video


KINDS = [
    "plain", "collapsed", "nearly constant videos", "constant text", "whole numbers", "repeats, multiples and zeros",
    "norms far apart",
]  # fmt: skip


def close_together(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Captions, videos and the video of each caption, about one point or two, at any spread and scale."""
    generator = np.random.default_rng(seed)
    dim = int(generator.choice([3, 16, 64, 200]))
    n_captions, n_videos = generator.integers(2, 300, size=2).tolist()
    spread, scale = 10.0 ** generator.uniform(-7, 1), 10.0 ** generator.uniform(-6, 6)
    centre = generator.normal(size=(2, dim))
    other = centre[0] if generator.random() < 0.6 else centre[1]
    video = spread * generator.normal(size=(n_videos, dim))
    owner = np.sort(generator.integers(0, n_videos, size=n_captions))
    text = video[owner] + spread * generator.uniform(0, 3) * generator.normal(size=(n_captions, dim))
    dtype = generator.choice([np.float32, np.float64])
    return ((text + centre[0]) * scale).astype(dtype), ((video + other) * scale).astype(dtype), owner


def tokens(generator: np.random.Generator, n: int, dim: int) -> list[np.ndarray]:
    """Ragged tokens of n items, half of them small whole numbers, so that scores tie."""
    rows = [generator.normal(size=(int(generator.integers(1, 6)), dim)) for _ in range(n)]
    return [np.rint(row) if number % 2 else row for number, row in enumerate(rows)]


def results(seed: int) -> dict[str, Any]:
    """Everything that is counted of one problem: a digest of arrays, numbers as they are."""
    from reelstore.evaluation import Pairs, confidence_intervals, evaluate
    from reelstore.evaluation.rescoring import DualSoftmax, evaluate_rescored
    from reelstore.ranking import MaxSim, count_pairs, nearest

    generator = np.random.default_rng([seed, 1])
    kind = [*KINDS, "close together"][seed % (len(KINDS) + 1)]
    if kind == "close together":
        text, video, _ = close_together(seed)
    else:
        text, video = drawn(kind, generator)
    dtype = [np.float16, np.float32, np.float64][int(generator.integers(3))]
    if kind != "norms far apart" or dtype != np.float16:
        with np.errstate(over="ignore"):
            text, video = (np.nan_to_num(side.astype(dtype), posinf=9, neginf=-9) for side in (text, video))
    relevant = generator.random((len(text), len(video))) < generator.choice([1 / len(video), 0.1])
    relevant[0, 0] = True
    pairs = np.nonzero(relevant)
    similarity = ["cosine", "dot", "euclidean"][int(generator.integers(3))]
    options = {"text": text, "video": video, "similarity": similarity, "memory": int(2 ** generator.integers(0, 31))}
    found: dict[str, Any] = {}
    for first in (None, "bfloat16", "float32"):
        for hard in (True, False):
            counts = count_pairs(*pairs, return_hard_negatives=hard, first=first, **options)
            names = ("query", "item", "greater", "equal", *(("hardest_negative", "hardest_negative_score") * hard))
            for direction, of in counts.items():
                found[f"{first} {hard} {direction}"] = digest(*(getattr(of, name) for name in names))
    evaluation = evaluate(relevance=Pairs(*pairs), **options)
    found["metrics"], found["intervals"] = evaluation.metrics, confidence_intervals(evaluation)
    one = pairs[0] == np.r_[-1, pairs[0][:-1]]  # further videos of a caption
    owner = np.full(len(text), -1)
    owner[pairs[0][~one]] = pairs[1][~one]
    if similarity != "dot":
        rescored = evaluate_rescored(
            text=text, video=video, video_of_caption=owner, rescoring=DualSoftmax(), similarity=similarity
        )
        found["rescored"] = rescored.metrics
    near = nearest(text, video, k=5, similarity=similarity)
    found["nearest"] = digest(near.item, near.score)
    sides = {"text": tokens(generator, 12, 8), "video": tokens(generator, 9, 8)}
    over = ["text", "video", "both"][seed % 3]
    found["maxsim"] = evaluate(scores=MaxSim(over=over, **sides), video_of_caption=np.arange(12) % 9).metrics
    return found


def digest(*arrays: np.ndarray) -> str:
    """Of the bytes, dtypes and shapes."""
    whole = sha256()
    for array in arrays:
        whole.update(f"{array.dtype} {array.shape} ".encode() + array.tobytes())
    return whole.hexdigest()[:16]


class WithoutTorch(MetaPathFinder):
    """Torch can't be imported."""

    def find_spec(self, name: str, *_: Any) -> None:
        if name.partition(".")[0] == "torch":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


if __name__ == "__main__":
    if "--without-torch" in sys.argv:
        sys.meta_path.insert(0, WithoutTorch())
    else:
        import torch  # noqa: F401  # once it is loaded, bfloat16 is taken where it is the faster filter
    for number in range(int(sys.argv[1]), int(sys.argv[2])):
        print(json.dumps(results(number), sort_keys=True))
