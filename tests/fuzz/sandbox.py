"""Runs a function in a forked child with bounds on time and memory, and tells how it ended."""

import contextlib
import faulthandler
import io
import os
import random
import resource
import select
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SECONDS = 60.0
"""Of a command, on the clock: the machine may be busy with other things."""
CPU_SECONDS = 40
"""Of a command's own work, which is a second or two on sound inputs."""
EXTRA_BYTES = 6 * 2**30
"""Addresses beyond those of the parent; protects the machine."""
PEAK_BYTES = 3 * 2**29
"""Memory a command may take beyond the parent's: inputs are a few megabytes."""
UNEXPECTED = 70
"""Exit code of a child that ended with an exception; no command of ours has it."""


@dataclass(frozen=True)
class Ended:
    """How a child ended.

    Attributes:
        code: exit code; None where a signal ended it.
        signal: that signal.
        seconds: on the clock.
        peak_bytes: memory beyond what it has when it starts.
        hung: whether it was ended for taking too long.
    """

    code: int | None
    signal: int | None
    stdout: str
    stderr: str
    seconds: float
    peak_bytes: int
    hung: bool = False


@dataclass(frozen=True)
class Conditions:
    """What a command finds besides its files.

    Attributes:
        signal: sent after `delay_seconds`, or when `awaited` is there.
        file_bytes: no file may grow beyond it, as on a full disk (EFBIG).
        more_files: descriptors beyond those that are open.
        more_bytes: addresses beyond those in use, as by `ulimit -v`.
        stdout: `file`, `full` (/dev/full), `closed` or `broken` (a pipe that nobody reads).
        environment: variables set for it.
        seconds: on the clock, after which it is ended.
        peak_bytes: memory beyond what it has when it starts that it may take.
    """

    signal: int | None = None
    delay_seconds: float = 0.0
    awaited: Path | None = None
    file_bytes: int | None = None
    more_files: int | None = None
    more_bytes: int | None = None
    stdout: str = "file"
    environment: tuple[tuple[str, str], ...] = ()
    seconds: float = SECONDS
    peak_bytes: int = PEAK_BYTES


def run(function: Callable[[], object], folder: Path, logs: Path, conditions: Conditions | None = None) -> Ended:
    """Run a function in a child whose working directory is `folder`; stdout and stderr go to files in `logs`."""
    conditions = conditions or Conditions()
    logs.mkdir(parents=True, exist_ok=True)
    ready_read, ready_write = os.pipe()
    started = time.monotonic()
    pid = os.fork()
    if pid == 0:
        code = UNEXPECTED
        try:
            os.close(ready_read)
            _enter(folder, logs, conditions)
            os.write(ready_write, str(_resident_bytes()).encode())
            os.close(ready_write)
            code = _called(function)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(ready_write)
    ready, _, _ = select.select([ready_read], [], [], conditions.seconds)
    # The child's own: it has fewer of the parent's pages than the parent.
    before = int(os.read(ready_read, 32) or 0) if ready else 0
    os.close(ready_read)
    if conditions.signal is not None:
        time.sleep(conditions.delay_seconds)
        while conditions.awaited is not None and not conditions.awaited.exists():
            if time.monotonic() - started > conditions.seconds:
                break
            time.sleep(0.001)
        os.kill(pid, conditions.signal)
    status, usage, hung = _waited(pid, started + conditions.seconds)
    read = [(logs / name).read_bytes().decode("utf-8", "replace") for name in ("stdout", "stderr")]
    return Ended(
        code=os.WEXITSTATUS(status) if os.WIFEXITED(status) else None,
        signal=os.WTERMSIG(status) if os.WIFSIGNALED(status) else None,
        stdout=read[0],
        stderr=read[1],
        seconds=time.monotonic() - started,
        peak_bytes=max(0, usage.ru_maxrss * 1024 - before),
        hung=hung,
    )


def _called(function: Callable[[], object]) -> int:
    """What the interpreter would exit with."""
    try:
        function()
        code: object = 0
    except SystemExit as leaving:
        code = leaving.code
    for stream in filter(None, (sys.stdout, sys.stderr)):
        try:
            stream.flush()
        except (OSError, ValueError):
            code = 120  # as the interpreter does
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF
    sys.stderr.write(f"{code}\n")
    return 1


def _enter(folder: Path, logs: Path, conditions: Conditions) -> None:
    os.setsid()
    out = os.open(logs / "stdout", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    err = os.open(logs / "stderr", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    if conditions.stdout == "full":
        out = os.open("/dev/full", os.O_WRONLY)
    elif conditions.stdout == "broken":
        nobody, out = os.pipe()
        os.close(nobody)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(out, 1)
    os.dup2(err, 2)
    if conditions.stdout == "closed":
        os.close(1)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout = _stream(1)
    sys.stderr = _stream(2)
    os.chdir(folder)
    os.environ.update(conditions.environment)
    os.fsync = lambda descriptor: None  # type: ignore[assignment]  # the disk's time is none of this
    random.seed(0)
    warnings.resetwarnings()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    _limit(resource.RLIMIT_CPU, CPU_SECONDS)
    _limit(resource.RLIMIT_CORE, 0)
    spare = EXTRA_BYTES if conditions.more_bytes is None else conditions.more_bytes
    _limit(resource.RLIMIT_AS, _address_bytes() + spare)
    if conditions.file_bytes is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        _limit(resource.RLIMIT_FSIZE, conditions.file_bytes)
    if conditions.more_files is not None:
        _limit(resource.RLIMIT_NOFILE, max(map(int, os.listdir("/proc/self/fd"))) + 1 + conditions.more_files)
    faulthandler.enable(2)
    faulthandler.dump_traceback_later(conditions.seconds * 0.9, file=2)


def _stream(number: int) -> Any:
    try:
        raw = open(number, "wb", closefd=False)  # noqa: SIM115
    except OSError:  # closed: Python has None there
        return None
    errors = "strict" if number == 1 else "backslashreplace"
    return io.TextIOWrapper(raw, encoding="utf-8", errors=errors, line_buffering=number == 2)


def _limit(what: int, value: int) -> None:
    _, hard = resource.getrlimit(what)
    resource.setrlimit(what, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))


def _waited(pid: int, until: float) -> tuple[int, resource.struct_rusage, bool]:
    """Wait for a child; end it, and all that it started, where it takes too long."""
    hung, pause = False, 0.0005
    while True:
        done, status, usage = os.wait4(pid, os.WNOHANG)
        if done:
            break
        if time.monotonic() > until:
            hung = True
            os.kill(pid, signal.SIGKILL)
            _, status, usage = os.wait4(pid, 0)
            break
        time.sleep(pause)
        pause = min(pause * 1.5, 0.02)
    with contextlib.suppress(ProcessLookupError, PermissionError):  # what it left behind
        os.killpg(pid, signal.SIGKILL)
    return status, usage, hung or (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU)


def _address_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
