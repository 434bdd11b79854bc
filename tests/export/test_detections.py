"""Detections as tensors of a fixed size."""

import pytest
import torch

from querydet.export.detections import fixed_size_detections
from querydet.modeling.postprocess import NMSPostprocess, TopKPostprocess
from tests.models import make_predictions


@pytest.mark.parametrize("clip", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_tensors_of_a_fixed_size_hold_the_same_detections(seed: int, clip: bool) -> None:
    predictions = make_predictions(2, 40, seed=seed)
    predictions.boxes[0, :10] += torch.tensor([2.0, 0, 0, 0])  # outside of the image
    for postprocess in (
        TopKPostprocess(num_detections=60, clip=clip),
        NMSPostprocess(num_detections=30, iou_threshold=0.4, max_candidates=90, clip=clip),
        NMSPostprocess(num_detections=300, iou_threshold=0.01, clip=clip),
    ):
        wanted = postprocess(predictions.logits, predictions.boxes, [(1, 1)] * 2)
        boxes, scores, labels, queries = fixed_size_detections(postprocess, predictions.logits, predictions.boxes)
        for image, instances in enumerate(wanted):
            count = len(instances)
            assert torch.equal(labels[image, :count], instances.pred_classes)
            assert torch.equal(queries[image, :count], instances.query_indices)
            assert torch.allclose(scores[image, :count], instances.scores)
            assert torch.allclose(boxes[image, :count], instances.pred_boxes.tensor, atol=1e-6)
            assert (labels[image, count:] == -1).all()
            assert (scores[image, count:] == 0).all()


def test_a_postprocess_of_ones_own_needs_a_form_for_export() -> None:
    with pytest.raises(TypeError, match="object has no form with results of a fixed size"):
        fixed_size_detections(object(), torch.zeros(1, 2, 3), torch.zeros(1, 2, 4))
