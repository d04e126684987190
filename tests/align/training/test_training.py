"""Training under Lightning: what it tells, what its options do, and what it refuses."""

import math
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from reelstore.align.base import FitContext
from reelstore.align.trained.mlp import Mlp
from reelstore.align.trained.token_towers import AttentionPoolTower, TransformerTower
from reelstore.align.trained.transformer import Transformer
from reelstore.align.training import progress_bar
from reelstore.align.training.losses import LOSSES
from reelstore.align.training.module import Training
from reelstore.align.training.trainer_options import n_steps, trainer_options
from reelstore.errors import AlignerError, ParamsError
from reelstore.records import EpochSnapshot

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec.*")
SMALL = {"widths": [16, 8], "lr": 0.01, "max_epochs": 3, "dropout": 0.0}
CHANCE = sum(1 / rank for rank in range(1, 31)) / 30


@pytest.fixture
def fit(towers, validate, tmp_path: Path):
    """Settings -> the aligner, what it was told at epochs' ends, logged and echoed."""

    def fit(aligner=None, *, train=None, **settings):
        views: list[EpochSnapshot] = []
        rows: list[dict] = []
        lines: list[str] = []
        context = FitContext(tmp_path, lambda row: rows.append(dict(row)), lines.append, views.append)
        aligner = aligner or Mlp(**{**SMALL, **settings})
        aligner.fit(train or towers.labelled(0, 90), towers.part(90, 120), validate=validate, context=context)
        return aligner, views, rows, lines

    return fit


def test_a_training_is_measured_before_its_first_epoch_and_after_each(fit, towers, validate) -> None:
    aligner, views, rows, lines = fit()
    assert [view.epoch for view in views] == [0, 1, 2, 3]
    assert [view.step for view in views] == [0, 1, 2, 3]  # 90 videos are one batch
    assert math.isnan(views[0].train_loss)
    assert [row["train_loss"] for row in rows] == [view.train_loss for view in views[1:]]
    assert all(view.loss == "infonce" and view.constant_loss == pytest.approx(math.log(90)) for view in views)
    for view in views:
        assert len(view.validation.video) == len(view.train.video) == 30
        for sample, told in ((view.validation, view.validation_mrr), (view.train, view.train_mrr)):
            assert validate(text=sample.text, video=sample.video, video_of_caption=sample.video_of_caption) == told
    last, validation = views[-1], towers.part(90, 120)
    if last.validation_mrr == max(view.validation_mrr for view in views[1:]):
        np.testing.assert_allclose(last.validation.video, aligner.transform_video(validation.video.array()), atol=1e-5)
    assert len(views[0].train.text) == 30  # one caption a video
    assert "before training" in lines[0] and f"{views[0].validation_mrr:.4f}" in lines[0]
    best = max(view.validation_mrr for view in views[1:])
    assert "its best" in lines[-1] and f"{best:.4f}" in lines[-1]
    assert "cosine of positive pairs" in lines[0] and "of negative pairs" in lines[0]


def test_an_error_at_an_epochs_end_stops_the_training(towers, validate, tmp_path) -> None:
    def refuse(view: EpochSnapshot) -> None:
        if view.epoch == 1:
            raise AlignerError("collapsed")

    context = FitContext(tmp_path, on_epoch_end=refuse)
    with pytest.raises(AlignerError, match="collapsed"):
        Mlp(**SMALL).fit(towers.part(0, 90), towers.part(90, 120), validate=validate, context=context)


@pytest.mark.parametrize("loss", list(LOSSES))
def test_every_loss_learns(fit, loss) -> None:
    _, views, *_ = fit(loss=loss, max_epochs=30, batch_size=60, temperature=0.2)
    assert max(view.validation_mrr for view in views) > 4 * CHANCE
    assert views[-1].train_loss < views[1].train_loss
    cosines = views[-1].validation.cosines()
    assert cosines.positive.mean() > cosines.negative.mean() + 0.1


@pytest.mark.parametrize(
    ("precision", "dtype"), [("16-mixed", "float32"), ("bf16-mixed", "float32"), (32, "float32"), ("64", "float64")]
)
def test_every_precision_trains(fit, monkeypatch, precision, dtype) -> None:
    seen = []
    done = Training.training_step
    monkeypatch.setattr(
        Training, "training_step", lambda self, *a: seen.append(str(self.towers.dtype)) or done(self, *a)
    )
    with pytest.warns(UserWarning, match="not supported on CPU") if precision == "16-mixed" else _nothing():
        aligner, views, *_ = fit(max_epochs=2, trainer={"precision": precision})
    assert set(seen) == {f"torch.{dtype}"}
    assert all(tensor.dtype == np.float32 for tensor in aligner.tensors().values())
    assert np.isfinite(views[-1].train_loss)


def test_a_tower_in_chunks_comes_to_the_same_weights(fit) -> None:
    whole, *_ = fit(train=None, loss="siglip", batch_size=40)
    pieces, *_ = fit(train=None, loss="siglip", batch_size=40, chunk=7)
    for name, tensor in whole.tensors().items():
        np.testing.assert_allclose(pieces.tensors()[name], tensor, rtol=1e-3, atol=1e-5, err_msg=name)


def test_a_tower_in_chunks_keeps_less_for_going_backward(fit, monkeypatch) -> None:
    def kept(chunk: int) -> int:
        n_elements, step = [0], Training.training_step

        def count(tensor: torch.Tensor) -> torch.Tensor:
            n_elements[0] += tensor.numel()
            return tensor

        def counted(self, *args):
            with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
                return step(self, *args)

        with monkeypatch.context() as patch:
            patch.setattr(Training, "training_step", counted)
            fit(widths=[256, 8], max_epochs=1, chunk=chunk)
        return n_elements[0]

    assert kept(10) < kept(0) / 3


@pytest.mark.parametrize(
    ("is_terminal", "shown"), [(True, r"Epoch 1: 100%.* 1/1 .*train_loss=[\d.]+, validation_MRR=0\."),
                               (False, r"^mlp: epoch 2 of 2, batch 1 of 1, train_loss \d.*, validation_MRR 0\.")]
)  # fmt: skip
def test_progress_goes_to_stderr_alone(fit, capsys, monkeypatch, is_terminal, shown) -> None:
    monkeypatch.setattr(progress_bar, "SECONDS", 0.0)
    monkeypatch.setattr(type(sys.stderr), "isatty", lambda stream: is_terminal)
    fit(max_epochs=2)
    out, err = capsys.readouterr()
    assert not out
    assert re.search(shown, err, flags=re.MULTILINE)
    fit(max_epochs=1, trainer={"enable_progress_bar": False})
    assert capsys.readouterr().err == ""


def test_shared_towers_are_one(fit, towers) -> None:
    same = towers.part(0, 90)
    whitened = {"preprocess": ["whiten", "unit"], "components": 8}
    aligner, *_ = fit(train=same, shared=True, **whitened)
    apart, *_ = fit(train=same, **whitened)
    count = [sum(t.size for n, t in a.tensors().items() if n.startswith("towers.")) for a in (aligner, apart)]
    assert 2 * count[0] == count[1]


def test_sides_of_other_widths_cannot_share(fit) -> None:
    with pytest.raises(ParamsError, match="24 and 16 wide can't share a tower"):
        fit(shared=True)


def test_the_reports_transformer_takes_widths_as_they_are(fit, towers) -> None:
    aligner = Transformer(width=0, dim=0, n_layers=1, n_heads=2, feedforward=16, preprocess=[], max_epochs=1)
    with pytest.raises(ParamsError, match="16 and 24 wide meet nowhere"):
        fit(aligner, train=towers.part(0, 90, tokens=True))


def test_padding_changes_nothing(towers) -> None:
    torch.manual_seed(0)
    tokens, more = torch.randn(2, 3, 8), torch.randn(2, 5, 8)
    padded = torch.cat([tokens, more], dim=1)
    mask = torch.arange(8).expand(2, -1) < 3
    settings = {"width": 8, "dim": 4, "n_layers": 2, "n_heads": 2, "feedforward": 16, "positions": True, "dropout": 0.0}
    for tower in (TransformerTower(8, **settings), AttentionPoolTower(8, [6, 4], n_queries=2, dropout=0.0)):
        torch.nn.init.normal_(next(tower.parameters()))
        torch.testing.assert_close(tower(padded, mask), tower(tokens), rtol=1e-4, atol=1e-5)
        assert not torch.allclose(tower(padded), tower(tokens), atol=1e-3)


def test_attention_pooling_starts_as_the_mean_over_tokens() -> None:
    tower, tokens = AttentionPoolTower(8, [6, 4], n_queries=1, dropout=0.0), torch.randn(5, 3, 8)
    torch.testing.assert_close(tower(tokens), tower.tower(tokens.mean(dim=1)))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"loss": "triplet"}, "mlp.loss is 'triplet'; it must be mse, margin"),
        ({"batch_size": 1}, "batch_size is 1; it must be at least 2"),
        ({"widths": []}, "widths is"),
        ({"block": "dense"}, "residual or report"),
        ({"schedule": "step"}, "cosine or constant"),
        ({"trainer": {"gpus": 2}}, "trainer.gpus is unknown. Known: accelerator, devices"),
        ({"trainer": {"devices": 1.5}}, "trainer.devices is 1.5; a whole number or a text or a list is expected"),
        ({"trainer": {"precision": "8"}}, "must be one of 16-mixed, bf16-mixed, 32, 64"),
        ({"trainer": {"strategy": "ddp_spawn"}}, "Take ddp"),
        ({"trainer": {"accumulate_grad_batches": 0}}, "at least 1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, said) -> None:
    with pytest.raises(ParamsError, match=said):
        Mlp(**settings)


def test_what_lightning_refuses_is_a_clear_error(fit) -> None:
    with pytest.raises(ParamsError, match=r"trainer: .*'warp'"):
        fit(trainer={"accelerator": "warp"})


def test_options_of_the_trainer_go_before_this_projects() -> None:
    assert trainer_options({}, max_epochs=9) == {
        "max_epochs": 9, "accelerator": "auto", "devices": 1, "deterministic": True, "precision": "32-true"
    }  # fmt: skip
    given = trainer_options({"max_epochs": 3, "precision": 64, "gradient_clip_val": 1}, max_epochs=9)
    assert (given["max_epochs"], given["precision"], given["gradient_clip_val"]) == (3, "64-true", 1)


@pytest.mark.parametrize(
    ("options", "expected"),
    [({}, 50), ({"accumulate_grad_batches": 3}, 20), ({"limit_train_batches": 4}, 20), ({"max_steps": 7}, 7),
     ({"limit_train_batches": 0.5}, 25)],
)  # fmt: skip
def test_steps_are_counted_as_lightning_takes_them(options, expected) -> None:
    assert n_steps({"max_epochs": 5, **options}, 10) == expected


def _nothing():
    from contextlib import nullcontext

    return nullcontext()
