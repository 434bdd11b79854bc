import torch

from querydet.modeling.selection import ProposalHead, anchor_tokens
from querydet.modeling.selection.proposals import make_anchors
from querydet.structures import TokenPyramid


def pyramid(padding_columns: int = 0) -> TokenPyramid:
    """Levels of 4x4 and 2x2, of which the rightmost columns are padding."""
    torch.manual_seed(0)
    masks = [torch.zeros(1, side, side, dtype=torch.bool) for side in (4, 2)]
    for mask, columns in zip(masks, (padding_columns, padding_columns // 2), strict=True):
        mask[:, :, mask.shape[2] - columns :] = True
    ratio = torch.tensor([1 - padding_columns / 4, 1.0])
    return TokenPyramid(
        tokens=torch.randn(1, 20, 8),
        position=torch.zeros(1, 20, 8),
        padding=torch.cat([mask.flatten(1) for mask in masks], dim=1),
        shapes=((4, 4), (2, 2)),
        valid_ratios=ratio.expand(1, 2, 2),
    )


def test_anchors_by_hand() -> None:
    anchors, usable = make_anchors(pyramid())
    torch.testing.assert_close(anchors[0, 1], torch.tensor([0.375, 0.125, 0.05, 0.05]))
    torch.testing.assert_close(anchors[0, 16], torch.tensor([0.25, 0.25, 0.1, 0.1]))
    assert usable.all()


def test_anchors_are_relative_to_the_image_without_padding() -> None:
    anchors, usable = make_anchors(pyramid(padding_columns=2))
    torch.testing.assert_close(anchors[0, 1], torch.tensor([0.75, 0.125, 0.05, 0.05]))
    assert usable[0].tolist() == [True, True, False, False] * 4 + [True, False] * 2


def test_unusable_tokens_give_the_whole_image_and_no_gradient_through_the_memory() -> None:
    features = pyramid(padding_columns=2)
    features.tokens.requires_grad_()
    proposals = ProposalHead(num_classes=3, embed_dim=8)(anchor_tokens(features))
    unusable = ~proposals.usable
    assert (proposals.boxes_unsigmoid.sigmoid()[unusable] == 1).all()
    proposals.logits.sum().backward()
    assert features.tokens.grad is not None
    assert (features.tokens.grad[unusable] == 0).all()
    assert (features.tokens.grad[proposals.usable] != 0).any()
