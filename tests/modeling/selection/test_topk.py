import pytest
import torch

from querydet.modeling.selection import (
    BoxEmbedding,
    LearnedContent,
    ProposalHead,
    SelectedFeatures,
    TopKSelection,
    anchor_tokens,
)
from querydet.structures import Proposals
from tests.modeling.selection.test_proposals import pyramid


def make(**arguments: object) -> TopKSelection:
    torch.manual_seed(0)
    parts = {"num_queries": 3, "proposals": ProposalHead(num_classes=2, embed_dim=8), **arguments}
    return TopKSelection(**parts)  # type: ignore[arg-type]


def proposals(logits: list[list[float]]) -> Proposals:
    values = torch.tensor([logits])
    tokens = values.shape[1]
    return Proposals(
        features=torch.zeros(1, tokens, 8),
        logits=values,
        boxes_unsigmoid=torch.zeros(1, tokens, 4),
        anchors=torch.zeros(1, tokens, 4),
        level_sizes=(tokens,),
        usable=torch.ones(1, tokens).bool(),
    )


def test_scores_by_the_best_class_or_by_the_first_column() -> None:
    dense = proposals([[0.0, 5.0], [1.0, 0.0], [-1.0, 2.0], [0.5, -3.0]])
    by_class = make(content=LearnedContent(num_queries=3, embed_dim=8))
    assert by_class.select(dense, 3).tolist() == [[0, 2, 1]]
    by_objectness = make(box_embedding=BoxEmbedding(embed_dim=8), objectness=True)
    assert by_objectness.select(dense, 3).tolist() == [[1, 3, 0]]


def test_learned_content_goes_by_rank_and_is_the_same_for_every_image() -> None:
    content = LearnedContent(num_queries=3, embed_dim=8)
    (initial,) = make(content=content)(pyramid(), training=False)
    assert torch.equal(initial.content[0], content.weight)
    assert initial.position is None


def test_pure_selection_starts_from_the_tokens_features_and_does_not_train_them() -> None:
    selection = make(content=SelectedFeatures())
    proposals_ = selection.proposals(anchor_tokens(pyramid()))
    (initial,) = selection(pyramid(), training=True)
    index = selection.select(proposals_, 3)
    assert torch.equal(initial.content[0], proposals_.features[0, index[0]])
    assert not initial.content.requires_grad


def test_boxes_carry_no_gradient_but_their_supervision_does() -> None:
    selection = make(content=LearnedContent(num_queries=3, embed_dim=8))
    (initial,) = selection(pyramid(), training=True)
    assert not initial.boxes.requires_grad
    assert initial.predictions is not None
    torch.testing.assert_close(initial.predictions.boxes.detach(), initial.boxes)
    initial.predictions.boxes.sum().backward()
    assert selection.proposals.box_head.layers[2].bias.grad.abs().sum() > 0


def test_objectness_supervises_every_token() -> None:
    (initial,) = make(box_embedding=BoxEmbedding(embed_dim=8), objectness=True)(pyramid(), training=True)
    assert initial.predictions is not None
    assert initial.predictions.logits.shape == (1, 20, 2)


def test_fewer_tokens_than_queries() -> None:
    with pytest.raises(ValueError, match="20 tokens, fewer than the 21 queries"):
        make(num_queries=21, content=LearnedContent(num_queries=21, embed_dim=8))(pyramid(), training=False)


def test_bad_parts() -> None:
    with pytest.raises(ValueError, match="TopKSelection needs a learned content"):
        make()
    with pytest.raises(ValueError, match="4 rows for num_queries=3"):
        make(content=LearnedContent(num_queries=4, embed_dim=8))
