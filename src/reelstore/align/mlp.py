"""Two MLP towers trained with symmetric InfoNCE under Lightning, straight from the store."""

import logging
import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import lightning
import numpy as np
import numpy.typing as npt
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from torch import Tensor, nn

from reelstore.align.base import POOLED, Floats, PairedRows, Validate, Workplace, embeddings
from reelstore.align.batches import PairBatch
from reelstore.align.datamodule import PairDataModule
from reelstore.align.items import Items
from reelstore.align.losses import equal_rows, info_nce
from reelstore.align.preprocess import mean_direction_of
from reelstore.align.towers import Tower
from reelstore.errors import ParamsError

MAX_LOGIT_SCALE = math.log(100)
"""As CLIP caps it, lest training diverge."""


class Mlp:
    """Residual MLP towers with a learned temperature; the epoch with the best validation MRR is kept.

    Args:
        dim: width of the joint space.
        hidden: width of the MLP's layer.
        dropout: share of entries dropped in training.
        lr: AdamW's learning rate, warmed up over a tenth of the steps and let down along a cosine.
        weight_decay: AdamW's.
        temperature: to start from.
        batch_size: videos a step; all of them where there are fewer.
        max_epochs: at most.
        patience: epochs without a better validation MRR before it stops.
        seed: of weights, order and dropout.
        threads: CPU threads; they move the last bits.
    """

    layouts = POOLED

    def __init__(
        self,
        *,
        dim: int = 256,
        hidden: int = 512,
        dropout: float = 0.3,
        lr: float = 1e-3,
        weight_decay: float = 0.05,
        temperature: float = 0.07,
        batch_size: int = 1024,
        max_epochs: int = 200,
        patience: int = 40,
        seed: int = 0,
        threads: int = 1,
    ) -> None:
        for name, value in (("dim", dim), ("hidden", hidden), ("max_epochs", max_epochs), ("threads", threads)):
            if value < 1:
                raise ParamsError(f"mlp: {name} is {value}; it must be at least 1.")
        if batch_size < 2:
            raise ParamsError(f"mlp: batch_size is {batch_size}; contrasting needs at least 2.")
        if not 0 <= dropout < 1:
            raise ParamsError(f"mlp: dropout is {dropout}; it must be at least 0 and below 1.")
        if lr <= 0 or temperature <= 0:
            raise ParamsError(f"mlp: lr ({lr}) and temperature ({temperature}) must be above 0.")
        if weight_decay < 0 or patience < 0 or seed < 0:
            raise ParamsError("mlp: weight_decay, patience and seed must not be negative.")
        self._dim, self._hidden, self._dropout = dim, hidden, dropout
        self._lr, self._weight_decay, self._temperature = lr, weight_decay, temperature
        self._batch_size, self._max_epochs, self._patience = batch_size, max_epochs, patience
        self._seed, self._threads = seed, threads
        self._module: _Towers | None = None

    def fit(self, train: PairedRows, validation: PairedRows, *, validate: Validate, workplace: Workplace) -> None:
        """Train until validation MRR no longer rises."""
        torch.set_num_threads(self._threads)
        lightning.seed_everything(self._seed, verbose=False)
        data = PairDataModule(train, batch_size=self._batch_size, seed=self._seed)
        module = self._new_module(train.videos.dim, train.captions.dim)
        module.video.mean.copy_(torch.from_numpy(mean_direction_of(train.videos)))
        module.text.mean.copy_(torch.from_numpy(mean_direction_of(train.captions)))
        module.watch(validation, validate, workplace.log)
        best = ModelCheckpoint(
            dirpath=workplace.checkpoints,
            filename="best",
            monitor="validation_MRR",
            mode="max",
            save_weights_only=True,
            enable_version_counter=False,
        )
        stop = EarlyStopping("validation_MRR", mode="max", patience=self._patience, check_on_train_epoch_end=True)
        _quiet()
        trainer = lightning.Trainer(
            max_epochs=self._max_epochs,
            accelerator="auto",
            devices=1,
            deterministic=True,
            logger=False,  # `workplace.log` has the curves
            callbacks=[best, stop],
            log_every_n_steps=1,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(module, datamodule=data)
        state = torch.load(best.best_model_path, weights_only=True)["state_dict"]
        module.load_state_dict(state)
        self._module = module.eval().cpu()
        workplace.say(f"mlp: stopped after {trainer.current_epoch} epochs, its best is {best.best_model_score:.4f}")

    def transform_video(self, video: Items) -> Floats:
        """(n, video dim) -> (n, dim), length 1."""
        return self._transform(self._fitted().video, video, "video")

    def transform_text(self, text: Items) -> Floats:
        """(n, text dim) -> (n, dim), length 1."""
        return self._transform(self._fitted().text, text, "text")

    def tensors(self) -> dict[str, Floats]:
        """Both towers and the temperature."""
        return {name: tensor.detach().cpu().numpy() for name, tensor in self._fitted().state_dict().items()}

    def restore(self, tensors: Mapping[str, Floats]) -> None:
        """The inverse of `tensors`."""
        self._module = self._new_module(len(tensors["video.mean"]), len(tensors["text.mean"]))
        self._module.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in tensors.items()})
        self._module.eval()

    def _fitted(self) -> "_Towers":
        assert self._module is not None, "fit or restore first"
        return self._module

    def _new_module(self, video_dim: int, text_dim: int) -> "_Towers":
        shape: dict[str, Any] = {"hidden": self._hidden, "dropout": self._dropout}
        return _Towers(
            Tower(video_dim, self._dim, **shape),
            Tower(text_dim, self._dim, **shape),
            temperature=self._temperature,
            lr=self._lr,
            weight_decay=self._weight_decay,
        )

    @torch.inference_mode()
    def _transform(self, tower: Tower, values: Items, side: str) -> Floats:
        checked = embeddings(values, len(tower.mean), side)
        joint: Floats = tower(torch.from_numpy(np.ascontiguousarray(checked))).numpy()
        return joint


class _Towers(lightning.LightningModule):
    """Both towers and the learned temperature, as Lightning trains them."""

    def __init__(self, video: Tower, text: Tower, *, temperature: float, lr: float, weight_decay: float) -> None:
        super().__init__()
        self.video, self.text = video, text
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / temperature)))
        self._lr, self._weight_decay = lr, weight_decay
        self._losses: list[float] = []
        self._watched: tuple[Tensor, Tensor, npt.NDArray[np.int64]] | None = None
        self._validate: Validate | None = None
        self._log_row: Callable[[Mapping[str, float]], None] | None = None

    def watch(self, validation: PairedRows, validate: Validate, log_row: Callable[[Mapping[str, float]], None]) -> None:
        """Measure these rows after every epoch."""
        video, text = torch.from_numpy(validation.video_array()), torch.from_numpy(validation.text_array())
        self._watched, self._validate = (video, text, validation.video_of_caption), validate
        self._log_row = log_row

    def training_step(self, batch: PairBatch, _: int) -> Tensor:
        """Loss of one batch."""
        video, text = batch.video, batch.text
        loss = info_nce(self.video(video), self.text(text), self.logit_scale, equal_rows(text))
        self._losses.append(float(loss.detach()))
        return loss

    def on_train_epoch_end(self) -> None:
        """Log the epoch's mean loss and the validation MRR."""
        assert self._watched is not None and self._validate is not None and self._log_row is not None
        video, text, video_of_caption = self._watched
        self.eval()
        with torch.inference_mode():
            joint_video = self.video(video.to(self.device)).cpu().numpy()
            joint_text = self.text(text.to(self.device)).cpu().numpy()
        self.train()
        row = {
            "train_loss": float(np.mean(self._losses)),
            "validation_MRR": self._validate(joint_video, joint_text, video_of_caption),
            "temperature": float((-self.logit_scale.detach()).exp()),
        }
        self._losses.clear()
        self._log_row(row)
        self.log_dict(row)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Keep the temperature from falling too far after every step."""
        super().optimizer_step(*args, **kwargs)
        with torch.no_grad():
            self.logit_scale.clamp_(max=MAX_LOGIT_SCALE)

    def configure_optimizers(self) -> Any:
        """AdamW with warm-up and a cosine, stepped every batch; gains, biases and the temperature don't decay."""
        decaying = [p for p in self.parameters() if p.ndim > 1]
        others = [p for p in self.parameters() if p.ndim <= 1]
        groups = [{"params": decaying, "weight_decay": self._weight_decay}, {"params": others, "weight_decay": 0.0}]
        optimizer = torch.optim.AdamW(groups, lr=self._lr)
        n_steps = int(self.trainer.estimated_stepping_batches)
        warm_up = max(1, n_steps // 10)

        def factor(step: int) -> float:
            if step < warm_up:
                return (step + 1) / warm_up
            return 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, n_steps - warm_up)))

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def _quiet() -> None:
    """Lightning's advice on hardware and its own workings isn't for our users."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")
    warnings.filterwarnings("ignore", message=".*Checkpoint directory .* exists and is not empty.*")
