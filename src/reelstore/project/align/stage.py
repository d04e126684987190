"""The align stage: the training pairs' embeddings -> a fitted aligner, its curves, its tracked run."""

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from reelstore.align.base import FitContext
from reelstore.align.registry import FittedAligner
from reelstore.doctor.findings import Diagnosis
from reelstore.doctor.training import TrainingMonitor
from reelstore.fitting import validation_mrr
from reelstore.io import make_output_folder, replace_together
from reelstore.project import tracking
from reelstore.project.align.curves import curve_files, live_curves
from reelstore.project.align.findings import training_files
from reelstore.project.align.rows import training_rows
from reelstore.project.settings import Params
from reelstore.records import model_name


@dataclass(frozen=True)
class AlignReport:
    """A fitted aligner, its validation MRR, and its folder."""

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


def run_align(
    params: Params, *, video: str, text: str, aligner: str, progress: Callable[[str], None]
) -> AlignReport | None:
    """Fit the aligner that params name on one model.

    Model and curves appear together in the end. What a killed training leaves is in runs/, for the next one to go on
    from; models/ and plots/ then hold what they held before.

    Returns:
        None in a process that Lightning started to share the training: the one that started it has the result.
    """
    started = time.perf_counter()
    rows = training_rows(params, video=video, text=text, aligner=aligner)
    name, model, layout, revision = rows.name, model_name(video, text), params.layout, tracking.revision()
    checkpoints = layout.run("align", model, aligner)
    if _is_helper():
        silent = FitContext(checkpoints, revision=revision)
        rows.aligner.fit(rows.train, rows.validation, validate=validation_mrr, context=silent)
        return None
    folder, plots = layout.aligner(model, aligner), layout.training(model, aligner)
    live_folder = checkpoints / "curves"
    for output in (folder, plots):  # a training may take hours: what stops it from being written shows now
        make_output_folder(output)
    tried: list[float] = []
    config = {
        "dataset": params.dataset.name,
        "model": model,
        "aligner": aligner,
        "settings": rows.settings,
        **rows.data,
    }
    with tracking.run(params.tracking, job="align", name=name, config=config, tags=[model, aligner]) as log:
        with live_curves(live_folder) as live:

            def watch(row: Mapping[str, float]) -> None:
                tried.append(row["validation_MRR"])
                log.row(row)
                for metric, value in row.items():
                    live.log_metric(metric, value)
                live.next_step()

            monitor = TrainingMonitor()
            context = FitContext(checkpoints, watch, progress, monitor.on_epoch_end, revision)
            rows.aligner.fit(rows.train, rows.validation, validate=validation_mrr, context=context)
        log.summary({"validation": {"best_MRR": max(tried)}})
    diagnosis = Diagnosis.of(name, monitor.checks())
    for check in diagnosis.checks:
        if check.level in ("warning", "fatal"):
            progress(str(check))
    fitted = FittedAligner(rows.aligner, rows.settings["kind"], rows.settings, rows.pooling, rows.data)
    replace_together(
        {
            **curve_files(live_folder, plots),
            **training_files(monitor, diagnosis, models=folder, plots=plots),
            **{folder / file: content for file, content in fitted.files().items()},
        }
    )
    seconds = time.perf_counter() - started
    return AlignReport(name, folder, len(rows.train.video), len(rows.train.text), max(tried), seconds)


def _is_helper() -> bool:
    """Lightning runs the same command again for every further process, and numbers them from 1."""
    return any(int(os.environ.get(name) or 0) > 0 for name in ("RANK", "LOCAL_RANK"))
