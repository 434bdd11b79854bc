"""Every group of a model that was trained with several, as inference would run it."""

import pytest
import torch

from querydet.evaluation.groups import count_groups, evaluate_groups, match_groups, predict_groups
from querydet.evaluation.per_image import image_truth
from querydet.modeling.assigners import HungarianAssigner
from querydet.modeling.geometry import padding_mask
from tests.models import make_inputs, tiny_detector

INPUTS = make_inputs([(96, 128), (64, 96)])
NAMES = ["group_detr", "group_conditional_detr", "group_dn_dab_detr", "group_dino", "group_mask2former"]


class Count:
    """An evaluator that adds up scores."""

    def reset(self):
        self.total = 0.0

    def process(self, inputs, outputs):
        assert len(inputs) == len(outputs)
        assert not any(each["instances"].scores.requires_grad for each in outputs)
        self.total += sum(float(each["instances"].scores.sum()) for each in outputs)

    def evaluate(self):
        return {"bbox": {"AP": self.total}}


@pytest.mark.parametrize("name", NAMES)
def test_the_primary_group_is_what_inference_gives_and_the_others_differ(name):
    detector = tiny_detector(name).eval()
    groups = predict_groups(detector, INPUTS)
    assert [each.group.name for each in groups] == ["primary", "group1", "group2"]
    images = detector.preprocess(INPUTS)
    with torch.no_grad():
        padding = detector.padding_of(padding_mask(images))
        (alone,) = detector.predict(detector.backbone(images.tensor), padding)
    tolerance = 1e-5 if detector.masks is None else 1e-3  # attention within masks enlarges what rounding changes
    torch.testing.assert_close(groups[0].logits, alone.logits, rtol=1e-5, atol=tolerance)
    for given in (groups[0], alone):
        assert (given.masks is not None) == (detector.masks is not None)
    torch.testing.assert_close(groups[0].boxes, alone.boxes, rtol=1e-5, atol=1e-5)
    assert (groups[1].logits - alone.logits).abs().max() > 1e-4


def test_a_group_is_what_inference_gives_with_its_table():
    detector = tiny_detector("group_conditional_detr", selection__separate=False).eval()  # trained among all others
    second = predict_groups(detector, INPUTS)[1]
    with torch.no_grad():
        detector.selection.embedding.weight.copy_(detector.selection.extra_groups[0].weight)
        first = predict_groups(detector, INPUTS)[0]
    torch.testing.assert_close(first.logits, second.logits, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["group_dab_detr", "group_mask2former"])
def test_every_group_is_evaluated_on_all_images(name):
    detector = tiny_detector(name).eval()
    results = evaluate_groups(detector, [INPUTS[:1], INPUTS[1:]], [Count() for _ in range(3)])
    plain = sum(float(each["instances"].scores.sum()) for one in INPUTS for each in detector([one]))
    assert results[0]["bbox"]["AP"] == pytest.approx(plain, rel=1e-4)
    with pytest.raises(ValueError, match="3 groups need as many evaluators, found 1"):
        evaluate_groups(detector, [], [Count()])


def test_an_object_is_matched_with_a_query_of_each_group():
    detector = tiny_detector("group_conditional_detr").eval()
    groups = predict_groups(detector, INPUTS[:1])
    target = groups[1].boxes[0, 7]  # what query 7 of the second group predicts
    corners = torch.cat([target[:2] - target[2:] / 2, target[2:]]) * torch.tensor([128, 96, 128, 96])
    record = {"height": 96, "width": 128, "annotations": [{"bbox": corners.tolist(), "bbox_mode": 1, "category_id": 2}]}
    (found,) = match_groups(groups, image_truth(record), HungarianAssigner(class_weight=0.0))
    assert [each.group for each in found] == ["primary", "group1", "group2"]
    assert found[1].query == 7
    torch.testing.assert_close(found[1].box, target)
    torch.testing.assert_close(found[1].point, groups[1].start_boxes[0, 7])


def test_models_with_one_group_or_in_training_are_refused():
    with pytest.raises(ValueError, match=r"one group of queries \(model.selection=LearnedBoxes\)"):
        count_groups(tiny_detector("dab_deformable_detr"))
    with pytest.raises(ValueError, match="call eval"):
        predict_groups(tiny_detector("group_detr").train(), INPUTS)


def test_groups_that_are_matched_by_masks_have_no_points_to_compare() -> None:
    detector, inputs = tiny_detector("group_mask2former").eval(), make_inputs([(64, 64)], [2])
    with torch.no_grad():
        predictions = predict_groups(detector, inputs)
    truth = image_truth({"height": 64, "width": 64, "annotations": []})
    with pytest.raises(ValueError, match="compares masks, which are not recorded"):
        match_groups(predictions, truth, detector.criterion.rules["decoder"].assigner)
