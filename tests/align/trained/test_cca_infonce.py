"""CCA, its maps trained on: where it begins, and what it falls back on."""

from pathlib import Path

import numpy as np
import pytest

from reelstore.align.base import FitContext
from reelstore.align.items import read_items
from reelstore.align.registry import make_aligner
from reelstore.errors import ParamsError
from reelstore.fitting import validation_mrr

CCA = {"dims": [6, 12], "regularisations": [0.1, 1.0]}


def fitted(towers, folder: Path, settings: dict) -> tuple:
    """The aligner, what it logged, echoed and told at epochs' ends."""
    rows: list[dict] = []
    said: list[str] = []
    views: list = []
    aligner, _ = make_aligner(settings)
    context = FitContext(folder, lambda row: rows.append(dict(row)), said.append, views.append)
    aligner.fit(towers.part(0, 90), towers.part(90, 120), validate=validation_mrr, context=context)
    return aligner, rows, said, views


def joint(aligner, rows) -> tuple[np.ndarray, np.ndarray]:
    videos, captions = (read_items(side, np.arange(len(side))) for side in (rows.video, rows.text))
    return aligner.transform_video(videos), aligner.transform_text(captions)


def test_training_begins_at_the_cca_that_validation_chooses(towers, tmp_path: Path) -> None:
    _, tries, _, _ = fitted(towers, tmp_path / "cca", {"kind": "cca", **CCA})
    _, _, _, views = fitted(towers, tmp_path / "on", {"kind": "cca-infonce", **CCA, "max_epochs": 2})
    assert views[0].validation_mrr == pytest.approx(max(row["validation_MRR"] for row in tries), abs=1e-6)
    assert [view.epoch for view in views] == [0, 1, 2]


def test_training_that_only_harms_leaves_cca(towers, tmp_path: Path) -> None:
    cca, tries, _, _ = fitted(towers, tmp_path / "cca", {"kind": "cca", **CCA})
    harmful = {"kind": "cca-infonce", **CCA, "lr": 100.0, "max_epochs": 2}
    aligner, rows, said, _ = fitted(towers, tmp_path / "harmed", harmful)
    for ours, its in zip(joint(aligner, towers.part(120, 150)), joint(cca, towers.part(120, 150)), strict=True):
        np.testing.assert_allclose(ours, its, atol=1e-6)
    best = max(row["validation_MRR"] for row in tries)
    assert any("CCA it is" in line for line in said)
    assert rows[-1]["validation_MRR"] == pytest.approx(best, abs=1e-6)
    assert max(row["validation_MRR"] for row in rows[:-1]) < best


def test_settings_that_cca_refuses_are_refused_before_it_is_fitted() -> None:
    with pytest.raises(ParamsError, match=r"regularisations\[0\] is 0.0; it must be above 0"):
        make_aligner({"kind": "cca-infonce", "regularisations": [0.0]})
