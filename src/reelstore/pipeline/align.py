"""The align stage: the training pairs' embeddings -> a fitted aligner, its curves, its tracked run."""

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from reelstore import tracking
from reelstore.align.base import PairedRows, Workplace, check_layout
from reelstore.align.registry import FittedAligner, all_settings, make_aligner
from reelstore.doctor.training import TrainingWatch
from reelstore.errors import ParamsError
from reelstore.evaluation import evaluate
from reelstore.pairs.files import read_pairs
from reelstore.params import Params
from reelstore.pipeline.training_findings import write_training
from reelstore.store.reader import Rows, open_store


@dataclass(frozen=True)
class AlignReport:
    """A fitted aligner, what validation said of it, and where it lies."""

    name: str
    folder: Path
    n_videos: int
    n_pairs: int
    validation_mrr: float
    seconds: float

    def summary(self) -> str:
        """A line for people."""
        return (
            f"{self.name}: fitted on {self.n_videos} videos, {self.n_pairs} pairs in {self.seconds:.1f} s, "
            f"validation t2v MRR {self.validation_mrr:.4f}"
        )


def run_align(params: Params, *, video: str, text: str, aligner: str, progress: Callable[[str], None]) -> AlignReport:
    """Fit the aligner that params name on one model."""
    started = time.perf_counter()
    if aligner not in params.aligners:
        raise ParamsError(f"aligners has no {aligner!r}. Known: {', '.join(params.aligners)}.")
    dataset, model = params.dataset.name, f"{video}+{text}"
    name = f"{dataset}/{model}/{aligner}"
    unfitted, pooling = make_aligner(params.aligners[aligner])
    settings = all_settings(params.aligners[aligner])
    store = open_store(params.store_folder)
    videos, captions = store[f"video/{video}/{pooling['video']}"], store[f"text/{text}/{pooling['text']}"]
    for rows in (videos, captions):
        check_layout(rows, unfitted.layouts, settings["kind"])
    pairs = Path("pairs", dataset, str(settings["pairs"]))
    train = paired_rows(videos, captions, pairs / "train.parquet")
    validation = paired_rows(videos, captions, pairs / "validation.parquet")
    data = {
        side: {"digest": r.digest, "fingerprint": r.fingerprint} for side, r in (("video", videos), ("text", captions))
    }
    tried: list[float] = []
    config = {"dataset": dataset, "model": model, "aligner": aligner, "settings": settings, **data}
    with tracking.run(params.tracking, job="align", name=name, config=config, tags=[model, aligner]) as log:
        with _curves(Path("plots", name, "training")) as live:

            def watch(row: Mapping[str, float]) -> None:
                tried.append(row["validation_MRR"])
                log.row(row)
                for metric, value in row.items():
                    live.log_metric(metric, value)
                live.next_step()

            doctor = TrainingWatch()
            workplace = Workplace(Path("runs", "align", name), watch, progress, doctor.look)
            unfitted.fit(train, validation, validate=_validate, workplace=workplace)
        log.summary({"validation": {"best_MRR": max(tried)}})
    folder = Path("models", name)
    diagnosis = write_training(doctor, models=folder, plots=Path("plots", name, "training"), name=name)
    for check in diagnosis.checks:
        if check.level in ("warning", "fatal"):
            progress(str(check))
    FittedAligner(unfitted, settings["kind"], settings, pooling, data).save(folder)
    seconds = time.perf_counter() - started
    return AlignReport(name, folder, len(train.videos), len(train.captions), max(tried), seconds)


def paired_rows(videos: Rows, captions: Rows, path: Path) -> PairedRows:
    """The rows of the right pairs in a file of pairs, each caption once, without those that failed."""
    videos, captions = videos.ok(), captions.ok()
    video_of, caption_of = videos.table.row_of, captions.table.row_of
    right = dict.fromkeys(pair for pair in read_pairs(path) if pair.label == 1)
    kept = [p for p in right if p.video_id in video_of and (p.video_id, p.caption_index) in caption_of]
    video_ids = list(dict.fromkeys(pair.video_id for pair in kept))
    position = {video_id: number for number, video_id in enumerate(video_ids)}
    return PairedRows(
        videos.select(video_ids),
        captions.select([(pair.video_id, pair.caption_index) for pair in kept]),
        np.array([position[pair.video_id] for pair in kept], dtype=np.int64),
    )


def _validate(video: Any, text: Any, video_of_caption: Any) -> float:
    return float(evaluate(text, video, video_of_caption, ks=(1,)).metrics["t2v"]["MRR"])


def _curves(folder: Path) -> Any:
    """One TSV a number, by DVCLive, so that `dvc plots` shows every aligner the same way."""
    from dvclive.live import Live

    shutil.rmtree(folder, ignore_errors=True)
    return Live(str(folder), dvcyaml=None, save_dvc_exp=False, report=None, monitor_system=False)
