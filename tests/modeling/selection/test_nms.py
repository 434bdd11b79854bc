"""Suppression within levels, and room for every level."""

import pytest
import torch
from torch import Tensor

from querydet.modeling.boxes import cxcywh_to_xyxy
from querydet.modeling.selection import BoxEmbedding, LearnedContent, NMSSelection, ProposalHead
from querydet.modeling.selection.nms import select_by_level
from querydet.structures import Proposals
from tests.modeling.selection.test_proposals import pyramid
from tests.reference.suppression import select_one_by_one


def make(**arguments: object) -> NMSSelection:
    torch.manual_seed(0)
    parts = {"num_queries": 4, "proposals": ProposalHead(num_classes=2, embed_dim=8), "objectness": True}
    return NMSSelection(**{**parts, "box_embedding": BoxEmbedding(embed_dim=8), **arguments})  # type: ignore[arg-type]


def proposals(
    scores: list[float], boxes: list[list[float]], sizes: tuple[int, ...], usable: object = True
) -> Proposals:
    logits = torch.tensor(scores)[None, :, None].expand(-1, -1, 2)
    return Proposals(
        features=torch.zeros(1, len(scores), 8),
        logits=logits,
        boxes_unsigmoid=torch.tensor(boxes)[None].logit(),
        anchors=torch.zeros(1, len(scores), 4),
        level_sizes=sizes,
        usable=torch.tensor(usable).expand(1, len(scores)),
    )


NEAR = [[0.5, 0.5, 0.2, 0.2], [0.5, 0.5, 0.2, 0.199], [0.5, 0.5, 0.2, 0.201]]  # overlap by more than 0.9
APART = [[0.1 + 0.2 * step, 0.1, 0.1, 0.1] for step in range(4)]


def test_the_worse_of_two_like_boxes_is_dropped_within_a_level_alone() -> None:
    dense = proposals([5.0, 4.0, 3.0, 2.0, 1.0], [NEAR[0], NEAR[1], APART[0], NEAR[2], APART[1]], (3, 2))
    assert make(num_queries=3, level_share=0).select(dense, 3).tolist() == [[0, 2, 3]]
    assert make(num_queries=3, level_share=0, iou_threshold=1.0).select(dense, 3).tolist() == [[0, 1, 2]]


def test_every_level_has_its_share_and_the_rest_goes_by_score() -> None:
    boxes = [*APART, *APART]
    dense = proposals([8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0], boxes, (4, 4))
    assert make().select(dense, 4).tolist() == [[0, 1, 4, 5]]
    assert make().select(dense, 5).tolist() == [[0, 1, 2, 4, 5]]  # a share of 2, and one left over
    assert make(level_share=1).select(dense, 4).tolist() == [[0, 1, 2, 4]]
    assert make(level_share=0).select(dense, 4).tolist() == [[0, 1, 2, 3]]
    assert make(level_share=9).select(dense, 4).tolist() == [[0, 1, 2, 3]]  # more than there is room for


def test_what_a_small_level_leaves_of_its_share_goes_to_others() -> None:
    dense = proposals([1.0, 5.0, 4.0, 3.0, 2.0], [APART[0], *APART], (1, 4))
    assert make().select(dense, 4).tolist() == [[1, 2, 3, 0]]


def test_only_the_best_candidates_of_a_level_take_part() -> None:
    dense = proposals([5.0, 4.0, 3.0, 2.0, 1.0], [*APART, APART[0]], (4, 1))
    assert make(max_candidates=2).select(dense, 3).tolist() == [[0, 1, 4]]


def test_when_too_few_are_left_the_best_are_taken_without_suppression() -> None:
    dense = proposals([3.0, 2.0, 1.0, 0.0], [*NEAR, APART[0]], (3, 1))
    assert make(num_queries=3).select(dense, 3).tolist() == [[0, 1, 2]]


def test_unusable_tokens_take_no_place_of_others() -> None:
    usable = [True, True, False, True, False]
    dense = proposals([1.0, 2.0, 9.0, 3.0, 9.0], [*APART, APART[0]], (3, 2), usable)
    assert make(num_queries=3).select(dense, 3).tolist() == [[3, 1, 0]]
    assert make(num_queries=3, usable_only=False).select(dense, 3).tolist() == [[2, 4, 3]]


def random_proposals(seed: int, sizes: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(2, sum(sizes), generator=generator)
    boxes = torch.rand(2, sum(sizes), 4, generator=generator) * 0.3 + 0.35
    return scores, cxcywh_to_xyxy(boxes)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("share", [0, 3, 5])
def test_agrees_with_loops(seed: int, share: int) -> None:
    sizes = (40, 12, 4, 1)
    scores, boxes = random_proposals(seed, sizes)
    arguments = (sizes, 18, share, 20, 0.5)
    found = select_by_level(scores, boxes, *arguments)
    for image in range(2):
        assert found[image].tolist() == select_one_by_one(scores[image].tolist(), boxes[image].tolist(), *arguments)


def test_images_do_not_influence_each_other() -> None:
    scores, boxes = random_proposals(0, (40, 12))
    together = select_by_level(scores, boxes, [40, 12], 10, 5, 30, 0.5)
    for image in range(2):
        alone = select_by_level(scores[image : image + 1], boxes[image : image + 1], [40, 12], 10, 5, 30, 0.5)
        assert torch.equal(alone[0], together[image])


def test_no_token_is_selected_twice() -> None:
    scores, boxes = random_proposals(0, (40, 12, 4))
    for row in select_by_level(scores, boxes, [40, 12, 4], 20, 6, 1000, 0.4):
        assert len(set(row.tolist())) == 20


def test_runs_on_the_meta_device() -> None:
    scores, boxes = random_proposals(0, (40, 12))
    arguments = ([40, 12], 10, 5, 30, 0.5)
    assert select_by_level(scores.to("meta"), boxes.to("meta"), *arguments).shape == (2, 10)


def test_queries_of_an_encoded_image() -> None:
    selection = make(num_queries=6, content=LearnedContent(num_queries=6, embed_dim=8))
    (initial,) = selection(pyramid(), training=True)
    assert initial.content.shape == (1, 6, 8)
    assert not initial.boxes.requires_grad
    assert initial.predictions is not None
    assert initial.predictions.logits.shape == (1, 20, 2)


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="20 tokens, fewer than the 21 queries"):
        make(num_queries=21)(pyramid(), training=False)
    with pytest.raises(ValueError, match=r"iou_threshold must be in \[0, 1\], found 1\.5"):
        make(iou_threshold=1.5)
    with pytest.raises(ValueError, match="at least 1 and level_share not negative, found 0 and None"):
        make(max_candidates=0)
    with pytest.raises(ValueError, match="found 1000 and -1"):
        make(level_share=-1)
    with pytest.raises(ValueError, match="NMSSelection needs a learned content"):
        make(box_embedding=None)
