"""Every weight of a published backbone gets a place, is named, or makes the file refused."""

import pytest
import timm
import torch
from detectron2.modeling import SwinTransformer
from torch import Tensor

from querydet.checkpoint.conversion.backbone_files import Placed, place_backbone
from querydet.modeling.backbones import make_vit
from tests.checkpoint.conversion.published_backbones import Shapes, convnext, swin, vit, vitdet

SIZES = {"embed_dim": 8, "depths": [1, 1, 3, 1], "num_heads": [1, 2, 2, 4], "window_size": 3}
REFUSED = r"but not of this model's backbone\n[\s\S]*"


def tensors(shapes: Shapes) -> dict[str, Tensor]:
    return {name: torch.full(shape, float(index)) for index, (name, shape) in enumerate(shapes.items())}


def swin_file(**changes: object) -> dict[str, Tensor]:
    state = tensors(swin(**{**SIZES, **changes}))  # type: ignore[arg-type]
    classifier = {"norm.weight": torch.ones(64), "head.weight": torch.ones(10, 64)}
    mask = {"layers.0.blocks.0.attn_mask": torch.ones(4, 9, 9)}
    return {name: value for name, value in state.items() if name[:4] != "norm"} | classifier | mask


def own_swin(**changes: object) -> dict[str, Tensor]:
    return SwinTransformer(**{**SIZES, **changes}, out_indices=[1, 2, 3]).state_dict()


def place(state: dict[str, Tensor], own: dict[str, Tensor], prefix: str = "") -> Placed:
    placed = place_backbone(state, own, prefix)
    assert placed is not None
    return placed


def test_all_names_are_accounted_for() -> None:
    state, own = swin_file(), own_swin()
    placed = place(state, own)
    assert {*placed.dropped, *placed.state} == set(state)
    assert set(placed.new) == {f"norm{n}.{kind}" for n in (1, 2, 3) for kind in ("weight", "bias")}
    assert set(placed.state) | set(placed.new) >= {name for name in own if "relative_position_index" not in name}
    for text in ("norm.weight, head.weight", "attn_mask", "norm1.weight", "classifier"):
        assert text in placed.describe()


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"depths": [1, 1, 4, 1]}, r"layers\.2\.blocks\.3\.norm1\.weight of the file has no place"),
        ({"depths": [1, 1, 2, 1]}, r"backbone\.layers\.2\.blocks\.2\.norm1\.weight is missing in the file"),
        (
            {"window_size": 4},
            r"relative_position_bias_table has the shape \(49, 1\) in the file, \(25, 1\) in the model",
        ),
        ({"embed_dim": 16}, r"and \d+ more"),
    ],
)
def test_another_size_is_refused(changes: dict, text: str) -> None:
    """Also one whose weights all have the right shapes, and that is only deeper."""
    with pytest.raises(ValueError, match=REFUSED + text):
        place(swin_file(**changes), own_swin())


def test_another_architecture_is_refused_with_its_name() -> None:
    network = make_vit(embed_dim=32, depth=2, num_heads=2, global_blocks=[1]).state_dict()
    with pytest.raises(
        ValueError, match=r"those of Facebook's ConvNeXt, and no rule turns them into .*pos_embed, patch_embed"
    ):
        place_backbone(tensors(convnext([1, 1, 1, 1], [8, 16, 24, 32])), network)


def test_a_file_that_is_no_backbone_is_left_to_others() -> None:
    assert place_backbone({"transformer.level_embed": torch.ones(4, 8)}, own_swin()) is None


def test_masked_autoencoders_lose_their_token_and_decoder_by_name() -> None:
    network = make_vit(embed_dim=32, depth=2, num_heads=2, global_blocks=[1]).state_dict()
    own = {f"net.{name}": value for name, value in network.items()} | {"simfp_4.0.weight": torch.ones(1)}
    state = tensors(vit(32, 2, 2)) | {"decoder_blocks.0.norm1.weight": torch.ones(8), "mask_token": torch.ones(1, 1, 8)}
    placed = place(state, own, "net.")
    assert set(placed.dropped) == {
        *("cls_token", "norm.weight", "norm.bias", "decoder_blocks.0.norm1.weight", "mask_token"),
    }
    assert set(placed.new) == {name for name in own if "rel_pos" in name} | {"simfp_4.0.weight"}
    assert torch.equal(placed.state["net.pos_embed"], state["pos_embed"])


@pytest.mark.parametrize("extra", ["dist_token", "blocks.0.ls1.gamma", "blocks.0.attn.q_bias", "register_tokens"])
def test_relatives_of_the_plain_vision_transformer_are_refused(extra: str) -> None:
    network = make_vit(embed_dim=32, depth=2, num_heads=2, global_blocks=[1]).state_dict()
    with pytest.raises(ValueError, match=REFUSED + f"{extra} of the file has no place"):
        place(tensors(vit(32, 2, 2)) | {extra: torch.ones(32)}, network)


def test_the_huge_vision_transformer_is_resized_and_said_to_be() -> None:
    network = make_vit(embed_dim=32, depth=2, num_heads=2, global_blocks=[1]).state_dict()
    placed = place(tensors(vit(32, 2, 2, rows=257, patch=14)), network)
    assert placed.state["patch_embed.proj.weight"].shape == (32, 3, 16, 16)
    assert placed.state["pos_embed"].shape == (1, 197, 32)
    assert len(placed.notes) == 2
    with pytest.raises(ValueError, match=REFUSED + r"patch_embed\.proj\.weight has the shape \(32, 3, 8, 8\)"):
        place(tensors(vit(32, 2, 2, patch=8)), network)


def test_without_absolute_positions_those_of_the_file_are_named() -> None:
    network = make_vit(embed_dim=32, depth=2, num_heads=2, global_blocks=[1]).state_dict()
    del network["pos_embed"]
    assert "no absolute positions" in place(tensors(vit(32, 2, 2)), network).dropped["pos_embed"]


def test_a_width_that_equals_another_part_of_the_detector_changes_nothing() -> None:
    """A search for equal ends found `norm.bias` of the file in any norm of the pyramid of equal width."""
    own = {name: torch.zeros(shape) for name, shape in vitdet(256, 2, 2, [1]).items()}
    placed = place(tensors(vit(256, 2, 2)), own, "net.")
    assert all(name.startswith("net.") for name in placed.state)


@pytest.mark.parametrize(
    "name", ["resnet18", "resnet50d", "convnext_atto", "swin_tiny_patch4_window7_224", "vit_tiny_patch16_224"]
)
def test_networks_of_timm_take_the_files_of_timm_by_their_own_names(name: str) -> None:
    with torch.device("meta"):
        own = timm.create_model(name, features_only=True).state_dict()
        state = timm.create_model(name).state_dict()
    prefix = "model." if name.startswith("vit") else ""
    placed = place(state, {f"body.{key}": value for key, value in own.items()}, f"body.{prefix}")
    assert placed.new == []
    assert set(placed.state) == {f"body.{key}" for key in own}
    assert {*placed.state} >= {f"body.{key}" for key in own}
    assert len(placed.state) + len(placed.dropped) == len(state)


def test_a_deeper_network_of_timm_is_refused() -> None:
    with torch.device("meta"):
        own = timm.create_model("convnext_atto", features_only=True).state_dict()
        state = timm.create_model("convnext_atto", depths=(2, 2, 7, 2)).state_dict()
    with pytest.raises(ValueError, match=REFUSED + r"stages\.2\.blocks\.6\..* of the file has no place"):
        place(state, own)


def test_stages_that_a_network_does_not_compute_are_not_used() -> None:
    with torch.device("meta"):
        own = timm.create_model("convnext_atto", features_only=True, out_indices=(1, 2)).state_dict()
    placed = place(tensors(convnext([2, 2, 6, 2], [40, 80, 160, 320])), own)
    assert {name.split(".")[0] for name in placed.dropped} == {
        "downsample_layers",
        "stages",
        *(f"norm{n}" for n in range(4)),
    }
    assert all(".3." in name or name.startswith("norm") for name in placed.dropped)
