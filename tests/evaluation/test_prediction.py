"""Detections on one image, and the json they are written to."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from detectron2.data import transforms as T
from detectron2.structures import Boxes, Instances

from querydet.evaluation import ArrayPredictor, keep_confident, run_model
from querydet.evaluation.prediction import masks_above
from querydet.utils.instance_masks import masks_of
from querydet.utils.run_lengths import encode_masks


class Probe(torch.nn.Module):
    """Returns four fixed detections and keeps its input."""

    def forward(self, batch):
        assert not self.training
        assert not torch.is_grad_enabled()
        self.seen = batch[0]
        instances = Instances((batch[0]["height"], batch[0]["width"]))
        boxes = [[1.0, 2, 5, 9], [3, 3, 8, 8], [0, 0, float("nan"), 4], [0, 0, 4, 4]]
        instances.pred_boxes = Boxes(torch.tensor(boxes))
        instances.scores = torch.tensor([0.4, 0.8, 0.9, float("inf")])
        instances.pred_classes = torch.tensor([0, 1, 1, 1])
        return [{"instances": instances}]


def gradient():
    return np.arange(30 * 40 * 3, dtype=np.uint8).reshape(30, 40, 3)


def test_model_sees_the_augmented_image_and_the_original_size():
    model = Probe().train()
    ArrayPredictor(model=model, augmentations=[T.Resize((60, 80))])(gradient())
    assert model.seen["image"].shape == (3, 60, 80)
    assert (model.seen["height"], model.seen["width"]) == (30, 40)
    assert model.training  # as before


def test_channel_order():
    model = Probe()
    for order, expected in (("RGB", gradient()), ("BGR", gradient()[:, :, ::-1])):
        ArrayPredictor(model=model, augmentations=[], image_format=order)(gradient())
        assert np.array_equal(model.seen["image"].permute(1, 2, 0).numpy(), expected)


@pytest.mark.parametrize(("threshold", "scores"), [(0.0, [0.8, 0.4]), (0.5, [0.8]), (0.85, [])])
def test_confident_finite_detections_best_first(threshold, scores):
    found = ArrayPredictor(model=Probe(), augmentations=[], threshold=threshold)(gradient())
    assert found.scores.tolist() == pytest.approx(scores)


def test_bad_parameters():
    with pytest.raises(ValueError, match=r"threshold must be in \[0, 1\], got 30"):
        ArrayPredictor(model=Probe(), augmentations=[], threshold=30)
    with pytest.raises(ValueError, match="image_format must be RGB or BGR, got 'L'"):
        ArrayPredictor(model=Probe(), augmentations=[], image_format="L")


@pytest.mark.parametrize("name", ["pred_masks", "pred_masks_rle"])
def test_masks_stay_with_their_detections(name):
    masks = torch.rand(4, 30, 40, generator=torch.Generator().manual_seed(0)) < 0.3
    (output,) = run_model(Probe(), [{"height": 30, "width": 40}])
    instances = output["instances"]
    instances.set(name, masks if name == "pred_masks" else encode_masks(masks))
    assert torch.equal(masks_of(keep_confident(instances, 0.1)), masks[[1, 0]])


def test_a_detector_makes_no_masks_that_the_threshold_drops() -> None:
    class Stub:
        masks = SimpleNamespace(paste=SimpleNamespace(min_score=0.1))

    stub = Stub()
    for threshold, wanted in ((0.3, 0.3), (0.05, 0.1)):
        with masks_above(stub, threshold):
            assert stub.masks.paste.min_score == wanted
        assert stub.masks.paste.min_score == 0.1
    with masks_above(object(), 0.3):
        pass
