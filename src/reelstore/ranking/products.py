"""Two operands -> a tile of approximate scores, by numpy, or by torch where that is faster or a device is named."""

import sys
import time
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from reelstore.ranking.filters import Level, Operand
from reelstore.ranking.reference import Array, Ints
from reelstore.ranking.tiles import GROUP, Tile

if TYPE_CHECKING:
    import torch

_WORTH_IMPORTING = 2e12
"""Multiplications from which importing torch costs less than its bfloat16 saves."""


class Products:
    """Multiplies blocks; memory of tiles is used again.

    Args:
        device: torch device that multiplies; None for this machine's processor, by numpy, and in bfloat16 by torch.
    """

    def __init__(self, device: str | None) -> None:
        self.device = device
        self._buffer = np.empty(0, dtype=np.uint8)
        self._held: tuple[int, Operand, Any] | None = None

    def tile(self, level: Level, video: Operand, text: Operand, columns: slice | Ints) -> Tile:
        """Products of all videos with some captions; without shifts."""
        if self.device is None and level != "bfloat16":
            return self._by_numpy(video.values, text.values[columns])
        return self._by_torch(level, video, text, columns)

    def _by_numpy(self, video: Array, text: Array) -> Tile:
        scores = self._empty(len(video), len(text), video.dtype)
        np.matmul(video, text.T, out=scores[: len(video)])
        return Tile(scores, len(video))

    def _by_torch(self, level: Level, video: Operand, text: Operand, columns: slice | Ints) -> Tile:
        import torch

        # Half of a float32 product is left to bfloat16 or TF32 where a program asks torch for less than "highest".
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("highest")
        try:
            dtype = getattr(torch, level)
            resident = self._resident(text, dtype)
            columns = columns if isinstance(columns, slice) else torch.from_numpy(columns).to(resident.device)
            right = resident[columns]
            left = torch.from_numpy(video.values).to(resident.device, dtype)
            padded = -(-len(left) // GROUP) * GROUP
            scores = torch.empty((padded, len(right)), dtype=dtype, device=resident.device)
            torch.mm(left, right.T, out=scores[: len(left)])
            scores[len(left) :] = -torch.inf
        finally:
            torch.set_float32_matmul_precision(before)
        return TorchTile(scores, len(left))

    def _resident(self, operand: Operand, dtype: "torch.dtype") -> Any:
        """The operand as a tensor; the last one is kept, because captions stay while videos stream by."""
        import torch

        if self._held is None or self._held[1] is not operand:
            values = torch.from_numpy(np.ascontiguousarray(operand.values)).to(self.device or "cpu", dtype)
            self._held = (0, operand, values)
        return self._held[2]

    def _empty(self, n_rows: int, n_columns: int, dtype: np.dtype[Any]) -> Array:
        padded = -(-n_rows // GROUP) * GROUP
        size = padded * n_columns * dtype.itemsize
        if len(self._buffer) < size:
            self._buffer = np.empty(size, dtype=np.uint8)
        scores = self._buffer[:size].view(dtype).reshape(padded, n_columns)
        scores[n_rows:] = -np.inf
        return scores


class TorchTile(Tile):
    """A tile on a device, or of a dtype numpy doesn't have; what is looked at comes over as float32 or float64."""

    def __init__(self, scores: "torch.Tensor", n_rows: int) -> None:
        self._scores = scores
        self.n_rows = n_rows

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the thresholds it is compared with."""
        return np.dtype(np.float64 if str(self._scores.dtype) == "torch.float64" else np.float32)

    @property
    def n_columns(self) -> int:
        """Captions."""
        return int(self._scores.shape[1])

    @property
    def maxima(self) -> Array:
        """(n_groups, n_columns) highest score of each group of rows."""
        if not hasattr(self, "_maxima"):
            self._maxima = self._plain(self._grouped().amax(dim=1))
        return self._maxima

    def hide(self, row: Ints, column: Ints) -> None:
        """Take these scores out of the competition."""
        import torch

        where = [torch.from_numpy(index).to(self._scores.device) for index in (row, column)]
        self._scores[where[0], where[1]] = -torch.inf
        self.__dict__.pop("_maxima", None)

    def cells(self, group: Ints, column: Ints) -> Array:
        """(n, GROUP) scores of a group of rows in one column."""
        import torch

        where = [torch.from_numpy(index).to(self._scores.device) for index in (group, column)]
        return self._plain(self._grouped()[where[0], :, where[1]])

    def shifted(self, of_rows: Any = None, of_columns: Any = None) -> Tile:
        """The same with a number added to every row, or to every column, in the machine's memory."""
        return Tile(self._padded_host(), self.n_rows).shifted(of_rows, of_columns)

    def host(self) -> Array:
        """(n_rows, n_columns) in the machine's memory."""
        return self._plain(self._scores[: self.n_rows])

    def _padded_host(self) -> Array:
        return self._plain(self._scores)

    def _grouped(self) -> "torch.Tensor":
        return self._scores.view(-1, GROUP, self._scores.shape[1])

    def _plain(self, values: "torch.Tensor") -> Array:
        import torch

        values = values.float() if values.dtype == torch.bfloat16 else values
        return np.asarray(values.cpu().numpy())


def bfloat16_pays(n_products: float) -> bool:
    """Whether bfloat16 is the faster filter here, for a product of this many multiplications."""
    if "torch" not in sys.modules and n_products < _WORTH_IMPORTING:
        return False
    return _bfloat16_is_fast()


@cache
def _bfloat16_is_fast() -> bool:
    """Measured, in a few milliseconds: torch says what a processor has only in ways that change between versions."""
    import torch

    plain = torch.ones(512, 256)
    half = plain.bfloat16()
    seconds = []
    for values in (plain, half):
        best = np.inf
        for _ in range(4):
            start = time.perf_counter()
            torch.mm(values, values.T)
            best = min(best, time.perf_counter() - start)
        seconds.append(best)
    return seconds[1] < 0.7 * seconds[0]
