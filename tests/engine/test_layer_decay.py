"""Learning rates of the layers of a plain transformer, against those of ViTDet's recipes."""

import pytest
from detectron2.modeling import ViT
from torch import nn

from querydet.analysis.flops import build_on_meta
from querydet.config import get_config
from querydet.engine.layer_decay import layer_decay
from querydet.engine.solver import parameter_groups
from querydet.modeling.backbones import TimmBackbone


def rates(model: nn.Module, rules: dict[str, float]) -> dict[str, float]:
    """The learning rate of every parameter, where 1.0 is the full one."""
    names = {parameter: name for name, parameter in model.named_parameters()}
    groups = parameter_groups(model, 1.0, 0.0, rules)
    return {names[parameter]: group["lr"] for group in groups for parameter in group["params"]}


@pytest.mark.parametrize(
    ("decay", "depth", "embedding", "first", "last"),
    [
        (0.7, 12, 0.009689, 0.013841, 0.7),
        (0.8, 24, 0.0037779, 0.0047224, 0.8),
        (0.9, 32, 0.030903, 0.034337, 0.9),
    ],
)
def test_factors_of_vit_b_l_and_h(decay: float, depth: int, embedding: float, first: float, last: float) -> None:
    rules = layer_decay("backbone.net", depth, decay)
    assert rules["backbone.net.pos_embed"] == rules["backbone.net.patch_embed"] == pytest.approx(embedding, rel=5e-5)
    assert rules["backbone.net.blocks.0."] == pytest.approx(first, rel=5e-5)
    assert rules[f"backbone.net.blocks.{depth - 1}."] == pytest.approx(last)
    assert len(rules) == depth + 2


def test_block_1_is_not_block_11_and_the_pyramid_learns_at_the_full_rate() -> None:
    model = get_config("common/models/dino.py").model
    vit = get_config("common/backbones/vit.py")
    model.backbone, model.neck.in_channels = vit.backbone, vit.in_channels
    found = rates(build_on_meta(model), layer_decay("backbone.net", 12, 0.7))
    for name, rate in found.items():
        if ".net.blocks." in name:
            assert rate == pytest.approx(0.7 ** (12 - int(name.split(".")[3]))), name
        elif ".net." in name:
            assert rate == pytest.approx(0.7**13), name
        else:
            assert rate == 1.0, name
    assert any(name.startswith("backbone.simfp_") for name in found)


def test_any_depth_any_place() -> None:
    model = nn.ModuleDict({"backbone": ViT(img_size=32, embed_dim=8, depth=2, num_heads=1)})
    found = rates(model, layer_decay("backbone", 2, 0.5))
    assert (found["backbone.blocks.0.norm1.weight"], found["backbone.blocks.1.norm1.weight"]) == (0.25, 0.5)
    assert found["backbone.pos_embed"] == found["backbone.patch_embed.proj.bias"] == 0.125


def test_a_transformer_of_timm() -> None:
    pytest.importorskip("timm", reason="the adapter to timm needs timm")
    model = nn.ModuleDict({"backbone": TimmBackbone(name="test_vit", out_features=["p4"])})
    depth = len(model["backbone"].net.blocks)
    rules = layer_decay("backbone.net", depth, 0.5, embeddings=["pos_embed", "patch_embed", "cls_token"])
    found = rates(model, rules)
    assert found["backbone.net.cls_token"] == found["backbone.net.patch_embed.proj.weight"] == 0.5 ** (depth + 1)
    assert found[f"backbone.net.blocks.{depth - 1}.mlp.fc1.weight"] == 0.5


def test_new_convolutions_in_a_block_learn_at_the_full_rate() -> None:
    model = nn.ModuleDict({"backbone": ViT(img_size=32, embed_dim=8, depth=2, num_heads=1, residual_block_indexes=[1])})
    found = rates(model, layer_decay("backbone", 2, 0.5, residual_blocks=[1]))
    new = {name: rate for name, rate in found.items() if ".residual." in name}
    assert set(new.values()) == {1.0}
    assert found["backbone.blocks.1.norm1.weight"] == 0.5


def test_a_transformer_without_positions_has_no_rule_for_them() -> None:
    assert "backbone.net.pos_embed" not in layer_decay("backbone.net", 3, 0.9, embeddings=["patch_embed"])


@pytest.mark.parametrize(
    ("depth", "decay", "residual", "message"),
    [
        (0, 0.5, [], "depth must be"),
        (2, 0.0, [], "decay must be"),
        (2, 1.5, [], "decay must be"),
        (2, 0.5, [2], r"\[2\]"),
    ],
)
def test_absurd_numbers_are_refused(depth: int, decay: float, residual: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        layer_decay("backbone", depth, decay, residual_blocks=residual)
