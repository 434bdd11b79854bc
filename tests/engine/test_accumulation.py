"""Micro-batches: how a batch is split, counted and exchanged."""

import pytest
from torch import nn

from querydet.engine.accumulation import check_micro_batches, count_objects, exchanging, split_batch
from querydet.structures import ObjectCount
from tests.models import make_inputs


@pytest.mark.parametrize(("images", "parts", "wanted"), [(4, 2, [2, 2]), (5, 3, [1, 2, 2]), (3, 3, [1, 1, 1])])
def test_parts_hold_all_images_and_their_objects_are_counted_together(images, parts, wanted):
    batch = make_inputs([(32, 32)] * images, [2] * images)
    split = split_batch(batch, parts)
    assert [len(part) for part in split] == wanted
    assert [item["image"] for part in split for item in part] == [item["image"] for item in batch]
    assert count_objects(batch, parts) == ObjectCount((2,) * images, parts)


def test_one_part_is_the_batch_itself():
    batch = make_inputs([(32, 32)], [2])
    assert split_batch(batch, 1) == [batch]


@pytest.mark.parametrize(("value", "message"), [(0, "at least 1"), (True, "at least 1"), (3, "the 2 images that each")])
def test_wrong_number_of_micro_batches_is_refused(value, message):
    with pytest.raises(ValueError, match=message):
        check_micro_batches(value, total_batch_size=4, processes=2)


def test_fewer_images_than_parts_are_refused():
    with pytest.raises(ValueError, match=r"1 images cannot be split into train\.micro_batches=2"):
        split_batch(make_inputs([(32, 32)], [2]), 2)


class Wrapper(nn.parallel.DistributedDataParallel):
    """Needs no other processes, and says when gradients are not exchanged."""

    def __init__(self):
        nn.Module.__init__(self)

    def no_sync(self):
        return "no exchange"


def test_gradients_are_exchanged_with_the_last_part_only():
    assert exchanging(Wrapper(), last=False) == "no exchange"
    for model, last in ((Wrapper(), True), (nn.Linear(1, 1), False), (nn.Linear(1, 1), True)):
        with exchanging(model, last) as nothing:
            assert nothing is None
