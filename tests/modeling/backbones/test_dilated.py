"""Dilated ResNets against torchvision's."""

import pytest
import torch
from detectron2.modeling.backbone import BasicStem, ResNet
from torchvision.models import resnet50

from querydet.analysis.flops import build_on_meta
from querydet.config import get_config
from querydet.modeling.backbones import make_dilated_stages


@torch.no_grad()
def test_the_last_stage_computes_what_torchvisions_does() -> None:
    """DETR's and every later release's "DC5" is torchvision's `replace_stride_with_dilation`."""
    torch.manual_seed(0)
    theirs = resnet50(weights=None, replace_stride_with_dilation=[False, False, True]).layer4.double().eval()
    ours = torch.nn.Sequential(*make_dilated_stages(depth=50, norm="BN")[-1]).double().eval()
    for block, other in zip(ours, theirs, strict=True):
        for number in (1, 2, 3):
            conv = getattr(block, f"conv{number}")
            conv.weight.copy_(getattr(other, f"conv{number}").weight)
            conv.norm.load_state_dict(getattr(other, f"bn{number}").state_dict())
    ours[0].shortcut.weight.copy_(theirs[0].downsample[0].weight)
    maps = torch.randn(1, 1024, 7, 5, dtype=torch.float64)
    assert theirs(maps).shape == (1, 2048, 7, 5)
    torch.testing.assert_close(ours(maps), theirs(maps))


@pytest.mark.parametrize("depth", [50, 101, 152])
def test_weights_of_an_ordinary_resnet_fit_and_the_last_map_has_stride_16(depth: int) -> None:
    ordinary = ResNet.make_default_stages(depth=depth, stride_in_1x1=False, norm="FrozenBN")
    with torch.device("meta"):
        stages = make_dilated_stages(depth=depth, norm="FrozenBN")
        plain, dilated = (
            ResNet(BasicStem(norm="FrozenBN"), each, out_features=["res4", "res5"]) for each in (ordinary, stages)
        )
        maps = dilated.to("meta")(torch.empty(1, 3, 97, 131))
    shapes = [{key: value.shape for key, value in each.state_dict().items()} for each in (plain, dilated)]
    assert shapes[0] == shapes[1]
    assert [each.output_shape()["res5"].stride for each in (plain, dilated)] == [32, 16]
    assert maps["res4"].shape[-2:] == maps["res5"].shape[-2:] == (7, 9)


def test_networks_without_bottlenecks_are_refused() -> None:
    with pytest.raises(ValueError, match=r"depth must be one of \[50, 101, 152\].*found 18"):
        make_dilated_stages(depth=18, norm="BN")


def test_the_shipped_backbone_has_twice_the_resolution_and_the_same_weights() -> None:
    plain = get_config("common/models/detr.py").model.backbone
    dilated = get_config("common/backbones/resnet_dc5.py").backbone
    built = [build_on_meta(node) for node in (plain, dilated)]
    shapes = [{name: value.shape for name, value in each.state_dict().items()} for each in built]
    assert shapes[0] == shapes[1]
    assert [each.output_shape()["res5"].stride for each in built] == [32, 16]
    with torch.device("meta"):
        maps = [each(torch.empty(1, 3, 96, 160))["res5"].shape[-2:] for each in built]
    assert [tuple(size) for size in maps] == [(3, 5), (6, 10)]
