"""Progress on stderr; data goes to stdout."""

import sys
from typing import Any

import click


def say(message: str) -> None:
    """A line of progress."""
    click.echo(message, err=True)


class Bar:
    """Progress on stderr: a bar on a terminal, a line every now and then elsewhere."""

    def __init__(self, label: str, *, unit: str = "row") -> None:
        self._label = label
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
