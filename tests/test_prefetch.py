"""Work ahead of its consumer: order, bounds, errors, and an early stop."""

import threading
import time
from collections.abc import Iterator

import pytest

from reelstore.errors import UndecodableVideoError
from reelstore.prefetch import prefetch


def test_results_come_in_the_order_of_the_items_whichever_is_done_first() -> None:
    def slow_at_first(item: int) -> int:
        time.sleep(0.02 if item == 0 else 0)
        return item * item

    assert list(prefetch(range(6), slow_at_first, workers=3, depth=4)) == [(i, i * i) for i in range(6)]


def test_an_expected_error_is_a_value_and_the_walk_goes_on() -> None:
    def odd_is_broken(item: int) -> int:
        if item % 2:
            raise UndecodableVideoError("odd")
        return item

    results = [result for _, result in prefetch(range(4), odd_is_broken, workers=2, depth=2)]
    assert [str(result) for result in results] == ["0", "odd", "2", "odd"]
    assert isinstance(results[1], UndecodableVideoError)


def test_an_unexpected_error_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        list(prefetch([1, 0], lambda item: 1 // item, workers=2, depth=2))


def test_no_more_than_depth_and_workers_are_begun_ahead() -> None:
    taken: list[int] = []

    def source() -> Iterator[int]:
        for item in range(100):
            taken.append(item)
            yield item

    walk = prefetch(source(), lambda item: item, workers=2, depth=3)
    next(walk)
    assert len(taken) == 5
    walk.close()


def test_it_works_ahead_while_the_consumer_is_busy() -> None:
    begun = threading.Semaphore(0)

    def work(item: int) -> int:
        begun.release()
        return item

    walk = prefetch(range(10), work, workers=2, depth=3)
    next(walk)
    for _ in range(5):
        assert begun.acquire(timeout=5), "the next items weren't begun before they were asked for"
    walk.close()


def test_stopping_early_leaves_no_thread_behind() -> None:
    walk = prefetch(range(1000), lambda item: item, workers=2, depth=2)
    next(walk)
    walk.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("decode")]


def test_nothing_in_gives_nothing_out() -> None:
    assert list(prefetch([], lambda item: item, workers=1, depth=1)) == []
