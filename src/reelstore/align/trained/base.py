"""What trained aligners share: settings, a fit under Lightning, and the towers' application."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from typing import Any, Literal

import lightning
import numpy as np
import torch
from lightning.pytorch.utilities.seed import isolate_rng
from torch import nn

from reelstore import __version__
from reelstore.align.base import NO_CONTEXT, FitContext, LabelledRows, PairedRows, Validate, check_width
from reelstore.align.closed_form.base import steps_of
from reelstore.align.items import Items
from reelstore.align.items import batches as batches_of
from reelstore.align.loading.datamodule import PairDataModule
from reelstore.align.mapping import first_equal
from reelstore.align.preprocess import Preprocessing
from reelstore.align.tensors import check_tensors, named, under
from reelstore.align.trained.settings import TrainedSettings
from reelstore.align.trained.towers import Towers
from reelstore.align.training.losses import LOSSES, Loss, make_loss
from reelstore.align.training.module import Identity, Optimisation, Training, joint
from reelstore.align.training.run import run
from reelstore.align.training.trainer_options import check_devices, n_steps, trainer_options
from reelstore.align.training.validation_callback import EpochEvaluator
from reelstore.arrays import Float32Array
from reelstore.errors import AlignerError, ParamsError
from reelstore.records import SIDES
from reelstore.store.read import Rows


class Trained(TrainedSettings, ABC):
    """Towers trained until validation MRR no longer rises; the best epoch is kept.

    A subclass has the settings of its towers, and makes them.
    """

    def __post_init__(self) -> None:
        self.check()
        self._preprocessing = {
            side: Preprocessing(steps, components=self.components, shrinkage=self.shrinkage)
            for side, steps in steps_of(self.preprocess).items()
        }
        self._towers: Towers | None = None
        self._loss: Loss | None = None

    @abstractmethod
    def _tower(self, side: str, dim_in: int) -> nn.Module:
        """A new map of one side (`video` where both share it), whose items are `dim_in` wide once preprocessed."""

    def _is_shared(self) -> bool:
        """Whether both sides have one tower."""
        return False

    def fit(
        self, train: PairedRows, validation: PairedRows, *, validate: Validate, context: FitContext = NO_CONTEXT
    ) -> None:
        """Train until validation MRR no longer rises, from where a killed training of the same stopped."""
        with _isolated():
            torch.set_num_threads(self.threads)
            lightning.seed_everything(self.seed, verbose=False)
            self._train(train, validation, validate, context)

    def _train(self, train: PairedRows, validation: PairedRows, validate: Validate, context: FitContext) -> None:
        options = trainer_options(self.trainer, max_epochs=self.max_epochs)
        check_devices(options)
        data = self.batches(train)
        rows, loader = data.train, data.train_dataloader()
        identity = self._identity(train, context.revision, loader.order_of_batches)
        self._make()
        assert self._towers is not None and self._loss is not None
        labels = rows.pairs.label if isinstance(rows, LabelledRows) else np.ones(1)
        module = Training(
            self._towers,
            self._preprocessing,
            self._loss,
            constant_loss=self._loss.constant(loader.batch_size, float(np.mean(labels))),
            optimisation=Optimisation(
                self.lr, self.weight_decay, self.warm_up, self.schedule, n_steps(options, len(loader))
            ),
            chunk=self.chunk,
            identity=identity,
            sentence=first_equal(rows.text) if not self._loss.labelled else np.zeros(len(rows.text), int),
            evaluator=EpochEvaluator(train, validation, validate=validate, seed=self.seed),
            context=context,
        )
        run(
            module,
            data,
            options=options,
            patience=self.patience,
            checkpoint_steps=self.checkpoint_steps,
            context=context,
        )

    def batches(self, train: PairedRows) -> PairDataModule:
        """What `fit` trains on; fits the preprocessing."""
        for side, rows in train.by_side().items():
            self._refuse_rows(side, rows)
            self._preprocessing[side].fit(rows)
        return PairDataModule(
            self._pairs_of_loss(train),
            batch_size=self.batch_size,
            seed=self.seed,
            captions_per_video=self._captions_per_video(),
            prepare={side: self._preprocessing[side].apply for side in SIDES},
        )

    def transform_video(self, video: Items) -> Float32Array:
        """n videos -> (n, joint dim), length 1."""
        return self._joint("video", video)

    def transform_text(self, text: Items) -> Float32Array:
        """n captions -> (n, joint dim), length 1."""
        return self._joint("text", text)

    def tensors(self) -> dict[str, Float32Array]:
        """Towers and loss as `towers.…` and `loss.…`, each side's preprocessing as `video.…` and `text.…`."""
        assert self._towers is not None and self._loss is not None, "fit or restore first"
        learned = {f"{side}.{name}": t for side in SIDES for name, t in self._preprocessing[side].tensors().items()}
        for part, module in (("towers", self._towers), ("loss", self._loss)):
            learned |= {f"{part}.{name}": t.detach().cpu().numpy() for name, t in module.state_dict().items()}
        return learned

    def restore(self, tensors: Mapping[str, Float32Array]) -> None:
        """The inverse of `tensors`."""
        for side in SIDES:
            with named(f"{side}."):
                self._preprocessing[side].restore(under(tensors, f"{side}."))
        # Without memory of their own: what settings ask for may be larger than the file.
        with torch.device("meta"):
            self._make()
        assert self._towers is not None and self._loss is not None
        parts = {"towers": self._towers, "loss": self._loss}
        shapes = {f"{part}.{name}": t.shape for part, of in parts.items() for name, t in of.state_dict().items()}
        learned = {name: t for name, t in tensors.items() if not name.startswith(("video.", "text."))}
        check_tensors(learned, {name: tuple(shape) or (1,) for name, shape in shapes.items()})
        states = {name: torch.from_numpy(np.array(t)).reshape(shapes[name]) for name, t in learned.items()}
        for part, module in parts.items():
            module.load_state_dict(under(states, f"{part}."), assign=True)
            module.eval()

    def width_of(self, side: str) -> int:
        """Of an embedding or token of this side."""
        return self._preprocessing[side].dim_in

    def _joint(self, side: str, items: Items) -> Float32Array:
        assert self._towers is not None, "fit or restore first"
        check_width(items, self._preprocessing[side].dim_in, side)
        return joint(self._towers, self._preprocessing, side, items)

    def _make(self) -> None:
        """New towers and loss, for sides as wide as the preprocessing gives them."""
        video, text = (self._preprocessing[side].dim_out for side in SIDES)
        if self._is_shared() and video != text:
            raise ParamsError(
                f"{self.kind}: sides {video} and {text} wide can't share a tower. Set shared: false, or whiten both to "
                "as many components."
            )
        self._towers = Towers(self._tower("video", video), None if self._is_shared() else self._tower("text", text))
        self._loss = make_loss(self.loss, temperature=self.temperature, margin=self.margin, chunk=self.chunk)

    def _pairs_of_loss(self, train: PairedRows) -> PairedRows | LabelledRows:
        """What the loss learns from."""
        if not LOSSES[self.loss].labelled:
            return train
        if train.labelled is None or not 0 < train.labelled.pairs.label.mean() < 1:
            raise AlignerError(
                f"{self.kind}: {self.loss} learns from positive and negative pairs; these are all of one kind. "
                "In a project, name a set with `negatives` as the aligner's `pairs`; or take another loss."
            )
        return train.labelled

    def _captions_per_video(self) -> Literal["one", "all"]:
        if self.captions_per_video == "auto":
            return "all" if self.loss == "multi-positive" else "one"
        return "all" if self.captions_per_video == "all" else "one"

    def _refuse_rows(self, side: str, rows: Rows) -> None:
        """Rows that preprocessing doesn't make into what towers take; rows without tokens."""
        pools = "mean" in self._preprocessing[side].steps
        if self.of_tokens and pools:
            raise ParamsError(f"{self.kind} takes tokens; leave `mean` out of preprocess.")
        if not self.of_tokens and rows.layout != "pooled" and not pools:
            raise AlignerError(
                f"{side}/{rows.encoder}/{rows.variant} holds tokens, and preprocess has no `mean` that makes "
                f"embeddings of them, as {self.kind} takes. Put it in front, or name a pooled variant."
            )
        next(batches_of(rows))

    def _identity(self, train: PairedRows, revision: str, order: Mapping[str, Any]) -> Identity:
        settings = {f.name: getattr(self, f.name) for f in fields(self) if f.init} | {"version": __version__}
        data = {
            side: {"digest": rows.digest, "fingerprint": rows.fingerprint} for side, rows in train.by_side().items()
        }
        return Identity(self.kind, settings, data, revision, order)

    def _refuse(self, name: str, expected: str, refused: bool) -> None:
        if refused:
            raise ParamsError(f"{self.kind}: {name} is {getattr(self, name)!r:.80}; it must be {expected}.")


@contextmanager
def _isolated() -> Iterator[None]:
    """Threads, random numbers and the choice of algorithms are the whole process's: afterwards they are as before."""
    threads, is_deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    warns = torch.is_deterministic_algorithms_warn_only_enabled()
    with isolate_rng():
        try:
            yield
        finally:
            torch.set_num_threads(threads)
            torch.use_deterministic_algorithms(is_deterministic, warn_only=warns)
