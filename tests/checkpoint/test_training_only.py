"""What inference does without: no less, and no more."""

from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode

from querydet.checkpoint.training_only import inference_state, training_only_keys
from tests.models import COMPOSITIONS, tiny_detector

QUICK = ("group_dino", "ms_detr", "h_detr", "group_dn_detr")


class WithoutDetach(TorchFunctionMode):
    """Lets gradients through everywhere, so that they reach whatever a result depends on."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return args[0] if func is torch.Tensor.detach else func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in COMPOSITIONS]
)
def test_detections_need_exactly_the_other_weights(name: str) -> None:
    detector = tiny_detector(name).eval()
    left_out = training_only_keys(detector)
    parameters = dict(detector.named_parameters())
    images = torch.randn(1, 3, 96, 128)
    padding = torch.zeros(1, 96, 128, dtype=torch.bool)
    with WithoutDetach():
        (last,) = detector.predict(detector.backbone(images), padding)
    total = last.logits.sum() + last.boxes.sum()
    reached = torch.autograd.grad(total, list(parameters.values()), allow_unused=True)
    unused = {key for key, gradient in zip(parameters, reached, strict=True) if gradient is None}
    # these rank proposals, through which there is no gradient
    unused -= {"selection.proposals.class_head.weight", "selection.proposals.class_head.bias"}
    assert unused == left_out


def test_files_have_all_else() -> None:
    detector = tiny_detector("group_dino")
    kept = inference_state(detector)
    assert set(kept) == set(detector.state_dict()) - training_only_keys(detector)
    assert {"selection.extra_contents.1.weight", "denoising.members.0.label_embed.weight"} & set(kept) == set()
    assert not any(value.requires_grad for value in kept.values())
