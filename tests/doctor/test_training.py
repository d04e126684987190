"""A training's checks: what collapsed is named, what learned isn't."""

import math
from dataclasses import replace

import numpy as np
import pytest

from reelstore.doctor.training import TrainingMonitor, chance_level
from reelstore.records import EpochSnapshot, JointSample

N, DIM = 200, 16
OWN = np.repeat(np.arange(N), 2)


def snapshot(epoch: int, validation: JointSample, train_loss: float = 0.05, **changed: object) -> EpochSnapshot:
    given = {"constant_loss": 0.25, "train_mrr": 0.5, "validation_mrr": 0.4, "loss": "mse", **changed}
    return EpochSnapshot(
        aligner="mlp",
        epoch=epoch,
        step=10 * epoch,
        train_loss=train_loss,
        train=validation,
        validation=validation,
        **given,
    )


def unit(values: np.ndarray) -> np.ndarray:
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


def learned(rng: np.random.Generator) -> JointSample:
    video = unit(rng.normal(size=(N, DIM)))
    return JointSample(video=video, text=unit(video[OWN] + 0.1 * rng.normal(size=(2 * N, DIM))), video_of_caption=OWN)


def collapsed(rng: np.random.Generator) -> JointSample:
    """As the report's towers end: all videos at one place, all captions at another, at cosine 0.55 or so."""
    video, text = np.zeros(DIM), np.zeros(DIM)
    video[0], text[:2] = 1, (0.55, 0.83)
    return JointSample(
        video=unit(video + 1e-4 * rng.normal(size=(N, DIM))),
        text=unit(text + 1e-4 * rng.normal(size=(2 * N, DIM))),
        video_of_caption=OWN,
    )


def found(*views: EpochSnapshot) -> dict[str, str]:
    monitor = TrainingMonitor()
    for view in views:
        monitor.on_epoch_end(view)
    return {check.name: check.level for check in monitor.checks() if check.level != "ok"}


def test_a_training_that_learned_raises_nothing() -> None:
    rng = np.random.default_rng(0)
    assert found(snapshot(0, collapsed(rng), math.nan), snapshot(1, learned(rng))) == {}


def test_collapse_is_named_by_each_of_its_checks() -> None:
    view = snapshot(1, collapsed(np.random.default_rng(0)), train_loss=0.252, train_mrr=0.03, validation_mrr=0.03)
    assert found(view) == {
        "constant-loss": "fatal",
        "collapse-video": "fatal",
        "collapse-text": "fatal",
        "cosines": "warning",
        "chance-level": "fatal",
    }


def test_one_collapsed_side_is_the_only_one_named() -> None:
    rng = np.random.default_rng(0)
    half = replace(learned(rng), text=collapsed(rng).text)
    assert {name for name in found(snapshot(1, half)) if name.startswith("collapse")} == {"collapse-text"}


def test_a_loss_at_the_constant_predictors_is_named_though_nothing_collapsed() -> None:
    assert found(
        snapshot(1, learned(np.random.default_rng(0)), train_loss=math.log(32), constant_loss=math.log(32))
    ) == {"constant-loss": "fatal"}


def test_memorising_is_named() -> None:
    view = snapshot(1, learned(np.random.default_rng(0)), train_mrr=0.99, validation_mrr=0.08)
    assert found(view) == {"memorised": "warning"}


def test_a_loss_that_is_no_number_is_named_alone() -> None:
    assert found(snapshot(1, learned(np.random.default_rng(0)), train_loss=math.nan)) == {"finite": "fatal"}


def test_an_aligner_that_is_not_trained_has_no_checks() -> None:
    assert TrainingMonitor().checks() == []


def test_guessing_is_at_chance_level_and_a_little_more_is_not() -> None:
    rng = np.random.default_rng(1)
    guesses = [(1 / rng.integers(1, 1001, size=1000)).mean() for _ in range(200)]
    assert {chance_level(guess, 1000, 1000).level for guess in guesses} == {"fatal"}
    assert chance_level(0.02, 1000, 1000).level == "ok"


def test_cosines_of_positive_and_negative_pairs_are_the_samples(tmp_path: object) -> None:
    monitor = TrainingMonitor()
    sample = learned(np.random.default_rng(0))
    monitor.on_epoch_end(snapshot(1, sample))
    positive = (sample.text * sample.video[OWN]).sum(axis=1)
    assert monitor.epochs[0].positive == pytest.approx(positive.mean(), abs=1e-6)
    assert abs(monitor.epochs[0].negative) < 0.1
