"""Text for a terminal: results on stdout, progress on stderr, nothing that a terminal would take for a command."""

import sys
import unicodedata
from typing import Any

import click

_DIRECTIONS = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
"""Bidirectional classes of the characters that reorder the text around them."""


def echo(text: str, *, nl: bool = True) -> None:
    """Print a result to stdout."""
    _print(text, sys.stdout, nl=nl)


def say(message: str) -> None:
    """Print a line of progress to stderr."""
    _print(message, sys.stderr)


def printable(text: str) -> str:
    """Text without what could command a terminal: control characters and marks of direction become \\uXXXX.

    Ids, captions, reasons and file names are other people's text. Line ends and tabs stay.

    Example:
        >>> printable("caf\u00e9 \x1b[2J")
        'café \\u001b[2J'
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(f"\\u{ord(one):04x}" if _is_command(one) else one for one in text)


def _is_command(character: str) -> bool:
    if character in "\n\t":
        return False
    return unicodedata.category(character) in ("Cc", "Cs") or unicodedata.bidirectional(character) in _DIRECTIONS


def _print(text: str, stream: Any, *, nl: bool = True) -> None:
    encoding = getattr(stream, "encoding", None) or "utf-8"
    click.echo(printable(text).encode(encoding, "backslashreplace").decode(encoding), file=stream, nl=nl)


class Bar:
    """Progress on stderr: a bar on a terminal, a line every now and then elsewhere."""

    def __init__(self, label: str, *, unit: str = "row") -> None:
        self._label = printable(label)
        self._unit = unit
        self._bar: Any = None

    def __enter__(self) -> "Bar":
        return self

    def __call__(self, done: int, total: int) -> None:
        from tqdm import tqdm

        if self._bar is not None and self._bar.total != total:
            self._bar.close()
            self._bar = None
        if self._bar is None:
            seconds = 0.5 if sys.stderr.isatty() else 15
            self._bar = tqdm(total=total, desc=self._label, unit=self._unit, mininterval=seconds, disable=not total)
        self._bar.update(done - self._bar.n)

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()
