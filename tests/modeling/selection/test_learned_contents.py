"""Learned queries with a content and a position, and no box."""

import pytest
import torch
from torch import nn

from querydet.modeling.selection import GroupedSelection, LearnedContents
from querydet.structures import TokenPyramid


def memory(images: int) -> TokenPyramid:
    return TokenPyramid(
        tokens=torch.zeros(images, 4, 8),
        position=torch.zeros(images, 4, 8),
        padding=torch.zeros(images, 4, dtype=torch.bool),
        shapes=((2, 2),),
        valid_ratios=torch.ones(images, 1, 2),
    )


@pytest.mark.parametrize("training", [True, False])
def test_tables_are_repeated_for_each_image(training: bool) -> None:
    selection = LearnedContents(num_queries=3, embed_dim=8)
    (initial,) = selection(memory(2), training)
    assert torch.equal(initial.content, selection.content.weight.expand(2, 3, 8))
    assert initial.position is not None
    assert torch.equal(initial.position, selection.position.weight.expand(2, 3, 8))
    assert torch.equal(initial.boxes, torch.full((2, 3, 2), 0.5))
    assert (initial.group.name, len(initial.group)) == ("primary", 3)
    assert selection.embed_boxes(torch.rand(2, 3, 4)) is None


def test_initial_weights_are_normal() -> None:
    torch.manual_seed(0)
    selection = LearnedContents(num_queries=100, embed_dim=256)
    for table in (selection.content.weight, selection.position.weight):
        assert table.std().item() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("number", [0, -3, 2.5])
def test_at_least_one_query(number: float) -> None:
    with pytest.raises(ValueError, match=f"whole number and at least 1, found {number}"):
        LearnedContents(num_queries=number, embed_dim=8)


def test_groups_have_two_tables_of_their_own_each() -> None:
    grouped = GroupedSelection(selection=LearnedContents(num_queries=3, embed_dim=8), num_groups=3)
    names = {name: tuple(value.shape) for name, value in grouped.state_dict().items() if "extra" in name}
    assert len(names) == 4
    assert set(names.values()) == {(3, 8)}
    groups = grouped(memory(2), True)
    assert len(groups) == 3
    assert len({group.group.name for group in groups}) == 3
    tables = [nn.Parameter(group.content[0]) for group in groups] + [
        nn.Parameter(group.position[0]) for group in groups
    ]
    assert not any(torch.equal(one, other) for row, one in enumerate(tables) for other in tables[:row])
    (alone,) = grouped(memory(2), False)
    assert torch.equal(alone.content, groups[0].content)
