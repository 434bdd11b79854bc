"""Annotated inputs become normalised targets; what makes no sense is refused by the image's name."""

import pytest
import torch
from detectron2.structures import Boxes, Instances

from querydet.modeling.targets import image_name, make_targets
from querydet.structures import ObjectCount, Targets

CPU = torch.device("cpu")


def annotated(boxes: list[list[float]], classes: list[int], size: tuple[int, int] = (40, 80), **more: object) -> dict:
    instances = Instances(size, gt_boxes=Boxes(torch.tensor(boxes).reshape(-1, 4)), gt_classes=torch.tensor(classes))
    return {"image": torch.zeros(3, *size), "instances": instances, "file_name": "a.jpg", **more}


def make(*inputs: dict) -> Targets:
    return make_targets(inputs, 3, CPU)


def test_boxes_by_hand_on_an_image_wider_than_high() -> None:
    targets = make(annotated([[8.0, 4.0, 24.0, 20.0]], [2], seed=5), annotated([], []))
    torch.testing.assert_close(targets.boxes[0], torch.tensor([[0.2, 0.3, 0.2, 0.4]]))
    assert targets.boxes[1].shape == (0, 4)
    assert targets.labels[0].tolist() == [2]
    assert targets.seeds == (5, None)
    assert (targets.counts, targets.step) == ([1, 0], ObjectCount((1, 0)))


def test_names_are_the_file_else_the_id_else_the_place() -> None:
    assert image_name({"file_name": "a.jpg", "image_id": 3}, 1) == "a.jpg"
    assert image_name({"image_id": 0}, 1) == "0"
    assert image_name({}, 1) == "image 1 of the batch"


@pytest.mark.parametrize(
    ("box", "what"),
    [
        ([8.0, 4.0, 8.0, 20.0], "has no area"),
        ([8.0, 20.0, 24.0, 4.0], "has no area"),
        ([-500.0, 4.0, 24.0, 20.0], "leaves the image of 80x40 pixels"),
        ([8.0, 4.0, 24.0, 70.0], "leaves the image of 80x40 pixels"),
        ([8.0, 4.0, float("inf"), 20.0], "is not finite"),
        ([8.0, float("nan"), 24.0, 20.0], "is not finite"),
    ],
)
def test_boxes_that_make_no_sense(box: list[float], what: str) -> None:
    with pytest.raises(ValueError, match=rf"a\.jpg: a box of the annotations {what}: \["):
        make(annotated([[1.0, 1.0, 2.0, 2.0], box], [0, 0]))


def test_a_box_may_leave_the_image_by_rounding() -> None:
    make(annotated([[-0.5, 0.0, 80.5, 40.0]], [0]))


def test_labels_out_of_range() -> None:
    with pytest.raises(ValueError, match=r"a\.jpg: labels lie in \[0, 3\], but the model has 3 classes"):
        make(annotated([[1.0, 1.0, 2.0, 2.0]] * 2, [0, 3]))


def test_annotations_of_an_image_of_another_size() -> None:
    inputs = annotated([[1.0, 1.0, 2.0, 2.0]], [0])
    inputs["image"] = inputs["image"][:, :20]
    with pytest.raises(ValueError, match=r"are for an image of 40x80 pixels .*, but the image has \(20, 80\)"):
        make(inputs)


def test_training_needs_annotations() -> None:
    with pytest.raises(ValueError, match=r"training needs 'instances', found the keys \['image'\]"):
        make({"image": torch.zeros(3, 8, 8)})


def test_a_part_of_a_step_is_told_the_objects_of_all_of_it() -> None:
    inputs = [annotated([[8.0, 4.0, 24.0, 20.0]], [2])]
    count = ObjectCount((1, 9), num_micro_batches=4)
    targets = make_targets(inputs, 3, CPU, object_count=count)
    assert (targets.step, targets.counts) == (count, [1])
    assert make(*inputs).step.num_micro_batches == 1


def test_boxes_have_the_dtype_asked_for() -> None:
    targets = make_targets([annotated([[8.0, 4.0, 24.0, 20.0]], [2])], 3, CPU, torch.float64)
    assert targets.boxes[0].dtype == torch.float64
