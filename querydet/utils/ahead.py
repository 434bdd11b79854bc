"""Work in threads ahead of whoever uses its results: in order, and with a bounded number of results in memory.

Threads do, as decoding, resizing and encoding of images and videos work without the lock of Python. Nothing depends on
timing: results come in the order of the items, and failures at their place in it.
"""

import contextlib
import itertools
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")

_END: Any = object()


class UntilFailure(Generic[T]):
    """Iterates over items until they end or fail, so that what came before a failure can be finished first.

    Args:
        items: what to iterate over, once.
    """

    def __init__(self, items: Iterable[T]) -> None:
        self._items = items
        self._failure: Exception | None = None

    def __iter__(self) -> Generator[T, None, None]:
        try:
            yield from self._items
        except Exception as error:
            self._failure = error

    def raise_failure(self) -> None:
        """Raise the exception that ended the items, if one did."""
        if self._failure is not None:
            raise self._failure


def map_ahead(function: Callable[[T], R], items: Iterable[T], *, threads: int, ahead: int) -> Generator[R, None, None]:
    """Yield `function(item)` of every item in order, computed in threads.

    The items are taken in the thread that takes the results, up to `ahead` of them early. When the iterator is closed
    or fails, calls that have begun are finished, and others are dropped.

    Args:
        function: called in a thread.
        items: arguments of the function.
        threads: largest number of calls at a time; one thread calls in order.
        ahead: largest number of results that wait to be taken.

    Raises:
        Exception: what `function` or `items` raise, after the results before it.
    """
    source = UntilFailure(items)
    pending: deque[Future[R]] = deque()
    with contextlib.closing(iter(source)) as taken:
        pool = ThreadPoolExecutor(threads)
        try:
            for item in taken:
                pending.append(pool.submit(function, item))
                if len(pending) > ahead:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    source.raise_failure()


def iterate_ahead(items: Iterable[T], *, ahead: int) -> Generator[T, None, None]:
    """Yield items that a thread takes, up to `ahead` of them before they are used.

    Args:
        items: what to iterate over; nobody else may use it until this iterator ends.
        ahead: largest number of items that wait to be taken.

    Raises:
        Exception: what `items` raise, after the items before it.
    """
    with contextlib.closing(_each(items)) as source:

        def take(_: int) -> T:
            return next(source, _END)

        with contextlib.closing(map_ahead(take, itertools.count(), threads=1, ahead=ahead)) as taken:
            yield from itertools.takewhile(lambda item: item is not _END, taken)


def _each(items: Iterable[T]) -> Generator[T, None, None]:
    yield from items
