"""Queries that are the same for every image."""

import pytest
import torch

from querydet.modeling.selection import LearnedBoxes
from querydet.structures import TokenPyramid


def memory(images: int) -> TokenPyramid:
    return TokenPyramid(
        tokens=torch.zeros(images, 4, 8),
        position=torch.zeros(images, 4, 8),
        padding=torch.zeros(images, 4, dtype=torch.bool),
        shapes=((2, 2),),
        valid_ratios=torch.ones(images, 1, 2),
    )


def test_tables_are_repeated_for_each_image() -> None:
    selection = LearnedBoxes(num_queries=3, embed_dim=8)
    for training in (True, False):
        (initial,) = selection(memory(2), training)
        assert torch.equal(initial.content, selection.content.weight.expand(2, 3, 8))
        assert torch.equal(initial.boxes, selection.anchors.weight.sigmoid().expand(2, 3, 4))
        assert initial.position is None
        assert initial.predictions is None


def test_the_indicator_of_matching_queries_is_zero() -> None:
    selection = LearnedBoxes(num_queries=3, embed_dim=8, indicator=True)
    assert selection.content.weight.shape == (3, 7)
    (initial,) = selection(memory(1), training=True)
    assert initial.content.shape == (1, 3, 8)
    assert not initial.content[..., -1].any()


def test_initialisations() -> None:
    torch.manual_seed(0)
    normal = LearnedBoxes(num_queries=2000, embed_dim=8)
    for table in (normal.content.weight, normal.anchors.weight):
        assert abs(table.mean().item()) < 0.05
        assert table.std().item() == pytest.approx(1, abs=0.05)
    detrex = LearnedBoxes(num_queries=2000, embed_dim=8, content_init="zeros", box_init="uniform")
    assert not detrex.content.weight.any()
    assert detrex.anchors.weight.abs().max() == 3
    quarters = detrex.anchors.weight.sigmoid().flatten().quantile(torch.tensor([0.25, 0.5, 0.75]))
    torch.testing.assert_close(quarters, torch.tensor([0.25, 0.5, 0.75]), atol=0.02, rtol=0)


def test_unknown_initialisations() -> None:
    with pytest.raises(ValueError, match="content_init must be 'normal' or 'zeros', found 'xavier'"):
        LearnedBoxes(num_queries=3, content_init="xavier")
    with pytest.raises(ValueError, match="box_init must be 'normal' or 'uniform', found 'zeros'"):
        LearnedBoxes(num_queries=3, box_init="zeros")
