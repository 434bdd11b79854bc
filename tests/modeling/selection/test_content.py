"""Contents of selected queries, and fixed positions from boxes."""

import math

import pytest
import torch

from querydet.modeling.selection import BoxEmbedding, LearnedContent, ProjectedFeatures, SelectedFeatures
from querydet.traits import trait


def test_a_learned_content_is_its_table_for_every_image() -> None:
    content = LearnedContent(num_queries=3, embed_dim=8)
    found = content(None, torch.randn(2, 3, 8))
    assert torch.equal(found, content.weight.expand(2, 3, 8))


@pytest.mark.parametrize(("init", "std"), [("xavier", math.sqrt(2 / (400 + 32))), ("normal", 1.0)])
def test_initial_tables(init: str, std: float) -> None:
    torch.manual_seed(0)
    content = LearnedContent(num_queries=400, embed_dim=32, init=init)
    assert content.weight.std().item() == pytest.approx(std, rel=0.05)
    before = content.weight.clone()
    content.reset_parameters()
    assert not torch.equal(content.weight, before)
    assert content.weight.std().item() == pytest.approx(std, rel=0.05)


def test_an_initial_table_that_does_not_exist() -> None:
    with pytest.raises(ValueError, match="'xavier' or 'normal', found 'zeros'"):
        LearnedContent(num_queries=3, embed_dim=8, init="zeros")


def test_features_are_projected_and_normalised_beside_the_content_of_the_box_and_not_trained() -> None:
    content = ProjectedFeatures(embed_dim=8)
    box_content, features = torch.randn(2, 2, 3, 8, requires_grad=True)
    found = content(box_content, features)
    torch.testing.assert_close(found - box_content, content.norm(content.linear(features)))
    box_gradient, gradient = torch.autograd.grad(found.sum(), (box_content, features), allow_unused=True)
    assert box_gradient.any()
    assert gradient is None


def test_features_themselves_are_not_trained() -> None:
    features = torch.randn(2, 3, 8, requires_grad=True)
    found = SelectedFeatures()(None, features)
    assert torch.equal(found, features)
    assert not found.requires_grad


def test_contents_tell_what_they_are_made_from() -> None:
    kinds = [LearnedContent(num_queries=3, embed_dim=8), ProjectedFeatures(embed_dim=8), SelectedFeatures()]
    assert [trait(each, "num_rows") for each in kinds] == [3, None, None]
    assert [trait(each, "needs_box_content") for each in kinds] == [False, True, False]


def test_boxes_become_positions_and_contents_row_by_row() -> None:
    embedding, boxes = BoxEmbedding(embed_dim=8), torch.rand(2, 3, 4)
    position, content = embedding(boxes)
    assert position.shape == content.shape == (2, 3, 8)
    together = torch.cat([position, content], dim=-1)
    torch.testing.assert_close(together.mean(-1), torch.zeros(2, 3), atol=1e-5, rtol=0)  # a layer norm over both
    alone = torch.stack([torch.cat(embedding(box), dim=-1) for box in boxes.flatten(0, 1)[:, None]])
    torch.testing.assert_close(together.flatten(0, 1), alone[:, 0])
