"""Long work cut into one part a processor, each with its own products.

A matrix product that uses all processors leaves its threads waiting busily for a while, in the way of the code
after it. Two libraries that do so, numpy's BLAS and torch, delay each other: on two processors, two products of 1,000 x
1,000 x 512 in turn took 27 ms where 9 would do. So here every thread multiplies for itself.
"""

import os
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np

_here = threading.local()
T = TypeVar("T")


def n_threads() -> int:
    """Threads that work at once: one a processor this process may use."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(allowed, 32)


def in_parts(work: Callable[[int, int], None], n: int) -> None:
    """Run `work(start, stop)` over 0..n, in one part for each thread; numpy lets go of the interpreter meanwhile."""
    parts = n_threads()
    if parts == 1 or n < 2 * parts or getattr(_here, "working", False):
        work(0, n)
        return
    cuts = [n * part // parts for part in range(parts + 1)]
    jobs = [_pool().submit(work, start, stop) for start, stop in pairwise(cuts[1:])]
    try:
        work(cuts[0], cuts[1])
    finally:
        for job in jobs:
            job.result()


def on_this_thread(work: Callable[[], T]) -> T:
    """Run `work` here, its parts one after the other; only its products use more threads.

    Threads that take turns at short calls wait more for each other than they work.
    """
    before, _here.working = getattr(_here, "working", False), True
    try:
        return work()
    finally:
        _here.working = before


def one_by_one(work: Callable[[int], None], n: int) -> None:
    """Run `work(0)` to `work(n - 1)` here; only the products use more threads."""

    def every() -> None:
        for number in range(n):
            work(number)

    on_this_thread(every)


def each_alone(work: Callable[[int], None], n: int) -> None:
    """Run `work(0)` to `work(n - 1)`, several at once, each with products that use one thread.

    The first error ends it: what hasn't begun is left out.
    """

    def alone(number: int) -> None:
        if torch := sys.modules.get("torch"):
            torch.set_num_threads(1)  # of this thread; the caller's number is put back below
        on_this_thread(lambda: work(number))

    with _one_thread_products():
        if n_threads() == 1 or n < 2:
            for number in range(n):
                alone(number)
            return
        jobs = [_pool().submit(alone, number) for number in range(n)]
        try:
            for job in jobs:
                job.result()
        finally:
            for job in jobs:
                job.cancel()
            for job in jobs:
                if not job.cancelled():
                    job.exception()


def meanwhile(work: Callable[[], None]) -> Callable[[], None]:
    """Begin `work` in another thread; call what comes back to wait until it is done, or has failed."""
    if n_threads() == 1 or getattr(_here, "working", False):
        work()
        return do_nothing
    return _pool().submit(on_this_thread, work).result


@cache
def keep_memory() -> None:
    """Have glibc's malloc keep what is freed for what is asked for next; once a process, and nothing elsewhere.

    It gives pieces back to the system whose size is above a threshold, 128 KiB at first, and the largest piece so given
    back is the threshold from then on, up to 32 MiB (mallopt(3), M_MMAP_THRESHOLD). Until then a block of scores is
    asked for page by page each time, which took 5.7 us a pair where 0.9 would do, and the more the more threads do so.
    """
    np.empty(2**24, dtype=np.uint8)  # never written to: it costs nothing


def do_nothing() -> None:
    """There is nothing to wait for."""


@contextmanager
def _one_thread_products() -> Iterator[None]:
    torch: Any = sys.modules.get("torch")
    before = torch.get_num_threads() if torch else 0
    with _libraries().limit(limits=1, user_api="blas"):
        try:
            yield
        finally:
            if torch:
                torch.set_num_threads(before)


@cache
def _libraries() -> Any:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(n_threads(), thread_name_prefix="ranking")


os.register_at_fork(after_in_child=_pool.cache_clear)  # threads don't survive a fork
