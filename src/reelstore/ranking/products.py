"""Two operands -> a tile of approximate scores, by numpy, or by torch where that is faster or a device is named."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, cached_property
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from reelstore.arrays import Array, IntArray
from reelstore.ranking.filters import Level, Operand
from reelstore.ranking.tiles import GROUP, Tile, count_groups

if TYPE_CHECKING:
    import torch

_WORTH_IMPORTING = 2e12
"""Multiplications from which importing torch costs less than its bfloat16 saves."""

_LOWEST = 0xFF80
"""Minus infinity in bfloat16."""


class Products:
    """Multiplies blocks of videos with captions that stay; every thread has memory of its own for its tile.

    Args:
        device: torch device that multiplies and looks for maxima; None for the processor.
    """

    def __init__(self, device: str | None) -> None:
        self._device = device
        self._own = threading.local()
        self._lock = threading.Lock()
        self._held: dict[Level, tuple[Operand, Any]] = {}

    def tile(self, level: Level, video: Operand, text: Operand, columns: slice | IntArray) -> Tile:
        """Products of all videos with some captions. The thread's last tile is overwritten."""
        if self._device is None and level != "bfloat16":
            right = text.values[columns]
            plain = self._empty(len(video.values), len(right), video.values.dtype)
            np.matmul(video.values, right.T, out=plain[: len(video.values)])
            return Tile(plain, len(video.values))
        import torch

        dtype = getattr(torch, level)
        resident = self._resident(level, text, dtype)
        right = resident[columns if isinstance(columns, slice) else torch.from_numpy(columns).to(resident.device)]
        left = torch.from_numpy(video.values).to(resident.device, dtype)
        if self._device is None:
            halves = self._empty(len(left), len(right), np.dtype(np.uint16))
            torch.mm(left, right.T, out=torch.from_numpy(halves).view(dtype)[: len(left)])
            return HalfTile(halves, len(left))
        scores = torch.full((_padded(len(left)), len(right)), -torch.inf, dtype=dtype, device=resident.device)
        with _whole_float32():
            torch.mm(left, right.T, out=scores[: len(left)])
        return TorchTile(scores, len(left))

    def _resident(self, level: Level, operand: Operand, dtype: "torch.dtype") -> Any:
        """The operand as a tensor; each level's last one is kept, because captions stay while videos stream by."""
        import torch

        with self._lock:
            if level not in self._held or self._held[level][0] is not operand:
                values = torch.from_numpy(np.ascontiguousarray(operand.values)).to(self._device or "cpu", dtype)
                self._held[level] = operand, values
            return self._held[level][1]

    def _empty(self, n_rows: int, n_columns: int, dtype: np.dtype[Any]) -> Array:
        size = _padded(n_rows) * n_columns * dtype.itemsize
        buffer = getattr(self._own, "buffer", None)
        if buffer is None or len(buffer) < size:
            buffer = self._own.buffer = np.empty(size, dtype=np.uint8)
        scores: Array = buffer[:size].view(dtype).reshape(_padded(n_rows), n_columns)
        scores[n_rows:] = _LOWEST if dtype == np.uint16 else -np.inf
        return scores


@contextmanager
def _whole_float32() -> Iterator[None]:
    """A program may have asked torch to leave part of a float32 product to TF32 or bfloat16; here it may not."""
    import torch

    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _padded(n_rows: int) -> int:
    return -(-n_rows // GROUP) * GROUP


class HalfTile(Tile):
    """A tile in bfloat16, which numpy knows as its bits only: the upper half of a float32's."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the thresholds it is compared with."""
        return np.dtype(np.float32)

    def hide(self, row: IntArray, column: IntArray) -> None:
        """Take these scores out of the competition."""
        self._padded[row, column] = _LOWEST
        self.__dict__.pop("maxima", None)
        self.__dict__.pop("_wide", None)

    @cached_property
    def maxima(self) -> Array:
        """(n_groups, n_columns) highest score of each group of rows."""
        cells = self._padded.view(np.int16).reshape(-1, GROUP, self.n_columns)
        # As whole numbers, positive scores are in order and above all negative ones, which are in reverse.
        found = np.maximum.reduce(cells, axis=1)
        group, column = np.nonzero(found < 0)
        if len(group):
            found[group, column] = cells[group, :, column].min(axis=1)
        return _widened(found.view(np.uint16))

    def cells(self, group: IntArray, column: IntArray) -> Array:
        """(n, GROUP) scores of a group of rows in one column."""
        return _widened(self._padded.reshape(-1, GROUP, self.n_columns)[group, :, column])

    def _over(self, column: IntArray, low: Array, high: Array) -> tuple[Array, Array]:
        """Bits compared as whole numbers, where no threshold is negative."""
        if not (low > 0).all():
            return super()._over(column, low, high)
        scores = self._padded.view(np.int16)
        scores = scores if len(column) == self.n_columns else np.ascontiguousarray(scores[:, column])
        at_least = -(-low.view(np.int32) // 2**16)  # the next bfloat16 up; of `high` the next one down
        return (
            count_groups(scores, at_least.astype(np.int16), strict=False),
            count_groups(scores, (high.view(np.int32) // 2**16).astype(np.int16), strict=True),
        )

    def host(self) -> Array:
        """(n_rows, n_columns) as float32."""
        return self._wide[: self.n_rows]

    def _padded_host(self) -> Array:
        return self._wide

    @cached_property
    def _wide(self) -> Array:
        return _widened(self._padded)


def _widened(halves: Array) -> Array:
    wide = halves.astype(np.uint32)
    wide <<= 16
    return wide.view(np.float32)


class TorchTile(Tile):
    """A tile on a device; what is read comes over as float32 or float64."""

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

    def hide(self, row: IntArray, column: IntArray) -> None:
        """Take these scores out of the competition."""
        import torch

        place, other = self._here(row, column)
        self._scores[place, other] = -torch.inf
        self.__dict__.pop("_maxima", None)

    def at(self, row: IntArray, column: IntArray) -> Array:
        """(n,) scores that stand there."""
        place, other = self._here(row, column)
        return self._plain(self._scores[place, other])

    def cells(self, group: IntArray, column: IntArray) -> Array:
        """(n, GROUP) scores of a group of rows in one column."""
        place, other = self._here(group, column)
        return self._plain(self._grouped()[place, :, other])

    def host(self) -> Array:
        """(n_rows, n_columns) in the machine's memory."""
        return self._plain(self._scores[: self.n_rows])

    def _padded_host(self) -> Array:
        return self._plain(self._scores)

    def _here(self, row: IntArray, column: IntArray) -> "tuple[torch.Tensor, torch.Tensor]":
        import torch

        device = self._scores.device
        return torch.from_numpy(row).to(device), torch.from_numpy(column).to(device)

    def _grouped(self) -> "torch.Tensor":
        return self._scores.view(-1, GROUP, self._scores.shape[1])

    def _plain(self, values: "torch.Tensor") -> Array:
        import torch

        values = values.float() if values.dtype == torch.bfloat16 else values
        return np.asarray(values.cpu().numpy())


def has_torch() -> bool:
    """Whether torch is installed; without it, no level is bfloat16 and no product is on a device."""
    try:
        return sys.modules.get("torch") is not None or find_spec("torch") is not None
    except ModuleNotFoundError:  # a finder refuses it
        return False


def bfloat16_pays(n_products: float) -> bool:
    """Whether bfloat16 is the faster filter here, for a product of this many multiplications."""
    if "torch" not in sys.modules and n_products < _WORTH_IMPORTING:
        return False
    return has_torch() and _bfloat16_is_fast()


@cache
def _bfloat16_is_fast() -> bool:
    """Measured, in a few milliseconds: torch says what a processor has only in ways that change between versions."""
    import torch

    plain = torch.ones(512, 256)
    half = plain.bfloat16()
    seconds = []
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # what else the machine does would decide otherwise
    try:
        for values in (plain, half):
            best = np.inf
            for _ in range(4):
                start = time.perf_counter()
                torch.mm(values, values.T)
                best = min(best, time.perf_counter() - start)
            seconds.append(best)
    finally:
        torch.set_num_threads(threads)
    return seconds[1] < 0.7 * seconds[0]
