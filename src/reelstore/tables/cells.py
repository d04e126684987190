"""Values of a table's cells -> text: names and whole numbers as they are, captions one by one where they are lists."""

import re
from pathlib import Path
from typing import Any, NoReturn

from reelstore.errors import ForeignFileError
from reelstore.records import shortened

Cell = str | None
MAX_CELL = 128 * 1024
"""Characters of a cell; also what Python's csv takes."""

_LINES = (".csv", ".tsv", ".jsonl", ".ndjson")
_QUOTED = r"\s*[bu]?['\"].*['\"]\s*"
_CODE = re.compile(
    rf"(?:array\()?\[{_QUOTED},?\s*\](?:, dtype=\w+\))?|\[\s*(?:None\s*)?\]|\({_QUOTED},\s*(?:{_QUOTED})?\)"
    r"|\{\s*(?:['\"].*)?\}|b(['\"]).*\1",
    re.DOTALL,
)
"""How Python, NumPy or JSON writes lists, tuples, mappings and bytes of texts."""


def place(path: Path, row: int) -> str:
    """What messages call a row: a line of a text file, a row of others."""
    return f"{path}, {'line' if path.suffix.lower() in _LINES else 'row'} {row}"


def as_cell(value: Any, path: Path, row: int, column: str) -> Cell:
    """A cell's text; None where it is empty.

    Raises:
        ForeignFileError: it is neither text nor a whole number.
    """
    if value is None or value == "":
        return None
    if isinstance(value, str):
        return _text(value, path, row, column)
    if type(value) is int and value.bit_length() <= 64:
        return str(value)
    _refuse(path, row, f"{column} must be text or whole numbers of 64 bits, not {shortened(value)}")


def as_captions(value: Any, path: Path, row: int, column: str) -> list[Cell]:
    """The captions of a cell, which is a text or a list of texts; [None] where it is empty.

    Raises:
        ForeignFileError: it is something else, a list without or with empty elements, or a list that was written as
            text, whose parts can't be told from what the captions say.
    """
    if not isinstance(value, list):
        if value is not None and not isinstance(value, str):
            _refuse(path, row, f"{column} must be text or a list of texts, not {shortened(value)}")
        return [_caption(value, path, row, column)]
    if not value:
        _refuse(path, row, f"{column} is an empty list. Remove the row, or give it a caption")
    for number, text in enumerate(value):
        if not isinstance(text, str) or not text.strip():
            _refuse(path, row, f"{column}[{number}] must be text that isn't empty, not {shortened(text)}")
    return [_caption(text, path, row, f"{column}[{number}]") for number, text in enumerate(value)]


def is_code(text: str) -> bool:
    """Whether a caption is a list, mapping or bytes as a program writes them, instead of a sentence.

    Example:
        >>> is_code("['a man cooks', 'someone cuts']"), is_code("[music] a man sings")
        (True, False)
    """
    text = text.strip()
    return text[:1] in "[({ab" and _CODE.fullmatch(text) is not None


def _caption(value: str | None, path: Path, row: int, column: str) -> Cell:
    if not value:
        return None
    if "\0" in value:
        _refuse(path, row, f"{column} holds a NUL: {shortened(value)}")
    if is_code(value):
        _refuse(
            path,
            row,
            f"{column} is a list or mapping that was written as text: {shortened(value)}. Write a row for each "
            "caption, or write the table as JSON lines or Parquet, where every element of a list is a caption",
        )
    return _text(value, path, row, column)


def _text(value: str, path: Path, row: int, column: str) -> str:
    if len(value) > MAX_CELL:
        _refuse(path, row, f"{column} has {len(value)} characters; at most {MAX_CELL} are read")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            _refuse(path, row, f"{column} holds half of a surrogate pair, which isn't text: {shortened(value)}")
    return value


def _refuse(path: Path, row: int, what: str) -> NoReturn:
    raise ForeignFileError(f"{place(path, row)}: {what}.")
