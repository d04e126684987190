"""The doctor stage: why a model's embeddings can't be retrieved with, or an aligner's training came to nothing."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from reelstore.datasets.index import read_index
from reelstore.doctor import embeddings as of_embeddings
from reelstore.doctor.embeddings import NullScore
from reelstore.doctor.findings import Check, Diagnosis
from reelstore.doctor.geometry import unit
from reelstore.doctor.probe import probe_pairs
from reelstore.doctor.training import chance_level, sample_checks, vitals_of
from reelstore.errors import ParamsError, StoreNotFoundError
from reelstore.evaluation import evaluate, pad_to_same_width, shuffled_cells
from reelstore.evaluation.files import json_bytes
from reelstore.evaluation.matched import Matched, match
from reelstore.io import replace_together
from reelstore.pairs.leakage import leakage, near_duplicates
from reelstore.params import Params, split_model
from reelstore.pipeline.align.findings import read_training_checks
from reelstore.pipeline.split import matched_split
from reelstore.pooling import POOLINGS
from reelstore.report.charts import line_chart
from reelstore.store.reader import Rows, Store, open_store

Array = npt.NDArray[Any]

N_SHUFFLES = 200
MAX_CAPTIONS = 10_000
N_BINS = 60


@dataclass(frozen=True)
class DoctorReport:
    """What the doctor says of a model or an aligner, and where it lies."""

    diagnosis: Diagnosis
    refused: tuple[Check, ...]
    folder: Path | None = None

    @property
    def failed(self) -> bool:
        """Whether something makes results meaningless."""
        return bool(self.refused)

    def summary(self) -> str:
        """For people."""
        lines = [self.diagnosis.text()]
        if self.refused:
            names = ", ".join(dict.fromkeys(check.name for check in self.refused))
            lines.append(
                f"Results with these mean nothing: {names}. Once you know why, allow it in params.yaml: "
                f"doctor: {{allow: [{names}]}}."
            )
        return "\n".join(lines)


def run_doctor(params: Params, model: str) -> DoctorReport:
    """Check a model's stored embeddings.

    Numbers go to metrics/<dataset>/<model>/doctor.json, words and pictures to plots/<dataset>/<model>/doctor.
    """
    video, text = split_model(model)
    dataset = params.dataset.name
    store = open_store(params.store_folder)
    variants = {"video": _pooled(store, "video", video), "text": _pooled(store, "text", text)}
    primary = {side: _primary(of_side, getattr(params.doctor, side)) for side, of_side in variants.items()}
    checks: list[Check] = [of_embeddings.constant(rows) for of_side in variants.values() for rows in of_side]
    for of_side in variants.values():
        equal = (of_embeddings.equal_variants(first, second) for first, second in combinations(of_side, 2))
        checks += [check for check in equal if check is not None]
    for side, rows in primary.items():
        values = of_embeddings.sampled(rows.ok()).array()
        checks += [of_embeddings.common_mean(values, f"{side}/{rows.variant}")]
        checks += [of_embeddings.outliers(values, f"{side}/{rows.variant}")]
    checks += _scored(params, primary["video"], primary["text"])
    checks += _probed(primary["video"], primary["text"])
    checks += _leaked(params, primary["video"])
    diagnosis = Diagnosis.of(f"{dataset}/{model}", checks)
    folder = Path("plots", dataset, model, "doctor")
    metrics = Path("metrics", dataset, model, "doctor.json")
    replace_together({**_files(diagnosis, folder, primary), metrics: json_bytes(diagnosis.numbers())})
    return DoctorReport(diagnosis, tuple(diagnosis.refused(params.doctor.allow)), folder)


def run_doctor_of_aligner(params: Params, model: str, aligner: str) -> DoctorReport:
    """Check a fitted aligner on validation rows: the checks of its training, or, of a closed form, its embeddings'."""
    from reelstore.align.mapping import mapped
    from reelstore.align.registry import load_aligner

    video, text = split_model(model)
    name = f"{params.dataset.name}/{model}/{aligner}"
    folder = Path("models", name)
    fitted = load_aligner(folder)
    checks = read_training_checks(folder)
    if not checks:
        store = open_store(params.store_folder)
        videos = store[f"video/{video}/{fitted.pooling['video']}"]
        texts = store[f"text/{text}/{fitted.pooling['text']}"]
        for side, rows in (("video", videos), ("text", texts)):
            fitted.check_rows(side, rows)
        matched = _some(match([videos], [texts], "validation"))
        sample = _Mapped(
            mapped(fitted.transform_video, videos.select(matched.videos)),
            mapped(fitted.transform_text, texts.select(matched.captions)),
            matched.video_of_caption,
        )
        mrr = float(evaluate(sample.text, sample.video, sample.video_of_caption, ks=(1,)).metrics["t2v"]["MRR"])
        checks = [
            *sample_checks(vitals_of(sample)),
            chance_level(mrr, len(matched.videos), len(matched.captions)),
        ]
    diagnosis = Diagnosis.of(name, checks)
    return DoctorReport(diagnosis, tuple(diagnosis.refused(params.doctor.allow)))


@dataclass(frozen=True)
class _Mapped:
    video: Any
    text: Any
    video_of_caption: npt.NDArray[np.int64]


def _pooled(store: Store, side: str, encoder: str) -> list[Rows]:
    names = [name for name in store if name.startswith(f"{side}/{encoder}/")]
    rows = [store[name] for name in names]
    pooled = [of for of in rows if of.layout == "pooled"]
    if not pooled:
        raise StoreNotFoundError(
            f"{store.path} has no pooled variant of {side}/{encoder}. Make one with dvc repro pool, or dvc pull."
        )
    order = list(POOLINGS)
    return sorted(pooled, key=lambda of: order.index(of.variant) if of.variant in order else -1)


def _primary(variants: Sequence[Rows], wanted: str) -> Rows:
    """The variant named, or `mean`, or the first there is."""
    by_name = {rows.variant: rows for rows in variants}
    if wanted and wanted not in by_name:
        raise ParamsError(f"doctor.{variants[0].side} is {wanted!r}; the store has: {', '.join(by_name)}.")
    return by_name.get(wanted or "mean", variants[0])


def _scored(params: Params, videos: Rows, texts: Rows) -> list[Check]:
    """Unaligned scores on the split that is evaluated."""
    matched = _some(matched_split(params, [videos], [texts], params.evaluate.split))
    text, video = pad_to_same_width(videos[matched.videos], texts[matched.captions])[::-1]
    score = _null_score(text, video, matched.video_of_caption)
    tied = evaluate(text, video, matched.video_of_caption, ks=(1,), directions=("t2v",)).t2v.tied
    return [of_embeddings.chance(score), of_embeddings.ties(int(tied.sum()), len(tied))]


def _probed(videos: Rows, texts: Rows) -> list[Check]:
    if not {"train", "validation"} <= set(videos.table.splits):
        return []  # a test alone, which nothing is trained for
    train, validation = (_some(match([videos], [texts], split)) for split in ("train", "validation"))
    with_captions = np.flatnonzero(np.bincount(train.video_of_caption, minlength=len(train.videos)))
    video, text = videos[train.videos][with_captions], _mean_captions(texts[train.captions], train)[with_captions]
    checks = of_embeddings.agreement(video, text)
    scores = probe_pairs(video, text, videos[validation.videos], texts[validation.captions])
    owner = validation.video_of_caption
    right, shuffled = (_null_score(scores.text, side, owner) for side in (scores.right, scores.shuffled))
    return [*checks, *of_embeddings.probe(scores, right, shuffled)]


def _leaked(params: Params, videos: Rows) -> list[Check]:
    found = [
        *leakage(read_index(params.data_folder, name=params.dataset.name)),
        *near_duplicates(videos, near=params.leakage.near),
    ]
    checks = []
    for kind in ("file", "caption", "near-video"):
        of_kind = [one for one in found if one.kind == kind]
        n_shared = sum(len(one.rows) for one in of_kind)
        words = "; ".join(map(str, of_kind))
        allowed = kind in params.leakage.allow
        checks.append(of_embeddings.leakage(kind, n_shared, f"{words}." if words else "", allowed=allowed))
    return checks


def _some(matched: Matched) -> Matched:
    """At most `MAX_ROWS` of the videos and `MAX_CAPTIONS` of their captions; drawn with a fixed seed."""
    n_videos = len(matched.videos)
    if n_videos <= of_embeddings.MAX_ROWS and len(matched.captions) <= MAX_CAPTIONS:
        return matched
    drawn = np.random.default_rng(0).permutation(n_videos)[: of_embeddings.MAX_ROWS]
    place = np.full(n_videos, -1, dtype=np.int64)
    place[drawn] = np.arange(len(drawn))
    kept = np.flatnonzero(place[matched.video_of_caption] >= 0)[:MAX_CAPTIONS]
    return Matched(
        [matched.videos[position] for position in drawn],
        [matched.captions[position] for position in kept],
        place[matched.video_of_caption[kept]],
        matched.missing,
    )


def _mean_captions(values: Array, matched: Matched) -> Array:
    """(n_videos, dim) mean of each video's captions, each scaled to length 1."""
    total = np.zeros((len(matched.videos), values.shape[1]))
    np.add.at(total, matched.video_of_caption, unit(values))
    return total


def _null_score(text: Array, video: Array, video_of_caption: npt.NDArray[np.int64]) -> NullScore:
    cells = shuffled_cells({("", ""): (text, video)}, video_of_caption, len(video), n_shuffles=N_SHUFFLES, seed=0)
    return NullScore(cells.mrr["", ""], cells.chance, cells.high)


def _files(diagnosis: Diagnosis, folder: Path, primary: dict[str, Rows]) -> dict[Path, bytes]:
    findings = json.dumps(diagnosis.as_json(), indent=1, allow_nan=False) + "\n"
    files = {
        folder / "findings.txt": (diagnosis.text() + "\n").encode(),
        folder / "findings.json": findings.encode(),
    }
    spectra, cosines = {}, {}
    for side, rows in primary.items():
        values = of_embeddings.sampled(rows.ok()).array().astype(np.float64)
        variances = np.sort(values.var(axis=0))[::-1]
        spectra[side] = np.cumsum(variances)[:100] / max(variances.sum(), 1e-30)
        order = np.random.default_rng(0).permutation(len(values))
        pairs = (unit(values) * unit(values)[np.roll(order, 1)[np.argsort(order)]]).sum(axis=1)
        cosines[side] = np.histogram(pairs, bins=N_BINS, range=(-1, 1))
    files[folder / "spectrum.csv"] = _csv("dimensions", "share", spectra, np.arange(1, 101))
    shares = {side: counts / counts.sum() for side, (counts, _) in cosines.items()}
    middles = np.round((cosines["video"][1][1:] + cosines["video"][1][:-1]) / 2, 4)
    files[folder / "cosines.csv"] = _csv("cosine", "share", shares, middles)
    for name, series, title, x in (
        ("spectrum", spectra, "Variance in the widest dimensions", "dimensions"),
        ("cosines", shares, "Cosine of random pairs", "cosine"),
    ):
        across = np.arange(1, 101) if name == "spectrum" else middles
        lines = {side: list(zip(across.tolist(), line.tolist(), strict=False)) for side, line in series.items()}
        files[folder / f"{name}.svg"] = line_chart(lines, title=title, x=x, y="share").encode()
    return files


def _csv(x: str, y: str, series: dict[str, Array], across: Array) -> bytes:
    lines = [f"side,{x},{y}"]
    for side, line in series.items():
        lines += [f"{side},{place:g},{value:.6f}" for place, value in zip(across, line, strict=False)]
    return ("\n".join(lines) + "\n").encode()
