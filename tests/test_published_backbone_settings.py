"""The recipes by backbone hold the settings of detrex's configs, and of PaddleDetection's for ViT-Huge."""

import pytest

from querydet.config import load_config
from querydet.model_zoo.published import recipes
from tests.test_published_settings import DINO, GROUPS, epochs, nested, read_settings

DETREX = {
    **{key: value for key, value in DINO.items() if "position_embedding" not in key},
    "model.neck.position_embedding.temperature": 10000.0,
    "model.neck.position_embedding.offset": -0.5,
    "model.heads.share_layers": False,
    "model.denoising.num_embeddings": 80,
    "optimizer.norm_weight_decay": 0.0,
}
VITDET_L = {
    "model.backbone.net.embed_dim": 1024,
    "model.backbone.net.depth": 24,
    "model.backbone.net.num_heads": 16,
    "model.backbone.net.global_blocks": [5, 11, 17, 23],
    "model.backbone.net.drop_path_rate": 0.4,
    "lr_multiplier.warmup_factor": 0.001,
    "lr_multiplier.warmup_epochs": 250 / 7500,
}
SETTINGS = {
    "r50_4scale_12ep": {**DETREX, **epochs(12, 11), "model.backbone.freeze_at": 1},
    "r50_4scale_24ep": {
        **DETREX,
        **epochs(24, 20),
        "model.neck.position_embedding.temperature": 20.0,
        "model.neck.position_embedding.offset": 0.0,
    },
    "r50_4scale_better_hyper_12ep": {
        **DETREX,
        "model.backbone.freeze_at": 0,
        "model.denoising.groups.num_queries": 300,
        "model.criterion.rules.decoder.losses.class.weight": 2.0,
        "model.criterion.rules.encoder.losses.class.weight": 2.0,
        "optimizer.lr": 2e-4,
        "optimizer.lr_factors": {"backbone": 0.1, "sampling_offsets": 0.1},
        "optimizer.norm_weight_decay": None,
    },
    "swin_t_4scale_12ep": {**DETREX, "model.backbone.window_size": 7, "model.backbone.drop_path_rate": 0.1},
    "swin_b_384_4scale_12ep": {**DETREX, "model.backbone.window_size": 12, "model.backbone.drop_path_rate": 0.2},
    "swin_l_5scale_36ep": {**DETREX, **epochs(36, 30), "model.neck.num_levels": 5},
    "convnext_l_22k_4scale_12ep": {**DETREX, "model.backbone.options.drop_path_rate": 0.0},
    "focalnet_l_4scale_36ep": {**DETREX, **epochs(36, 30), "model.backbone.options.drop_path_rate": 0.3},
    "focalnet_l_fl4_5scale_36ep": {**DETREX, "model.neck.num_levels": 5, "model.backbone.options.drop_path_rate": 0.4},
    "vitdet_b_4scale_50ep": {**DETREX, **epochs(50, 40), "model.backbone.net.drop_path_rate": 0.1},
    "vitdet_l_4scale_50ep": {**DETREX, **epochs(50, 40), **VITDET_L},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_are_those_of_detrex(name: str) -> None:
    recipe = f"dino/configs/dino_detrex_{name}.py"
    assert read_settings(recipe, SETTINGS[name]) == SETTINGS[name]


def test_settings_of_vit_huge_are_those_of_paddle_detection() -> None:
    settings = {
        **nested({key: value for key, value in DINO.items() if "lr_factors" not in key}, "selection", "denoising"),
        **GROUPS,
        **epochs(12, 11),
        "model.backbone.net.global_blocks": [7, 15, 23, 31],
        "model.backbone.net.window_size": 14,
        "model.backbone.net.drop_path_rate": 0.1,
        "model.backbone.net.absolute_positions": False,
        "dataloader.train.total_batch_size": 8,
        "dataloader.train.mapper.augmentations.short_sides": list(range(480, 1185, 32)),
        "dataloader.test.mapper.augmentations.short_side": 1184,
        "dataloader.test.mapper.augmentations.max_side": 2000,
    }
    assert read_settings("group_detr/configs/group_dino_vit_h_finetune_12ep.py", settings) == settings
    rules = load_config(recipes()["group_dino_vit_h_finetune_12ep"]).optimizer.lr_factors
    assert rules["backbone.net.blocks.31."] == pytest.approx(0.7)
    assert rules["backbone.net.blocks.0."] == pytest.approx(0.7**32)
    assert rules["backbone.net.patch_embed"] == pytest.approx(0.7**33)
    assert len(rules) == 33


def test_every_recipe_by_backbone_starts_from_the_weights_of_its_backbone() -> None:
    starts = {
        name: load_config(path).train.init_checkpoint
        for name, path in recipes().items()
        if name.startswith("dino_detrex_")
    }
    assert all(starts.values())
    for mark, files in {
        "22k": "22k",
        "vitdet_l": "vit_large",
        "fl4": "fl4",
        "r101": "resnet101",
        "l_224": "7_224",
    }.items():
        for name, start in starts.items():
            assert mark not in name or files in start, name
