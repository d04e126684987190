"""Which epoch is kept, and where live checkpoints go."""

import pytest

from reelstore.align.base import FitContext
from reelstore.align.mapping import measured_mrr
from reelstore.align.trained.mlp import Mlp


def test_the_best_epoch_is_the_one_kept(towers, tmp_path, validate) -> None:
    rows: list[dict] = []
    context = FitContext(tmp_path, lambda row: rows.append(dict(row)))
    aligner, validation = Mlp(widths=[16, 8], lr=0.01, max_epochs=20, patience=20), towers.part(90, 120)
    aligner.fit(towers.part(0, 90), validation, validate=validate, context=context)
    kept = measured_mrr(aligner, validation, validate)
    assert kept == pytest.approx(max(row["validation_MRR"] for row in rows), abs=1e-6)


def test_training_stops_when_validation_no_longer_rises(towers, tmp_path) -> None:
    rows: list[dict] = []
    context = FitContext(tmp_path, lambda row: rows.append(dict(row)))
    aligner = Mlp(widths=[16, 8], max_epochs=50, patience=3)
    aligner.fit(towers.part(0, 90), towers.part(90, 120), validate=lambda **_: 0.5, context=context)
    assert len(rows) == 4


def test_live_checkpoints_are_in_the_folder_given_alone(towers, context, validate, tmp_path, monkeypatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    Mlp(widths=[16, 8], max_epochs=2).fit(towers.part(0, 90), towers.part(90, 120), validate=validate, context=context)
    assert not list((tmp_path / "here").iterdir())
    assert [path.name for path in context.checkpoints.iterdir()] == ["best.ckpt"]
