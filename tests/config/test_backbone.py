"""Any recipe takes any backbone: the maps of the strides that it reads, the weights, and the rules of the optimizer."""

from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from querydet.analysis.flops import build_on_meta
from querydet.config import get_config, shipped_configs, use_backbone
from querydet.config.backbone import FOLDER, get_backbone, map_stride
from querydet.engine.solver import parameter_groups

KINDS = ("resnet", "resnet_dc5", "resnet_fpn", "swin_t", "vit", "mvit")  # one of each, which is built at once
BACKBONES = [
    name if name in KINDS else pytest.param(name, marks=pytest.mark.slow)
    for name in sorted(Path(each).stem for each in shipped_configs() if each.startswith(FOLDER))
]
RECIPES = {
    "4 levels": "dino/configs/dino_r50_4scale_12ep.py",
    "5 levels": "dino/configs/dino_r50_5scale_12ep.py",
    "one map": "detr/configs/detr_r50_50ep.py",
    "one dilated map": "detr/configs/detr_r50_dc5_50ep.py",
    "masks": "mask2former/configs/mask2former_r50_50ep.py",
}


def recipe(kind: str) -> DictConfig:
    return get_config(RECIPES[kind])


def exchange(kind: str, name: str) -> DictConfig:
    cfg = recipe(kind)
    use_backbone(name, cfg.model, cfg.optimizer, cfg.train)
    return cfg


def strides_read(model: DictConfig) -> list[int]:
    return [map_stride(model.backbone, name) for name in model.neck.in_channels]


@pytest.fixture
def own(tmp_path: Path) -> Any:
    """Writes a config of a user's own, from a shipped one, and returns its path."""

    def write(shipped: str, **changes: Any) -> str:
        path = tmp_path / "own.yaml"
        cfg = get_backbone(shipped)
        kept = {key: cfg[key] for key in ("backbone", "in_channels", "stride4", "weights") if key in cfg}
        OmegaConf.save({**OmegaConf.to_container(OmegaConf.create(_named(kept))), **changes}, path)
        return str(path)

    return write


def _named(node: Any) -> Any:
    if isinstance(node, dict | DictConfig):
        return {key: _named(value) for key, value in node.items()}
    return f"{node.__module__}.{node.__qualname__}" if callable(node) else node


@pytest.mark.parametrize("name", BACKBONES)
def test_every_shipped_backbone_names_its_maps_by_their_strides(name: str) -> None:
    shipped = get_backbone(name)
    shapes = build_on_meta(shipped.backbone).output_shape()
    assert {key: shapes[key].channels for key in shipped.in_channels} == dict(shipped.in_channels)
    assert {key: map_stride(shipped.backbone, key) for key in shapes} == {
        key: shape.stride for key, shape in shapes.items()
    }


@pytest.mark.parametrize("kind", ["4 levels", "5 levels", "masks"])
@pytest.mark.parametrize("name", ["resnet_fpn", "swin_t", "vit", "mvit"])
def test_a_recipe_reads_the_maps_of_the_same_strides(kind: str, name: str) -> None:
    before, cfg = recipe(kind).model, exchange(kind, name)
    read = strides_read(cfg.model)
    assert read[: len(before.neck.in_channels)] == strides_read(before)
    assert cfg.model.neck.num_levels == before.neck.num_levels >= len(read)
    shapes = build_on_meta(cfg.model.backbone).output_shape()
    heads = dict(cfg.model.masks.head.in_channels) if kind == "masks" else {}
    for key, channels in {**cfg.model.neck.in_channels, **heads}.items():
        assert shapes[key].channels == channels
        assert shapes[key].stride == map_stride(cfg.model.backbone, key)
    assert [map_stride(cfg.model.backbone, key) for key in heads] == ([4] if kind == "masks" else [])
    assert cfg.train.init_checkpoint == get_backbone(name).weights.init_checkpoint


@pytest.mark.parametrize("name", KINDS)
def test_dense_attention_reads_one_map_and_the_backbone_makes_no_other(name: str) -> None:
    cfg = exchange("one map", name)
    (key,) = cfg.model.neck.in_channels
    assert map_stride(cfg.model.backbone, key) == (16 if name.endswith("dc5") else 32)
    shapes = build_on_meta(cfg.model.backbone).output_shape()
    assert shapes[key].channels == cfg.model.neck.in_channels[key]
    if name != "resnet_fpn":  # which joins all of its maps
        assert list(shapes) == [key]


def test_a_map_of_stride_16_in_place_of_a_dilated_one() -> None:
    assert dict(exchange("one dilated map", "swin").model.neck.in_channels) == {"p2": 768}
    assert dict(exchange("one dilated map", "resnet_dc5").model.neck.in_channels) == {"res5": 2048}


def test_exchanging_twice_is_exchanging_once() -> None:
    cfg = exchange("4 levels", "vit")
    use_backbone("resnet", cfg.model, cfg.optimizer, cfg.train)
    before = recipe("4 levels")
    assert cfg.model == before.model
    assert cfg.optimizer == before.optimizer
    assert cfg.train == before.train


def test_rules_of_the_backbone_replace_the_factor_of_the_recipe_and_leave_the_others(own: Any) -> None:
    path = own("vit", lr_factors={"backbone.net.blocks.1.": 0.5}, weight_decays={"pos_embed": 0.0})
    cfg = get_config("deformable_detr/configs/deformable_detr_r50_50ep.py")
    use_backbone(path, cfg.model, cfg.optimizer, cfg.train)
    assert dict(cfg.optimizer.lr_factors) == {
        "backbone.net.blocks.1.": 0.5,
        "sampling_offsets": 0.1,
        "reference_points": 0.1,
    }
    assert dict(cfg.optimizer.weight_decays) == {"pos_embed": 0.0}
    use_backbone("resnet", cfg.model, cfg.optimizer, cfg.train)
    assert dict(cfg.optimizer.lr_factors) == {"backbone": 0.1, "sampling_offsets": 0.1, "reference_points": 0.1}
    parameter_groups(build_on_meta(cfg.model), 1.0, 0.0, cfg.optimizer.lr_factors)


def test_the_factor_of_a_recipe_stays_where_the_backbone_has_none() -> None:
    cfg = recipe("4 levels")
    cfg.optimizer.lr_factors = {"backbone": 0.3}
    use_backbone("swin", cfg.model, cfg.optimizer, cfg.train)
    assert dict(cfg.optimizer.lr_factors) == {"backbone": 0.3}


def test_the_normalisation_is_that_of_the_weights(own: Any) -> None:
    path = own("swin", weights={"init_checkpoint": "x.pth", "pixel_mean": [127.5] * 3, "pixel_std": [127.5] * 3})
    cfg = recipe("4 levels")
    use_backbone(path, cfg.model, cfg.optimizer, cfg.train)
    assert (list(cfg.model.pixel_mean), list(cfg.model.pixel_std)) == ([127.5] * 3, [127.5] * 3)
    assert cfg.train.init_checkpoint == "x.pth"
    use_backbone("swin", cfg.model)
    assert list(cfg.model.pixel_mean) == [123.675, 116.28, 103.53]
    assert cfg.train.init_checkpoint == "x.pth", "train was not given"


def test_without_weights_training_starts_from_random_ones(own: Any) -> None:
    cfg = recipe("4 levels")
    use_backbone(own("swin", weights={}), cfg.model, train=cfg.train)
    assert cfg.train.init_checkpoint == ""


def test_a_misspelt_name_is_answered_by_the_nearest() -> None:
    with pytest.raises(FileNotFoundError, match=r"no backbone 'swinn'.*did you mean 'swin'.*resnet_fpn"):
        exchange("4 levels", "swinn")


def test_a_config_of_something_else_is_refused() -> None:
    with pytest.raises(ValueError, match="no config of a backbone: it has no backbone and no in_channels"):
        get_backbone("common/optim.py")


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        ("4 levels", "resnet_dc5", r"reads maps of stride 8, and backbone 'resnet_dc5' has maps of stride 16"),
        ("masks", "resnet_dc5", r"reads maps of stride 8"),
    ],
)
def test_a_map_that_a_backbone_lacks_is_named(kind: str, name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        exchange(kind, name)


def test_a_map_of_stride_4_is_asked_for(own: Any) -> None:
    with pytest.raises(ValueError, match=r"of stride 4, .* name its map of stride 4 in its config: stride4="):
        exchange("5 levels", own("swin", stride4={}))


def test_a_map_without_a_number_is_refused(own: Any) -> None:
    with pytest.raises(ValueError, match="'coarse' of SwinTransformer does not end with the logarithm"):
        exchange("4 levels", own("swin", in_channels={"coarse": 8}))
