"""What the doctor saw of a training, beside the aligner it made: doctor.json, and a curve a number."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np

from reelstore.doctor.findings import Check, Diagnosis
from reelstore.doctor.training import TrainingWatch

FINDINGS = "doctor.json"


def write_training(watch: TrainingWatch, *, models: Path, plots: Path, name: str) -> Diagnosis:
    """Checks and looks to models/doctor.json, curves to plots/doctor/*.tsv; nothing of what isn't trained."""
    diagnosis = Diagnosis.of(name, watch.checks())
    path = models / FINDINGS
    path.unlink(missing_ok=True)
    if not diagnosis.checks:
        return diagnosis
    # Without what isn't a number: an untrained tower has no loss yet.
    looks = [{name: value for name, value in asdict(look).items() if np.isfinite(value)} for look in watch.looks]
    models.mkdir(parents=True, exist_ok=True)
    checks = [{**check, "value": float(np.nan_to_num(check["value"]))} for check in diagnosis.as_json()]
    path.write_text(json.dumps({"checks": checks, "looks": looks}, indent=1, allow_nan=False) + "\n")
    (plots / "doctor").mkdir(parents=True, exist_ok=True)
    for curve in watch.looks[-1].curves():
        lines = [f"{look.epoch}\t{look.curves()[curve]:.6g}" for look in watch.looks if curve in look.curves()]
        (plots / "doctor" / f"{curve}.tsv").write_text("\n".join([f"step\t{curve}", *lines]) + "\n")
    return diagnosis


def read_training_checks(models: Path) -> list[Check]:
    """The checks of an aligner's training; none where it wasn't trained."""
    path = models / FINDINGS
    return [Check(**check) for check in json.loads(path.read_text())["checks"]] if path.is_file() else []


def read_looks(models: Path) -> list[dict[str, float]]:
    """Its numbers, look by look."""
    path = models / FINDINGS
    return list(json.loads(path.read_text())["looks"]) if path.is_file() else []
