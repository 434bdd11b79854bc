"""Batches of like sizes: whole, of little padding, and with the results in the order of the items."""

from collections.abc import Iterator

import numpy as np
import pytest

from querydet.inference.like_sizes import MAX_PADDING, SPAN, choose_batch, run_in_batches

Size = tuple[int, int]
WIDE, HIGH = (800, 1066), (1066, 800)


def batches_of(sizes: list[Size], batch_size: int) -> list[list[int]]:
    """Run the sizes and return the indices of every batch, after a look at the results."""
    batches: list[list[int]] = []

    def run(batch: list[tuple[int, Size]]) -> list[int]:
        batches.append([index for index, _ in batch])
        return batches[-1]

    results = run_in_batches(run, list(enumerate(sizes)), lambda item: item[1], batch_size)
    assert list(results) == list(range(len(sizes)))
    return batches


def test_one_by_one_is_the_order_of_the_items() -> None:
    assert batches_of([WIDE, HIGH, WIDE], 1) == [[0], [1], [2]]
    assert batches_of([], 4) == []


def test_images_of_one_size_are_batched_as_they_come() -> None:
    assert batches_of([WIDE] * 7, 3) == [[0, 1, 2], [3, 4, 5], [6]]


@pytest.mark.parametrize("batch_size", [2, 3, 8])
def test_two_sizes_in_any_order_fill_their_batches(batch_size: int) -> None:
    order = np.random.default_rng(batch_size).integers(0, 2, 200)
    sizes = [(WIDE, HIGH)[kind] for kind in order]
    batches = batches_of(sizes, batch_size)
    assert all(len({sizes[index] for index in batch}) == 1 for batch in batches)
    whole = [batch for batch in batches if len(batch) == batch_size]
    assert sum(map(len, whole)) >= 200 - 2 * SPAN * batch_size


def test_the_nearest_sizes_fill_a_batch_and_far_ones_do_not() -> None:
    sizes = {3: (800, 1066), 4: (800, 1333), 5: (800, 1088), 6: (1066, 800), 7: (800, 1066)}
    assert choose_batch(sizes, 2) == [3, 7]
    assert choose_batch(sizes, 3) == [3, 5, 7]
    assert choose_batch(sizes, 5) == [3, 4, 5, 7]
    assert choose_batch({9: (10, 10)}, 4) == [9]


@pytest.mark.parametrize("seed", range(5))
def test_every_item_is_run_once_with_little_padding_and_few_in_memory(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = [tuple(map(int, rng.integers(100, 400, 2))) for _ in range(120)]
    taken = yielded = most = 0
    seen: list[int] = []

    def items() -> Iterator[int]:
        nonlocal taken, most
        for index in range(len(sizes)):
            taken += 1
            most = max(most, taken - yielded)
            yield index

    def run(batch: list[int]) -> list[int]:
        assert 1 <= len(batch) <= 4
        height, width = (max(sides) for sides in zip(*(sizes[index] for index in batch), strict=True))
        area = sum(sizes[index][0] * sizes[index][1] for index in batch)
        assert area >= (1 - MAX_PADDING) * len(batch) * height * width - 1
        seen.extend(batch)
        return batch

    for result in run_in_batches(run, items(), lambda index: sizes[index], 4):
        assert result == yielded
        yielded += 1
    assert sorted(seen) == list(range(120))
    assert most <= SPAN * 4 + 1


def test_a_failure_of_the_items_comes_after_the_results_before_it() -> None:
    def items() -> Iterator[Size]:
        yield from [WIDE, HIGH, WIDE]
        raise OSError("the disk is gone")

    found: list[Size] = []
    with pytest.raises(OSError, match="the disk is gone"):
        found.extend(run_in_batches(lambda batch: batch, items(), lambda size: size, 2))
    assert found == [WIDE, HIGH, WIDE]
