"""Arguments of the public functions: the value that is meant, or an error that names the argument."""

import operator
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from reelstore.errors import EvaluationError, UnknownNameError

Name = TypeVar("Name", bound=str)
MAX_CUT_OFF = 2**31 - 1
_MANY = 10**18


def one_of(kind: str, value: Any, known: tuple[Name, ...]) -> Name:
    """A name among the known ones.

    Raises:
        UnknownNameError: it is another name, or no text.
    """
    for name in known:
        if isinstance(value, str) and value == name:
            return name
    raise UnknownNameError(kind, _shown(value), known)


def whole_number(name: str, value: Any, low: int, high: int = _MANY) -> int:
    """A whole number from `low` to `high`, of Python, NumPy or a tensor; truth values and floats aren't whole numbers.

    Raises:
        EvaluationError: it is something else, or out of range.
    """
    try:
        is_bool = isinstance(value, bool) or str(getattr(value, "dtype", "")).endswith("bool")
        number = None if is_bool else operator.index(value)
    except (TypeError, ValueError, RuntimeError):
        number = None
    if number is None:
        given = repr(_shown(value)) if isinstance(value, str) else _shown(value)
        raise EvaluationError(f"{name} is {given}; a whole number is expected.")
    if not low <= number <= high:
        least = f"at least {low}" if number < low else f"at most {high}"
        raise EvaluationError(f"{name} is {_shown(number)}; it must be {least}.")
    return number


def share(name: str, value: Any) -> float:
    """A number above 0 and below 1.

    Raises:
        EvaluationError: it is something else.
    """
    if not 0 < (number := finite_number(name, value)) < 1:
        raise EvaluationError(f"{name} is {number:g}; it must be above 0 and below 1.")
    return number


def finite_number(name: str, value: Any) -> float:
    """A finite real number.

    Raises:
        EvaluationError: it is something else.
    """
    is_text = isinstance(value, str | bytes | bytearray | bool) or str(getattr(value, "dtype", "")).endswith("bool")
    try:
        number = None if is_text else float(value)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        number = None
    if number is None or not abs(number) < float("inf"):
        raise EvaluationError(f"{name} is {_shown(value)!s}; a finite number is expected.")
    return number


def truth(name: str, value: Any) -> bool:
    """True or false, of Python or NumPy.

    Raises:
        EvaluationError: it is something else.
    """
    if type(value).__name__ not in ("bool", "bool_"):
        raise EvaluationError(f"{name} is {_shown(value)!s}; True or False is expected.")
    return bool(value)


def cut_offs(value: Any) -> tuple[int, ...]:
    """Cut-offs k, each once, in the order given: one whole number, or several.

    Raises:
        EvaluationError: one isn't a positive whole number, or there is none.
    """
    several = getattr(value, "ndim", 1) and isinstance(value, Iterable)
    if isinstance(value, str | bytes | bytearray | Mapping) or not several:
        value = [value]
    numbers = tuple(dict.fromkeys(whole_number("A cut-off of ks", one, 1, MAX_CUT_OFF) for one in value))
    if not numbers:
        raise EvaluationError("ks is empty; at least one cut-off is expected, such as ks=(1, 5, 10).")
    return numbers


def _shown(value: Any) -> str:
    """A value in a message, shortened."""
    try:
        text = " ".join((value if isinstance(value, str) else repr(value)).split())
    except Exception:  # somebody's own repr
        text = type(value).__name__
    return text if len(text) <= 60 else f"{text[:57]}…"
