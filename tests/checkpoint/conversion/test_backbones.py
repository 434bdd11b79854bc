"""The backbone that weights are of, by their names and shapes alone."""

import pytest
import torch

from querydet.checkpoint.conversion.backbones import find_backbone


def resnet(*blocks):
    """Names of a ResNet with so many blocks in each stage."""
    return {
        f"backbone.res{stage}.{block}.conv1.weight": torch.zeros(1)
        for stage, count in enumerate(blocks, start=2)
        for block in range(count)
    }


def swin(window=7, depths=(2, 1), heads=(3, 6), outputs=(1,)):
    """The weights of a Swin Transformer that tell its settings."""
    state = {"backbone.patch_embed.proj.weight": torch.zeros(24, 3, 4, 4)}
    for stage, depth in enumerate(depths):
        for block in range(depth):
            name = f"backbone.layers.{stage}.blocks.{block}.attn.relative_position_bias_table"
            state[name] = torch.zeros((2 * window - 1) ** 2, heads[stage])
    return state | {f"backbone.norm{number}.weight": torch.zeros(1) for number in outputs}


@pytest.mark.parametrize(("blocks", "depth"), [((3, 4, 6, 3), 50), ((3, 4, 23, 3), 101), ((3, 8, 36, 3), 152)])
def test_the_depth_of_a_resnet_is_its_blocks(blocks, depth):
    found = find_backbone(resnet(*blocks), 3)
    assert found == {
        "stages.depth": depth,
        "out_features": ["res3", "res4", "res5"],
        "names": ["res3", "res4", "res5"],
    }
    assert find_backbone(resnet(*blocks), 1)["out_features"] == ["res5"]


@pytest.mark.parametrize("window", [7, 8, 12])
def test_the_settings_of_a_swin_transformer_are_its_shapes(window):
    assert find_backbone(swin(window), 1) == {
        "embed_dim": 24,
        "depths": [2, 1],
        "num_heads": [3, 6],
        "window_size": window,
        "out_indices": [1],
        "names": ["p1"],
    }


def test_weights_without_a_backbone_have_none():
    assert find_backbone({"neck.level_embed": torch.zeros(1)}, 3) is None


def test_other_backbones_are_refused():
    with pytest.raises(ValueError, match=r"its stages have \(2, 2, 2, 2\) blocks.*--config-file"):
        find_backbone(resnet(2, 2, 2, 2), 3)
    basic = resnet(3, 4, 6, 3)
    basic |= {name.replace("conv1", "conv2"): value for name, value in basic.items()}
    with pytest.raises(ValueError, match=r"ResNets of bottlenecks .*--config-file"):
        find_backbone(basic, 3)
    broken = swin()
    del broken["backbone.layers.0.blocks.0.attn.relative_position_bias_table"]
    with pytest.raises(ValueError, match="Swin Transformer are not complete"):
        find_backbone(broken, 1)
