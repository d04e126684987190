"""Checks while an aligner is trained: whether it learns, or collapses to what a constant would do."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from reelstore.arrays import Float32Array
from reelstore.doctor.findings import Check
from reelstore.doctor.geometry import effective_rank, mean_cosine
from reelstore.records import EpochSnapshot, JointSample

LOSS_SHARE = 0.97
"""Of the constant predictor's loss: above it, nothing was learned."""
APART = 0.5
"""Distance of the means of positive and negative cosines, in standard deviations, from which they are separated."""
COLLAPSED_COSINE = 0.98
COLLAPSED_RANK = 2.0
MAX_ROWS = 1000


@dataclass(frozen=True)
class EpochStats:
    """What is kept of one epoch.

    Attributes:
        epoch: epochs trained.
        train_loss, constant_loss, train_mrr, validation_mrr: as in `EpochSnapshot`.
        positive, negative: mean cosine of positive and of negative pairs.
        positive_spread, negative_spread: their standard deviations.
        video_cosine, text_cosine: mean cosine of random rows of a side.
        video_rank, text_rank: effective rank of a side.
        n_videos, n_captions: in the sample.
    """

    epoch: int
    train_loss: float
    constant_loss: float
    train_mrr: float
    validation_mrr: float
    positive: float
    negative: float
    positive_spread: float
    negative_spread: float
    video_cosine: float
    text_cosine: float
    video_rank: float
    text_rank: float
    n_videos: int
    n_captions: int

    @property
    def apart(self) -> float:
        """Distance of the cosines' means in pooled standard deviations (Cohen's d)."""
        spread = math.sqrt((self.positive_spread**2 + self.negative_spread**2) / 2)
        return (self.positive - self.negative) / max(spread, 1e-9)

    def curves(self) -> Mapping[str, float]:
        """Numbers that are drawn, by name; none of them NaN."""
        names = ("positive", "negative", "video_cosine", "text_cosine", "video_rank", "text_rank", "train_mrr")
        values = {f"doctor_{name}": float(getattr(self, name)) for name in names}
        values["doctor_loss_of_constant"] = self.constant_loss
        return {name: value for name, value in values.items() if math.isfinite(value)}


@dataclass
class TrainingMonitor:
    """Keeps the numbers of each epoch of a training, and checks them at its end.

    `on_epoch_end` is for `FitContext`; it never stops the training.
    """

    epochs: list[EpochStats] = field(default_factory=list)
    loss: str = ""

    def on_epoch_end(self, snapshot: EpochSnapshot) -> None:
        """Keep the numbers of an epoch, or of the start."""
        self.loss = snapshot.loss
        self.epochs.append(_stats(snapshot))

    def checks(self) -> list[Check]:
        """What the training came to; of an aligner that isn't trained, nothing."""
        trained = [stats for stats in self.epochs if stats.epoch]
        return training_checks(trained, self.loss) if trained else []


def training_checks(epochs: list[EpochStats], loss: str) -> list[Check]:
    """Checks of a training by its epochs, in order: of the last one, and of the best MRR of all."""
    last = epochs[-1]
    if not math.isfinite(last.train_loss):
        meaning = f"The {loss} loss is {last.train_loss} in epoch {last.epoch}: training diverged."
        return [Check("finite", "", 0.0, "1", "fatal", meaning, "Lower the learning rate; use precision 32.")]
    return [
        _constant_loss(last, loss),
        _cosines(last),
        *sample_checks(last),
        chance_level(max(stats.validation_mrr for stats in epochs), last.n_videos, last.n_captions),
        _memorised(last),
    ]


def sample_checks(stats: EpochStats) -> list[Check]:
    """Whether all of a side is at one point."""
    checks = []
    for side, cosine, rank in (
        ("video", stats.video_cosine, stats.video_rank),
        ("text", stats.text_cosine, stats.text_rank),
    ):
        bad = cosine >= COLLAPSED_COSINE or rank < COLLAPSED_RANK
        checks.append(
            Check(
                f"collapse-{side}",
                "",
                cosine,
                f"below {COLLAPSED_COSINE}, effective rank {COLLAPSED_RANK:g} or more",
                "fatal" if bad else "ok",
                f"Random {'videos' if side == 'video' else 'captions'} have cosine {cosine:.4f} in the joint space, "
                f"effective rank {rank:.1f}" + (": the tower gives the same for everything." if bad else "."),
                "Centre and standardise or whiten the embeddings; use a loss that contrasts against many "
                "(infonce, batch 1,024 or more); lower the learning rate.",
            )
        )
    return checks


def chance_level(mrr: float, n_videos: int, n_captions: int) -> Check:
    """An MRR compared with that of guessing: no more than four standard deviations above it means nothing."""
    reciprocal = 1 / np.arange(1, n_videos + 1)
    chance = float(reciprocal.mean())
    # Captions of one video aren't independent: as many draws as videos, at worst.
    draws = max(1, min(n_videos, n_captions))
    limit = chance + 4 * float(reciprocal.std()) / draws**0.5
    bad = mrr <= limit
    return Check(
        "chance-level",
        "",
        mrr,
        f"above {limit:.4f} (chance {chance:.4f} among {n_videos})",
        "fatal" if bad else "ok",
        f"Validation text-to-video MRR is {mrr / chance:.1f} times chance"
        + (": within what guessing gives." if bad else "."),
        "Start from a closed form (ridge, cca) on centred embeddings, and compare.",
    )


def stats_of(sample: JointSample) -> EpochStats:
    """Of a sample alone, where no training was monitored."""
    return _measured(sample, 0, math.nan, math.nan, math.nan, math.nan)


def _stats(snapshot: EpochSnapshot) -> EpochStats:
    return _measured(
        snapshot.validation,
        snapshot.epoch,
        snapshot.train_loss,
        snapshot.constant_loss,
        snapshot.train_mrr,
        snapshot.validation_mrr,
    )


def _measured(
    sample: JointSample, epoch: int, train_loss: float, constant_loss: float, train_mrr: float, validation_mrr: float
) -> EpochStats:
    video, text = sample.video, sample.text
    n_videos = len(video)
    positive, negative = sample.cosines()
    if n_videos < 2:
        negative = positive
    rows = {"video": _some(video), "text": _some(text)}
    return EpochStats(
        epoch=epoch,
        train_loss=train_loss,
        constant_loss=constant_loss,
        train_mrr=train_mrr,
        validation_mrr=validation_mrr,
        positive=float(positive.mean()),
        negative=float(negative.mean()),
        positive_spread=float(positive.std()),
        negative_spread=float(negative.std()),
        video_cosine=mean_cosine(rows["video"]),
        text_cosine=mean_cosine(rows["text"]),
        video_rank=effective_rank(rows["video"]),
        text_rank=effective_rank(rows["text"]),
        n_videos=n_videos,
        n_captions=len(text),
    )


def _constant_loss(last: EpochStats, loss: str) -> Check:
    bad = last.train_loss >= LOSS_SHARE * last.constant_loss
    return Check(
        "constant-loss",
        "",
        last.train_loss,
        f"below {LOSS_SHARE * last.constant_loss:.4g}, {LOSS_SHARE:.0%} of the constant predictor's",
        "fatal" if bad else "ok",
        f"The {loss} loss ends at {last.train_loss:.4f}; a constant predictor has "
        f"{last.constant_loss:.4f}" + (": as little was learned." if bad else "."),
        "Centre and standardise the embeddings, lower the learning rate, or take a loss that contrasts against many.",
    )


def _cosines(last: EpochStats) -> Check:
    bad = last.apart < APART
    return Check(
        "cosines",
        "",
        last.apart,
        f"{APART} or more standard deviations",
        "warning" if bad else "ok",
        f"Positive pairs have cosine {last.positive:.3f} ± {last.positive_spread:.3f}, negative pairs "
        f"{last.negative:.3f} ± {last.negative_spread:.3f}" + (": they aren't separated." if bad else "."),
        "See the collapse checks; centre the embeddings.",
    )


def _memorised(last: EpochStats) -> Check:
    chance = float((1 / np.arange(1, last.n_videos + 1)).mean())
    bad = last.train_mrr > 10 * chance and last.validation_mrr < 0.1 * last.train_mrr
    return Check(
        "memorised",
        "",
        last.train_mrr / max(last.validation_mrr, 1e-9),
        "below 10, training against validation MRR",
        "warning" if bad else "ok",
        f"MRR is {last.train_mrr:.3f} within training videos and {last.validation_mrr:.3f} within validation videos.",
        "Stop earlier, use more pairs, dropout, weight decay or a narrower tower.",
    )


def _some(values: Float32Array) -> Float32Array:
    """Evenly spaced rows, at most `MAX_ROWS`."""
    if len(values) <= MAX_ROWS:
        return values
    return values[np.linspace(0, len(values) - 1, MAX_ROWS).astype(np.int64)]
