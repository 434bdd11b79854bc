"""Networks of timm with a norm on every map."""

from typing import Any

import torch
from torch.nn.functional import layer_norm

from querydet.engine.solver import parameters_of_norms
from querydet.modeling.backbones.normed import NormedTimmBackbone
from querydet.modeling.backbones.timm import TimmBackbone

SMALL: dict[str, Any] = {
    "name": "convnext_atto",
    "out_features": ["p2", "p4"],
    "options": {"depths": [1, 1, 1, 1], "dims": [8, 16, 24, 32]},
}


def test_the_maps_are_those_of_timm_normalised_over_their_channels() -> None:
    torch.manual_seed(0)
    raw, normed = TimmBackbone(**SMALL).eval(), NormedTimmBackbone(**SMALL).eval()
    normed.load_state_dict(raw.state_dict(), strict=False)
    images = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        wanted, found = raw(images), normed(images)
    assert list(found) == ["p2", "p4"]
    for key, each in found.items():
        last = wanted[key].permute(0, 2, 3, 1)
        torch.testing.assert_close(each.permute(0, 2, 3, 1), layer_norm(last, last.shape[-1:], eps=1e-6))


def test_norms_are_named_by_their_stage_and_known_as_norms() -> None:
    backbone = NormedTimmBackbone(**SMALL)
    new = {name for name, _ in backbone.named_parameters() if not name.startswith("net.")}
    assert new == {"norm0.weight", "norm0.bias", "norm2.weight", "norm2.bias"}
    assert new < parameters_of_norms(backbone)
