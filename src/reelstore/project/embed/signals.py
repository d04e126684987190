"""Signals and the processes of `embed --workers`: only the parent handles them, and it ends its workers."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from types import FrameType

_STOPPING = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


@contextmanager
def signals_wait() -> Iterator[None]:
    """Start processes in here: signals that come meanwhile are handled afterwards.

    A parent stopped in between would leave half-started processes, which print a traceback. The processes started take
    no signals until `accept_signals`.
    """
    came: list[int] = []

    def wait(number: int, frame: FrameType | None) -> None:
        came.append(number)

    handlers = {}
    if threading.current_thread() is threading.main_thread():
        ours = [number for number in _STOPPING if callable(signal.getsignal(number))]
        handlers = {number: signal.signal(number, wait) for number in ours}
    resource_tracker.ensure_running()  # when it starts, it lets signals through
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _STOPPING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in handlers.items():
            signal.signal(number, handler)
    for first in came[:1]:
        signal.raise_signal(first)


def accept_signals() -> None:
    """What a started process does first: SIGTERM and SIGHUP end it; Ctrl-C reaches it too, and is the parent's."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPPING)
