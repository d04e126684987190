"""Plain values as settings: what none of them may be, and how they are shown in messages."""

from collections.abc import Mapping
from typing import Any

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
