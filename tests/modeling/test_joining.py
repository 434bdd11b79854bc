"""Prediction sets side by side: whose objects a pair names, and which sets share the name of a loss."""

from dataclasses import replace

import pytest
import torch

from querydet.modeling.joining import JoinedSets, join, join_by_suffix, sum_parts
from querydet.structures import Assignment, PredictionSet
from tests.models import make_predictions, make_targets


def assignment(queries: list[int], objects: list[int], weights: list[float] | None = None) -> Assignment:
    return Assignment(
        torch.tensor(queries, dtype=torch.int64),
        torch.tensor(objects, dtype=torch.int64),
        None if weights is None else torch.tensor(weights),
    )


def layers(*numbers: int, queries: int = 4) -> list[PredictionSet]:
    """A prediction set of two images for each layer, the one of number 1 being the last."""
    return [replace(make_predictions(2, queries, seed=n), layer=n, is_last=n == 1) for n in numbers]


def test_pairs_look_up_the_objects_of_their_own_image() -> None:
    targets = make_targets([2, 1])
    _, pairs = join(layers(0), [(assignment([2], [1]), assignment([0], [0]))], targets)
    assert pairs.image.tolist() == [0, 1]
    assert torch.equal(pairs.boxes, torch.stack([targets.boxes[0][1], targets.boxes[1][0]]))
    assert pairs.labels.tolist() == [targets.labels[0][1].item(), targets.labels[1][0].item()]


def test_queries_of_later_sets_follow_those_of_earlier_ones() -> None:
    sets = [make_predictions(2, 4), make_predictions(2, 3, seed=1)]
    first = (assignment([3, 1], [0, 1]), assignment([], []))
    second = (assignment([2], [0]), assignment([0], [0]))
    joined, pairs = join(sets, [first, second], make_targets([2, 1]))
    assert joined.sizes == (4, 3)
    assert torch.equal(joined.boxes[:, 4:], sets[1].boxes)
    assert torch.equal(joined.logits[:, :4], sets[0].logits)
    assert pairs.query.tolist() == [3, 1, 4 + 2, 4 + 0]
    assert pairs.image.tolist() == [0, 0, 0, 1]
    assert pairs.counts == (2, 2)


def test_queries_weigh_what_their_assignment_says_and_one_otherwise() -> None:
    plain, some = assignment([0], [0]), assignment([0], [0], [0.5, 0.0, 2.0, 0.0])
    assert join(layers(0), [(plain, plain)], make_targets([1, 1]))[1].query_weights is None
    _, pairs = join(layers(0, 1), [(plain, plain), (some, plain)], make_targets([1, 1]))
    assert pairs.query_weights is not None
    assert pairs.query_weights.tolist() == [[1, 1, 1, 1, 0.5, 0, 2, 0], [1] * 8]


def test_losses_of_queries_and_of_pairs_are_weighed() -> None:
    some = assignment([2, 0], [0, 1], [0.5, 0.0, 3.0, 0.0])
    joined = join_by_suffix(layers(0), [(some, assignment([1], [0]))], make_targets([2, 1]))
    found = joined.sum_sets(torch.tensor([[1.0, 10.0, 100.0, 1000.0], [1.0, 1.0, 1.0, 1.0]]))
    assert found is not None
    assert found.tolist() == [0.5 + 300 + 4]
    pairs = joined.sum_sets(torch.tensor([1.0, 10.0, 100.0]))
    assert pairs is not None
    assert pairs.tolist() == [3 + 5 + 100]


def test_without_objects_there_are_no_pairs() -> None:
    nothing = assignment([], [])
    _, pairs = join(layers(0), [(nothing, nothing)], make_targets([0, 0]))
    assert pairs.boxes.shape == (0, 4)
    assert pairs.counts == (0,)


def joined_of_two_groups() -> JoinedSets:
    """Layers 0 and 1 of two groups whose losses have the same names, with a pair for every second query."""
    sets = [*layers(0, 1), *layers(0, 1, queries=6)]
    assigned = [
        (assignment(list(range(0, len(s.group), 2)), [0] * (len(s.group) // 2)), assignment([], [])) for s in sets
    ]
    return join_by_suffix(sets, assigned, make_targets([1, 0]))


def test_sets_whose_losses_share_a_name_become_neighbours() -> None:
    joined = joined_of_two_groups()
    assert joined.suffixes == {"_0": 2, "": 2}
    assert [(each.layer, len(each.group)) for each in joined.sets] == [(0, 4), (0, 6), (1, 4), (1, 6)]
    assert joined.predictions.sizes == (4, 6, 4, 6)
    assert joined.pairs.counts == (2, 3, 2, 3)


def test_losses_of_queries_and_of_pairs_are_summed_by_set_and_by_name() -> None:
    joined = joined_of_two_groups()
    of_queries = joined.sum_sets(torch.ones(2, 20))
    of_pairs = joined.sum_sets(torch.ones(10))
    assert of_queries is not None
    assert of_pairs is not None
    assert of_queries.tolist() == [8, 12, 8, 12]
    assert of_pairs.tolist() == [2, 3, 2, 3]
    assert {name: value.item() for name, value in joined.sum_suffixes(of_pairs * torch.tensor([1, 1, 10, 10]))} == {
        "_0": 5,
        "": 50,
    }


@pytest.mark.parametrize("shape", [(), (20,), (20, 2), (2, 20, 1)])
def test_a_loss_of_another_shape_has_no_sums(shape: tuple[int, ...]) -> None:
    assert joined_of_two_groups().sum_sets(torch.ones(shape)) is None


@pytest.mark.parametrize("lengths", [[2, 2, 2], [1, 0, 5], [6], [0, 0, 0]])
def test_parts_are_summed_like_a_loop(lengths: list[int]) -> None:
    values = torch.arange(1.0, 1 + sum(lengths))
    wanted = [sum(values[sum(lengths[:n]) : sum(lengths[: n + 1])].tolist()) for n in range(len(lengths))]
    assert sum_parts(values, lengths).tolist() == wanted
