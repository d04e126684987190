"""Where a command ends: errors become a line, signals an exit code, and a result that can't be printed a failure."""

import errno
import os
import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

import click

from reelstore.cli.progress import printable
from reelstore.errors import ReelstoreError, ReelstoreWarning
from reelstore.extras import missing

TRACEBACK = "REELSTORE_TRACEBACK"
"""Environment variable: where it is set, errors keep their traceback."""

_LINE = 1000
"""Characters at both ends of a line of a message that are printed."""
_STOPPING = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
_HELP = {
    errno.ENOSPC: "the disk is full. Make room and run it again",
    errno.EDQUOT: "the disk quota is used up. Make room and run it again",
    errno.EROFS: "the disk is read-only. Write to another one",
    errno.EACCES: "permission denied. Change its permissions, or the folder",
    errno.EPERM: "operation not permitted. Change its permissions, or the folder",
    errno.EMFILE: "too many open files. Raise the limit: ulimit -n",
    errno.ENFILE: "too many open files on this machine",
    errno.EIO: "the disk reports an input/output error",
}


class Stopped(KeyboardInterrupt):
    """A signal asked this process to end; cleaning up works as for Ctrl-C."""


@contextmanager
def border() -> Iterator[None]:
    """Run a command so that whatever the system refuses ends in one line on stderr and a non-zero exit code.

    A signal ends it with 128 + its number, after what is half-written has been removed.
    """
    _open_streams()
    received: list[int] = []
    try:
        with _stoppable(received), _warnings_in_lines():
            yield
            _flush()
    except BaseException as error:
        if os.environ.get(TRACEBACK) or isinstance(error, click.ClickException | click.exceptions.Exit | click.Abort):
            raise
        if received or isinstance(error, KeyboardInterrupt):
            number = received[0] if received else signal.SIGINT
            _say(f"Stopped by {signal.Signals(number).name}. Nothing half-written was published; run it again.")
            _leave(128 + number)
        if isinstance(error, BrokenPipeError) and error.filename is None:
            _leave(128 + signal.SIGPIPE)
        words = in_words(error)
        if words is None:
            raise
        _drop_unflushable()
        raise Refused(words) from error


class Refused(click.ClickException):
    """An expected error on its way to stderr."""

    def show(self, file: Any = None) -> None:
        """Print it, without the control characters and the megabytes that a file's content may have brought."""
        lines = f"Error: {self.message}".split("\n")
        _say("\n".join(one if len(one) <= 2 * _LINE else f"{one[:_LINE]} [...] {one[-_LINE:]}" for one in lines))


def in_words(error: BaseException) -> str | None:
    """What an error says to a user; None for one that nobody expected, which keeps its traceback."""
    if isinstance(error, ReelstoreError):
        return "".join([str(error), *(f"\n  {note}" for note in getattr(error, "__notes__", []))])
    if isinstance(error, ModuleNotFoundError) and (extra := missing(error, _command())) is not None:
        return str(extra)
    if isinstance(error, OSError):
        what = _HELP.get(error.errno or 0) or (error.strerror or str(error) or type(error).__name__).lower()
        where = [os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, str | bytes)]
        return f"{' -> '.join(where)}: {what}." if where else f"{what[:1].upper()}{what[1:]}."
    if isinstance(error, RuntimeError) and getattr(error.__context__, "errno", None) == errno.ELOOP:
        return in_words(error.__context__)  # type: ignore[arg-type]  # pathlib hides it before Python 3.13
    if isinstance(error, RuntimeError) and "start new thread" in str(error):
        return "The system refuses another thread. Close other programs, or raise ulimit -u and ulimit -v."
    if isinstance(error, MemoryError):
        return f"Out of memory{f': {error}' if str(error) else ''}. Close other programs, or raise ulimit -v."
    if isinstance(error, RecursionError):
        return "A value is nested too deeply to be read."
    if isinstance(error, UnicodeError):
        return f"Text can't be encoded or decoded: {error}."
    return None


@contextmanager
def _warnings_in_lines() -> Iterator[None]:
    """Our own warnings without the file and line of code that they were made in."""
    before = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *rest: Any) -> None:
        if issubclass(category, ReelstoreWarning):
            _say(f"Warning: {message}")
        else:
            before(message, category, *rest)

    warnings.showwarning = show  # type: ignore[assignment]  # it passes on what it gets
    try:
        yield
    finally:
        warnings.showwarning = before


def _command() -> str:
    context = click.get_current_context(silent=True)
    return "This" if context is None else f"reelstore {context.invoked_subcommand or ''}".strip()


@contextmanager
def _stoppable(received: list[int]) -> Iterator[None]:
    """SIGTERM and SIGHUP raise as Ctrl-C does; what was set before comes back in the end."""

    def stop(number: int, frame: FrameType | None) -> None:
        received.append(number)
        raise Stopped

    before = {}
    try:
        for number in _STOPPING:
            if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                before[number] = signal.signal(number, stop)
    except ValueError:  # not the main thread: its signals aren't ours
        pass
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _open_streams() -> None:
    """What the shell closed (`>&-`) leads nowhere; else the next file opened gets its number and output."""
    if None not in (sys.stdin, sys.stdout, sys.stderr):
        return
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w"))  # noqa: SIM115  # until the end


def _flush() -> None:
    """What was printed arrives, or the command has failed: the interpreter would only warn."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:  # closed by the caller
            stream.flush()


def _say(message: str) -> None:
    with suppress(OSError, AttributeError):  # nobody can be told
        sys.stderr.write(printable(message) + "\n")
        sys.stderr.flush()


def _leave(code: int) -> None:
    _drop_unflushable()
    raise click.exceptions.Exit(code)


def _drop_unflushable() -> None:
    """What can't be flushed any more is dropped: the interpreter would report it once again, with another exit code."""
    for name in ("stdout", "stderr"):
        try:
            getattr(sys, name).flush()
        except (OSError, ValueError, AttributeError):
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115  # until the process ends
