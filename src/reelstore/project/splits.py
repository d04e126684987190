"""Aligners over several random splits of one dataset: mean, spread, and paired differences to the first."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from typing import Any

import numpy as np

from reelstore.align.base import FitContext, PairedRows, check_layout
from reelstore.align.mapping import mapped
from reelstore.align.registry import ALIGNERS, VERSION, all_settings, make_aligner
from reelstore.datasets.index import read_index
from reelstore.datasets.splits import split_of_group
from reelstore.errors import DamagedFileError, DatasetError, ParamsError, UnknownNameError
from reelstore.evaluation import evaluate
from reelstore.evaluation.resampled import SplitMean, over_splits
from reelstore.fitting import validation_mrr
from reelstore.io import write_atomically
from reelstore.layout import RUNS
from reelstore.plain import read_typed
from reelstore.project import tracking
from reelstore.project.align.rows import paired_rows
from reelstore.project.pairs import pairs_of_split
from reelstore.project.settings import PairsParams, Params
from reelstore.records import Dataset, model_name
from reelstore.store.open import open_store
from reelstore.store.read import Rows

PARTS = ("train", "validation", "test")
DIRECTIONS = ("t2v", "v2t")


@dataclass(frozen=True)
class SplitResult:
    """One aligner on one split.

    Attributes:
        aligner: its name.
        seed: of the split, and of the aligner where it has one.
        n_train: training videos.
        n_test: test videos.
        n_captions: test captions.
        validation: text-to-video MRR by which settings or the epoch were chosen.
        t2v: test metrics by name.
        v2t: the same, video to text.
    """

    aligner: str
    seed: int
    n_train: int
    n_test: int
    n_captions: int
    validation: float
    t2v: dict[str, float]
    v2t: dict[str, float]


@dataclass(frozen=True)
class SplitsReport:
    """Several aligners on the same splits; the first one is what the others are compared with.

    Attributes:
        name: <dataset>/<model>.
        seeds: of the splits.
        results: aligner -> a result for each seed, in order.
    """

    name: str
    seeds: Sequence[int]
    results: Mapping[str, Sequence[SplitResult]]

    @property
    def test_share(self) -> float:
        """Test videos for each training video, on average over the splits."""
        first = next(iter(self.results.values()))
        return float(np.mean([one.n_test / one.n_train for one in first]))

    def mean(self, aligner: str, direction: str, metric: str = "MRR") -> SplitMean:
        """A metric of one aligner over the splits."""
        return over_splits(self._values(aligner, direction, metric), test_share=self.test_share)

    def difference(self, aligner: str, direction: str, metric: str = "MRR") -> SplitMean:
        """How much higher a metric is than the first aligner's on the same split."""
        first = self._values(next(iter(self.results)), direction, metric)
        own = self._values(aligner, direction, metric)
        return over_splits([a - b for a, b in zip(own, first, strict=True)], test_share=self.test_share)

    def summary(self) -> str:
        """Two tables for people."""
        first, *others = self.results
        one = self.results[first]
        width = max(len(name) for name in self.results)
        n_train, n_test = (round(np.mean([getattr(run, key) for run in one])) for key in ("n_train", "n_test"))
        columns = [
            ("validation", ""),
            ("t2v MRR", "MRR"),
            ("v2t MRR", "MRR"),
            ("t2v R@1", "R@01"),
            ("v2t hit@1", "hit@01"),
        ]
        lines = [
            f"{self.name}: {len(self.seeds)} random splits (seeds {self.seeds[0]} to {self.seeds[-1]}), "
            f"about {n_train} videos to train and {n_test} to test; mean ± standard deviation over the splits",
            f"{'':{width}}  " + "  ".join(f"{title:>15}" for title, _ in columns),
        ]
        for name, runs in self.results.items():
            cells = [_spread([run.validation for run in runs])]
            for title, metric in columns[1:]:
                direction = title[:3]
                has = metric in getattr(runs[0], direction)
                cells.append(_spread(self._values(name, direction, metric)) if has else "")
            lines.append(f"{name:{width}}  " + "  ".join(f"{cell:>15}" for cell in cells))
        if others:
            lines.append(f"MRR minus that of {first} on the same split (95 % interval; splits ahead):")
        for name in others:
            parts = []
            for direction in DIRECTIONS:
                found = self.difference(name, direction)
                parts.append(
                    f"{direction} {found.mean:+.4f} ({found.low:+.4f} to {found.high:+.4f}; "
                    f"{found.n_above} of {found.n_splits})"
                )
            lines.append(f"{name:{width}}  " + "  ".join(parts))
        lines.append(
            "Splits, and the seeds of trained aligners, vary; dataset, embeddings and settings are held fixed. "
            "Intervals: corrected resampled t (Nadeau and Bengio 2003), because the splits overlap."
        )
        return "\n".join(lines)

    def as_json(self) -> dict[str, Any]:
        """All results, means and differences."""
        first = next(iter(self.results))
        return {
            "name": self.name,
            "seeds": list(self.seeds),
            "first": first,
            "aligners": {
                name: {
                    "results": [asdict(run) for run in runs],
                    **{direction: asdict(self.mean(name, direction)) for direction in DIRECTIONS},
                    **(
                        {}
                        if name == first
                        else {"beyond_first": {of: asdict(self.difference(name, of)) for of in DIRECTIONS}}
                    ),
                }
                for name, runs in self.results.items()
            },
        }

    def _values(self, aligner: str, direction: str, metric: str) -> list[float]:
        return [getattr(run, direction)[metric] for run in self.results[aligner]]


def run_splits(
    params: Params,
    *,
    video: str,
    text: str,
    aligners: Sequence[str],
    seeds: Sequence[int],
    progress: Callable[[str], None],
) -> SplitsReport:
    """Fit and measure aligners on random splits drawn for each seed, group by group.

    The shares are those of `dataset.splits`; where the dataset's splits weren't drawn by them, the proportions of its
    own splits. Each result is kept in runs/splits, by what determines it, so that a stopped run goes on.

    Args:
        params: of the project.
        video: encoder of the videos.
        text: encoder of the captions.
        aligners: names of params.yaml, or kinds, which then have their default settings.
        seeds: one for each split, at least two.
        progress: takes a line for each result.

    Raises:
        ParamsError: fewer than two seeds, or an aligner's settings are wrong.
        UnknownNameError: there is no such aligner.
        DatasetError: a split drawn has no videos with captions.
    """
    if len(seeds) < 2:
        raise ParamsError("At least two splits are needed for a mean and a spread; 10 are usual.")
    dataset = read_index(params.layout.data, name=params.dataset.name)
    shares = _shares(params, dataset)
    store = open_store(params.layout.store)
    name = f"{params.dataset.name}/{model_name(video, text)}"
    results: dict[str, list[SplitResult]] = {aligner: [] for aligner in aligners}
    settings = {
        aligner: _settings(params, aligner) for aligner in results
    }  # a wrong one is refused before any is fitted
    for seed in seeds:
        drawn = redrawn(dataset, shares, seed=seed)
        for aligner in results:
            fitting = _Fitting(params, drawn, store, video, text, name, aligner, seed, settings[aligner])
            results[aligner].append(fitting.result(progress))
    return SplitsReport(name, list(seeds), results)


def redrawn(dataset: Dataset, shares: Mapping[str, float], *, seed: int) -> Dataset:
    """The dataset with its groups drawn into new splits.

    Raises:
        DatasetError: a split has no videos.
    """
    videos = tuple(replace(video, split=split_of_group(video.group, shares, seed=seed)) for video in dataset.videos)
    captioned = {caption.video_id for caption in dataset.captions}
    there = {video.split for video in videos if video.video_id in captioned}
    if lacking := [part for part in PARTS if part not in there]:
        raise DatasetError(
            f"{dataset.name}, seed {seed}: no video with captions was drawn into {' or '.join(lacking)}, of "
            f"{len({video.group for video in videos})} groups by the shares "
            f"{', '.join(f'{split} {share:.2f}' for split, share in shares.items())}. Random splits need more groups."
        )
    return replace(dataset, videos=videos, protocols={}, missing={})


def _shares(params: Params, dataset: Dataset) -> dict[str, float]:
    given = params.dataset
    drawn = all(video.split == split_of_group(video.group, given.splits, seed=given.seed) for video in dataset.videos)
    counts = {part: sum(video.split == part for video in dataset.videos) for part in PARTS}
    shares = (
        dict(given.splits) if drawn else {part: count / max(1, sum(counts.values())) for part, count in counts.items()}
    )
    if lacking := [part for part in PARTS if not shares.get(part)]:
        raise DatasetError(
            f"{dataset.name} has no split {' or '.join(lacking)} to take the share of; random splits need train, "
            "validation and test."
        )
    return shares


def _settings(params: Params, aligner: str) -> dict[str, Any]:
    if aligner not in params.aligners and aligner not in ALIGNERS:
        raise UnknownNameError("aligner", aligner, {*params.aligners, *ALIGNERS})
    settings = dict(params.aligners.get(aligner, {"kind": aligner}))
    make_aligner(settings, name=aligner)
    settings = all_settings(settings)
    sets = {**params.pairs, **params.mined}
    if settings["pairs"] not in sets:
        raise ParamsError(
            f"{aligner} trains on the pairs {settings['pairs']!r}. pairs and mined have: {', '.join(sets)}."
        )
    return settings


@dataclass(frozen=True)
class _Fitting:
    """One aligner to be fitted and measured on one split."""

    params: Params
    dataset: Dataset
    store: Any
    video: str
    text: str
    name: str
    aligner: str
    seed: int
    settings: Mapping[str, Any]

    @property
    def pairs(self) -> PairsParams:
        return {**self.params.pairs, **self.params.mined}[self.settings["pairs"]]

    def result(self, progress: Callable[[str], None]) -> SplitResult:
        """Fitted and measured, or read where it was before."""
        settings = dict(self.settings)
        if "seed" in settings:
            settings["seed"] = self.seed
        unfitted, pooling = make_aligner(settings, name=self.aligner)
        videos: Rows = self.store[f"video/{self.video}/{pooling['video']}"]
        captions: Rows = self.store[f"text/{self.text}/{pooling['text']}"]
        for rows in (videos, captions):
            check_layout(rows, unfitted.layouts, settings["kind"])
        key = self._key(settings, videos, captions)
        kept = RUNS / "splits" / self.name / f"{self.aligner}-{self.seed}-{key[:16]}.json"
        if kept.is_file():
            try:
                found: SplitResult = read_typed(kept, SplitResult)
            except DamagedFileError as error:
                raise DamagedFileError(f"{error} Remove it: the result is computed again.") from error
            return found
        train, validation = (
            paired_rows(videos, captions, pairs_of_split(self.params, self.dataset, part, self.pairs))
            for part in PARTS[:2]
        )
        tried: list[float] = []
        context = FitContext(
            kept.with_suffix(""),
            lambda row: tried.append(row["validation_MRR"]),
            progress,
            revision=tracking.revision(),
        )
        unfitted.fit(train, validation, validate=validation_mrr, context=context)
        test = self._test_rows(videos, captions)
        evaluation = evaluate(
            text=mapped(unfitted.transform_text, test.text),
            video=mapped(unfitted.transform_video, test.video),
            video_of_caption=test.video_of_caption,
            ks=self.params.evaluate.ks,
        )
        t2v, v2t = (dict(evaluation.metrics[direction]) for direction in DIRECTIONS)
        found = SplitResult(
            self.aligner, self.seed, len(train.video), len(test.video), len(test.text), max(tried), t2v, v2t
        )
        write_atomically(kept, (json.dumps(asdict(found), indent=1) + "\n").encode())
        progress(f"seed {self.seed}, {self.aligner}: t2v MRR {t2v['MRR']:.4f}, v2t MRR {v2t['MRR']:.4f}")
        return found

    def _test_rows(self, videos: Rows, captions: Rows) -> PairedRows:
        """Test videos, those without captions among them, and their captions, without rows that failed."""
        videos, captions = videos.ok(), captions.ok()
        has_video, has_caption = set(videos.ids), set(captions.ids)
        ids = [one.video_id for one in self.dataset.videos if one.split == "test" and one.video_id in has_video]
        place = {video_id: number for number, video_id in enumerate(ids)}
        keys = [(one.video_id, one.caption_index) for one in self.dataset.captions if one.video_id in place]
        keys = [key for key in keys if key in has_caption]
        owner = np.array([place[video_id] for video_id, _ in keys], dtype=np.int64)
        return PairedRows(video=videos.select(ids), text=captions.select(keys), video_of_caption=owner)

    def _key(self, settings: Mapping[str, Any], videos: Rows, captions: Rows) -> str:
        """Digest of all that the result depends on."""
        determined = [
            VERSION,
            dict(settings),
            self.pairs.model_dump(),
            [videos.digest, captions.digest],
            [[video.video_id, video.split] for video in self.dataset.videos],
            list(self.params.evaluate.ks),
        ]
        return sha256(json.dumps(determined, sort_keys=True).encode()).hexdigest()


def _spread(values: Sequence[float]) -> str:
    return f"{np.mean(values):.4f} ± {np.std(values, ddof=1):.4f}"
