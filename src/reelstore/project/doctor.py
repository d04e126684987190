"""The doctor stage: why a model's embeddings can't be retrieved with, or an aligner's training came to nothing."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from reelstore.arrays import Array
from reelstore.datasets.index import read_index, read_protocols
from reelstore.doctor import embeddings as of_embeddings
from reelstore.doctor.examine import examine
from reelstore.doctor.findings import Check, Diagnosis
from reelstore.doctor.geometry import unit, usual_nearest
from reelstore.doctor.leakage import leakage, near_duplicates
from reelstore.doctor.sample import Sample, draw_sample
from reelstore.doctor.training import chance_level, sample_checks, stats_of
from reelstore.doctor.values import value_checks
from reelstore.errors import ParamsError, StoreError, StoreNotFoundError
from reelstore.evaluation.files import json_bytes
from reelstore.evaluation.matched import Matched, match
from reelstore.fitting import validation_mrr
from reelstore.io import replace_together
from reelstore.pooling import POOLINGS
from reelstore.project.align.findings import read_training_checks
from reelstore.project.settings import Params
from reelstore.project.settings.sections import LeakageParams
from reelstore.records import Dataset, JointSample, model_name, same_text, split_model
from reelstore.report.charts import line_chart
from reelstore.store.open import Store, open_store
from reelstore.store.read import Rows

MAX_CAPTIONS = 10_000
MAX_COMPARED = 4000
"""Videos of a split that are compared with another split's."""
MAX_CROWDED = 1000
N_BINS = 60


@dataclass(frozen=True)
class DoctorReport:
    """What the doctor says of a model or an aligner, and where it is."""

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

    Numbers go to metrics/<dataset>/<model>/doctor.json, texts and charts to plots/<dataset>/<model>/doctor.
    """
    video, text = split_model(model)
    name = f"{params.dataset.name}/{model}"
    sides = {"video": video, "text": text}
    wanted = {side: getattr(params.doctor, side) for side in sides}
    dataset = read_index(params.layout.data, name=params.dataset.name)
    protocols, _ = read_protocols(params.layout.data)
    named = {protocol.name: split for split, protocol in protocols.items()}
    split = named.get(params.evaluate.split, params.evaluate.split)
    diagnosis, sample = _examined(open_store(params.layout.store), sides, wanted, name, split, dataset, params.leakage)
    folder = params.layout.plots(model, "doctor")
    metrics = params.layout.metrics(model, "doctor")
    replace_together({**_files(diagnosis, folder, sample), metrics: json_bytes(diagnosis.numbers())})
    return DoctorReport(diagnosis, tuple(diagnosis.refused(params.doctor.allow)), folder)


def run_doctor_of_store(store: Path, *, video: str, text: str) -> DoctorReport:
    """Check two encoders, or two variants, of any store; no project is needed and nothing is written.

    Args:
        store: folder of a dataset's store.
        video: `<encoder>` or `<encoder>/<variant>`; `mean` is tried first, then the first pooled variant.
        text: the same of captions.

    Raises:
        StoreNotFoundError: there is no such store, encoder or variant.
    """
    sides, wanted = {}, {}
    for side, given in (("video", video), ("text", text)):
        sides[side], _, wanted[side] = given.partition("/")
    diagnosis, _ = _examined(
        open_store(store), sides, wanted, f"{store}: {model_name(video, text)}", "test", None, LeakageParams()
    )
    return DoctorReport(diagnosis, tuple(diagnosis.refused(())))


def _examined(
    store: Store,
    encoders: Mapping[str, str],
    wanted: Mapping[str, str],
    name: str,
    split: str,
    dataset: Dataset | None,
    allowed: LeakageParams,
) -> tuple[Diagnosis, Sample]:
    """All checks of a model's rows, and the sample they are of."""
    variants = {side: _variants(store, side, encoder, wanted[side]) for side, encoder in encoders.items()}
    primary = {side: _primary(of_side, side, wanted[side]) for side, of_side in variants.items()}
    pooled = [rows for of_side in variants.values() for rows in of_side if rows.layout == "pooled"]
    checks = [of_embeddings.constant(rows) for rows in pooled]
    for first, second in combinations(pooled, 2):
        if first.side == second.side and (check := of_embeddings.equal_variants(first, second)) is not None:
            checks.append(check)
    sample = draw_sample(primary["video"], primary["text"])
    if not len(sample.video) or not len(sample.text):
        raise StoreError(
            f"{name}: {primary['video'].folder} and {primary['text'].folder} have no video with captions in common. "
            "Look at their ids with reelstore ls, and import them again under the same keys."
        )
    checks += [check for rows in pooled if rows not in primary.values() for check in _values_of_other(rows)]
    about = {side: f"{side}/{rows.variant}" for side, rows in primary.items()}
    checks += examine(sample, video=about["video"], text=about["text"], split=split, **_contents(dataset, sample))
    checks += _leaked(dataset, primary["video"], sample, allowed)
    return Diagnosis.of(name, checks), sample


def run_doctor_of_aligner(params: Params, model: str, aligner: str) -> DoctorReport:
    """Check a fitted aligner on validation rows: the checks of its training, or, of a closed form, its embeddings'."""
    from reelstore.align.mapping import mapped
    from reelstore.align.registry import load_aligner

    video, text = split_model(model)
    name = f"{params.dataset.name}/{model}/{aligner}"
    folder = params.layout.aligner(model, aligner)
    fitted = load_aligner(folder)
    checks = read_training_checks(folder)
    if not checks:
        store = open_store(params.layout.store)
        videos = store[f"video/{video}/{fitted.pooling['video']}"]
        texts = store[f"text/{text}/{fitted.pooling['text']}"]
        for side, rows in (("video", videos), ("text", texts)):
            fitted.check_rows(side, rows)
        matched = _some(match([videos], [texts], "validation"))
        sample = JointSample(
            video=mapped(fitted.transform_video, videos.select(matched.videos)),
            text=mapped(fitted.transform_text, texts.select(matched.captions)),
            video_of_caption=matched.video_of_caption,
        )
        mrr = validation_mrr(text=sample.text, video=sample.video, video_of_caption=sample.video_of_caption)
        checks = [
            *sample_checks(stats_of(sample)),
            chance_level(mrr, len(matched.videos), len(matched.captions)),
        ]
    diagnosis = Diagnosis.of(name, checks)
    return DoctorReport(diagnosis, tuple(diagnosis.refused(params.doctor.allow)))


def _variants(store: Store, side: str, encoder: str, wanted: str) -> list[Rows]:
    """Variants of an encoder, pooled ones in the order of poolings first; tokens count where nothing is pooled."""
    every = [store[name] for name in store if name.startswith(f"{side}/{encoder}/")]
    pooled = [rows for rows in every if rows.layout == "pooled"]
    tokens = [rows for rows in every if rows.layout != "pooled" and (not pooled or rows.variant == wanted)]
    if not every:
        known = ", ".join(sorted({name.split("/")[1] for name in store if name.startswith(f"{side}/")})) or "none"
        raise StoreNotFoundError(
            f"{store.path} has no pooled variant of {side}/{encoder}, and no tokens. It has of {side}: {known}. "
            "Make one with dvc repro pool, or dvc pull."
        )
    order = list(POOLINGS)
    return [*sorted(pooled, key=lambda of: order.index(of.variant) if of.variant in order else -1), *tokens]


def _primary(variants: Sequence[Rows], side: str, wanted: str) -> Rows:
    """The variant named, or `mean`, or the first there is."""
    by_name = {rows.variant: rows for rows in variants}
    if wanted and wanted not in by_name:
        raise ParamsError(f"doctor.{side} is {wanted!r}; the store has: {', '.join(by_name)}.")
    return by_name.get(wanted or "mean", variants[0])


def _values_of_other(rows: Rows) -> list[Check]:
    """What is wrong with the values of a variant that isn't checked otherwise."""
    some = of_embeddings.sampled(rows.ok())
    if len(some) < 2:
        return []
    found = value_checks(some.array(), np.array(some.splits, dtype=np.str_), f"{rows.side}/{rows.variant}")
    return [check for check in found if check.level in ("warning", "fatal")]


def _contents(dataset: Dataset | None, sample: Sample) -> dict[str, Sequence[str] | None]:
    """What the sample's rows were made of, where the dataset's tables are there."""
    if dataset is None:
        return {"files": None, "texts": None}
    files = {video.video_id: video.sha256 for video in dataset.videos}
    texts = {(caption.video_id, caption.caption_index): same_text(caption.text) for caption in dataset.captions}
    return {
        "files": [files.get(video_id, video_id) for video_id in sample.video_ids],
        "texts": [texts.get(key, str(key)) for key in sample.captions],
    }


def _leaked(dataset: Dataset | None, videos: Rows, sample: Sample, params: LeakageParams) -> list[Check]:
    if videos.layout == "pooled":
        chosen = _of_splits(videos.ok())
        near = near_duplicates(chosen, near=params.near)
    else:
        near = []
    found = [*(leakage(dataset) if dataset is not None else []), *near]
    checks = []
    for kind in ("file", "caption", "near-video"):
        if dataset is None and kind != "near-video":
            checks.append(of_embeddings.not_looked_at(kind, "a store alone doesn't have files or texts"))
            continue
        if kind == "near-video" and videos.layout != "pooled":
            checks.append(of_embeddings.not_looked_at(kind, f"{videos.variant} isn't pooled"))
            continue
        of_kind = [one for one in found if one.kind == kind]
        n_shared = sum(len(one.rows) for one in of_kind)
        shared = "; ".join(map(str, of_kind))
        allowed = kind in params.allow
        if kind == "near-video" and n_shared and _crowded(sample, params.near):
            allowed, shared = True, f"{shared}. Rows of one split are as near to one another"
        checks.append(of_embeddings.leakage(kind, n_shared, f"{shared}." if shared else "", allowed=allowed))
    return checks


def _crowded(sample: Sample, near: float) -> bool:
    """Whether rows are so near to one another that a near-duplicate can't be told from a neighbour."""
    rows = sample.video[sample.splits == sample.names[0]] if sample.names else sample.video
    return len(rows) > 2 and usual_nearest(rows[:MAX_CROWDED]) >= 1 - 4 * (1 - near)


def _of_splits(videos: Rows) -> Rows:
    """At most `MAX_COMPARED` rows of each split, evenly spaced."""
    splits = np.array(videos.splits)
    kept = []
    for name in np.unique(splits):
        rows = np.flatnonzero(splits == name)
        kept += rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), MAX_COMPARED)).astype(int))].tolist()
    return videos if len(kept) == len(videos) else videos.at(sorted(kept))


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


def _files(diagnosis: Diagnosis, folder: Path, sample: Sample) -> dict[Path, bytes]:
    findings = json.dumps(diagnosis.as_json(), indent=1, allow_nan=False) + "\n"
    files = {
        folder / "findings.txt": (diagnosis.text() + "\n").encode(),
        folder / "findings.json": findings.encode(),
    }
    spectra, cosines = {}, {}
    for side, rows in (("video", sample.video), ("text", sample.text)):
        chosen = np.random.default_rng(0).permutation(len(rows))[: of_embeddings.MAX_ROWS]
        values = rows[np.sort(chosen)].astype(np.float64)
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
