"""A recipe takes networks of timm and torchvision by their names, with the maps and the pixels that these have."""

import pytest

from querydet.analysis.flops import build_on_meta
from querydet.config import get_config, use_backbone
from querydet.config.library_backbones import make_config, names_a_network

pytest.importorskip("timm")


def exchanged(name, recipe="dino/configs/dino_r50_4scale_12ep.py"):
    cfg = get_config(recipe)
    use_backbone(name, cfg.model, cfg.optimizer, cfg.train)
    return cfg


@pytest.mark.parametrize(
    ("name", "maps"),
    [
        ("timm/test_resnet", ["p3", "p4", "p5"]),
        ("timm/test_convnext", ["p3", "p4", "p5"]),
        ("timm/test_vit", ["p3", "p4", "p5"]),
        ("torchvision/shufflenet_v2_x0_5", ["p3", "p4", "p5"]),
    ],
)
def test_a_recipe_is_built_on_a_network_by_its_name(name, maps):
    cfg = exchanged(name)
    assert list(cfg.model.neck.in_channels) == maps
    model = build_on_meta(cfg.model)
    shapes = model.backbone.output_shape()
    assert {key: shapes[key].channels for key in maps} == dict(cfg.model.neck.in_channels)
    assert [shapes[key].stride for key in maps] == [8, 16, 32]


def test_the_images_are_normalised_as_the_network_wants():
    found = make_config("timm/test_vit")
    assert found.weights.pixel_mean == pytest.approx([127.5] * 3)
    assert list(exchanged("timm/test_vit").model.pixel_mean) == list(found.weights.pixel_mean)


def test_a_map_of_stride_4_is_there_for_recipes_that_read_one():
    assert list(make_config("torchvision/resnet18").stride4) == ["p2"]
    cfg = exchanged("torchvision/resnet18", "dino/configs/dino_r50_5scale_12ep.py")
    assert list(cfg.model.neck.in_channels) == ["p2", "p3", "p4", "p5"]


def test_weights_are_where_the_library_says(caplog):
    assert make_config("torchvision/resnet18").weights.init_checkpoint.endswith(".pth")
    of_hub = make_config("timm/test_vit.r160_in1k").weights.init_checkpoint
    assert of_hub == "https://huggingface.co/timm/test_vit.r160_in1k/resolve/main/model.safetensors"
    assert make_config("timm/test_vit").weights.init_checkpoint == of_hub
    assert "init_checkpoint" not in make_config("timm/darknet17").weights
    assert "names no address of weights for 'darknet17': set train.init_checkpoint" in caplog.text


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("timm/resnet5", "timm .* has no network 'resnet5'; the nearest names are"),
        ("torchvision/resnet5", "no classifier 'resnet5'"),
        ("timm/hiera_tiny_224", "cannot be used at any size"),
    ],
)
def test_what_cannot_serve_is_refused_by_name(name, message):
    with pytest.raises(ValueError, match=message):
        make_config(name)


@pytest.mark.parametrize("name", ["timm", "timm/", "swin_t", "timm/mine.py", "detectron2/x", "./timm/x"])
def test_other_names_are_no_networks(name):
    assert not names_a_network(name)
