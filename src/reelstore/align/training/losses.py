"""What a trained aligner minimises."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid
from torch.utils.checkpoint import checkpoint

from reelstore.align.training.gather import gathered
from reelstore.errors import ParamsError

MAX_LOGIT_SCALE = math.log(100)
"""As CLIP caps it, so that training doesn't diverge."""


@dataclass(frozen=True)
class Pairs:
    """A batch (this rank's part of it) in the joint space; row i of one side is paired with row i of the other.

    Attributes:
        video: (n, dim), length 1.
        text: (n, dim), length 1.
        of_video: (n,) int64; equal numbers are one video.
        sentence: (n,) int64; equal numbers are one sentence, of any video.
        label: (n,), 1 where the caption is the video's own, 0 where it isn't.
    """

    video: Tensor
    text: Tensor
    of_video: Tensor
    sentence: Tensor
    label: Tensor

    def __len__(self) -> int:
        return len(self.video)


class Loss(nn.Module):
    """Pairs -> a scalar, the mean over this rank's pairs.

    Attributes:
        labelled: whether it learns from positive and negative pairs with their labels; if not, from positive pairs
            alone, each against the others of its batch.
        learned_scale: whether cosines are multiplied by exp(logit_scale) first, which is learned.
    """

    labelled: ClassVar[bool] = False
    learned_scale: ClassVar[bool] = True

    def __init__(self, *, temperature: float, margin: float, chunk: int) -> None:
        super().__init__()
        self._margin, self._chunk = margin, chunk
        if self.learned_scale:
            self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / temperature)))

    def constant(self, batch_size: int, share_positive: float) -> float:
        """The least it can be while every pair has the same cosine.

        Args:
            batch_size: pairs in a batch of all ranks.
            share_positive: share of pairs with label 1.
        """
        raise NotImplementedError

    def clamp(self) -> None:
        """Keep the temperature from falling too far; to be called after every step."""
        if self.learned_scale:
            with torch.no_grad():
                self.logit_scale.clamp_(max=MAX_LOGIT_SCALE)


class Mse(Loss):
    """Mean squared difference of cosine and label. A constant cosine reaches at best 0.25."""

    labelled = True
    learned_scale = False

    def forward(self, pairs: Pairs) -> Tensor:
        return ((pairs.video * pairs.text).sum(dim=1) - pairs.label).square().mean()

    def constant(self, batch_size: int, share_positive: float) -> float:
        return share_positive * (1 - share_positive)


class Margin(Loss):
    """1 - cosine of positive pairs, and what the cosine of negative pairs has above `margin`.

    Source: torch.nn.CosineEmbeddingLoss; the pairwise form of Hadsell et al. 2006.
    """

    labelled = True
    learned_scale = False

    def forward(self, pairs: Pairs) -> Tensor:
        cosine = (pairs.video * pairs.text).sum(dim=1)
        return torch.where(pairs.label > 0.5, 1 - cosine, (cosine - self._margin).clamp(min=0)).mean()

    def constant(self, batch_size: int, share_positive: float) -> float:
        return (1 - self._margin) * min(share_positive, 1 - share_positive)


class InfoNce(Loss):
    """Symmetric InfoNCE: each video's caption against all captions of the batch, each caption's video against all.

    L = (CE(s V T', i) + CE(s T V', i)) / 2 with s = exp(logit_scale); log(batch) is what guessing gives. What has the
    same sentence or the same video elsewhere in the batch is no negative: it is masked out of the sums.
    Source: Radford et al. 2021, https://arxiv.org/abs/2103.00020, figure 3.
    """

    def forward(self, pairs: Pairs) -> Tensor:
        return _both_ways(pairs, self.logit_scale.exp(), _info_nce, self._chunk)

    def constant(self, batch_size: int, share_positive: float) -> float:
        return math.log(batch_size)


class MultiPositive(Loss):
    """InfoNCE where all captions of a video that are in the batch are positives, and all videos of a caption.

    A query's loss is the mean of -log share over its positives, each share among all candidates; sentences that
    describe another video too are masked out.
    Source: Khosla et al. 2020, https://arxiv.org/abs/2004.11362, L_out (equation 2).
    """

    def forward(self, pairs: Pairs) -> Tensor:
        return _both_ways(pairs, self.logit_scale.exp(), _multi_positive, self._chunk)

    def constant(self, batch_size: int, share_positive: float) -> float:
        return math.log(batch_size)


class Siglip(Loss):
    """Every video with every caption of the batch as a yes or no question, with a learned temperature and bias.

    L = -sum log sigmoid(z (s cosine + bias)) / batch, z = 1 for positive pairs, -1 for negative ones. All captions of a
    video are positives; sentences that describe another video too are masked out. The bias starts at -10, as there:
    nearly all pairs of a batch are negative.
    Source: Zhai et al. 2023, https://arxiv.org/abs/2303.15343, equation 1.
    """

    def __init__(self, *, temperature: float, margin: float, chunk: int) -> None:
        super().__init__(temperature=temperature, margin=margin, chunk=chunk)
        self.bias = nn.Parameter(torch.tensor(-10.0))

    def forward(self, pairs: Pairs) -> Tensor:
        scale, bias = self.logit_scale.exp(), self.bias

        def rows(cosines: Tensor, positive: Tensor, own: Tensor, masked: Tensor) -> Tensor:
            sign = torch.where(positive, 1.0, -1.0).to(cosines.dtype)
            return -(logsigmoid(sign * (scale * cosines + bias)).masked_fill(masked, 0)).sum()

        return _by_rows(pairs.video, _Candidates.of(pairs, "text"), rows, self._chunk) / len(pairs)

    def constant(self, batch_size: int, share_positive: float) -> float:
        share = torch.tensor(1 / batch_size)
        return float(batch_size * binary_cross_entropy_with_logits(torch.logit(share), share))


LOSSES: dict[str, type[Loss]] = {
    "mse": Mse,
    "margin": Margin,
    "infonce": InfoNce,
    "multi-positive": MultiPositive,
    "siglip": Siglip,
}


def make_loss(name: str, *, temperature: float = 0.07, margin: float = 0.2, chunk: int = 0) -> Loss:
    """A loss by name.

    Args:
        name: of `LOSSES`.
        temperature: to start from, where it is learned.
        margin: cosine that negative pairs may have, for `margin`.
        chunk: rows of the (batch, batch) logits in memory at once, the gradients being those of the whole; 0 for all.
    """
    if name not in LOSSES:
        raise ParamsError(f"loss is {name!r}. Known: {', '.join(LOSSES)}.")
    return LOSSES[name](temperature=temperature, margin=margin, chunk=chunk)


RowsLoss = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""(cosines, positive, own, masked), each (rows, batch): their losses' sum. `own` is what the row is paired with."""


@dataclass(frozen=True)
class _Candidates:
    """What a rank's rows are compared with: the other side's of all ranks."""

    candidates: Tensor  # (batch, dim)
    of_video: Tensor  # (batch,)
    sentence: Tensor  # (batch,)
    mine: tuple[Tensor, Tensor]  # of_video and sentence of this rank's rows
    first: int  # place of this rank's first row in the batch

    @staticmethod
    def of(pairs: Pairs, side: str) -> "_Candidates":
        candidates = gathered(pairs.text if side == "text" else pairs.video)
        of_video, sentence = gathered(pairs.of_video), gathered(pairs.sentence)
        rank = torch.distributed.get_rank() if len(candidates) > len(pairs) else 0
        return _Candidates(candidates, of_video, sentence, (pairs.of_video, pairs.sentence), rank * len(pairs))

    def masks(self, start: int, stop: int) -> tuple[Tensor, Tensor, Tensor]:
        """positive, own, masked: (stop - start, batch) bool."""
        of_video, sentence = (numbers[start:stop, None] for numbers in self.mine)
        positive = of_video == self.of_video
        places = torch.arange(len(self.candidates), device=positive.device)
        own = places[start + self.first : stop + self.first, None] == places
        return positive, own, (sentence == self.sentence) & ~positive


def _both_ways(pairs: Pairs, scale: Tensor, loss: RowsLoss, chunk: int) -> Tensor:
    to_text = _by_rows(scale * pairs.video, _Candidates.of(pairs, "text"), loss, chunk)
    to_video = _by_rows(scale * pairs.text, _Candidates.of(pairs, "video"), loss, chunk)
    return (to_text + to_video) / (2 * len(pairs))


def _by_rows(queries: Tensor, among: _Candidates, loss: RowsLoss, chunk: int) -> Tensor:
    """Sum of the queries' losses, `chunk` rows of logits in memory at once: they're computed again going backward."""

    def part(rows: Tensor, candidates: Tensor, start: int, stop: int) -> Tensor:
        return loss(rows @ candidates.T, *among.masks(start, stop))

    n = len(queries)
    if not 0 < chunk < n:
        return part(queries, among.candidates, 0, n)
    total = queries.new_zeros(())
    for start in range(0, n, chunk):
        stop = min(start + chunk, n)
        total = total + checkpoint(part, queries[start:stop], among.candidates, start, stop, use_reentrant=False)
    return total


def _info_nce(logits: Tensor, positive: Tensor, own: Tensor, masked: Tensor) -> Tensor:
    shares = logits.masked_fill((positive & ~own) | masked, -torch.inf).log_softmax(dim=1)
    return -shares[own].sum()


def _multi_positive(logits: Tensor, positive: Tensor, own: Tensor, masked: Tensor) -> Tensor:
    shares = logits.masked_fill(masked, -torch.inf).log_softmax(dim=1)
    return -(shares.masked_fill(~positive, 0).sum(dim=1) / positive.sum(dim=1)).sum()
