"""Detectron2's transformers, built from the numbers in which their sizes differ."""

import importlib.util
from functools import partial

import pytest
import torch
from detectron2.modeling import MViT, ViT
from torch import nn

from querydet.modeling.backbones import make_mvit, make_vit

VIT = {"embed_dim": 768, "depth": 12, "num_heads": 12, "drop_path_rate": 0.1}
MVIT = {"embed_dim": 96, "depth": 10, "num_heads": 1, "drop_path_rate": 0.2}


def test_a_vit_is_the_one_of_vitdets_configs() -> None:
    with torch.device("cpu"):
        ours = make_vit(**VIT, global_blocks=[2, 5, 8, 11])
        theirs = ViT(
            **VIT,
            img_size=1024,
            patch_size=16,
            window_size=14,
            mlp_ratio=4,
            qkv_bias=True,
            norm_layer=partial(nn.LayerNorm, eps=1e-6),
            window_block_indexes=[0, 1, 3, 4, 6, 7, 9, 10],
            residual_block_indexes=[],
            use_rel_pos=True,
            out_feature="last_feat",
        )
    assert_same(ours, theirs)
    assert [block.window_size for block in ours.blocks] == [14, 14, 0] * 4


def test_an_mvit_is_the_one_of_mvitv2s_configs() -> None:
    names = ("scale2", "scale3", "scale4", "scale5")
    ours = make_mvit(**MVIT, last_blocks=[0, 2, 7, 9], out_features=names)
    theirs = MViT(
        **MVIT,
        last_block_indexes=(0, 2, 7, 9),
        residual_pooling=True,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        out_features=names,
    )
    assert_same(ours, theirs)
    assert [block.attn.window_size for block in ours.blocks] == [block.attn.window_size for block in theirs.blocks]


def assert_same(ours: nn.Module, theirs: nn.Module) -> None:
    """Assert equal modules with equal settings and shapes, and the names of Detectron2's checkpoints."""
    assert str(ours) == str(theirs)
    assert {key: value.shape for key, value in ours.state_dict().items()} == {
        key: value.shape for key, value in theirs.state_dict().items()
    }


def test_bad_blocks_are_refused() -> None:
    with pytest.raises(ValueError, match=r"indices of the 2 blocks, found \[1, 2\]"):
        make_vit(embed_dim=8, depth=2, num_heads=1, global_blocks=[1, 2])


def test_without_timm_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"ViT takes.*pip install timm"):
        make_vit(embed_dim=8, depth=1, num_heads=1, global_blocks=[])
    with pytest.raises(ModuleNotFoundError, match=r"MViT takes.*pip install timm"):
        make_mvit(embed_dim=8, depth=4, last_blocks=[0, 1, 2, 3], out_features=["scale5"])


def test_a_vit_without_absolute_positions_has_all_other_weights() -> None:
    options = {**VIT, "depth": 2, "global_blocks": [1]}
    names = [set(make_vit(**options, absolute_positions=kept).state_dict()) for kept in (True, False)]
    assert names[0] - names[1] == {"pos_embed"}
    assert names[1] < names[0]
