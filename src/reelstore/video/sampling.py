"""Which frames of a video an encoder sees: policies by name."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from reelstore.arrays import IntArray
from reelstore.errors import ParamsError, UnknownNameError


def _uniform(n: int, k: int) -> IntArray:
    return np.arange(k) * n // k


def _uniform_distinct(n: int, k: int) -> IntArray:
    return _uniform(n, min(n, k))


def _centres(n: int, k: int) -> IntArray:
    return (2 * np.arange(k) + 1) * n // (2 * k)


COUNTED: dict[str, Callable[[int, int], IntArray]] = {
    "uniform": _uniform,
    "centres": _centres,
    "uniform_distinct": _uniform_distinct,
}
POLICIES = (*COUNTED, "every_nth", "all")


@dataclass(frozen=True)
class Sampling:
    """A policy and its number.

    `uniform` takes frame floor(i * n / k) for i < k of n frames, `centres` the middle of each of k equal parts,
    floor((i + 1/2) * n / k); a file with fewer frames than k gives some of them more than once, so that every video has
    k. `uniform_distinct` is `uniform` on at most as many frames as the file has, so none comes twice. `every_nth` takes
    frames 0, step, 2 * step, …; `all` takes all.

    Example:
        >>> Sampling("uniform", n_frames=4).indices(10)
        array([0, 2, 5, 7])
    """

    policy: str
    n_frames: int | None = None
    step: int | None = None

    def __post_init__(self) -> None:
        if self.policy not in POLICIES:
            raise UnknownNameError("sampling policy", self.policy, POLICIES)
        for name, value, needed in [
            ("n_frames", self.n_frames, self.policy in COUNTED),
            ("step", self.step, self.policy == "every_nth"),
        ]:
            if needed and (type(value) is not int or value < 1):
                raise ParamsError(
                    f"Sampling {self.policy} needs {name}, a whole number of at least 1; it is {value!r}."
                )
            if not needed and value is not None:
                raise ParamsError(f"Sampling {self.policy} takes no {name}; it is {value}.")

    def indices(self, n: int) -> IntArray:
        """Frames to take of a file that has n, ascending, perhaps repeated."""
        if n < 1:
            raise ValueError(f"a file with {n} frames has none to take")
        if self.policy in COUNTED:
            assert self.n_frames is not None
            return COUNTED[self.policy](n, self.n_frames)
        return np.arange(0, n, self.step or 1)

    def __str__(self) -> str:
        number = self.n_frames or self.step
        return f"{self.policy}({number})" if number else self.policy
