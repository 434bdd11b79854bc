"""The configs of backbones have the published sizes, take the published files, and train."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from detectron2.config import instantiate
from omegaconf import DictConfig

from querydet.analysis.flops import build_on_meta
from querydet.checkpoint.conversion.backbone_files import network_prefix, place_backbone
from querydet.config import get_config, use_backbone
from tests.checkpoint.conversion import published_backbones
from tests.models import make_inputs, make_small

RECORDED = json.loads((Path(__file__).parents[1] / "fixtures" / "published_backbones.json").read_text())
# config, record of its released code, parameters with three maps (ViT: and a pyramid without parameters for the fourth)
PUBLISHED = {
    "swin_t": ("detectron2_swin_tiny", 27_520_506),
    "swin_s": ("detectron2_swin_small", 48_838_410),
    "swin_b": ("detectron2_swin_base", 86_880_120),
    "swin_l": ("detectron2_swin_large", 195_200_820),
    "vit_b": ("detectron2_vitdet_base", 89_333_120),
    "vit_l": ("detectron2_vitdet_large", 307_958_272),
    "vit_h": ("detectron2_vitdet_huge", 636_985_984),
    "convnext_t": ("detrex_convnext_tiny", 27_821_280),
    "convnext_s": ("detrex_convnext_small", 49_455_840),
    "convnext_b": ("detrex_convnext_base", 87_568_000),
    "convnext_l": ("detrex_convnext_large", 196_232_640),
    "focalnet_l": ("detrex_focalnet_large_fl3", 205_566_048),
    "focalnet_l_fl4": ("detrex_focalnet_large_fl4", 205_746_552),
}
DINO = {  # parameters of DINO with 4 scales and 80 classes; the neck depends on the widths of the maps
    "resnet": 46_884_712,
    "resnet101": 65_824_616,
    "swin_t": 47_427_746,
    "swin_s": 68_745_650,
    "swin_b": 107_491_872,
    "swin_l": 217_221_596,
    "vit_b": 107_388_968,
    "vit_l": 326_014_120,
    "vit_h": 655_041_832,
}
QUICK = ("resnet", "swin_t", "vit_b", "convnext_t")


def some_slow(names: Any) -> list[Any]:
    """Of every family one by default."""
    return [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in names]


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("name", some_slow(PUBLISHED))
def test_every_weight_of_the_released_code_has_its_place(name: str) -> None:
    record, parameters = PUBLISHED[name]
    backbone = build_on_meta(get_config(f"common/backbones/{name}.py").backbone)
    assert count(backbone) == parameters
    shapes = getattr(published_backbones, RECORDED[record]["family"])(**RECORDED[record]["sizes"])
    with torch.device("meta"):
        state = {key: torch.empty(shape) for key, shape in shapes.items()}
    if name.startswith("vit"):  # its record has the names of the pyramid too
        assert {key: value.shape for key, value in backbone.state_dict().items()} == shapes
        return
    placed = place_backbone(state, backbone.state_dict(), network_prefix(backbone))
    assert placed is not None
    assert placed.new == []
    without_buffers = {key for key in placed.dropped if "relative_position_index" not in key}
    assert without_buffers == {"norm0.weight", "norm0.bias"}, "of the map of stride 4"


@pytest.mark.parametrize("name", some_slow(DINO))
def test_dino_has_the_published_size(name: str) -> None:
    model = get_config("common/models/dino.py").model
    use_backbone(name, model)
    assert count(build_on_meta(model)) == DINO[name]


def narrow(name: str) -> DictConfig:
    """A shipped backbone, with one block in each stage where timm lets it have that."""
    cfg = get_config(f"common/backbones/{name}.py")
    options: dict[str, dict[str, Any]] = {
        "convnext_t": {"depths": [1, 1, 1, 1], "dims": [8, 16, 24, 32]},
        "timm_resnet50d": {"layers": [1, 1, 1, 1], "channels": [8, 16, 24, 32]},
    }
    widths = {"convnext_t": [16, 24, 32], "timm_resnet50d": [64, 96, 128]}
    if name in options:
        cfg.backbone.options.update(options[name])
        cfg.in_channels = dict(zip(cfg.in_channels, widths[name], strict=True))
    return cfg


@pytest.mark.parametrize(
    "name",
    [
        *("resnet18", "resnet_syncbn", "convnext_t", "timm_resnet50d", "torchvision_efficientnet_v2_s"),
        pytest.param("focalnet_t", marks=pytest.mark.slow),
    ],
)
def test_a_training_step_and_a_detection_on_images_whose_sides_divide_by_nothing(name: str) -> None:
    model = make_small(get_config("common/models/dino.py").model)
    cfg = narrow(name)
    model.backbone, model.neck.in_channels = cfg.backbone, cfg.in_channels
    torch.manual_seed(0)
    detector = instantiate(model).train()
    inputs = make_inputs([(97, 131), (101, 75)], [2, 1])
    losses = detector(inputs)
    sum(losses.values()).backward()
    for key, parameter in detector.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, key
            assert parameter.grad.isfinite().all(), key
    with torch.no_grad():
        assert all(len(found["instances"]) > 0 for found in detector.eval()(inputs))
