"""What a setting may be: declared beside it, checked by one function."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Protocol, TypeVar

from reelstore.errors import ParamsError
from reelstore.params.plain import check_plain, shown

T = TypeVar("T")

MAX_SEED = 2**32 - 1
"""What numpy, torch and Lightning all take."""
MAX_ITEMS = 1000
"""Limit for a list of numbers or names."""


class Limit(Protocol):
    """What a setting may be; printed, it follows `it must`."""

    def holds(self, value: Any) -> bool:
        """Whether a value of the right kind is allowed."""
        ...


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`; both are allowed unless it says otherwise.

    Example:
        >>> str(Range(0, 1, above=True)), Range(0, 1, above=True).holds(0)
        ('be above 0 and at most 1', False)
    """

    low: float
    high: float
    above: bool = False
    below: bool = False

    def holds(self, value: Any) -> bool:
        """Whether a number is in it; NaN is in none."""
        from_low = value > self.low if self.above else value >= self.low
        to_high = value < self.high if self.below else value <= self.high
        return bool(from_low and to_high)

    def __str__(self) -> str:
        high = f"{'below' if self.below else 'at most'} {self.high:,}"
        if self.low == 0 and not self.above:
            return f"not be negative, and be {high}"
        return f"be {'above' if self.above else 'at least'} {self.low:,} and {high}"


@dataclass(frozen=True)
class OneOf:
    """One of some words."""

    words: tuple[str, ...]

    def holds(self, value: Any) -> bool:
        """Whether it is one of them."""
        return value in self.words

    def __str__(self) -> str:
        *most, last = self.words
        return f"be {', '.join(most)} or {last}" if most else f"be {last}"


SEED = Range(0, MAX_SEED)
SHARE = Range(0, 1)
STORED_DTYPE = OneOf(("float16", "float32"))


def setting(default: T, limit: Limit) -> T:
    """A dataclass field with a limit; of a list or mapping, each item must keep it."""
    return field(default=default, metadata={"limit": limit})


def settings_mapping(default: Callable[[], T], limit: Limit) -> T:
    """The same with a mapping for a default."""
    return field(default_factory=default, metadata={"limit": limit})


class Section:
    """A dataclass whose fields keep the limits declared beside them."""

    def __post_init__(self) -> None:
        limits = {one.name: one.metadata["limit"] for one in fields(self) if "limit" in one.metadata}  # type: ignore[arg-type]
        check({one.name: getattr(self, one.name) for one in fields(self)}, limits)  # type: ignore[arg-type]


def check(settings: Mapping[str, Any], limits: Mapping[str, Limit], *, section: str = "") -> None:
    """Refuse settings that can't be, or that are beyond their limits.

    Args:
        settings: name -> value of the right kind, or None.
        limits: name -> what it may be; others may be anything finite.
        section: dotted key above the settings.

    Raises:
        ParamsError: with the setting's dotted key.
    """
    for name, value in settings.items():
        key = f"{section}.{name}" if section else name
        check_plain(value, key)
        if isinstance(value, list | tuple) and len(value) > MAX_ITEMS:
            raise ParamsError(f"{key} has {len(value):,} items; it must have at most {MAX_ITEMS:,}.", key=key)
        limit = limits.get(name)
        items = value if isinstance(value, list | tuple) else value.values() if isinstance(value, Mapping) else [value]
        for item in items:
            if limit is not None and item is not None and not limit.holds(item):
                has = "is" if item is value else "has"
                raise ParamsError(f"{key} {has} {shown(item)}; it must {limit}.", key=key)
