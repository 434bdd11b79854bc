"""Work ahead is that of a plain loop: its order, its failures, and no more of it than was allowed."""

import threading
import time
from collections.abc import Iterator

import pytest

from querydet.utils.ahead import UntilFailure, iterate_ahead, map_ahead


def slow_for_even(item: int) -> int:
    time.sleep(0.002 if item % 2 == 0 else 0)
    return item * item


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("ahead", [0, 1, 5, 50])
def test_results_come_in_the_order_of_the_items(threads: int, ahead: int) -> None:
    assert list(map_ahead(slow_for_even, range(20), threads=threads, ahead=ahead)) == [n * n for n in range(20)]
    assert list(iterate_ahead(iter(range(20)), ahead=ahead)) == list(range(20))
    assert list(map_ahead(slow_for_even, [], threads=threads, ahead=ahead)) == []
    assert list(iterate_ahead([], ahead=ahead)) == []


def test_no_more_items_are_in_flight_than_allowed() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(200):
            taken.append(number)
            yield number

    used = map_ahead(slow_for_even, items(), threads=2, ahead=3)
    assert max(len(taken) - count for count, _ in enumerate(used, start=1)) == 3
    assert len(taken) == 200
    taken.clear()
    used = iterate_ahead(items(), ahead=3)
    assert max(len(taken) - count for count, _ in enumerate(used, start=1)) <= 3
    assert len(taken) == 200


def test_one_thread_calls_in_order() -> None:
    called: list[int] = []
    list(map_ahead(called.append, range(50), threads=1, ahead=10))
    assert called == list(range(50))


def test_items_are_taken_by_the_caller_and_functions_run_beside_it() -> None:
    here = threading.get_ident()
    takers: set[int] = set()

    def items() -> Iterator[int]:
        for number in range(5):
            takers.add(threading.get_ident())
            yield number

    workers = set(map_ahead(lambda _: threading.get_ident(), items(), threads=2, ahead=2))
    assert takers == {here}
    assert here not in workers
    takers.clear()
    list(iterate_ahead(items(), ahead=2))
    assert here not in takers


def test_the_function_works_while_the_caller_does() -> None:
    """Both wait for each other: one after the other they would never meet."""
    meeting = threading.Barrier(2, timeout=10)
    results = map_ahead(lambda item: item if item == 0 else meeting.wait() >= 0, range(2), threads=1, ahead=1)
    assert next(results) == 0
    meeting.wait()
    assert next(results) is True


@pytest.mark.parametrize("ahead", [0, 1, 10])
def test_a_failure_comes_after_all_results_before_it(ahead: int) -> None:
    def items() -> Iterator[int]:
        yield from range(4)
        raise OSError("the disk is gone")

    def fail_at_two(item: int) -> int:
        if item == 2:
            raise ValueError("two")
        return item

    for results in (map_ahead(slow_for_even, items(), threads=2, ahead=ahead), iterate_ahead(items(), ahead=ahead)):
        found = []
        with pytest.raises(OSError, match="the disk is gone"):
            found.extend(results)  # keeps what came before the failure
        assert len(found) == 4
    found = []
    with pytest.raises(ValueError, match="two"):
        found.extend(map_ahead(fail_at_two, range(9), threads=2, ahead=ahead))
    assert found == [0, 1]


def test_what_is_left_early_ends_threads_and_closes_its_source() -> None:
    closed = []

    def items() -> Iterator[int]:
        try:
            yield from range(1000)
        finally:
            closed.append(threading.get_ident())

    before = threading.active_count()
    for run in (map_ahead(slow_for_even, items(), threads=3, ahead=5), iterate_ahead(items(), ahead=5)):
        assert next(run) == 0
        assert threading.active_count() > before
        run.close()
        assert threading.active_count() == before
    assert len(closed) == 2


def test_an_interruption_in_a_thread_is_one() -> None:
    def interrupt(item: int) -> int:
        if item == 1:
            raise KeyboardInterrupt
        return item

    results = map_ahead(interrupt, range(5), threads=1, ahead=2)
    assert next(results) == 0
    with pytest.raises(KeyboardInterrupt):
        next(results)


def test_what_came_before_a_failure_can_be_finished() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise KeyError("two")

    source = UntilFailure(items())
    assert list(source) == [1]
    with pytest.raises(KeyError, match="two"):
        source.raise_failure()
    whole = UntilFailure([1])
    assert list(whole) == [1]
    whole.raise_failure()
