"""CCA, its two maps trained on with a contrastive loss."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import nn

from reelstore.align.base import NO_CONTEXT, FitContext, PairedRows, Validate
from reelstore.align.closed_form.cca import Cca
from reelstore.align.mapping import measured_mrr
from reelstore.align.tensors import check_tensors
from reelstore.align.trained.base import Trained
from reelstore.align.trained.settings import CcaInfonceSettings
from reelstore.align.trained.towers import StartedTower
from reelstore.arrays import Float32Array
from reelstore.errors import AlignerError
from reelstore.records import SIDES


@dataclass(kw_only=True)
class CcaInfonce(CcaInfonceSettings, Trained):
    """A linear map a side that begins as that of `cca`, chosen by validation MRR, and is trained on from there.

    CCA's own maps stay as they are, and a square map behind each is trained, the identity to begin with. Where no epoch
    has a better validation MRR than CCA, CCA it is. See `CcaInfonceSettings`.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        self._cca()  # refuses what CCA does
        self._start: dict[str, Float32Array] = {}

    def fit(
        self, train: PairedRows, validation: PairedRows, *, validate: Validate, context: FitContext = NO_CONTEXT
    ) -> None:
        """Fit CCA, then train from there."""
        cca = self._cca()
        # Its tries aren't epochs: they would be points of the same curves.
        cca.fit(train, validation, validate=validate, context=replace(context, log=lambda row: None))
        self._start = {side: cca.tensors()[f"{side}_map"] for side in SIDES}
        super().fit(train, validation, validate=validate, context=context)

        before, after = (measured_mrr(aligner, validation, validate) for aligner in (cca, self))
        if after < before:
            context.echo(f"{self.kind}: no epoch is better than CCA, validation t2v MRR {before:.4f}; CCA it is.")
            context.log({"validation_MRR": before})
            self._make()

    def restore(self, tensors: Mapping[str, Float32Array]) -> None:
        """The inverse of `tensors`."""
        names = {side: f"towers._of_{side}.start" for side in SIDES}
        starts = {name: tensors[name] for name in names.values() if name in tensors}
        check_tensors(starts, {name: (f"{side} dim", "joint dim") for side, name in names.items()})
        self._start = {side: starts[name] for side, name in names.items()}
        super().restore(tensors)

    def _tower(self, side: str, dim_in: int) -> nn.Module:
        if len(self._start[side]) != dim_in:
            raise AlignerError(f"towers._of_{side}.start is {self._start[side].shape}; ({dim_in}, …) is expected")
        return StartedTower(self._start[side], dropout=self.dropout)

    def _cca(self) -> Cca:
        return Cca(
            dims=self.dims,
            regularisations=self.regularisations,
            powers=self.powers,
            preprocess=self.preprocess,
            components=self.components,
            shrinkage=self.shrinkage,
        )
