"""How often the doctor warns of healthy embeddings: the rate of warnings and fatal findings, check by check.

    python benchmarks/false_alarms.py --sets 40
    python benchmarks/false_alarms.py --sets 400 --store store/emoji

A healthy set has videos and captions drawn over shared latents: 4 to 2,000 videos, 1 to 20 captions each, 8 to 48
latents, 32 to 512 dimensions, noise from a weak signal to an MRR of 1.0, a mean, dimensions of different width, float16
or float32, towers that share a space or don't, splits that follow one another or are mixed. With --store, half of the
sets are random splits of some of that store's rows instead, which are taken to be healthy. Rates have Wilson's interval
of 95 %.
"""

import argparse
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy.stats import binomtest

from reelstore.doctor.examine import examine
from reelstore.doctor.sample import MAX_CAPTIONS, MAX_VIDEOS, Sample, draw_sample
from reelstore.store.open import open_store

PARTS = {"train": 0.7, "validation": 0.1, "test": 0.2}


def drawn(seed: int) -> Sample:
    """A synthetic healthy set."""
    rng = np.random.default_rng(seed)
    n_videos = int(np.exp(rng.uniform(np.log(4), np.log(2000))))
    n_latents, mean = int(rng.integers(8, 49)), rng.choice([0, 0, 0.5, 1])
    noise = float(np.exp(rng.uniform(np.log(0.02), np.log(2))))
    counts = rng.integers(1, 21, size=n_videos) if rng.random() < 0.5 else np.full(n_videos, rng.integers(1, 21))
    owner = np.repeat(np.arange(n_videos), counts)
    latents = rng.normal(size=(n_videos, n_latents))
    shared = rng.random() < 0.3
    dims = rng.integers(32, 513, size=2)
    maps = [rng.normal(size=(n_latents, dim)) for dim in dims]
    if shared:
        maps[1] = maps[0]
    sides = []
    own_noise = 0.5 * rng.random() * noise
    views = latents, latents[owner] + own_noise * rng.normal(size=(len(owner), n_latents))
    for view, loadings in zip(views, maps, strict=True):
        dim = loadings.shape[1]
        widths = np.ones(dim) if shared else np.exp(rng.uniform(0, 0.3) * rng.normal(size=dim))
        centre = 0 if shared else mean * n_latents**0.5 * rng.normal(size=dim)
        values = view @ loadings + noise * n_latents**0.5 * rng.normal(size=(len(view), dim)) + centre
        values = values * widths
        if rng.random() < 0.5:
            values = values / np.linalg.norm(values, axis=1, keepdims=True)
        sides.append(values.astype(rng.choice(["float16", "float32"])))
    return _sample(sides[0], sides[1], owner, _splits(n_videos, rng))


def resplit(whole: Sample, seed: int) -> Sample:
    """Some of a store's videos with some of their captions, under new random splits."""
    rng = np.random.default_rng(seed)
    n_videos = int(np.exp(rng.uniform(np.log(4), np.log(len(whole.video)))))
    chosen = np.sort(rng.permutation(len(whole.video))[:n_videos])
    most = int(rng.integers(1, 21))
    place = np.full(len(whole.video), -1)
    place[chosen] = np.arange(n_videos)
    rows, seen = [], Counter()
    for row in rng.permutation(len(whole.text)).tolist():
        video = int(whole.video_of_caption[row])
        if place[video] >= 0 and seen[video] < most:
            seen[video] += 1
            rows.append(row)
    rows = sorted(rows)
    splits = _splits(n_videos, rng)
    return _sample(whole.video[chosen], whole.text[rows], place[whole.video_of_caption[rows]], splits)


def _splits(n_videos: int, rng: np.random.Generator) -> np.ndarray:
    kinds = rng.choice(3, p=[0.6, 0.2, 0.2])
    if kinds == 0:
        parts = PARTS
    elif kinds == 1:
        parts = {"train": 0.8, "test": 0.2}
    else:
        parts = {"test": 1.0} if rng.random() < 0.5 else {"train": 0.9, "validation": 0.1}
    counts = np.round(np.cumsum([0, *parts.values()]) * n_videos).astype(int)
    splits = np.repeat(list(parts), np.diff(counts))
    return splits if rng.random() < 0.5 else rng.permutation(splits)


def _sample(video: np.ndarray, text: np.ndarray, owner: np.ndarray, splits: np.ndarray) -> Sample:
    kept = np.zeros(len(video), dtype=bool)
    for name in np.unique(splits):
        kept[np.flatnonzero(splits == name)[:MAX_VIDEOS]] = True
    most = max(1, MAX_CAPTIONS // max(Counter(splits.tolist()).values()))
    number = np.arange(len(owner)) - np.searchsorted(owner, owner)
    rows = np.flatnonzero(kept[owner] & (number < most))
    place = np.cumsum(kept) - 1
    within = np.empty(len(video), dtype=np.int64)
    of_caption = np.empty(len(owner), dtype=np.int64)
    for name in np.unique(splits):
        within[splits == name] = np.arange(int((splits == name).sum()))
        mine = splits[owner] == name
        of_caption[mine] = np.arange(int(mine.sum()))
    ids = [f"v{place}" for place in np.flatnonzero(kept)]
    return Sample(
        video=video[kept],
        text=text[rows],
        video_of_caption=place[owner[rows]].astype(np.int64),
        splits=splits[kept],
        video_ids=ids,
        captions=[(f"v{owner[row]}", int(number[row])) for row in rows.tolist()],
        video_places=np.flatnonzero(kept),
        caption_places=rows,
        video_split_places=within[kept],
        caption_split_places=of_caption[rows],
    )


def sets(n_sets: int, whole: Sample | None, seed: int) -> Iterator[tuple[str, Sample]]:
    """Name and sample of each healthy set."""
    for number in range(seed, seed + n_sets):
        if whole is not None and number % 2:
            yield f"store {number}", resplit(whole, number)
        else:
            yield f"drawn {number}", drawn(number)


def rate(n_found: int, n_sets: int) -> dict[str, float]:
    """Share with Wilson's interval."""
    found = binomtest(n_found, n_sets).proportion_ci(method="wilson")
    return {"found": n_found, "rate": n_found / n_sets, "low": float(found.low), "high": float(found.high)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0, help="Of the first set.")
    parser.add_argument("--store", type=Path)
    parser.add_argument("--video", default="efficientnet-lite0/mean")
    parser.add_argument("--text", default="minilm-l6/mean")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    whole = None
    if asked.store is not None:
        store = open_store(asked.store)
        whole = draw_sample(store[f"video/{asked.video}"], store[f"text/{asked.text}"])
    raised, looked, any_raised = Counter(), Counter(), 0
    for name, sample in sets(asked.sets, whole, asked.seed):
        checks = examine(sample)
        wrong = [check for check in checks if check.level in ("warning", "fatal")]
        looked.update({check.name for check in checks})
        raised.update({check.name for check in wrong})
        any_raised += bool(wrong)
        for check in wrong:
            print(f"{name} ({len(sample.video)} videos, {len(sample.text)} captions): {check}", flush=True)
    n_sets = asked.sets
    rates = {check: {**rate(raised[check], looked[check]), "sets": looked[check]} for check in sorted(looked)}
    rates["any"] = {**rate(any_raised, n_sets), "sets": n_sets}
    print("| check | sets | warned | rate, 95 % |\n|---|---|---|---|")
    for check, of in rates.items():
        interval = f"{of['rate']:.2%} ({of['low']:.2%} to {of['high']:.2%})"
        print(f"| `{check}` | {of['sets']:.0f} | {of['found']:.0f} | {interval} |")
    if asked.out is not None:
        asked.out.write_text(json.dumps(rates, indent=1) + "\n")


if __name__ == "__main__":
    main()
