"""A published file of a backbone starts a detector, by rules and with an account of its weights."""

from pathlib import Path

import pytest
import torch
from torch import nn

from querydet.checkpoint import Checkpointer
from querydet.checkpoint.backbone_loading import find_backbone_weights
from querydet.checkpoint.conversion.backbone_files import network_prefix
from tests.checkpoint.conversion.published_backbones import vit
from tests.modeling.backbones.small import small_detector


def test_a_masked_autoencoder_loads_without_a_word_about_names(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    state = {name: torch.randn(shape) for name, shape in vit(32, 2, 2).items()}
    torch.save({"model": state}, tmp_path / "mae.pth")
    detector = small_detector("vit")
    before = {name: value.clone() for name, value in detector.state_dict().items()}
    Checkpointer(detector).load(str(tmp_path / "mae.pth"))
    for name, value in detector.state_dict().items():
        source = state.get(name.removeprefix("backbone.net."))
        assert torch.equal(value, before[name] if source is None else source), name
    for text in ("plain vision transformer", "cls_token", "norm.weight, norm.bias", "rel_pos_h"):
        assert text in caplog.text


def test_a_file_of_a_detector_is_not_taken_for_a_backbone() -> None:
    detector = small_detector("resnet")
    assert find_backbone_weights(detector, {"neck.level_embed": torch.ones(1)}) is None
    assert find_backbone_weights(detector, {"backbone.body.conv1.weight": torch.ones(1)}) is None
    assert find_backbone_weights(nn.Linear(2, 2), {"conv1.weight": torch.ones(1)}) is None


def test_the_network_is_found_inside_of_pyramids() -> None:
    network, pyramid, outer = nn.Linear(2, 2), nn.Module(), nn.Module()
    pyramid.net = network
    outer.bottom_up = pyramid
    assert [network_prefix(each) for each in (network, pyramid, outer)] == ["", "net.", "bottom_up.net."]
