import pytest
import torch

from querydet.modeling.boxes import cxcywh_to_xyxy
from querydet.modeling.postprocess import NMSPostprocess, TopKPostprocess
from tests.reference.suppression import suppress


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


def test_suppression_by_hand() -> None:
    """Query 1 overlaps query 0 by 0.9: it is dropped where both have a class, and kept in the class of its own."""
    logits = torch.tensor([[[2.0, -9.0], [1.0, 0.5], [-1.0, -9.0]]])
    boxes = torch.tensor([[[0.5, 0.5, 0.2, 0.2], [0.5, 0.5, 0.2, 0.18], [0.2, 0.2, 0.1, 0.1]]])
    (found,) = NMSPostprocess(num_detections=3)(logits, boxes, [(100, 200)])
    assert found.pred_classes.tolist() == [0, 1, 0]
    torch.testing.assert_close(found.scores, torch.tensor([2.0, 0.5, -1.0]).sigmoid())
    torch.testing.assert_close(found.pred_boxes.tensor[0], torch.tensor([80.0, 40.0, 120.0, 60.0]))
    (all_of_them,) = NMSPostprocess(num_detections=9, iou_threshold=0.95)(logits, boxes, [(100, 200)])
    assert len(all_of_them) == 6
    (few,) = NMSPostprocess(num_detections=9, max_candidates=2)(logits, boxes, [(100, 200)])
    assert few.pred_classes.tolist() == [0], "query 1's best class is among the candidates and suppressed"


@pytest.mark.parametrize("classes", [1, 2, 8, 1203])
def test_suppression_of_any_number_of_classes_agrees_with_loops(classes: int) -> None:
    """The boxes are small, and the classes many: shifting them apart in single precision would round overlaps."""
    generator = torch.Generator().manual_seed(classes)
    logits = torch.randn(2, 12, classes, generator=generator) - (classes > 100) * 3
    boxes = 0.5 + 0.001 * torch.rand(2, 12, 4, generator=generator)
    boxes[..., 2:] = 0.002 + 0.001 * torch.rand(2, 12, 2, generator=generator)
    found = NMSPostprocess(num_detections=40, iou_threshold=0.5, clip=False)(logits, boxes, [(500, 400), (30, 50)])
    for image, instances in enumerate(found):
        scores = logits[image].sigmoid().flatten()
        corners = cxcywh_to_xyxy(boxes[image]).tolist()
        best_first = scores.argsort(descending=True)[:10000].tolist()
        kept = []
        for label in range(classes):
            queries = [pair // classes for pair in best_first if pair % classes == label]
            kept += [query * classes + label for query in suppress(queries, corners, 0.5)]
        kept.sort(key=lambda pair: -scores[pair].item())
        torch.testing.assert_close(instances.scores, scores[kept[:40]])
        assert instances.pred_classes.tolist() == [pair % classes for pair in kept[:40]]


def test_suppression_looks_at_boxes_before_they_are_clipped() -> None:
    """Clipped to the image, both would be the same box."""
    logits = torch.tensor([[[2.0], [1.0]]])
    boxes = torch.tensor([[[0.5, 0.5, 1.0, 1.0], [0.5, 0.5, 2.0, 2.0]]])
    (found,) = NMSPostprocess()(logits, boxes, [(10, 10)])
    assert len(found) == 2
    assert (found.pred_boxes.tensor <= 10).all()


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan")])
def test_a_threshold_that_is_none_is_refused(threshold: float) -> None:
    with pytest.raises(ValueError, match=r"iou_threshold must be in \[0, 1\], found"):
        NMSPostprocess(iou_threshold=threshold)
