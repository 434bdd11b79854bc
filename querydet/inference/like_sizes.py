"""Batches of images of like sizes, whose results come in the order of the images.

A detector pads a batch to its largest height and width: beside a landscape, an upright photograph has a third more
pixels. Which images are batched depends on their order and sizes alone.
"""

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from typing import TypeVar

from querydet.utils.ahead import UntilFailure

T = TypeVar("T")
R = TypeVar("R")
Size = tuple[int, int]  # (height, width)

SPAN = 4  # batches; ours: of two sizes in any order, four batches of images always hold a full batch of one
MAX_PADDING = 0.2  # of a batch's pixels; ours: below what a landscape and an upright photograph need together


def run_in_batches(
    run: Callable[[list[T]], Sequence[R]], items: Iterable[T], size_of: Callable[[T], Size], batch_size: int
) -> Generator[R, None, None]:
    """Yield the result of every item in order, computed in batches of like sizes.

    At most `SPAN * batch_size` items and results are in memory; with a batch size of 1, one.

    Args:
        run: returns the results of a batch.
        items: what to batch.
        size_of: returns the size of an item, in pixels.
        batch_size: largest number of items in a batch.

    Raises:
        Exception: what `run` raises; and what `items` raise, after the results of the items before it.
    """
    span = SPAN * batch_size if batch_size > 1 else 1
    source = UntilFailure(items)
    numbered = enumerate(source)
    waiting: dict[int, T] = {}
    done: dict[int, R] = {}
    due = taken = 0
    while True:
        while taken < due + span and (entry := next(numbered, None)) is not None:
            waiting[entry[0]] = entry[1]
            taken += 1
        if not waiting:
            break
        batch = choose_batch({index: size_of(item) for index, item in waiting.items()}, batch_size)
        results = run([waiting.pop(index) for index in batch])
        done.update(zip(batch, results, strict=True))
        while due in done:
            yield done.pop(due)
            due += 1
    source.raise_failure()


def choose_batch(sizes: Mapping[int, Size], batch_size: int) -> list[int]:
    """Choose the first item and those that are most like it in size.

    Args:
        sizes: by index, of the items that wait, in ascending order.
        batch_size: largest number of items.

    Returns:
        Indices in ascending order; at most `MAX_PADDING` of their batch is padding.
    """
    first = next(iter(sizes))
    nearest = sorted(sizes, key=lambda index: (_padding([sizes[first], sizes[index]]), index))
    batch = [first]
    for index in nearest:
        if len(batch) == batch_size:
            break
        if index != first and _padding([sizes[member] for member in (*batch, index)]) <= MAX_PADDING:
            batch.append(index)
    return sorted(batch)


def _padding(sizes: Sequence[Size]) -> float:
    """Return the part of a batch that is padding, in [0, 1)."""
    height, width = (max(sides) for sides in zip(*sizes, strict=True))
    return 1 - sum(size[0] * size[1] for size in sizes) / (len(sizes) * height * width)
