"""Results computed before they are needed, in threads and in order."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from reelstore.errors import ReelstoreError

Item = TypeVar("Item")
Result = TypeVar("Result")


def prefetch(
    items: Iterable[Item], work: Callable[[Item], Result], *, workers: int, depth: int
) -> Generator[tuple[Item, Result | ReelstoreError]]:
    """`work` of every item, in order, with up to `depth` results waiting.

    Expected errors (`ReelstoreError`) come as values, so that one bad item doesn't end the walk; any other is raised.
    Stopping early leaves no work behind.
    """
    with ThreadPoolExecutor(max_workers=workers, thread_name_prefix="prefetch") as pool:
        waiting: deque[tuple[Item, Future[Result]]] = deque()
        source = iter(items)
        try:
            while True:
                while len(waiting) < depth + workers:
                    try:
                        item = next(source)
                    except StopIteration:
                        break
                    waiting.append((item, pool.submit(work, item)))
                if not waiting:
                    return
                item, future = waiting.popleft()
                try:
                    result: Result | ReelstoreError = future.result()
                except ReelstoreError as error:
                    result = error
                yield item, result
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
