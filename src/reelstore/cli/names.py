"""Names as arguments, in order, or as options: DVC quotes a mapping of options by itself, and nothing else."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import click

_WORDS = "words"


Command = Callable[..., None]


def names(
    *wanted: str, defaults: Mapping[str, str] | None = None, metavar: str | None = None
) -> Callable[[Command], Command]:
    """A command's names, positional for people: `align VIDEO TEXT ALIGNER`, or `align --video … --aligner …`.

    dvc.yaml gives what comes from params.yaml as options: `cmd: reelstore align ${item}` becomes `--video '…'`, so that
    no name is read by a shell.

    Args:
        wanted: names in order, which are the command's parameters.
        defaults: name -> value where it isn't given.
        metavar: of the arguments in `--help`; their names in capitals otherwise.
    """
    spare = dict(defaults or {})
    usage = " ".join(f"[{name.upper()}]" if name in spare else name.upper() for name in wanted)

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def named(**given: Any) -> None:
            words = list(given.pop(_WORDS))
            found = {name: value for name in wanted if (value := given.pop(_option(name))) is not None}
            for name in wanted:
                if name not in found and words:
                    found[name] = words.pop(0)
            if words:
                raise click.UsageError(f"Got unexpected extra arguments: {' '.join(words)}")
            found = {**spare, **found}
            for name in wanted:
                if name not in found:
                    raise click.UsageError(f"Missing argument '{name.upper()}'.")
            command(**found, **given)

        for name in reversed(wanted):
            says = f"The same as {name.upper()}, for dvc.yaml."
            named = click.option(f"--{name}", _option(name), help=says)(named)
        return click.argument(_WORDS, nargs=-1, metavar=metavar or usage)(named)

    return decorate


def _option(name: str) -> str:
    return f"{name}_option"
