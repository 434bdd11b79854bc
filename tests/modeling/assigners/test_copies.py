"""Matching with copies of each object."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from querydet.modeling.assigners import Copies, HungarianAssigner
from querydet.structures import Stage
from tests.modeling.assigners.vector import pairs, recorded
from tests.models import make_predictions, make_targets


def test_two_copies_of_the_vector() -> None:
    """The pairs of least total cost, computed with the released cost functions."""
    (found,) = HungarianAssigner(copies=2)(*recorded())
    by_object = {index: {query for query, of in pairs(found) if of == index} for index in range(3)}
    assert by_object == {0: {0, 1}, 1: {2, 4}, 2: {8, 11}}


def test_four_copies_of_the_vector() -> None:
    (found,) = HungarianAssigner(copies=4)(*recorded())
    by_object = {index: {query for query, of in pairs(found) if of == index} for index in range(3)}
    assert by_object[0] == {0, 1, 6, 7}
    assert by_object[1] == {2, 3, 4, 5}
    assert {8, 11} < by_object[2]
    assert len(by_object[2]) == 4


def test_every_object_has_its_number_of_queries_and_no_query_two_objects() -> None:
    predicted, targets = make_predictions(2, 20), make_targets([3, 0])
    first, empty = HungarianAssigner(copies=5)(predicted, targets)
    assert first.objects.bincount().tolist() == [5, 5, 5]
    assert len(set(first.queries.tolist())) == 15
    assert not len(empty.queries)


def test_each_layer_has_its_own_number() -> None:
    assigner, targets = HungarianAssigner(copies=Copies([3, 2, 1])), make_targets([2])
    sets = [replace(make_predictions(1, 12, seed=layer), layer=layer) for layer in range(3)]
    together = assigner.assign(assigner.compute(sets, targets), sets, targets)
    for layer, (found,) in enumerate(together):
        assert found.objects.bincount().tolist() == [3 - layer] * 2
        assert pairs(found) == pairs(assigner(sets[layer], targets)[0])
    assert assigner.one_to_one
    assert assigner.num_layers == 3


def test_copies_multiply_the_repeats_of_a_group() -> None:
    predicted, targets = make_predictions(1, 20), make_targets([2])
    repeated = replace(predicted, group=replace(predicted.group, target_repeats=3))
    (found,) = HungarianAssigner(copies=2)(repeated, targets)
    assert found.objects.bincount().tolist() == [6, 6]


def test_more_copies_than_queries_leave_copies_without_one() -> None:
    (found,) = HungarianAssigner(copies=8)(make_predictions(1, 5), make_targets([3]))
    assert sorted(found.queries.tolist()) == list(range(5))


@pytest.mark.parametrize(
    ("objects", "own", "carried"),
    [
        ([2, 3], [3, 2], [3, 2]),
        ([4, 2], [1, 3], [1, 1]),
        ([9, 2], [1, 3], [0, 0]),
        ([0, 2], [3, 3], [3, 3]),
    ],
)
def test_a_crowded_image_has_fewer_copies(objects: list[int], own: list[int], carried: list[int]) -> None:
    """Twelve queries, of which objects may take half."""
    predicted = make_predictions(2, 12)
    assert Copies(3, max_part=0.5).of_images(predicted, objects) == own
    assert Copies(3, max_part=0.5, carry_over=True).of_images(predicted, objects) == carried


def test_no_copy_at_all_leaves_only_background() -> None:
    assigner = HungarianAssigner(copies=Copies(2, max_part=0.5, carry_over=True))
    for found in assigner(make_predictions(2, 4), make_targets([3, 1])):
        assert not len(found.queries)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, {}), "at least 1, or a list of them, found 0"),
        (([2, 0], {}), "at least 1"),
        (([], {}), "at least 1"),
        ((2, {"max_part": 1.5}), r"\(0, 1\]"),
        ((2, {"carry_over": True}), "set max_part"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(arguments: tuple, message: str) -> None:
    counts, options = arguments
    with pytest.raises(ValueError, match=message):
        Copies(counts, **options)


def test_the_encoder_is_a_stage_of_one_layer() -> None:
    predicted = replace(make_predictions(1, 9), stage=Stage.ENCODER, layer=0)
    (found,) = HungarianAssigner(copies=Copies([4]))(predicted, make_targets([2]))
    assert torch.equal(found.objects.bincount(), torch.tensor([4, 4]))


def test_repeats_of_a_group_count_in_the_part_of_a_crowd() -> None:
    """24 queries, half of which are for 4 objects of 3 repeats each: no room for a second copy."""
    predicted = make_predictions(1, 24)
    repeated = replace(predicted, group=replace(predicted.group, target_repeats=3))
    assert Copies(2, max_part=0.5).of_images(repeated, [4, 2, 0]) == [3, 6, 6]


@pytest.mark.parametrize("counts", [2.5, "2", "21", True, None, [2, 1.5], [2, "1"], [True, 1], {2: 1}])
def test_copies_that_are_no_numbers_are_refused(counts: Any) -> None:
    with pytest.raises(ValueError, match=r"copies must be numbers of at least 1, or a list of them, found"):
        HungarianAssigner(copies=counts)
