"""Recipes with masks hold the settings of the released codes, and where nothing is released, of the repositories."""

import pytest

from querydet.analysis.flops import build_on_meta
from querydet.config import load_config
from querydet.engine.solver import parameter_groups
from tests.test_published_settings import DEFORMABLE, DINO, epochs, read_settings

MASK_DEFORMABLE = {  # what the repository of MS-DETR has; the paper says nothing of its head and losses
    **DEFORMABLE,
    "model.encoder.layer.ffn_dim": 2048,
    "model.decoder.layer.ffn_dim": 2048,
    "model.decoder.layer.dropout": 0.1,
    "model.decoder.look_forward_twice": False,
    "model.masks.layers": "last",
    "model.masks.roles": ["matching"],
    "model.masks.branches": ["one_to_one"],
    "model.masks.head.in_channels": {"res5": 2048, "res4": 1024, "res3": 512},
    "model.masks.head.num_heads": 8,
    "model.masks.head.level": -1,
    "model.masks.head.halve": True,
    "model.masks.head.source": "projected",
    "model.masks.paste.resize": "nearest",
    "model.masks.paste.rescore": False,
    "model.criterion.rules.decoder.losses.mask.weight": 1.0,
    "model.criterion.rules.decoder.losses.mask.alpha": 0.25,
    "model.criterion.rules.decoder.losses.mask.gamma": 2.0,
    "model.criterion.rules.decoder.losses.dice.weight": 1.0,
    "model.criterion.rules.encoder.losses.mask": None,
    "dataloader.train.total_batch_size": 16,
    "dataloader.train.mapper.augmentations.short_sides": list(range(480, 801, 32)),
}
MS_MASK_DEFORMABLE = {
    **MASK_DEFORMABLE,
    "model.criterion.rules.decoder.losses.class.weight": 1.0,
    "model.criterion.rules.one_to_many.losses.class.weight": 2.0,
    "model.criterion.rules.one_to_many.losses.mask": None,
    "model.decoder.layer.one_to_many.after": "cross_attention",
}
MR_DETR_BASELINE = {
    "model.masks.head.source": "encoded",
    "model.masks.head.halve": True,
    "model.masks.paste.resize": "bilinear",
    "model.decoder.look_forward_twice": True,
    "model.selection.content.init": "normal",
    "model.encoder.layer.dropout": 0.0,
    "model.decoder.layer.dropout": 0.0,
    "model.postprocess.num_detections": 100,
    **{
        f"model.criterion.rules.decoder.losses.{loss}.{key}": value
        for loss, weight in (("mask", 5.0), ("dice", 2.0))
        for key, value in {"weight": weight, "num_points": 12544, "oversampling": 3.0, "importance": 0.75}.items()
    },
    "optimizer.lr": 1e-4,
    "train.clip_grad_norm": 0.1,
}
MASK2FORMER = {  # the released configuration of R50
    "model.neck.num_levels": 3,
    "model.neck.embed_dim": 256,
    "model.neck.position_embedding.temperature": 10000.0,
    "model.neck.position_embedding.offset": 0.0,
    "model.encoder.num_layers": 6,
    "model.encoder.layer.ffn_dim": 1024,
    "model.encoder.layer.num_points": 4,
    "model.decoder.num_layers": 9,
    "model.decoder.layer.ffn_dim": 2048,
    "model.decoder.layer.dropout": 0.0,
    "model.backbone.freeze_at": 0,
    "model.padding_is_image": True,
    "model.size_divisibility": 32,
    "model.masks.layers": "all",
    "model.masks.groups": "all",
    "model.masks.paste.rescore": True,
    "model.criterion.rules.decoder.assigner.class_weight": 2.0,
    "model.criterion.rules.decoder.assigner.mask_cost.mask_weight": 5.0,
    "model.criterion.rules.decoder.assigner.mask_cost.dice_weight": 5.0,
    "model.criterion.rules.decoder.assigner.mask_cost.num_points": 112 * 112,
    "model.criterion.rules.decoder.losses.class.weight": 2.0,
    "model.criterion.rules.decoder.losses.class.background": 0.1,
    "model.criterion.rules.decoder.losses.mask.weight": 5.0,
    "model.criterion.rules.decoder.losses.mask.num_points": 112 * 112,
    "model.criterion.rules.decoder.losses.mask.oversampling": 3.0,
    "model.criterion.rules.decoder.losses.mask.importance": 0.75,
    "model.criterion.rules.decoder.losses.dice.weight": 5.0,
    "model.postprocess.num_detections": 100,
    "dataloader.train.total_batch_size": 16,
    "dataloader.train.mapper.augmentations.image_size": 1024,
    "dataloader.train.mapper.augmentations.min_scale": 0.1,
    "dataloader.train.mapper.augmentations.max_scale": 2.0,
    "dataloader.train.mapper.augmentations.pad_value": 128,
    "dataloader.test.mapper.augmentations.short_side": 800,
    "dataloader.test.mapper.augmentations.max_side": 1333,
    "dataloader.test.mapper.augmentations.rounding": "nearest",
    "optimizer.lr": 1e-4,
    "optimizer.weight_decay": 0.05,
    "optimizer.norm_weight_decay": 0.0,
    "optimizer.embedding_weight_decay": 0.0,
    "optimizer.lr_factors": {"backbone": 0.1},
    "lr_multiplier.gamma": 0.1,
    "lr_multiplier.warmup_epochs": 0.0,
    "train.clip_grad_norm": 0.01,
}
PUBLISHED = {
    **{
        f"{folder}/configs/{name}_r50_{number}ep.py": {**settings, **epochs(number, drop)}
        for folder, name, settings in (
            ("deformable_detr", "mask_deformable_detr", MASK_DEFORMABLE),
            ("ms_detr", "ms_mask_deformable_detr", MS_MASK_DEFORMABLE),
        )
        for number, drop in ((12, 11), (50, 40))
    },
    **{
        f"deformable_detr/configs/mask_deformable_detr_pp_r50_{number}ep.py": {
            **MR_DETR_BASELINE,
            **epochs(number, drop),
        }
        for number, drop in ((12, 11), (24, 20))
    },
    **{
        f"{folder}_r50_{number}ep.py": {**settings, "train.max_epochs": number}
        for folder, settings in (
            ("mask2former/configs/mask2former", {**MASK2FORMER, "model.selection.num_queries": 100}),
            (
                "group_detr/configs/group_mask2former",
                {**MASK2FORMER, "model.selection.num_groups": 11, "model.selection.selection.num_queries": 100},
            ),
        )
        for number in (12, 50)
    },
    "dino/configs/dino_masks_r50_4scale_12ep.py": {
        **DINO,
        **epochs(12, 11),
        **{f"model.criterion.rules.{rule}.losses.class.weight": 4.0 for rule in ("decoder", "denoising")},  # ours
    },
}


@pytest.mark.parametrize("recipe", PUBLISHED)
def test_settings_are_the_published_ones(recipe: str) -> None:
    assert read_settings(recipe, PUBLISHED[recipe]) == PUBLISHED[recipe]


@pytest.mark.parametrize("recipe", [name for name in PUBLISHED if "mask2former" in name])
def test_mask2former_drops_its_rate_where_the_released_run_does(recipe: str) -> None:
    """After 327778 and 355092 of 368750 steps; in 12 epochs at the same parts of the run."""
    cfg = load_config(f"projects/{recipe}")
    steps = 368750 * cfg.train.max_epochs / 50
    drops = [milestone / cfg.train.max_epochs for milestone in cfg.lr_multiplier.milestones]
    assert drops == pytest.approx([327778 / 368750, 355092 / 368750], abs=1 / steps)


def test_mask2former_decays_no_norm_and_no_table() -> None:
    """But the neck's embedding of levels, which is a bare parameter in the released code too."""
    cfg = load_config("projects/mask2former/configs/mask2former_r50_12ep.py")
    model = build_on_meta(cfg.model)
    optimizer = cfg.optimizer
    groups = parameter_groups(
        model,
        optimizer.lr,
        optimizer.weight_decay,
        optimizer.lr_factors,
        optimizer.norm_weight_decay,
        optimizer.embedding_weight_decay,
    )
    names = {parameter: name for name, parameter in model.named_parameters()}
    kept = {names[each] for group in groups if group["weight_decay"] == 0 for each in group["params"]}
    tables = {name for name in kept if "norm" not in name and model.get_parameter(name).dim() == 2}
    assert tables == {"selection.content.weight", "selection.position.weight", "decoder.level_embed.weight"}
    assert "neck.level_embed" not in kept
    assert {"decoder.norm.weight", "masks.head.output_norm.bias"} <= kept
    assert all(model.get_parameter(name).dim() == 1 for name in kept - tables)
    (slow,) = {group["lr"] for group in groups for each in group["params"] if names[each].startswith("backbone.")}
    assert slow == pytest.approx(1e-5)
    assert sum(len(group["params"]) for group in groups) == len(names), "no stage of the backbone is frozen"
