import pytest
import torch
from torchvision.ops import box_iou as torchvision_iou
from torchvision.ops import generalized_box_iou

from querydet.modeling.boxes import (
    box_iou,
    cxcywh_to_xyxy,
    generalized_iou,
    inverse_sigmoid,
    refine_boxes,
    xyxy_to_cxcywh,
)


def test_inverse_sigmoid_is_clipped_on_both_sides() -> None:
    values = torch.tensor([-0.1, 0.0, 0.0005, 0.3, 0.9995, 1.2])
    wanted = torch.tensor([-6.907755, -6.907755, -6.907255, -0.847298, 6.907255, 6.907755])
    torch.testing.assert_close(inverse_sigmoid(values, 1e-3), wanted, atol=2e-5, rtol=0)


def test_inverse_sigmoid_has_no_gradient_where_it_is_clipped() -> None:
    values = torch.tensor([-0.1, 0.0005, 0.5, 1.1], requires_grad=True)
    inverse_sigmoid(values, 1e-3).sum().backward()
    assert values.grad is not None
    assert values.grad[0] == 0
    assert values.grad[2] == pytest.approx(4.0)
    assert values.grad[3] == 0


def test_corner_conversion_by_hand_and_back() -> None:
    boxes = torch.tensor([[0.5, 0.4, 0.2, 0.6]])
    corners = torch.tensor([[0.4, 0.1, 0.6, 0.7]])
    torch.testing.assert_close(cxcywh_to_xyxy(boxes), corners)
    torch.testing.assert_close(xyxy_to_cxcywh(corners), boxes)


def test_iou_is_that_of_torchvision_and_zero_without_area() -> None:
    torch.manual_seed(0)
    boxes = cxcywh_to_xyxy(torch.rand(20, 4) + 0.1)
    others = cxcywh_to_xyxy(torch.rand(7, 4) + 0.1)
    torch.testing.assert_close(box_iou(boxes[:, None], others[None]), torchvision_iou(boxes, others))
    assert box_iou(torch.zeros(1, 4), torch.zeros(1, 4)).item() == 0
    half = torch.tensor([[0.0, 0.0, 1.0, 0.5]])
    assert box_iou(half, torch.tensor([[0.0, 0.0, 1.0, 1.0]]), 1.0).item() == pytest.approx(0.25)


def test_giou_by_hand() -> None:
    boxes = cxcywh_to_xyxy(torch.tensor([[0.5, 0.5, 0.2, 0.4]]))
    others = cxcywh_to_xyxy(torch.tensor([[0.55, 0.45, 0.3, 0.3]]))
    assert generalized_iou(boxes, others, 1e-6).item() == pytest.approx(0.462117, abs=1e-5)


def test_giou_without_eps_is_that_of_torchvision() -> None:
    torch.manual_seed(0)
    boxes = cxcywh_to_xyxy(torch.rand(20, 4) + 0.1)
    others = cxcywh_to_xyxy(torch.rand(7, 4) + 0.1)
    torch.testing.assert_close(generalized_iou(boxes[:, None], others[None]), generalized_box_iou(boxes, others))


def test_refining_by_zero_keeps_a_box() -> None:
    boxes = torch.tensor([[0.5, 0.4, 0.2, 0.6]])
    torch.testing.assert_close(refine_boxes(torch.zeros(1, 4), boxes, 1e-5), boxes)


def test_refining_a_point_moves_it_and_takes_the_size_as_it_is() -> None:
    deltas = torch.tensor([[0.0, 0.0, -1.0, 2.0]])
    refined = refine_boxes(deltas, torch.tensor([[0.3, 0.7]]), 1e-5)
    torch.testing.assert_close(refined, torch.tensor([[0.3, 0.7, 0.26894143, 0.880797]]))
