import torch

from querydet.postprocess import TopKPostprocess


def test_detections_by_hand() -> None:
    """Two queries and two classes; query 0 is found as both classes, and its box is scaled to the image."""
    logits = torch.tensor([[[2.0, 1.0], [-1.0, 0.0]]])
    boxes = torch.tensor([[[0.5, 0.5, 0.2, 0.4], [0.25, 0.25, 0.1, 0.1]]])
    (found,) = TopKPostprocess(num_detections=3)(logits, boxes, [(100, 200)])
    assert found.pred_classes.tolist() == [0, 1, 1]
    torch.testing.assert_close(found.scores, torch.tensor([2.0, 1.0, 0.0]).sigmoid())
    wanted = torch.tensor([[80.0, 30.0, 120.0, 70.0]] * 2 + [[40.0, 20.0, 60.0, 30.0]])
    torch.testing.assert_close(found.pred_boxes.tensor, wanted)


def test_boxes_are_clipped_and_empty_ones_dropped() -> None:
    logits = torch.tensor([[[2.0], [1.0]]])
    boxes = torch.tensor([[[0.0, 0.5, 0.2, 0.2], [1.5, 0.5, 0.2, 0.2]]])
    (found,) = TopKPostprocess(num_detections=10)(logits, boxes, [(100, 100)])
    torch.testing.assert_close(found.pred_boxes.tensor, torch.tensor([[0.0, 40.0, 10.0, 60.0]]))
    (raw,) = TopKPostprocess(num_detections=10, clip=False)(logits, boxes, [(100, 100)])
    assert len(raw) == 2
