"""Detectors in other precisions: mixed, half and double."""

import pytest
import torch

from tests.modeling.test_detector import losses_of
from tests.models import make_inputs, tiny_detector

MASKED = ("mask_deformable_detr", "dino_masks", "mask2former")


@pytest.mark.parametrize("name", ["deformable_detr", "dino", *MASKED])
def test_bfloat16_autocast_trains_with_boxes_and_losses_in_float32(name: str) -> None:
    detector = tiny_detector(name)
    inputs = make_inputs([(96, 128), (80, 64)], [3, 1])
    plain = losses_of(detector, inputs)
    with torch.autocast("cpu", torch.bfloat16):
        losses = losses_of(detector, inputs)
    sum(losses.values()).backward()
    assert {value.dtype for value in losses.values()} == {torch.float32}
    assert all(parameter.grad.isfinite().all() for parameter in detector.parameters())
    total = sum(losses.values()).item()
    assert total == pytest.approx(sum(plain.values()).item(), rel=0.1)


@pytest.mark.parametrize("name", ["deformable_detr", "dino", *MASKED])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@torch.no_grad()
def test_runs_in_the_dtype_of_its_weights(name: str, dtype: torch.dtype) -> None:
    detector = tiny_detector(name).to(dtype).eval()
    features = detector.backbone(torch.randn(1, 3, 96, 128, dtype=dtype))
    (last,) = detector.predict(features, torch.zeros(1, 96, 128, dtype=torch.bool))
    assert last.logits.isfinite().all()
    assert last.boxes.dtype is torch.promote_types(dtype, torch.float32)


@torch.no_grad()
def test_images_in_half_precision_weights() -> None:
    detector = tiny_detector().to(torch.bfloat16).eval()
    (found,) = detector(make_inputs([(96, 128)]))
    assert len(found["instances"]) > 0


@pytest.mark.parametrize("name", ["deformable_detr", "dino", *MASKED])
def test_trains_in_double_precision(name: str) -> None:
    losses = losses_of(tiny_detector(name).double(), make_inputs([(96, 128), (80, 64)], [3, 1]))
    assert {value.dtype for value in losses.values()} == {torch.float64}
    plain = losses_of(tiny_detector(name), make_inputs([(96, 128), (80, 64)], [3, 1]))
    for key, value in losses.items():
        assert value.item() == pytest.approx(plain[key].item(), rel=1e-3, abs=1e-4)
