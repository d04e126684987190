"""Files of a training's checks: doctor.json next to the aligner, and a curve for each number."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from reelstore.doctor.findings import Check, Diagnosis
from reelstore.doctor.training import TrainingMonitor
from reelstore.plain import advised, read_typed
from reelstore.project.align.curves import earlier_curves

FINDINGS = "doctor.json"


def training_files(
    monitor: TrainingMonitor, diagnosis: Diagnosis, *, models: Path, plots: Path
) -> dict[Path, bytes | None]:
    """Checks and the numbers of each epoch as models/doctor.json, curves as plots/doctor/*.tsv.

    None stands for files of an earlier training: for all of them where the aligner isn't trained.
    """
    files: dict[Path, bytes | None] = {**dict.fromkeys(earlier_curves(plots / "doctor")), models / FINDINGS: None}
    if not diagnosis.checks:
        return files
    # Without what isn't a number: an untrained tower has no loss yet.
    epochs = [{name: value for name, value in asdict(one).items() if np.isfinite(value)} for one in monitor.epochs]
    checks = [{**check, "value": float(np.nan_to_num(check["value"]))} for check in diagnosis.as_json()]
    found = json.dumps({"checks": checks, "looks": epochs}, indent=1, allow_nan=False) + "\n"
    files[models / FINDINGS] = found.encode()
    for curve in monitor.epochs[-1].curves():
        lines = [f"{one.epoch}\t{one.curves()[curve]:.6g}" for one in monitor.epochs if curve in one.curves()]
        files[plots / "doctor" / f"{curve}.tsv"] = ("\n".join([f"step\t{curve}", *lines]) + "\n").encode()
    return files


def read_training_checks(models: Path) -> list[Check]:
    """The checks of an aligner's training; none where it wasn't trained."""
    return _read(models).checks


def read_epochs(models: Path) -> list[dict[str, float]]:
    """The numbers of its epochs, in order."""
    return _read(models).looks


@dataclass(frozen=True)
class _Findings:
    """What doctor.json holds."""

    checks: list[Check] = field(default_factory=list)
    looks: list[dict[str, float]] = field(default_factory=list)


def _read(models: Path) -> _Findings:
    try:
        with advised("Run dvc repro align, or fetch it with dvc pull."):
            findings: _Findings = read_typed(models / FINDINGS, _Findings)
    except FileNotFoundError:
        return _Findings()
    return findings
