"""What a sample is depends on (seed, position) alone, and nothing leaks into the caller's generators."""

import itertools
import random

import numpy as np
import pytest
import torch

from querydet.data.stream import PositionSampler, PositionStream, augmentation_rng, epoch_order, image_index, model_seed

RECORDS = [{"file_name": f"{index}.png"} for index in range(7)]


def draw(record):
    """A mapper that shows what every global generator gives."""
    return {
        "file_name": record["file_name"],
        "draws": (random.random(), float(np.random.rand()), float(torch.rand(()))),  # noqa: NPY002
    }


def skip_3_and_4(record):
    return None if record["file_name"] in ("3.png", "4.png") else draw(record)


def skip_all(record):
    return None


def positions(world_size, total, start, count):
    samplers = [iter(PositionSampler(total, rank, world_size, start)) for rank in range(world_size)]
    return [[next(sampler) for sampler in samplers] for _ in range(count)]


def test_every_image_once_an_epoch_and_epochs_differ():
    for epoch in range(3):
        first = epoch * 7
        assert sorted(image_index(5, first + place, 7) for place in range(7)) == list(range(7))
    assert list(epoch_order(5, 0, 100)) != list(epoch_order(5, 1, 100))
    assert list(epoch_order(5, 0, 100)) != list(epoch_order(6, 0, 100))


def test_order_is_frozen():
    """A resumed run must see the same order after an upgrade of numpy: these numbers may never change."""
    assert list(epoch_order(42, 0, 8)) == [3, 2, 4, 7, 5, 0, 1, 6]
    assert model_seed(42, 3) == 3315498357762010912


def test_seeds_differ_between_positions_and_fit_torch():
    seeds = {model_seed(seed, position) for seed in range(3) for position in range(200)}
    assert len(seeds) == 600
    assert all(0 <= seed < 2**62 for seed in seeds)
    torch.Generator().manual_seed(max(seeds))


@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_world_size_does_not_change_the_batches(world_size):
    for iteration, ranks in enumerate(positions(world_size, 4, 0, 5)):
        assert sorted(itertools.chain(*ranks)) == list(range(4 * iteration, 4 * iteration + 4))
        assert all(len(part) == 4 // world_size for part in ranks)
    assert positions(2, 4, 0, 1) == [[[0, 2], [1, 3]]]


def test_a_batch_that_processes_cannot_share_equally():
    assert positions(2, 3, 1, 2) == [[[3, 5], [4]], [[6, 8], [7]]]


def test_starting_late_equals_skipping():
    assert positions(2, 4, 3, 4) == positions(2, 4, 0, 7)[3:]


def test_a_sample_depends_on_its_position_alone():
    stream = PositionStream(RECORDS, draw, seed=1)
    forward = [stream[position] for position in range(20)]
    backward = [stream[position] for position in reversed(range(20))][::-1]
    assert forward == backward
    assert PositionStream(RECORDS, draw, seed=1)[13] == forward[13]
    assert PositionStream(RECORDS, draw, seed=2)[13] != forward[13]


def test_the_same_image_is_augmented_differently_in_every_epoch():
    stream = PositionStream(RECORDS[:1], draw, seed=1)
    assert len({stream[position]["draws"] for position in range(10)}) == 10


def test_the_callers_generators_are_left_alone():
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    expected = draw({"file_name": ""})
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    _ = PositionStream(RECORDS, draw, seed=1)[4]
    with pytest.raises(RuntimeError, match="inside"), augmentation_rng(1, 2):
        raise RuntimeError("inside")
    assert draw({"file_name": ""}) == expected


def test_a_skipped_image_is_replaced_by_the_next_of_the_epoch():
    everything = PositionStream(RECORDS, draw, seed=1)
    stream = PositionStream(RECORDS, skip_3_and_4, seed=1)
    names = [everything[position]["file_name"] for position in range(7)]
    for position in range(7):
        after = itertools.islice(itertools.cycle(names), position, position + 7)
        expected = next(name for name in after if name not in ("3.png", "4.png"))
        assert stream[position]["file_name"] == expected
        assert stream[position]["seed"] == everything[position]["seed"]


def test_a_data_set_of_bad_images_stops():
    with pytest.raises(ValueError, match=r"7 images in a row could not be used.*3\.png"):
        _ = PositionStream(RECORDS, skip_all, seed=1)[0]
    many = [{"file_name": str(index)} for index in range(1000)]
    with pytest.raises(ValueError, match="17 images in a row"):
        _ = PositionStream(many, skip_all, seed=1)[0]


def test_bad_arguments():
    with pytest.raises(ValueError, match="no images"):
        PositionStream([], draw, seed=1)
    with pytest.raises(ValueError, match="seed must be >= 0, got -1"):
        PositionStream(RECORDS, draw, seed=-1)
    with pytest.raises(ValueError, match="total_batch_size=2 is less than an image for each of 3 processes"):
        PositionSampler(2, 0, 3)
    with pytest.raises(ValueError, match="total_batch_size=0"):
        PositionSampler(0, 0, 1)
    with pytest.raises(ValueError, match="start_iteration must be >= 0, got -3"):
        PositionSampler(4, 0, 1, -3)
