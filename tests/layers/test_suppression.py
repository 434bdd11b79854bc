"""Suppression as an operator with a mask for its answer."""

import pytest
import torch

from querydet.layers.suppression import suppress
from tests.reference.suppression import suppress as suppress_one_by_one


def boxes_and_scores(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(2, 30, 2, generator=generator) * 0.3
    boxes = torch.cat([corners, corners + 0.1 + 0.2 * torch.rand(2, 30, 2, generator=generator)], dim=-1)
    return boxes, torch.randn(2, 3, 30, generator=generator)


@pytest.mark.parametrize("seed", range(4))
def test_agrees_with_loops_image_by_image_and_group_by_group(seed: int) -> None:
    boxes, scores = boxes_and_scores(seed)
    scores[:, 1, ::2] = -torch.inf
    kept = suppress(boxes, scores, 0.4)
    for image in range(2):
        for group in range(3):
            order = scores[image, group].argsort(descending=True).tolist()
            order = [row for row in order if scores[image, group, row] > -torch.inf]
            left = suppress_one_by_one(order, boxes[image].tolist(), 0.4)
            assert kept[image, group].nonzero()[:, 0].tolist() == sorted(left)


def test_of_equal_boxes_and_scores_the_first_is_left() -> None:
    boxes = torch.tensor([[[0.1, 0.1, 0.4, 0.4]] * 3])
    assert suppress(boxes, torch.ones(1, 1, 3), 0.5).tolist() == [[[True, False, False]]]


def test_nothing_takes_part() -> None:
    boxes, scores = boxes_and_scores(0)
    assert not suppress(boxes, torch.full_like(scores, -torch.inf), 0.5).any()
    assert suppress(boxes[:, :0], scores[..., :0], 0.5).shape == (2, 3, 0)


def test_is_an_operator_that_the_meta_device_and_the_compiler_know() -> None:
    boxes, scores = boxes_and_scores(0)
    assert suppress(boxes.to("meta"), scores.to("meta"), 0.5).shape == (2, 3, 30)
    torch.library.opcheck(suppress, (boxes, scores, 0.5))
