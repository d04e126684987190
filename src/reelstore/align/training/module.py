"""Both towers and their loss, as Lightning trains them."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import lightning
import numpy as np
import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.utils.checkpoint import checkpoint as computed_again

from reelstore.align.base import FitContext
from reelstore.align.items import Items
from reelstore.align.loading.batches import PairBatch, SideBatch
from reelstore.align.preprocess import Preprocessing
from reelstore.align.trained.towers import Towers
from reelstore.align.training.gather import is_shared
from reelstore.align.training.live_checkpoint import check_embeddings
from reelstore.align.training.losses import Loss, Pairs
from reelstore.align.training.validation_callback import EpochEvaluator, curve_values, summary_line
from reelstore.arrays import Float32Array, IntArray, Tokens
from reelstore.records import EpochSnapshot


@dataclass(frozen=True)
class Optimisation:
    """AdamW and the course of its learning rate.

    Attributes:
        lr: at its highest.
        weight_decay: of matrices; gains, biases and temperatures don't decay.
        warm_up: share of all steps in which the learning rate rises.
        schedule: `cosine`, down to zero, or `constant`.
        n_steps: that the whole training has, if it isn't stopped. (Lightning's own estimate sets up its loops, and a
            checkpoint's place in the epoch would no longer be restored.)
    """

    lr: float
    weight_decay: float
    warm_up: float
    schedule: str
    n_steps: int

    def factor(self, step: int) -> float:
        """Of the learning rate, at a step from 0."""
        warm_up = max(1, int(self.n_steps * self.warm_up)) if self.warm_up else 0
        if step < warm_up:
            return (step + 1) / warm_up
        if self.schedule == "constant":
            return 1.0
        return 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, self.n_steps - warm_up)))


@dataclass(frozen=True)
class Identity:
    """What a checkpoint is of; one of other embeddings is refused.

    Attributes:
        kind: of the aligner.
        settings: all of them.
        data: side -> digest and fingerprint of its variant.
        revision: of the project, as git has it.
        order: what the order of batches depends on; see `PairLoader`.
    """

    kind: str
    settings: Mapping[str, Any]
    data: Mapping[str, Mapping[str, str]]
    revision: str
    order: Mapping[str, Any]

    def plain(self) -> dict[str, Any]:
        """As a checkpoint keeps it."""
        plain: dict[str, Any] = json.loads(json.dumps(vars(self)))
        return plain


class Training(lightning.LightningModule):
    """One step's loss, an epoch's numbers, and what a checkpoint needs beyond weights.

    Args:
        towers: of both sides.
        preprocessing: side -> what `joint` does to items first; batches come with it done.
        loss: of a batch.
        constant_loss: see `EpochSnapshot`.
        optimisation: how weights move.
        chunk: items a tower takes at once; the others' activations are computed again going backward. 0 for all.
        identity: of checkpoints.
        sentence: (n_captions,) equal numbers for captions with equal embeddings.
        evaluator: measures an epoch.
        context: gets the numbers.
    """

    _sentence: Tensor

    def __init__(
        self,
        towers: Towers,
        preprocessing: Mapping[str, Preprocessing],
        loss: Loss,
        *,
        constant_loss: float,
        optimisation: Optimisation,
        chunk: int,
        identity: Identity,
        sentence: IntArray,
        evaluator: EpochEvaluator,
        context: FitContext,
    ) -> None:
        super().__init__()
        self.towers, self.loss = towers, loss
        self._preprocessing, self._optimisation, self._chunk = preprocessing, optimisation, chunk
        self.identity, self._evaluator, self._context = identity, evaluator, context
        self._constant_loss = constant_loss
        self.register_buffer("_sentence", torch.from_numpy(sentence), persistent=False)
        self.has_stepped = False  # in this process
        self._losses: list[float] = []
        self._history: list[dict[str, float]] = []
        self._random: list[dict[str, Any]] | None = None

    def training_step(self, batch: PairBatch, _: int) -> Tensor:
        """Loss of one batch, computed in the towers' own precision."""
        video, text = self._batch_joint("video", batch.video), self._batch_joint("text", batch.text)
        with torch.autocast(self.device.type, enabled=False):
            dtype = self.towers.dtype
            sentence = self._sentence[batch.caption_positions]
            pairs = Pairs(video.to(dtype), text.to(dtype), batch.video_positions, sentence, batch.label.to(dtype))
            loss: Tensor = self.loss(pairs)
        self._losses.append(float(loss.detach()))
        return loss

    def joint(self, side: str, items: Items) -> Float32Array:
        """Items -> (n, joint dim) float32, length 1, as the towers are now."""
        return joint(self.towers, self._preprocessing, side, items)

    def snapshot(self, train_loss: float = math.nan) -> EpochSnapshot:
        """The towers as they are, measured."""
        return self._evaluator.measure(
            self.joint,
            aligner=self.identity.kind,
            epoch=0 if math.isnan(train_loss) else self.current_epoch + 1,
            step=self.global_step,
            loss=str(self.identity.settings["loss"]),
            train_loss=train_loss,
            constant_loss=self._constant_loss,
        )

    def on_train_start(self) -> None:
        """Measure before the first epoch; a training that is resumed logs again what was logged before."""
        if self._history or self.global_step:
            if self.trainer.is_global_zero:
                for row in self._history:
                    self._context.log(row)
            return
        # Ranks start from equal weights, and drop different entries.
        torch.manual_seed(int(self.identity.settings["seed"]) + self.global_rank)
        if self.trainer.is_global_zero:
            snapshot = self.snapshot()
            self._context.echo(summary_line(snapshot, "before training"))
            self._context.on_epoch_end(snapshot)

    def on_train_batch_start(self, batch: PairBatch, batch_idx: int) -> None:
        """A training that is resumed continues with the random numbers that were next."""
        if self._random is not None:
            mine = self._random[self.global_rank]
            torch.set_rng_state(mine["cpu"])
            if mine["cuda"] is not None and self.device.type == "cuda":
                torch.cuda.set_rng_state(mine["cuda"], self.device)
            self._random = None

    def on_train_epoch_end(self) -> None:
        """Measure the epoch, log it, and tell the context."""
        snapshot = self.snapshot(_mean_over_ranks(float(np.mean(self._losses)), self.device))
        self._losses.clear()
        row = curve_values(snapshot) | self._temperature()
        self._history.append(row)
        if self.trainer.is_global_zero:
            self._context.log(row)
            self._context.on_epoch_end(snapshot)
        # What stopping and keeping the best go by; it is the same on every rank.
        self.log_dict(
            {name: row[name] for name in ("train_loss", "validation_MRR")}, sync_dist=is_shared(), prog_bar=True
        )

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Keep the temperature within bounds after every step."""
        super().optimizer_step(*args, **kwargs)
        self.loss.clamp()
        self.has_stepped = True

    def configure_optimizers(self) -> Any:
        """AdamW, its learning rate set every step."""
        decaying = [p for p in self.parameters() if p.ndim > 1]
        others = [p for p in self.parameters() if p.ndim <= 1]
        decay = self._optimisation.weight_decay
        groups = [{"params": decaying, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]
        optimizer = torch.optim.AdamW(groups, lr=self._optimisation.lr)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self._optimisation.factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """What it is of, what was logged, and every rank's random numbers."""
        cuda = torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None
        mine = {"cpu": torch.get_rng_state(), "cuda": cuda, "losses": list(self._losses)}
        every: list[Any] = [mine]
        if is_shared():
            every = [None] * dist.get_world_size()
            dist.all_gather_object(every, mine)
        checkpoint["reelstore"] = {**self.identity.plain(), "history": list(self._history), "ranks": every}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Continue from there.

        Raises:
            AlignerError: it was trained on other embeddings.
        """
        check_embeddings(checkpoint, self.identity.data)
        kept = checkpoint["reelstore"]
        self._history = [dict(row) for row in kept["history"]]
        rank = dist.get_rank() if is_shared() else 0
        self._random = kept["ranks"]
        self._losses = list(kept["ranks"][rank]["losses"])

    def _batch_joint(self, side: str, values: SideBatch) -> Tensor:
        """(n, joint dim), of tokens that were padded; `chunk` items at once, if that is set."""
        tower = self.towers.side(side)
        parts: tuple[Tensor, ...] = (values,) if isinstance(values, Tensor) else tuple(values)
        n = len(parts[0])
        if not 0 < self._chunk < n:
            whole: Tensor = tower(*parts)
            return whole
        some = zip(*(torch.split(part, self._chunk) for part in parts), strict=True)
        return torch.cat([computed_again(tower, *part, use_reentrant=False) for part in some])

    def _temperature(self) -> dict[str, float]:
        if not self.loss.learned_scale:
            return {}
        return {"temperature": float((-self.loss.logit_scale.detach()).exp())}


@torch.no_grad()
def joint(towers: Towers, preprocessing: Mapping[str, Preprocessing], side: str, items: Items) -> Float32Array:
    """Items -> (n, joint dim) float32, length 1; the towers' mode of training is left as it was."""
    prepared = preprocessing[side].apply(items)
    arrays = prepared.padded() if isinstance(prepared, Tokens) else (prepared,)
    weight = next(towers.parameters())
    values, *mask = (torch.from_numpy(np.ascontiguousarray(array)).to(weight.device) for array in arrays)
    tower: nn.Module = towers.side(side)
    training = tower.training
    tower.eval()
    out: Float32Array = tower(values.to(weight.dtype), *mask).float().cpu().numpy()
    tower.train(training)
    return out


def _mean_over_ranks(value: float, device: torch.device) -> float:
    if not is_shared():
        return value
    total = torch.tensor(value, dtype=torch.float64, device=device)
    dist.all_reduce(total)
    return float(total) / dist.get_world_size()
