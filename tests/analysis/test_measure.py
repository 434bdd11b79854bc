"""Running a model on noise to see what it takes."""

import torch

from querydet.analysis.measure import noise_inputs


def test_noise_is_as_asked_for_and_repeatable():
    first, second = (noise_inputs(2, 40, 60, 3, objects=7) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        assert one["image"].shape == (3, 40, 60)
        assert torch.equal(one["image"], other["image"])
        boxes = one["instances"].gt_boxes.tensor
        assert len(boxes) == 7
        assert (boxes[:, 2:] > boxes[:, :2]).all()
        assert (boxes >= 0).all()
        assert (boxes <= torch.tensor([60, 40, 60, 40])).all()
        assert one["instances"].gt_classes.max() < 3
    assert not torch.equal(first[0]["image"], first[1]["image"])
