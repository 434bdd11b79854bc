"""The recipes hold the published hyperparameters (papers' tables, and launch scripts of the released code)."""

from collections.abc import Iterable

import pytest
from omegaconf import OmegaConf

from querydet.config import load_config

LOSSES = {"class.weight": 1.0, "class.alpha": 0.25, "l1.weight": 5.0, "giou.weight": 2.0}
DINO = {
    "model.neck.embed_dim": 256,
    "model.neck.position_embedding.temperature": 20.0,
    "model.neck.position_embedding.offset": 0.0,
    "model.encoder.num_layers": 6,
    "model.decoder.num_layers": 6,
    "model.encoder.layer.ffn_dim": 2048,
    "model.decoder.layer.ffn_dim": 2048,
    "model.encoder.layer.dropout": 0.0,
    "model.decoder.layer.dropout": 0.0,
    "model.decoder.layer.num_heads": 8,
    "model.decoder.layer.num_points": 4,
    "model.selection.num_queries": 900,
    "model.selection.content.init": "xavier",
    "model.heads.share_layers": True,
    "model.heads.inverse_sigmoid_eps": 1e-3,
    "model.denoising.groups.num_queries": 100,
    "model.denoising.label_noise": 0.5,
    "model.denoising.box_noise": 1.0,
    "model.criterion.rules.decoder.assigner.class_weight": 2.0,
    "model.criterion.rules.decoder.assigner.l1_weight": 5.0,
    "model.criterion.rules.decoder.assigner.giou_weight": 2.0,
    "model.criterion.rules.decoder.losses.class.weight": 1.0,
    "model.criterion.rules.decoder.losses.class.alpha": 0.25,
    "model.criterion.rules.decoder.losses.l1.weight": 5.0,
    "model.criterion.rules.decoder.losses.giou.weight": 2.0,
    "model.criterion.rules.denoising.losses.class.weight": 1.0,
    "model.postprocess.num_detections": 300,
    "dataloader.train.total_batch_size": 16,
    "optimizer.lr": 1e-4,
    "optimizer.weight_decay": 1e-4,
    "optimizer.lr_factors": {"backbone": 0.1},
    "train.clip_grad_norm": 0.1,
    "lr_multiplier.gamma": 0.1,
}
DEFORMABLE = {
    "model.neck.position_embedding.temperature": 10000.0,
    "model.neck.position_embedding.offset": -0.5,
    "model.selection.num_queries": 300,
    "model.heads.share_layers": False,
    "model.heads.inverse_sigmoid_eps": 1e-5,
    "model.criterion.rules.decoder.assigner.class_weight": 2.0,
    "model.criterion.rules.decoder.losses.class.weight": 2.0,
    "model.criterion.rules.decoder.losses.l1.weight": 5.0,
    "model.criterion.rules.decoder.losses.giou.weight": 2.0,
    "model.postprocess.num_detections": 100,
    "optimizer.lr": 2e-4,
    "optimizer.weight_decay": 1e-4,
    "optimizer.lr_factors.backbone": 0.1,
    "optimizer.lr_factors.sampling_offsets": 0.1,
    "train.clip_grad_norm": 0.1,
}

DN_DETR = {
    "model.neck.position_embedding.temperature": 10000.0,
    "model.neck.position_embedding.offset": -0.5,
    "model.neck.num_levels": 4,
    "model.encoder.num_layers": 6,
    "model.decoder.num_layers": 6,
    "model.encoder.layer.ffn_dim": 2048,
    "model.decoder.layer.ffn_dim": 2048,
    "model.encoder.layer.dropout": 0.0,
    "model.decoder.layer.dropout": 0.0,
    "model.decoder.output_norm": False,
    "model.decoder.look_forward_twice": False,
    "model.selection.num_queries": 300,
    "model.selection.indicator": True,
    "model.heads.share_layers": False,
    "model.heads.inverse_sigmoid_eps": 1e-3,
    "model.heads.initial_size_logit": -2.0,
    "model.denoising.groups.num_groups": 5,
    "model.denoising.label_noise": 0.2,
    "model.denoising.box_noise": 0.4,
    "model.criterion.rules.decoder.assigner.class_weight": 2.0,
    "model.criterion.rules.decoder.assigner.l1_weight": 5.0,
    "model.criterion.rules.decoder.assigner.giou_weight": 2.0,
    "model.criterion.rules.decoder.assigner.giou_eps": 1e-6,
    **{
        f"model.criterion.rules.{rule}.losses.{key}": value
        for rule in ("decoder", "denoising")
        for key, value in LOSSES.items()
    },
    "model.criterion.rules.denoising.role": "denoising",
    "model.postprocess.num_detections": 100,
    "dataloader.train.total_batch_size": 16,
    "optimizer.lr": 1e-4,
    "optimizer.weight_decay": 1e-4,
    "optimizer.lr_factors": {"backbone": 0.1},
    "train.clip_grad_norm": 0.1,
    "lr_multiplier.gamma": 0.1,
}

DN_DEFORMABLE_ENCODER = {
    **{key: value for key, value in DN_DETR.items() if "output_norm" not in key},
    "model.heads.initial_size_logit": 0.0,
    "model.neck.position_embedding.temperature": 20.0,
    "model.neck.position_embedding.offset": 0.0,
    "model.encoder.layer.activation": "relu",
    "model.decoder.layer.activation": "relu",
    "model.decoder.layer.num_levels": 4,
    "model.decoder.look_forward_twice": True,
    "model.selection.num_patterns": 3,
    "model.selection.shared_content": True,
    "model.heads.share_layers": True,
    "model.heads.zero_box_head": False,
    "model.postprocess.num_detections": 300,
}

DETA_BASELINE = {
    "model.neck.position_embedding.temperature": 10000.0,
    "model.neck.position_embedding.offset": -0.5,
    "model.neck.num_levels": 5,
    "model.encoder.num_layers": 6,
    "model.decoder.num_layers": 6,
    "model.encoder.layer.ffn_dim": 2048,
    "model.decoder.layer.ffn_dim": 2048,
    "model.encoder.layer.dropout": 0.0,
    "model.decoder.layer.dropout": 0.0,
    "model.decoder.look_forward_twice": False,
    "model.selection.num_queries": 900,
    "model.selection.objectness": True,
    "model.heads.share_layers": False,
    "model.heads.inverse_sigmoid_eps": 1e-5,
    **{
        f"model.criterion.rules.{rule}.losses.{key}": value
        for rule in ("decoder", "encoder")
        for key, value in LOSSES.items()
    },
    "model.criterion.rules.encoder.class_agnostic": True,
    "model.postprocess.num_detections": 100,
    "dataloader.train.total_batch_size": 16,
    "optimizer.lr": 2e-4,
    "optimizer.weight_decay": 1e-4,
    "optimizer.lr_factors": {"backbone": 0.1, "sampling_offsets": 0.1},
    "train.clip_grad_norm": 0.1,
    "lr_multiplier.gamma": 0.1,
}
DETA = {
    **DETA_BASELINE,
    "model.selection.iou_threshold": 0.9,
    "model.selection.max_candidates": 1000,
    "model.selection.level_share": None,
    "model.criterion.rules.decoder.assign_once": True,
    "model.criterion.rules.decoder.assigner.matcher.thresholds": [0.6],
    "model.criterion.rules.decoder.assigner.max_queries": 4,
    "model.criterion.rules.decoder.assigner.positive_fraction": 0.25,
    "model.criterion.rules.decoder.assigner.num_samples": None,
    "model.criterion.rules.encoder.assigner.matcher.thresholds": [0.3, 0.7],
    "model.criterion.rules.encoder.assigner.max_queries": 4,
    "model.criterion.rules.encoder.assigner.positive_fraction": 0.5,
    "model.criterion.rules.encoder.assigner.num_samples": 256,
    "model.postprocess.iou_threshold": 0.7,
    "model.postprocess.max_candidates": 10000,
}


def epochs(number: int, drop: int) -> dict[str, object]:
    return {"train.max_epochs": number, "lr_multiplier.milestones": [drop]}


SWIN_L = {
    "model.backbone.embed_dim": 192,
    "model.backbone.depths": [2, 2, 18, 2],
    "model.backbone.num_heads": [6, 12, 24, 48],
    "model.backbone.window_size": 12,
    "model.backbone.drop_path_rate": 0.2,
}
LARGE_IMAGES = {
    "dataloader.train.mapper.augmentations.short_sides": [720 + 48 * step for step in range(11)],
    "dataloader.train.mapper.augmentations.max_side": 2000,
    "dataloader.test.mapper.augmentations.short_side": 1200,
    "dataloader.test.mapper.augmentations.max_side": 2000,
}
LARGE_DINO = {  # of five scales, DINO's D.2
    "model.neck.num_levels": 5,
    "model.denoising.groups.num_queries": 1000,
    "model.backbone.use_checkpoint": True,
    "train.amp.enabled": True,
    "train.activation_checkpointing": ["encoder", "decoder"],
}
PUBLISHED = {
    "dino/configs/dino_r50_4scale_12ep.py": {**DINO, **epochs(12, 11), "model.neck.num_levels": 4},
    "dino/configs/dino_r50_4scale_24ep.py": {**DINO, **epochs(24, 20), "model.neck.num_levels": 4},
    "dino/configs/dino_r50_4scale_36ep.py": {**DINO, **epochs(36, 30), "model.neck.num_levels": 4},
    "dino/configs/dino_r50_5scale_12ep.py": {**DINO, **epochs(12, 11), "model.neck.num_levels": 5},
    "dino/configs/dino_r50_5scale_24ep.py": {**DINO, **epochs(24, 20), "model.neck.num_levels": 5},
    "dino/configs/dino_r50_5scale_36ep.py": {**DINO, **epochs(36, 30), "model.neck.num_levels": 5},
    "dino/configs/dino_swin_l_4scale_12ep.py": {**DINO, **SWIN_L, **epochs(12, 11)},
    "dino/configs/dino_swin_l_4scale_36ep.py": {**DINO, **SWIN_L, **epochs(36, 30)},
    "dn_detr/configs/dn_detr_r50_12ep.py": {**DN_DETR, **epochs(12, 11)},
    "dn_detr/configs/dn_detr_r50_24ep.py": {**DN_DETR, **epochs(24, 20)},
    "dn_detr/configs/dn_detr_r50_50ep.py": {**DN_DETR, **epochs(50, 40)},
    "dn_detr/configs/dn_detr_r50_10groups_50ep.py": {
        **DN_DETR,
        **epochs(50, 40),
        "model.denoising.groups.num_groups": 10,
    },
    "dn_detr/configs/dn_detr_r50_dynamic_12ep.py": {
        **DN_DETR,
        **epochs(12, 11),
        "model.denoising.groups.num_groups": None,
        "model.denoising.groups.num_queries": 100,
    },
    "dn_detr/configs/dn_deformable_encoder_r50_12ep.py": {**DN_DEFORMABLE_ENCODER, **epochs(12, 11)},
    "dn_detr/configs/dn_deformable_encoder_r50_50ep.py": {**DN_DEFORMABLE_ENCODER, **epochs(50, 40)},
    "dn_detr/configs/dn_deformable_encoder_r101_12ep.py": {
        **DN_DEFORMABLE_ENCODER,
        **epochs(12, 11),
        "model.backbone.stages.depth": 101,
    },
    "deta/configs/deta_baseline_r50_50ep.py": {**DETA_BASELINE, **epochs(50, 40)},
    "deta/configs/deta_r50_12ep.py": {**DETA, **epochs(12, 10)},
    "deta/configs/deta_r50_24ep.py": {**DETA, **epochs(24, 20)},
    "deta/configs/deta_r50_9enc_24ep.py": {
        **DETA,
        **epochs(24, 20),
        "model.encoder.num_layers": 9,
        "model.postprocess.num_detections": 300,
    },
    "deta/configs/deta_swin_l_finetune_24ep.py": {
        **DETA,
        **SWIN_L,
        **epochs(24, 20),
        "model.backbone.drop_path_rate": 0.3,
        "optimizer.lr": 5e-5,
        **LARGE_IMAGES,
        "dataloader.train.mapper.augmentations.crop_short_sides": [400, 500, 600],
        "dataloader.train.mapper.augmentations.crop_sides": [384, 600],
    },
    "deformable_detr/configs/deformable_detr_r50_two_stage_50ep.py": {
        **DEFORMABLE,
        **epochs(50, 40),
        "dataloader.train.total_batch_size": 32,
        "model.encoder.layer.ffn_dim": 1024,
        "model.decoder.layer.dropout": 0.1,
    },
    "deformable_detr/configs/deformable_detr_r50_refine_50ep.py": {
        **DEFORMABLE,
        **epochs(50, 40),
        "dataloader.train.total_batch_size": 32,
        "model.heads.initial_size_logit": -2.0,
        "optimizer.lr_factors.reference_points": 0.1,
    },
    "deformable_detr/configs/deformable_detr_pp_r50_12ep.py": {
        **DEFORMABLE,
        **epochs(12, 11),
        "dataloader.train.total_batch_size": 16,
        "model.encoder.layer.ffn_dim": 2048,
        "model.decoder.layer.dropout": 0.0,
        "model.selection.content.init": "normal",
        "model.decoder.look_forward_twice": True,
    },
}

GROUPS = {"model.selection.num_groups": 11, "model.selection.source": "per_set"}


def nested(settings: dict[str, object], *slots: str) -> dict[str, object]:
    """Settings of parts that other parts of the same slots wrap."""
    for slot in slots:
        settings = {key.replace(f"model.{slot}.", f"model.{slot}.{slot}."): value for key, value in settings.items()}
    return settings


GROUPED_DINO = {
    **nested(DINO, "selection", "denoising"),
    **GROUPS,
    "model.denoising.num_groups": 11,
}
H_DETR = {
    **nested(DEFORMABLE, "selection"),
    "dataloader.train.total_batch_size": 16,
    "model.encoder.layer.ffn_dim": 2048,
    "model.decoder.layer.dropout": 0.0,
    "model.decoder.look_forward_twice": True,
    "model.selection.extra_queries": 1500,
    "model.selection.extra_content.num_queries": 1500,
    "model.selection.repeats": 6,
    "model.selection.extra_weight": 1.0,
}
SWIN_L_7 = {**SWIN_L, "model.backbone.window_size": 7, "model.backbone.pretrain_img_size": 224}
MORE_DROP_PATH = {"model.backbone.drop_path_rate": 0.5}
CONDITIONAL = {  # the script of the authors' branch of Conditional DETR
    "model.selection.num_groups": 11,
    "model.selection.selection.num_queries": 300,
    "model.neck.position_embedding.offset": 0.0,
    "model.neck.position_embedding.temperature": 10000.0,
    "model.encoder.layer.dropout": 0.1,
    "model.decoder.layer.dropout": 0.1,
    "model.decoder.layer.ffn_dim": 2048,
    "model.heads.share_layers": True,
    "model.postprocess.num_detections": 100,
    "optimizer.lr": 1e-4,
    "optimizer.lr_factors": {"backbone": 0.1},
    "dataloader.train.total_batch_size": 16,
    "train.clip_grad_norm": 0.1,
}
PUBLISHED |= {
    "group_detr/configs/group_dino_r50_4scale_12ep.py": {**GROUPED_DINO, **epochs(12, 11)},
    "group_detr/configs/group_dino_r50_4scale_36ep.py": {**GROUPED_DINO, **epochs(36, 30)},
    "group_detr/configs/group_dino_swin_l_4scale_36ep.py": {**GROUPED_DINO, **SWIN_L, **epochs(36, 30)},
    "group_detr/configs/group_dab_deformable_detr_r50_12ep.py": {
        "model.selection.num_groups": 11,
        "model.selection.selection.num_queries": 300,
        **epochs(12, 11),
    },
    "group_detr/configs/group_dab_deformable_detr_r50_50ep.py": {"model.selection.num_groups": 11, **epochs(50, 40)},
    "group_detr/configs/group_conditional_detr_r50_12ep.py": {**CONDITIONAL, **epochs(12, 11)},
    "group_detr/configs/group_conditional_detr_r50_50ep.py": {**CONDITIONAL, **epochs(50, 40)},
    "group_detr/configs/group_dn_detr_r50_12ep.py": {
        "model.selection.num_groups": 11,
        "model.denoising.num_groups": 11,
        "model.denoising.denoising.groups.num_queries": 100,
        **epochs(12, 11),
    },
    "group_detr/configs/group_deformable_detr_pp_r50_12ep.py": {
        **nested(DEFORMABLE, "selection"),
        **GROUPS,
        "model.selection.num_groups": 6,
        **epochs(12, 11),
    },
    "h_detr/configs/h_detr_r50_12ep.py": {**H_DETR, **epochs(12, 11)},
    "h_detr/configs/h_detr_r50_36ep.py": {**H_DETR, **epochs(36, 30)},
    "h_detr/configs/h_detr_swin_l_12ep.py": {**H_DETR, **SWIN_L_7, **epochs(12, 11)},
    "h_detr/configs/h_detr_swin_l_36ep.py": {**H_DETR, **SWIN_L_7, **MORE_DROP_PATH, **epochs(36, 30)},
    "h_detr/configs/h_detr_swin_l_900q_36ep.py": {
        **H_DETR,
        **SWIN_L_7,
        **MORE_DROP_PATH,
        **epochs(36, 30),
        "model.selection.selection.num_queries": 900,
        "model.selection.selection.content.num_queries": 900,
    },
    "ms_detr/configs/ms_group_detr_r50_12ep.py": {"model.selection.num_groups": 6, **epochs(12, 11)},
    "group_detr/configs/conditional_detr_r50_naive_12ep.py": {  # table 7 (b)
        "model.selection.num_queries": 3300,
        "model.selection.repeats": 11,
        **epochs(12, 11),
    },
    "deta/configs/deta_r50_300q_4scale_12ep.py": {  # section 5.1: the default setting of Deformable DETR
        "model.neck.num_levels": 4,
        "model.selection.num_queries": 300,
        "model.encoder.num_layers": 6,
        "model.encoder.layer.ffn_dim": 1024,
        "model.decoder.layer.ffn_dim": 1024,
        "model.encoder.layer.dropout": 0.1,
        "model.decoder.layer.dropout": 0.1,
        "model.criterion.rules.decoder.losses.class.weight": 2.0,
        "model.criterion.rules.encoder.losses.class.weight": 2.0,
        **epochs(12, 10),
    },
    "ms_detr/configs/ms_h_detr_r50_12ep.py": {"model.selection.extra_queries": 1500, **epochs(12, 11)},
    "ms_detr/configs/ms_dino_r50_24ep.py": {
        "model.selection.num_queries": 900,
        "model.denoising.groups.num_queries": 100,
        **epochs(24, 20),
    },
}


DENSE = {  # what the dense family shares
    "model.neck.num_levels": 1,
    "model.neck.position_embedding.offset": 0.0,
    "model.encoder.num_layers": 6,
    "model.decoder.num_layers": 6,
    "model.encoder.layer.num_heads": 8,
    "model.decoder.layer.ffn_dim": 2048,
    "model.heads.share_layers": True,
    "model.heads.initial_size_logit": 0.0,
    "model.criterion.rules.decoder.losses.l1.weight": 5.0,
    "model.criterion.rules.decoder.losses.giou.weight": 2.0,
    "optimizer.lr": 1e-4,
    "optimizer.weight_decay": 1e-4,
    "optimizer.lr_factors": {"backbone": 0.1},
    "dataloader.train.total_batch_size": 16,
    "train.clip_grad_norm": 0.1,
}
DETR = {
    **DENSE,
    "model.selection.num_queries": 100,
    "model.neck.position_embedding.temperature": 10000.0,
    "model.encoder.layer.dropout": 0.1,
    "model.decoder.layer.dropout": 0.1,
    "model.criterion.rules.decoder.assigner.class_weight": 1.0,
    "model.criterion.rules.decoder.losses.class.weight": 1.0,
    "model.criterion.rules.decoder.losses.class.background": 0.1,
    "model.postprocess.num_detections": 100,
}
DAB = {
    **DENSE,
    "model.selection.num_queries": 300,
    "model.neck.position_embedding.temperature": 20.0,
    "model.encoder.layer.dropout": 0.0,
    "model.decoder.layer.dropout": 0.0,
    "model.encoder.layer.activation": "prelu",
    "model.decoder.layer.activation": "prelu",
    "model.decoder.look_forward_twice": True,
    "model.heads.inverse_sigmoid_eps": 1e-3,
    "model.criterion.rules.decoder.assigner.class_weight": 2.0,
    "model.criterion.rules.decoder.losses.class.weight": 1.0,
    "model.criterion.rules.decoder.losses.class.alpha": 0.25,
    "model.postprocess.num_detections": 300,
}
DN_DAB = {
    **DAB,
    "model.selection.indicator": True,
    "model.denoising.indicator": True,
    "model.denoising.groups.num_groups": 5,
    "model.denoising.label_noise": 0.2,
    "model.denoising.box_noise": 0.4,
    "model.denoising.inverse_sigmoid_eps": 1e-3,
}
LONG_DETR = {"detr_r50_300": (300, 200), "detr_r50_dc5_500": (500, 400)}
DYNAMIC = {"model.denoising.denoising.groups.num_queries": 100}
PUBLISHED |= {
    f"{folder}/configs/{name}_r50{variant}_{number}ep.py": {**settings, **epochs(number, drop)}
    for folder, name, settings in (
        ("detr", "detr", DETR),
        ("dab_detr", "dab_detr", DAB),
        ("dn_detr", "dn_dab_detr", DN_DAB),
        ("group_detr", "group_conditional_detr", CONDITIONAL),
        ("group_detr", "group_dab_detr", {**nested(DAB, "selection"), "model.selection.num_groups": 11}),
        ("group_detr", "group_dn_dab_detr", {**nested(DAB, "selection"), **DYNAMIC, "model.selection.num_groups": 11}),
    )
    for variant in ("", "_dc5")
    for number, drop in ((12, 11), (50, 40))
}
# DETA, table 7, on the default setting of Deformable DETR (section 5.1); hidden values by the parity of parameters
SECTION_5_1 = {
    "model.neck.num_levels": 4,
    "model.selection.num_queries": 300,
    "model.decoder.layer.ffn_dim": 1024,
    "model.decoder.layer.dropout": 0.1,
    "model.criterion.rules.decoder.losses.class.weight": 2.0,
    **epochs(12, 10),
}
PUBLISHED |= {
    f"deta/configs/deta_{base}_{step}_attention_mlp_12ep.py": {
        **SECTION_5_1,
        f"model.decoder.layer.{step}_attention.hidden_dim": hidden,
        f"model.decoder.layer.{step}_attention.dropout": 0.1,
        "model.criterion.rules.decoder.assigner.max_queries": 1000 if base == "no_balancing" else None,
    }
    for base in ("no_balancing", "base")
    for step, hidden in (("self", 512), ("cross", 448))
}
PUBLISHED |= {
    "deta/configs/deta_equation4_12ep.py": {  # section 5.1
        "model.criterion.rules.encoder.assigner.threshold": 0.7,
        "model.criterion.rules.encoder.assigner.max_queries": None,
        "model.criterion.rules.encoder.assigner.positive_fraction": 0.5,
        "model.criterion.rules.decoder.assigner.threshold": 0.6,
        "model.criterion.rules.decoder.assigner.max_queries": 4,
        "model.criterion.rules.decoder.assigner.positive_fraction": 0.25,
        "model.criterion.rules.decoder.assign_once": True,
        **epochs(12, 10),
    },
    **{
        f"ms_detr/configs/ms_detr_r50_{name}_12ep.py": {  # figure 5
            "model.criterion.rules.one_to_many.assigner.alpha": 0.4,
            "model.criterion.rules.one_to_many.assigner.threshold": 0.4,
            "model.criterion.rules.one_to_many.assigner.max_queries": 6,
            "model.criterion.rules.one_to_many.losses.l1.weight": 5.0,
            "model.criterion.rules.decoder.losses.l1.weight": weight,
            **epochs(12, 11),
        }
        for name, weight in (("section3", 5.0), ("placement_a_merged", None))
    },
    **{
        f"group_detr/configs/group_conditional_detr_r50_table1_{row}_50ep.py": {
            "model.selection.num_groups": groups,
            "train.init_parts": ["backbone", "neck", "encoder"],
            "train.freeze": frozen,
            **epochs(50, 40),
        }
        for row, groups, frozen in (
            ("a", None, ["backbone", "neck", "encoder"]),
            ("b", 11, ["backbone", "neck", "encoder"]),
            ("c", 11, []),
        )
    },
}

PUBLISHED |= {  # rows of the papers' tables
    **{f"detr/configs/{name}ep.py": {**DETR, **epochs(*drop)} for name, drop in LONG_DETR.items()},
    "group_detr/configs/conditional_detr_r50_dc5_108ep.py": epochs(108, 80),
    "dab_detr/configs/dab_detr_r50_dc5_3patterns_12ep.py": {**DAB, "model.selection.num_patterns": 3, **epochs(12, 11)},
    "dn_detr/configs/dn_dab_detr_r50_dynamic_12ep.py": {"model.denoising.groups.num_queries": 100, **epochs(12, 11)},
    "deta/configs/deta_base_r50_12ep.py": {
        **DEFORMABLE,
        "model.neck.num_levels": 4,
        "model.encoder.layer.ffn_dim": 1024,
        "model.decoder.layer.dropout": 0.1,
        "dataloader.train.total_batch_size": 16,
        **epochs(12, 10),
    },
    "deta/configs/deta_no_balancing_3enc_1dec_12ep.py": {
        "model.encoder.num_layers": 3,
        "model.decoder.num_layers": 1,
        "model.selection.num_queries": 300,
        "model.criterion.rules.decoder.assigner.max_queries": 1000,
    },
    "dino/configs/dino_dn100_6enc_2dec_12ep.py": {
        "model.encoder.num_layers": 6,
        "model.decoder.num_layers": 2,
        "model.denoising.groups.num_queries": 100,
    },
    "dino/configs/dino_swin_l_5scale_36ep.py": {**DINO, **SWIN_L, **epochs(36, 30), "model.neck.num_levels": 5},
    "dino/configs/dino_swin_l_5scale_o365_26ep.py": {
        **DINO,
        **SWIN_L,
        **epochs(26, 22),
        **LARGE_DINO,
        "model.num_classes": 365,
        "dataloader.train.total_batch_size": 64,
        "dataloader.train.mapper.augmentations.short_sides": [480 + 32 * step for step in range(11)],
        "dataloader.train.mapper.augmentations.max_side": 1333,
        "dataloader.test.dataset.count": 5000,
    },
    "dino/configs/dino_swin_l_5scale_finetune_18ep.py": {
        **DINO,
        **SWIN_L,
        **epochs(18, 15),
        **LARGE_DINO,
        **LARGE_IMAGES,
        "model.num_classes": 80,
        "dataloader.train.mapper.augmentations.crop_short_sides": [600, 750, 900],
        "dataloader.train.mapper.augmentations.crop_sides": [576, 900],
    },
    "deta/configs/deta_swin_l_o365_24ep.py": {
        **DETA,
        **SWIN_L,
        **epochs(24, 20),
        "model.backbone.drop_path_rate": 0.3,
        "model.num_classes": 365,
    },
    "deta/configs/deta_baseline_swin_l_24ep.py": {**DETA_BASELINE, **SWIN_L, "model.backbone.drop_path_rate": 0.3},
    "h_detr/configs/h_detr_r50_plain_12ep.py": {
        "model.selection.extra_queries": 1500,
        "model.selection.selection.content": None,
        "model.decoder.look_forward_twice": False,
        "model.encoder.layer.ffn_dim": 2048,
        "model.encoder.layer.dropout": 0.1,
    },
}


def read_settings(recipe: str, keys: Iterable[str]) -> dict[str, object]:
    """Values of a recipe by their keys, in plain types."""
    cfg = load_config(f"projects/{recipe}")
    values = {key: OmegaConf.select(cfg, key) for key in keys}
    return {
        key: OmegaConf.to_container(value) if OmegaConf.is_config(value) else value for key, value in values.items()
    }


LVIS = {  # the configs of Detic and H-Detic of batch 16
    "model.num_classes": 1203,
    "model.criterion.rules.decoder.losses.class.num_kept": 50,
    "model.criterion.rules.decoder.losses.class.power": 0.5,
    "model.criterion.rules.decoder.losses.class.weight": 2.0,
    "model.criterion.rules.encoder.losses.class.weight": 2.0,
    "model.criterion.rules.decoder.losses.l1.weight": 5.0,
    "model.criterion.rules.decoder.losses.giou.weight": 2.0,
    "model.postprocess.num_detections": 300,
    "model.backbone.freeze_at": 2,
    "dataloader.train.repeat.threshold": 0.001,
    "dataloader.train.repeat.power": 0.5,
    "dataloader.train.total_batch_size": 16,
    "dataloader.evaluator.max_dets_per_image": 300,
    "optimizer.lr": 2e-4,
    "optimizer.weight_decay": 1e-4,
    "optimizer.lr_factors": {"backbone": 0.1, "sampling_offsets": 0.1},
    "lr_multiplier.milestones": [150000],
    "lr_multiplier.gamma": 0.1,
    "train.max_iter": 180000,
    "train.clip_grad_norm": 0.01,
    "train.amp.enabled": False,
}
PLUS_PLUS = {
    **LVIS,
    "model.neck.num_levels": 4,
    "model.encoder.layer.ffn_dim": 1024,
    "model.decoder.layer.ffn_dim": 1024,
    "model.decoder.layer.dropout": 0.0,
    "model.decoder.look_forward_twice": True,
}
PUBLISHED |= {
    "deta/configs/deta_baseline_lvis_r50_180k.py": {**DETA_BASELINE, **LVIS},
    "deta/configs/deta_lvis_r50_180k.py": {**DETA, **LVIS},
    "deta/configs/deta_no_balancing_lvis_r50_180k.py": {
        **DETA,
        **LVIS,
        "model.criterion.rules.encoder.assigner.max_queries": 1000,
        "model.criterion.rules.decoder.assigner.max_queries": 1000,
    },
    "h_detr/configs/deformable_detr_pp_lvis_r50_180k.py": {**PLUS_PLUS, "model.selection.num_queries": 300},
    "h_detr/configs/h_detr_lvis_r50_180k.py": {
        **PLUS_PLUS,
        "model.selection.selection.num_queries": 300,
        "model.selection.extra_queries": 900,
        "model.selection.repeats": 5,
    },
}


@pytest.mark.parametrize("recipe", PUBLISHED)
def test_settings_are_the_published_ones(recipe: str) -> None:
    assert read_settings(recipe, PUBLISHED[recipe]) == PUBLISHED[recipe]
