"""Plain values, as JSON has them -> values of the types that our code expects, checked field by field."""

import math
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from reelstore.errors import DamagedFileError, ReelstoreError
from reelstore.io import read_json

_LARGEST = 2**63 - 1
_Read = Callable[[Any], Any]


class _Wrong(Exception):
    """A value isn't of its type; collects where it is on the way up."""

    def __init__(self, value: Any, expected: str) -> None:
        super().__init__()
        self.says, self.at = f"is {_shown(value)}; {expected} is expected", ""

    def inside(self, key: object) -> "_Wrong":
        """The same, one level further out."""
        self.at = f"[{key}]{self.at}" if isinstance(key, int) else f".{key!s:.60}{self.at}"
        return self

    def sentence(self) -> str:
        """Where, and what is wrong."""
        return f"{self.at.removeprefix('.') or 'the file'} {self.says}."


class _Missing(_Wrong):
    """A key isn't there."""

    def __init__(self) -> None:
        super().__init__(None, "")
        self.says = "is missing"


class _Refused(_Wrong):
    """A dataclass refused its values in its own words."""

    def __init__(self, error: ReelstoreError) -> None:
        super().__init__(None, "")
        self.says = str(error)

    def sentence(self) -> str:
        where = self.at.removeprefix(".")
        return f"{where}: {self.says}" if where else self.says


@contextmanager
def advised(advice: str) -> Iterator[None]:
    """Say what to do about a damaged file, which the reader of its bytes can't know.

    Raises:
        DamagedFileError: that of inside, with the advice behind it.
    """
    try:
        yield
    except DamagedFileError as error:
        raise DamagedFileError(f"{error} {advice}") from error


def read_typed(path: Path, kind: Any) -> Any:
    """The value of a JSON file as a `kind`.

    Raises:
        DamagedFileError: it isn't JSON, or a value isn't of its type: the message has the file and the key.
        IrregularFileError, OSError: as of `io.read_bytes`.
    """
    return typed(read_json(path), kind, path)


def typed(value: Any, kind: Any, source: object) -> Any:
    """A plain value as a `kind`: a dataclass, a collection, a Literal, a union, str, bool, int or float.

    Numbers are finite and within 64 bits; a whole number is a float too, a bool is no number. A mapping for a dataclass
    has all fields without a default and no other keys. A dataclass may check itself.

    Args:
        value: as JSON gives it.
        kind: a type; `Any` takes what JSON can hold.
        source: file, or file and line, for the message.

    Raises:
        DamagedFileError: it isn't one.

    Example:
        >>> typed([1, 2.5], tuple[float, ...], "numbers.json")
        (1.0, 2.5)
    """
    try:
        return _reader(kind)(value)
    except _Wrong as error:
        raise DamagedFileError(f"{source}: {error.sentence()}") from None
    except RecursionError:
        raise DamagedFileError(f"{source} is nested too deeply.") from None


@cache
def _reader(kind: Any) -> _Read:
    origin, args = get_origin(kind), get_args(kind)
    if kind is Any:
        return _anything
    if kind is type(None):
        return lambda value: None if value is None else _refuse(value, "null")
    if kind in (str, bool):
        expected = "text" if kind is str else "true or false"
        return lambda value: value if type(value) is kind else _refuse(value, expected)
    if kind is int:
        return _whole
    if kind is float:
        return _number
    if origin is Literal:
        expected = " or ".join(map(str, args))
        return lambda value: value if isinstance(value, str) and value in args else _refuse(value, expected)
    if origin in (Union, types.UnionType):
        return _one_of([_reader(arg) for arg in args])
    if origin is tuple and args[-1] is not Ellipsis:
        return _fixed([_reader(arg) for arg in args])
    if origin in (list, tuple, Sequence):
        return _list(_reader(args[0]), tuple if origin is tuple else list)
    if origin in (dict, Mapping):
        return _mapping(_reader(args[1]))
    if isinstance(kind, type) and is_dataclass(kind):
        return _dataclass(kind)
    raise TypeError(f"{kind} isn't a type that plain values are read as")


def _shown(value: Any) -> str:
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "a mapping"
    if value is None or isinstance(value, bool):
        return str(value).lower() if value is not None else "null"
    if isinstance(value, int) and abs(value) > _LARGEST:
        return "a number of more than 64 bits"
    return f"{value!r:.60}"


def _refuse(value: Any, expected: str) -> Any:
    raise _Wrong(value, expected)


def _anything(value: Any) -> Any:
    if isinstance(value, dict):
        return _mapping(_anything)(value)
    if isinstance(value, list):
        return _list(_anything, list)(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        _number(value)
    return value


def _whole(value: Any) -> int:
    if type(value) is not int or abs(value) > _LARGEST:
        raise _Wrong(value, "a whole number")
    return value


def _number(value: Any) -> float:
    if type(value) is float and math.isfinite(value):
        return value
    if type(value) is not int or abs(value) > _LARGEST:
        raise _Wrong(value, "a number")
    return float(value)


def _one_of(readers: Sequence[_Read]) -> _Read:
    def read(value: Any) -> Any:
        for reader in readers[:-1]:
            try:
                return reader(value)
            except _Wrong:
                continue
        return readers[-1](value)

    return read


def _fixed(readers: Sequence[_Read]) -> _Read:
    def read(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list) or len(value) != len(readers):
            raise _Wrong(value, f"a list of {len(readers)}")
        pairs = zip(readers, value, strict=True)
        return tuple(_inner(reader, one, number) for number, (reader, one) in enumerate(pairs))

    return read


def _list(reader: _Read, made: Callable[[list[Any]], Any]) -> _Read:
    def read(value: Any) -> Any:
        if not isinstance(value, list):
            raise _Wrong(value, "a list")
        return made([_inner(reader, one, number) for number, one in enumerate(value)])

    return read


def _mapping(reader: _Read) -> _Read:
    def read(value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise _Wrong(value, "a mapping")
        return {key: _inner(reader, one, key) for key, one in value.items()}

    return read


def _dataclass(kind: Any) -> _Read:
    hints = typing.get_type_hints(kind)
    readers = {field.name: _reader(hints[field.name]) for field in fields(kind)}
    needed = [f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING]

    def read(value: Any) -> Any:
        if not isinstance(value, dict):
            raise _Wrong(value, "a mapping")
        unknown = next((key for key in value if key not in readers), None)
        if unknown is not None:
            raise _Wrong(unknown, f"one of {', '.join(readers)}").inside("(key)")
        for name in needed:
            if name not in value:
                raise _Missing().inside(name)
        values = {name: _inner(readers[name], one, name) for name, one in value.items()}
        try:
            return kind(**values)
        except ReelstoreError as error:
            raise _Refused(error) from error

    return read


def _inner(reader: _Read, value: Any, key: object) -> Any:
    try:
        return reader(value)
    except _Wrong as error:
        raise error.inside(key) from None
