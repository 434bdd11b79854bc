"""Running a model on noise to see what it takes."""

import pytest
import torch

from querydet.analysis.measure import add_masks, measure, noise_inputs
from querydet.config import load_config
from tests.engine.conftest import CONFIG, DINO_CONFIG


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


def test_a_config_is_measured_as_asked():
    cfg = load_config(DINO_CONFIG, ["train.device=cpu"])
    found = measure(cfg, (64, 96), training=True, repeats=1, warmup=0)
    assert (found.device, found.inference.repeats, found.training.repeats) == ("cpu", 1, 1)
    assert found.kept.bytes > 0
    nothing = measure(cfg, (64, 96), inference=False)
    assert (nothing.inference, nothing.training, nothing.kept) == (None, None, None)


def test_detectors_with_masks_train_on_noise_too():
    cfg = load_config("quick/dino_masks_synthetic.py", ["train.device=cpu"])
    found = measure(cfg, (64, 96), inference=False, training=True, repeats=1, warmup=0)
    assert found.training.repeats == 1
    assert found.kept.bytes > 0


def test_masks_fill_boxes_and_keep_the_rest():
    inputs = noise_inputs(2, 40, 60, 3, objects=7)
    with_masks = add_masks(inputs)
    for one, other in zip(inputs, with_masks, strict=True):
        masks = other["instances"].gt_masks.tensor
        assert masks.shape == (7, 40, 60)
        for mask, (x0, y0, x1, y1) in zip(masks, one["instances"].gt_boxes.tensor.tolist(), strict=True):
            rows, columns = mask.nonzero().unbind(1)
            assert len(rows) == (rows.max() - rows.min() + 1) * (columns.max() - columns.min() + 1)
            assert abs(columns.min() - x0) < 1
            assert abs(columns.max() + 1 - x1) < 1
            assert abs(rows.min() - y0) < 1
            assert abs(rows.max() + 1 - y1) < 1
        assert torch.equal(other["image"], one["image"])
        assert not one["instances"].has("gt_masks")
    assert add_masks(noise_inputs(1, 8, 8, 3, objects=0))[0]["instances"].gt_masks.tensor.shape == (0, 8, 8)


def test_models_without_parts_are_refused():
    with pytest.raises(TypeError, match="parts of a querydet detector can be timed, not those of a ToyDetector"):
        measure(load_config(CONFIG, ["train.device=cpu"]), (64, 96))
