"""What evaluators share: annotations as tensors, checked detections, and one measurement per image."""

import pytest
import torch
from detectron2.structures import BoxMode

from querydet.evaluation.per_image import (
    PerImageEvaluator,
    check_detections,
    drop_nonfinite,
    image_truth,
    mean_or_missing,
    size_groups,
)
from tests.evaluation.hand_made import SIZE, detections, in_two_processes, make_dataset, run

BOX = [20, 10, 40, 30]
RECORD = {"image_id": 1, "height": SIZE[0], "width": SIZE[1]}


class Counts(PerImageEvaluator):
    """Counts detections."""

    def measure(self, record, output):
        return len(self.detections(record, output)[0])

    def summarise(self, found):
        return {"count": {str(image_id): float(count) for image_id, count in found.items()}}


def output(*scores):
    return {"instances": detections([[0, 0, 10, 10]] * len(scores), scores)}


def test_annotations_by_hand():
    items = [
        {"bbox": BOX, "bbox_mode": BoxMode.XYWH_ABS, "category_id": 2},
        {"bbox": BOX, "bbox_mode": BoxMode.XYXY_ABS, "category_id": 1, "area": 7.0, "iscrowd": 1},
    ]
    truth = image_truth({**RECORD, "annotations": items})
    assert truth.boxes_xyxy_abs.tolist() == [[20, 10, 60, 40], [20, 10, 40, 30]]
    assert (truth.labels.tolist(), truth.areas.tolist(), truth.crowd.tolist()) == ([2, 1], [1200, 7], [False, True])
    assert truth.normalised_xyxy()[0].tolist() == [0.1, 0.1, 0.3, 0.4]
    objects = truth.objects()
    assert (len(objects), objects.labels.tolist(), objects.size) == (1, [2], SIZE)


def test_an_image_without_annotations_has_empty_tensors():
    truth = image_truth(RECORD)
    assert (len(truth), truth.boxes_xyxy_abs.shape, len(truth.objects())) == (0, (0, 4), 0)


def test_sizes_are_coco_s_with_the_limit_in_the_larger_one():
    groups = size_groups(torch.tensor([1.0, 32**2 - 1, 32**2, 96**2 - 1, 96**2]))
    assert {name: mask.nonzero().flatten().tolist() for name, mask in groups.items()} == {
        "": [0, 1, 2, 3, 4],
        "s": [0, 1],
        "m": [2, 3],
        "l": [4],
    }


def test_an_image_that_is_processed_twice_counts_once_with_the_later_measurement():
    evaluator = Counts(dataset=make_dataset([BOX], [BOX]), distributed=False)
    assert run(evaluator, _1=output(0.5), _2=output(0.5, 0.4)) == {"count": {"1": 1.0, "2": 2.0}}
    evaluator.process([{"image_id": 1}], [output(0.9, 0.8, 0.7)])
    assert evaluator.evaluate() == {"count": {"1": 3.0, "2": 2.0}}
    evaluator.reset()
    assert evaluator.evaluate() == {"count": {}}


def test_measurements_come_in_the_order_of_the_data_set():
    evaluator = Counts(dataset=make_dataset([BOX], [BOX], [BOX]), distributed=False)
    assert list(run(evaluator, _3=output(0.5), _1=output(0.5))["count"]) == ["1", "3"]


def test_processes_are_gathered_on_the_first(monkeypatch):
    dataset = make_dataset([BOX], [BOX])
    outputs = {"_2": output(0.5, 0.4), "_1": output(0.5)}
    first, second = in_two_processes(lambda: Counts(dataset=dataset), outputs, monkeypatch)
    assert first == {"count": {"1": 1.0, "2": 2.0}}
    assert second == {}


def test_detections_that_are_not_finite_are_dropped_and_counted():
    boxes = [[0, 0, 1, 1], [0, float("nan"), 1, 1], [0, 0, float("inf"), 1], [0, 0, 2, 2]]
    kept, dropped = drop_nonfinite(detections(boxes, [0.5, 0.5, 0.5, float("nan")]))
    assert (len(kept), dropped) == (1, 3)
    assert kept.pred_boxes.tensor.tolist() == [boxes[0]]


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (detections([[0, 0, 1, 1]], [0.5], size=(10, 20)), r"an image of 10x20 pixels .* records 100x200"),
        (detections([[0, 0, 1, 1]], [0.5], [3]), "predicted class 3, but the data set has 3 classes"),
        (detections([[0, 0, 1, 1]], [0.5], [-1]), "predicted class -1"),
        (detections([[0, 0, 1, 1]], [1.5]), r"score 1\.5, outside \[0, 1\]"),
        (detections([[0, 0, 1, 1]], [-0.5]), r"score -0\.5"),
    ],
)
def test_detections_that_do_not_fit_are_refused(found, message):
    with pytest.raises(ValueError, match=f"image 1: .*{message}"):
        check_detections(found, RECORD, num_classes=3)


def test_detections_at_the_limits_are_accepted():
    check_detections(detections([[0, 0, 1, 1]] * 2, [0.0, 1.0], [0, 2]), RECORD, num_classes=3)
    check_detections(detections([], []), RECORD, num_classes=3)


def test_images_of_other_data_and_no_data_are_refused():
    evaluator = Counts(dataset=make_dataset([BOX]), distributed=False)
    with pytest.raises(ValueError, match="image id 9 is not in data set 'hand_made"):
        evaluator.process([{"image_id": 9}], [output()])
    with pytest.raises(ValueError, match="without images"):
        Counts(dataset=make_dataset())


def test_the_mean_of_nothing_is_missing():
    assert mean_or_missing(torch.tensor([1, 2])) == 1.5
    assert mean_or_missing(torch.zeros(0)) == -1
