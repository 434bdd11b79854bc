"""Networks that read a published file compute what the network of the file does."""

import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from detectron2.modeling import SwinTransformer
from detectron2.modeling.backbone import BasicStem, ResNet
from torch import Tensor, nn

from querydet.checkpoint.conversion.backbone_files import place_backbone
from querydet.modeling.backbones import make_vit
from tests.checkpoint.conversion import published_backbones
from tests.checkpoint.conversion.published_backbones import convnext, digest, focalnet

RECORDED = json.loads((Path(__file__).parents[2] / "fixtures" / "published_backbones.json").read_text())
SWIN = {"embed_dim": 8, "depths": [1, 2, 2, 1], "num_heads": [1, 2, 2, 4], "window_size": 3}


def randomised(network: nn.Module) -> nn.Module:
    """All weights and statistics random, so that each of them matters."""
    torch.manual_seed(0)
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if value.is_floating_point():
                value.copy_(torch.rand_like(value) if name.endswith("var") else 0.3 * torch.randn_like(value))
    return network.eval()


def loaded(network: nn.Module, state: dict[str, Tensor]) -> nn.Module:
    placed = place_backbone(state, network.state_dict())
    assert placed is not None
    network.load_state_dict(placed.state, strict=False)
    return network.eval()


def plain_norms(network: nn.Module) -> nn.Module:
    """Norms of the outputs, which no classifier has, as those of one without weights."""
    for n in range(4):
        network.get_submodule(f"norm{n}").reset_parameters()
    return network


@pytest.mark.parametrize("name", RECORDED)
def test_the_names_of_the_released_code_are_those_that_these_tests_use(name: str) -> None:
    record = RECORDED[name]
    assert digest(getattr(published_backbones, record["family"])(**record["sizes"])) == record["digest"]


@pytest.mark.parametrize("library", ["torchvision", "timm"])
@pytest.mark.parametrize("depth", [18, 50])
@torch.no_grad()
def test_resnets(library: str, depth: int) -> None:
    make = torchvision.models.get_model if library == "torchvision" else timm.create_model
    theirs = randomised(make(f"resnet{depth}"))
    width = 64 if depth == 18 else 256
    stages = ResNet.make_default_stages(depth, norm="FrozenBN", **({} if depth == 18 else {"stride_in_1x1": False}))
    ours = loaded(ResNet(BasicStem(norm="FrozenBN"), stages, out_features=["res2"]).eval(), theirs.state_dict())
    image = torch.randn(1, 3, 33, 47)
    stem = theirs.maxpool(theirs.bn1(theirs.conv1(image)).relu())
    wanted = theirs.layer1(stem)
    assert wanted.shape[1] == width
    torch.testing.assert_close(ours(image)["res2"], wanted, rtol=1e-4, atol=1e-4)


def swin_of_timm() -> nn.Module:
    sizes: dict[str, Any] = {"depths": SWIN["depths"], "num_heads": SWIN["num_heads"]}
    return timm.models.swin_transformer.SwinTransformer(img_size=96, embed_dim=8, window_size=3, num_classes=5, **sizes)


def swin_of_torchvision() -> nn.Module:
    sizes: dict[str, Any] = {"depths": SWIN["depths"], "num_heads": SWIN["num_heads"]}
    return torchvision.models.SwinTransformer(
        patch_size=[4, 4], embed_dim=8, window_size=[3, 3], num_classes=5, **sizes
    )


@pytest.mark.parametrize("make", [swin_of_timm, swin_of_torchvision])
@torch.no_grad()
def test_swin_transformers(make: Any) -> None:
    theirs = randomised(make())
    ours = plain_norms(loaded(SwinTransformer(**SWIN, drop_path_rate=0.0).eval(), theirs.state_dict()))
    image, features = torch.randn(1, 3, 96, 96), []
    stages = [theirs.features[n] for n in (1, 3, 5)] if make is swin_of_torchvision else list(theirs.layers[:3])
    for stage in stages:  # the last one's map is no larger than a window, where the implementations differ
        stage.register_forward_hook(lambda module, inputs, output: features.append(output))
    theirs(image)
    maps = ours(image)
    for n, wanted in enumerate(features):
        norm = nn.functional.layer_norm(wanted, wanted.shape[-1:]).permute(0, 3, 1, 2)
        torch.testing.assert_close(maps[f"p{n}"], norm, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_plain_vision_transformers() -> None:
    theirs = timm.models.vision_transformer.VisionTransformer(
        embed_dim=32, depth=3, num_heads=2, class_token=False, global_pool="avg", num_classes=5
    )
    theirs = randomised(theirs)
    ours = make_vit(embed_dim=32, depth=3, num_heads=2, global_blocks=[0, 1, 2], image_size=224)
    ours = loaded(ours, theirs.state_dict())
    for name, value in ours.state_dict().items():
        if "rel_pos" in name:
            assert not value.any()
    image = torch.randn(1, 3, 224, 224)
    tokens = theirs._pos_embed(theirs.patch_embed(image))
    for block in theirs.blocks:
        tokens = block(tokens)
    wanted = tokens.unflatten(1, (14, 14)).permute(0, 3, 1, 2)
    torch.testing.assert_close(ours(image)["last_feat"], wanted, rtol=1e-4, atol=1e-4)


def tensors(shapes: published_backbones.Shapes) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


@pytest.mark.parametrize("scaled", [True, False])
def test_focalnets_become_what_timm_makes_of_them(scaled: bool) -> None:
    state = tensors(focalnet(8, [1, 1, 2, 1], levels=2, window=3, large=scaled))
    theirs = timm.models.focalnet.FocalNet(
        embed_dim=8, depths=(1, 1, 2, 1), focal_levels=(2,) * 4, focal_windows=(3,) * 4, num_classes=0,
        use_overlap_down=scaled, use_post_norm=scaled, layerscale_value=1e-4 if scaled else None,
    )  # fmt: skip
    check_agreement(theirs, state, timm.models.focalnet.checkpoint_filter_fn)


def test_convnexts_become_what_timm_makes_of_them() -> None:
    state = tensors(convnext([1, 1, 2, 1], [8, 16, 24, 32]))
    theirs = timm.models.convnext.ConvNeXt(depths=(1, 1, 2, 1), dims=(8, 16, 24, 32), num_classes=0)
    check_agreement(theirs, state, timm.models.convnext.checkpoint_filter_fn)


def check_agreement(network: nn.Module, state: dict[str, Tensor], convert: Any) -> None:
    """With timm's own conversion of a file of the released classifier."""
    state = {name: value for name, value in state.items() if name[:4] != "norm"}
    ours = {name: value for name, value in network.state_dict().items() if name.split(".")[0] not in ("norm", "head")}
    placed = place_backbone(state, ours)
    assert placed is not None
    assert placed.dropped == {}
    assert set(placed.state) == set(ours)
    wanted = convert({"model": dict(state)}, network)
    for name, value in placed.state.items():
        assert torch.equal(value, wanted[name].view_as(value)), name
