"""Costs of matching by masks: the released functions' numbers, and how matching reads them."""

from dataclasses import replace

import pytest
import torch

from querydet.modeling.assigners import HungarianAssigner
from querydet.modeling.masks.costs import PointMaskCost, _dice, _entropy
from querydet.modeling.masks.points import sample_objects
from querydet.modeling.no_object import SoftmaxHungarianAssigner
from querydet.traits import trait
from tests.modeling.masks.pairs import sets_of, targets_with
from tests.modeling.masks.scenes import HEADS, features, pixel_embedding, random_masks

SIZES, CANVAS = [(64, 128), (64, 64)], (64, 128)


def test_numbers_of_the_released_costs() -> None:
    logits = torch.tensor([[2, -1, 0.5, -3], [-0.5, 1.5, 0, 4]])
    targets = torch.tensor([[1, 0, 1, 0], [0, 0.25, 1, 1]])
    entropy = torch.tensor([[0.240714, 1.553214], [1.846697, 0.627947]])
    dice = torch.tensor([[0.168708, 0.511948], [0.514705, 0.262237]])
    torch.testing.assert_close(_entropy(logits, targets).T, entropy, atol=1e-6, rtol=0)
    torch.testing.assert_close(_dice(logits, targets).T, dice, atol=1e-6, rtol=0)


def test_numbers_of_the_released_class_cost_and_pairs() -> None:
    """With the costs of the test above, weighed 5, 5 and 2."""
    logits = torch.tensor([[1, 0, -1, 0.5], [-2, 1, 0, 2]])
    own = SoftmaxHungarianAssigner(class_weight=2.0, l1_weight=0.0, giou_weight=0.0)
    boxes = torch.tensor([[0.5, 0.5, 1, 1]]).expand(2, 4)
    cost = own.cost([logits[:, :3] - logits[:, 3:]], boxes[None], torch.tensor([2, 0]), boxes)[0]
    wanted = torch.tensor([[1.918814, 9.377825], [11.629117, 4.426846]])
    masks = torch.tensor([[0.240714, 1.553214], [1.846697, 0.627947]])
    masks = 5 * masks + 5 * torch.tensor([[0.168708, 0.511948], [0.514705, 0.262237]])
    torch.testing.assert_close(cost.T + masks, wanted, atol=1e-5, rtol=0)


@pytest.mark.parametrize("make", HEADS, ids=lambda make: make.__name__)
@torch.no_grad()
def test_costs_are_those_of_every_pair_by_itself(make) -> None:
    masks = make()(features(SIZES))
    sets, targets = sets_of(masks, 2, 4, 2), targets_with(random_masks([3, 2], SIZES), CANVAS)
    index = torch.tensor([3, 4])
    found = PointMaskCost(num_points=50)(sets, 1, targets.masks, index)
    assert found.shape == (2, 2, 4)
    for row, one in enumerate(sets):
        points = targets.masks.draws("matching", one.describe(), 1, 1, 50)
        logits = masks.at_points(1, one.hidden[1], points[0])
        for column, number in enumerate(index):
            wanted = sample_objects(targets.masks, number[None], points)[0]
            for query in range(4):
                entropy = torch.nn.functional.binary_cross_entropy_with_logits(logits[query], wanted)
                p = logits[query].sigmoid()
                dice = 1 - (2 * (p * wanted).sum() + 1) / (p.sum() + wanted.sum() + 1)
                torch.testing.assert_close(found[row, column, query], 5 * entropy + 5 * dice, atol=1e-4, rtol=1e-5)


def assigner(**options: object) -> HungarianAssigner:
    return HungarianAssigner(mask_cost=PointMaskCost(num_points=200), **options)


def test_matching_by_masks_alone_finds_the_masks() -> None:
    masks = pixel_embedding()(features(SIZES))
    (one,) = sets_of(masks, 2, 4, 1)
    with torch.no_grad():
        whole = masks.resized(CANVAS).of_batch(one.hidden) > 0
    objects = [whole[0, [3, 1]], whole[1, [2], :, :64]]
    found = assigner(class_weight=0.0, l1_weight=0.0, giou_weight=0.0)(one, targets_with(objects, CANVAS))
    pairs = [dict(zip(each.objects.tolist(), each.queries.tolist(), strict=True)) for each in found]
    assert pairs == [{0: 3, 1: 1}, {0: 2}]


@pytest.mark.parametrize("counts", [[0, 0], [0, 3], [7, 1]])
def test_no_objects_and_more_objects_than_queries(counts: list[int]) -> None:
    (one,) = sets_of(pixel_embedding()(features(SIZES)), 2, 4, 1)
    found = assigner()(one, targets_with(random_masks(counts, SIZES), CANVAS))
    assert [len(each.queries) for each in found] == [min(4, count) for count in counts]
    assert all(len(each.queries.unique()) == len(each.queries) for each in found)


def test_the_matching_of_an_image_depends_on_no_other_image() -> None:
    (one,) = sets_of(pixel_embedding()(features(SIZES)), 2, 4, 1)
    objects = random_masks([3, 2], SIZES)
    own = assigner(class_weight=0.0, l1_weight=0.0, giou_weight=0.0)
    both = own(one, targets_with(objects, CANVAS))
    fewer = own(one, targets_with([objects[0], objects[1][:0]], CANVAS))
    assert torch.equal(both[0].queries, fewer[0].queries)
    assert torch.equal(both[0].objects, fewer[0].objects)


def test_what_an_assigner_reads() -> None:
    assert trait(assigner(), "reads_masks")
    assert trait(assigner(), "reads_boxes")
    assert not trait(assigner(l1_weight=0.0, giou_weight=0.0), "reads_boxes")
    assert not trait(HungarianAssigner(), "reads_masks")


def test_masks_that_are_missing() -> None:
    (one,) = sets_of(pixel_embedding()(features(SIZES)), 2, 4, 1)
    targets = targets_with(random_masks([1, 1], SIZES), CANVAS)
    with pytest.raises(ValueError, match=r"layer 0.* have none: set model\.masks\.layers"):
        assigner()(replace(one, masks=None), targets)
    with pytest.raises(ValueError, match="objects have none"):
        assigner()(one, replace(targets, masks=None))
    with pytest.raises(ValueError, match="num_points must be"):
        PointMaskCost(num_points=0)
