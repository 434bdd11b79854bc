"""What holds for every combination of parts."""

import torch
from detectron2.config import instantiate
from omegaconf import DictConfig
from torch import Tensor

from querydet.modeling.geometry import padding_mask
from querydet.structures import Branch, Role, Stage
from tests.models import make_inputs, make_targets


def step_that_adds_nothing_to_inference(model: DictConfig) -> dict[str, Tensor]:
    """The losses of a training step, finite and with gradients for all parameters.

    What inference would have predicted is among the predictions of training.
    """
    torch.manual_seed(0)
    detector = instantiate(model).train()
    inputs = make_inputs([(96, 128), (80, 64)], [2, 0])
    losses = detector(inputs)
    assert all(value.isfinite() for value in losses.values())
    sum(losses.values()).backward()
    missing = [name for name, parameter in detector.named_parameters() if parameter.grad is None]
    assert not missing, "every parameter gets a gradient, or training on several processes hangs"

    images = detector.preprocess(inputs)
    maps, padding = detector.backbone(images.tensor), padding_mask(images)
    with torch.no_grad():
        trained = detector.predict(maps, padding, make_targets([2, 0]))
        (alone,) = detector.predict(maps, padding)
    (primary,) = (
        each
        for each in trained
        if (each.stage, each.group.role, each.branch) == (Stage.DECODER, Role.MATCHING, Branch.ONE_TO_ONE)
        and each.is_last
        and each.group.name == "primary"
    )
    torch.testing.assert_close(alone.logits, primary.logits, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(alone.boxes, primary.boxes, atol=1e-5, rtol=1e-5)
    return losses
