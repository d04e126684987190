"""What settings share, wherever they are declared: checks of plain values, ranges, names."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Protocol, TypeVar

from reelstore.errors import ParamsError

_LIMITS = -(2**63), 2**63 - 1
_SHOWN_CHARACTERS = 80


def shown(value: Any) -> str:
    """A value in a message: as Python writes it, cut where it is long."""
    try:
        text = repr(value)
    except ValueError:  # Python writes no whole number of more than 4,300 digits
        text = f"a number of {value.bit_length()} bits"
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"


def check_plain(values: Any, key: str = "") -> None:
    """Refuse what can't be a setting, whatever it is for.

    Raises:
        ParamsError: a key that isn't text, a number that isn't finite or doesn't fit 64 bits, text that no file or
            program takes; `key` says where.
    """
    if isinstance(values, Mapping):
        for name, value in values.items():
            if not isinstance(name, str):
                raise ParamsError(f"{where(key)}the key {shown(name)} must be text: put it in quotes.", key=key)
            below = f"{key}.{name}" if key else name
            _check_text(name, below)
            check_plain(value, below)
    elif isinstance(values, list | tuple):
        for number, value in enumerate(values):
            check_plain(value, f"{key}[{number}]")
    elif isinstance(values, float):
        if not abs(values) < float("inf"):
            raise ParamsError(f"{key} is {values}; a finite number is expected.", key=key)
    elif isinstance(values, int):
        if not _LIMITS[0] <= values <= _LIMITS[1]:
            raise ParamsError(f"{key} is {shown(values)}; whole numbers are from -2^63 to 2^63 - 1.", key=key)
    elif isinstance(values, str):
        _check_text(values, key)


def _check_text(text: str, key: str) -> None:
    if "\0" in text or any("\ud800" <= one <= "\udfff" for one in text):
        raise ParamsError(f"{key} is or has {shown(text)}, with a character that isn't text.", key=key)


def where(key: str) -> str:
    """What a message begins with that is about a key."""
    return f"{key}: " if key else ""


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


_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}")
_DEVICE = re.compile(r"auto|cpu|cuda(:[0-9]{1,3})?")


def check_variant(key: str, variant: str) -> None:
    """Refuse what isn't `<side>/<encoder>/<variant>`; `key` says where it stands."""
    side, *names = variant.split("/")
    if side not in ("video", "text") or len(names) != 2 or not all(_PART.fullmatch(name) for name in names):
        raise ParamsError(
            f"{key} is {shown(variant)}; it must be <side>/<encoder>/<variant>, as text/minilm-l6/mean.", key=key
        )


def check_name(key: str, name: str) -> None:
    """Refuse what can't name a folder and a DVC stage; `key` says where it stands."""
    if not _NAME.fullmatch(name):
        raise ParamsError(
            f"{key}: {shown(name)} must be letters, digits, - and _, the first a letter or digit, 100 at most "
            "(it names folders and DVC stages).",
            key=key,
        )


def check_store_name(key: str, name: str) -> None:
    """Refuse what can't name a dataset or an encoder, folders of a store; `key` says where it stands."""
    from reelstore.records import reserved_fault  # imports NumPy, which --help doesn't need

    check_name(key, name)
    if (fault := reserved_fault(name)) is not None:
        raise ParamsError(f"{key}: {shown(name)} {fault}. Choose another name.", key=key)


def check_device(key: str, device: str) -> None:
    """Refuse what names no device that encoders run on; `key` says where it stands."""
    if not _DEVICE.fullmatch(device):
        raise ParamsError(f"{key} is {shown(device)}; it must be auto, cpu, cuda or, of several GPUs, cuda:1.", key=key)
