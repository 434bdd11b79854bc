"""A published file of a backbone starts a detector, by rules and with an account of its weights."""

from pathlib import Path

import pytest
import torch
from torch import nn

from querydet.checkpoint import Checkpointer
from querydet.checkpoint.backbone_loading import align_backbone, find_backbone_weights
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


def test_a_file_that_asks_for_a_search_is_read_by_rules_where_there_are_some() -> None:
    """Detectron2's copies of torchvision's ResNets ask for one; a backbone without rules is left to it."""
    resnet = small_detector("resnet")
    names = ("stem.conv1.weight", "res2.0.conv1.weight")
    asking = {"matching_heuristics": True}
    with pytest.raises(ValueError, match=r"read as a file in Detectron2's ResNet[\s\S]*is missing in the file"):
        align_backbone(resnet, {"model": {name: torch.ones(1) for name in names}, **asking})
    with pytest.raises(ValueError, match="those of Detectron2's ResNet, and no rule turns them into"):
        align_backbone(small_detector("vit"), {"model": {name: torch.ones(1) for name in names}, **asking})
    own = {name: value.clone() for name, value in small_detector("mvit").backbone.state_dict().items()}
    content, found = align_backbone(small_detector("mvit"), {"model": own, **asking})
    assert found
    assert all(torch.equal(content["model"][f"backbone.{name}"], value) for name, value in own.items())
