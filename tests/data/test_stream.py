"""What a sample is depends on (seed, position) alone, and nothing leaks into the caller's generators."""

import itertools
import random

import numpy as np
import pytest
import torch

from querydet.data.stream import (
    EpochPlan,
    PositionSampler,
    PositionStream,
    augmentation_rng,
    epoch_length,
    epoch_order,
    epoch_phase,
    image_of_place,
    model_seed,
    scaled_ends,
)

RECORDS = [{"file_name": f"{index}.png"} for index in range(7)]
FACTORS = np.array([2**0.5, 2**0.5, 2, 1, 1, 2, 1, 1])  # of LVIS' rule, for the classes of test_repeat_factors.py


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
    plan = EpochPlan(7, seed=5)
    for epoch in range(3):
        assert sorted(plan.image(7 * epoch + place) for place in range(7)) == list(range(7))
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


def repeats(factors, phase):
    """How many places of an epoch each image has."""
    ends = scaled_ends(factors, len(factors))
    images = [image_of_place(ends, place, phase) for place in range(int(ends[-1]))]
    assert images == sorted(images)
    return np.bincount(images, minlength=len(factors)).tolist()


def test_repeats_are_factors_rounded_up_or_down():
    """By hand: the factors sum up to 10.83, so that an epoch has 11 places."""
    assert repeats(FACTORS, 0.25) == [1, 2, 2, 1, 1, 2, 1, 1]
    assert repeats(FACTORS, 0.9) == [2, 1, 2, 1, 1, 2, 1, 1]


def test_an_image_comes_as_often_as_its_factor_says_on_average():
    plan = EpochPlan(8, seed=3, factors=FACTORS)
    counts = np.array([np.bincount([plan.image(11 * epoch + k) for k in range(11)]) for epoch in range(1000)])
    scaled = FACTORS * 11 / FACTORS.sum()
    assert len(plan) == 11
    assert (counts.sum(1) == 11).all()
    assert (np.abs(counts - scaled) < 1).all()
    np.testing.assert_allclose(counts.mean(0), scaled, atol=0.04)


def test_epochs_of_any_factors_are_equally_long():
    random = np.random.default_rng(0)
    for factors in (random.uniform(1, 10, 501), random.exponential(0.3, 501) + 1e-9, np.full(501, 0.3)):
        ends = scaled_ends(factors, 501)
        assert ends[-1] == round(factors.sum())
        for phase in (0, epoch_phase(1, 2), 1 - 2**-24):
            assert sum(repeats(factors, phase)) == ends[-1]


def test_factors_of_one_change_nothing():
    plain, repeated = (PositionStream(RECORDS, draw, seed=1, repeat=factors) for factors in (None, np.ones(7)))
    assert [plain[position] for position in range(30)] == [repeated[position] for position in range(30)]
    last = 2**28  # places of an epoch with two billion images are still told apart
    assert image_of_place(np.arange(last - 2, last + 2) + 1.0, last, 1 - 2**-24) == 2


def test_images_and_samples_of_an_epoch_are_counted_apart():
    stream = PositionStream(RECORDS, draw, seed=1, repeat=np.array([3.0, 1, 1, 1, 1, 1, 1]))
    assert (len(stream), stream.epoch_length, epoch_length(stream)) == (7, 9, 9)
    assert epoch_length(RECORDS) == 7
    assert [stream[position]["file_name"] for position in range(9)].count("0.png") == 3
    assert stream.record(6) == RECORDS[6]


def test_repeats_of_an_unusable_image_are_one_image_to_replace():
    """An image that is skipped is tried once, so that its repeats do not use up the tries of a sample."""
    stream = PositionStream(RECORDS[3:6], skip_3_and_4, seed=1, repeat=np.array([90.0, 90, 1]))
    samples = [stream[position] for position in range(20)]
    assert {sample["file_name"] for sample in samples} == {"5.png"}
    with pytest.raises(ValueError, match="3 images in a row"):
        _ = PositionStream(RECORDS[:3], skip_all, seed=1, repeat=np.array([90.0, 90, 1]))[0]


@pytest.mark.parametrize(
    ("factors", "message"),
    [
        (np.ones(6), r"7 images need a repeat factor each, got an array of shape \(6,\)"),
        (np.array([1, 1, 0, 1, 1, 1, 1]), "that of image 2 is 0"),
        (np.array([1, np.nan, 1, 1, 1, 1, 1]), "that of image 1 is nan"),
        (np.array([1, 1, 1, 1, 1, 1, np.inf]), "that of image 6 is inf"),
    ],
)
def test_bad_factors(factors, message):
    with pytest.raises(ValueError, match=message):
        PositionStream(RECORDS, draw, seed=1, repeat=factors)


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
