"""The options of each released code base: which are read, which have one value that is supported, which do not matter.

Sources: `main.py` and the configuration files of the repositories, and the configuration classes of transformers. An
option of training only, or one that the shapes of the weights show, has no effect on the choice of a detector.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from querydet.checkpoint.conversion.methods import has_attention_maps, is_dense, is_levelwise


@dataclass(frozen=True)
class CodeBase:
    """The options that a code base stores with its weights.

    Args:
        name: for messages.
        marks: options that this code base stores, and no other of deformable models.
        read: their options that decide what is computed, and our names for them.
        fixed: options with the values that parts here compute; with any other, a file is refused.
        unused: options without effect on what a detector computes, or that the weights show.
    """

    name: str
    marks: tuple[str, ...]
    read: Mapping[str, str]
    fixed: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    unused: frozenset[str] = frozenset()

    def refusals(self, options: Mapping[str, Any]) -> list[str]:
        """Return the options of a file that no part here computes, with their values."""
        return [
            f"{name}={options[name]!r}"
            for name, values in self.fixed.items()
            if options.get(name) is not None and not any(_same(options[name], value) for value in values)
        ]

    def unknown(self, options: Mapping[str, Any]) -> list[str]:
        """Return the options of a file of which nothing is known, by name."""
        return sorted(set(options) - set(self.read) - set(self.fixed) - self.unused)


def _same(found: Any, wanted: Any) -> bool:
    if isinstance(wanted, float) and isinstance(found, int | float) and not isinstance(found, bool):
        return math.isclose(found, wanted, rel_tol=1e-6)
    return bool(found == wanted)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_RUN = _words("""
    amp backbone_freeze_keywords batch_norm_type batch_size cache_mode clip_max_norm coco_panoptic_path coco_path
    config_file data_aug_max_size data_aug_scale_overlap data_aug_scales data_aug_scales2_crop data_aug_scales2_resize
    dataset_file debug device dist_backend dist_url distributed drop_lr_now dropout ema_decay ema_epoch epochs eval
    find_unused_params finetune finetune_ignore fix_size frozen_weights gpu local_rank lr lr_backbone lr_backbone_names
    lr_drop lr_drop_epochs lr_drop_list lr_linear_proj_mult lr_linear_proj_names multi_step_lr note num_workers
    onecyclelr options output_dir override_resumed_lr_drop param_dict_type pretrain_model_path rank remove_difficult
    resume save_checkpoint_interval save_log save_results seed sgd start_epoch start_iter test total_epochs
    use_checkpoint use_ema weight_decay world_size _base_ bigger
""")  # how and where it ran; `bigger` is a size of images
_LOSSES = _words("""
    aux_loss bbox_loss_coef cls_loss_coef dice_loss_coef enc_bbox_loss_coef enc_cls_loss_coef enc_giou_loss_coef
    enc_loss_coef eos_coef focal_alpha giou_loss_coef interm_loss_coef mask_loss_coef match_unstable_error matcher_type
    no_interm_box_loss o2m_bbox_loss_coef o2m_cls_loss_coef o2m_giou_loss_coef o2m_matcher_k o2m_matcher_threshold
    set_cost_bbox set_cost_class set_cost_giou use_indices_merge k_one2many lambda_one2many
""")
_SHAPES = _words("""
    backbone dec_layers dec_n_points dec_pred_bbox_embed_share dec_pred_class_embed_share dim_feedforward
    dn_labelbook_size enc_layers enc_n_points group_detr hidden_dim num_classes num_feature_levels return_interm_indices
    return_interm_layers use_aux_ffn
""")
_TRAINING = _RUN | _LOSSES | _SHAPES
_SINE: dict[str, tuple[Any, ...]] = {"position_embedding": ("sine", "v2"), "masks": (False,)}
_SCALE: dict[str, tuple[Any, ...]] = {"position_embedding_scale": (2 * math.pi,)}
_DEFORMABLE = {
    "nheads": "num_heads",
    "num_queries": "num_queries",
    "two_stage": "two_stage",
    "with_box_refine": "refine_boxes",
    "dilation": "dilation",
}
_PLUS = {"mixed_selection": "mixed_selection", "look_forward_twice": "look_forward_twice"}
_TEMPERATURES = {"pe_temperatureH": "temperature", "pe_temperatureW": "temperature_w"}

DINO = CodeBase(
    name="DINO",
    marks=("dn_labelbook_size",),
    read={
        "nheads": "num_heads",
        "num_queries": "num_queries",
        **_TEMPERATURES,
        "num_select": "num_detections",
        "decoder_module_seq": "order",
        "embed_init_tgt": "learned_content",
        "use_detached_boxes_dec_out": "detached_boxes",
        "dilation": "dilation",
    },
    fixed={
        **_SINE,
        "add_channel_attention": (False,),
        "add_pos_value": (False,),
        "dabdetr_deformable_decoder": (False,),
        "dabdetr_deformable_encoder": (False,),
        "dabdetr_yolo_like_anchor_update": (False,),
        "dec_layer_number": (None,),
        "decoder_sa_type": ("sa",),
        "fix_refpoints_hw": (-1, None),
        "nms_iou_threshold": (-1, None),
        "num_patterns": (0,),
        "pdetr3_bbox_embed_diff_each_layer": (False,),
        "pdetr3_refHW": (-1,),
        "pre_norm": (False,),
        "query_dim": (4,),
        "transformer_activation": ("relu",),
        "two_stage_add_query_num": (0,),
        "two_stage_keep_all_tokens": (False,),
        "two_stage_learn_wh": (False,),
        "two_stage_pat_embed": (0,),
        "two_stage_type": ("standard",),
        "unic_layers": (0,),
        "use_deformable_box_attn": (False,),
    },
    unused=_TRAINING
    | _words("""
        box_attn_type ddetr_lr_param decoder_layer_noise dln_hw_noise dln_xy_noise dn_box_noise_scale dn_bbox_coef
        dn_label_coef dn_label_noise_ratio dn_number dn_scalar modelname random_refpoints_xy two_stage_bbox_embed_share
        two_stage_class_embed_share two_stage_default_hw use_dn
    """),  # the width of a box is used where it is learned, and tables of points without a second stage
)
_DN_TRAINING = _words("box_noise_scale contrastive label_noise_scale modelname random_refpoints_xy scalar use_dn")
_DN_FIXED = {**_SINE, "pre_norm": (False,), "two_stage": (False,), "use_lft": (False,), "use_mqs": (False,)}
DN_DEFORMABLE = CodeBase(  # its builder reads neither the temperatures, the activation nor the number of detections
    name="DN-DETR, deformable",
    marks=(),
    read={"nheads": "num_heads", "num_queries": "num_queries"},
    fixed={**_DN_FIXED, "num_patterns": (0,), "dilation": (False,)},
    unused=_TRAINING
    | _DN_TRAINING
    | _words("num_results num_select pe_temperatureH pe_temperatureW transformer_activation"),
)
DN_DENSE = CodeBase(
    name="DN-DETR and DAB-DETR",
    marks=(),
    read={
        "nheads": "num_heads",
        "num_queries": "num_queries",
        **_TEMPERATURES,
        "num_select": "num_detections",
        "num_patterns": "num_patterns",
        "dilation": "dilation",
    },
    fixed={**_DN_FIXED, "transformer_activation": ("prelu", "relu")},  # the slopes are weights
    unused=_TRAINING | _DN_TRAINING | {"num_results"},
)
DN_LEVELWISE = CodeBase(  # the model of DN-DETR with a deformable encoder and a decoder with standard attention
    name="DN-DETR with a deformable encoder",
    marks=(),
    read={key: ours for key, ours in DN_DENSE.read.items() if key != "dilation"},
    fixed={**DN_DENSE.fixed, "dilation": (False,)},
    unused=DN_DENSE.unused,
)
DETA = CodeBase(
    name="DETA",
    marks=("assign_first_stage",),
    read={
        **_DEFORMABLE,
        "assign_first_stage": "assign_first_stage",
        "assign_second_stage": "assign_second_stage",
    },
    fixed={**_SINE, **_SCALE},
    unused=_TRAINING,
)
MS_DETR = CodeBase(
    name="MS-DETR",
    marks=("use_ms_detr",),
    read={
        **_DEFORMABLE,
        **_PLUS,
        "use_ms_detr": "ms_detr",
        "topk_eval": "num_detections",
        "nms_iou_threshold": "nms_threshold",
    },
    fixed={**_SINE, **_SCALE},
    unused=_TRAINING,
)
H_DETR = CodeBase(
    name="H-DETR and DAC-DETR",
    marks=("num_queries_one2one",),
    read={
        **{theirs: ours for theirs, ours in _DEFORMABLE.items() if theirs != "num_queries"},
        **_PLUS,
        "num_queries_one2one": "num_queries",
        "num_queries_one2many": "extra_queries",
        "topk": "num_detections",
    },
    fixed={**_SINE, **_SCALE},
    unused=_TRAINING
    | _words("""
        drop_path_rate eval_every_epoch eval_in_training_set nms_iou_threshold num_queries pretrained_backbone_path
        use_fp16 use_wandb wandb_dir wandb_name
    """),
)
DEFORMABLE = CodeBase(
    name="Deformable DETR",
    marks=(),
    read={**_DEFORMABLE, **_PLUS, "topk_eval": "num_detections"},
    fixed={**_SINE, **_SCALE},
    unused=_TRAINING,
)
DETR = CodeBase(
    name="DETR and Conditional DETR",
    marks=(),
    read={"nheads": "num_heads", "num_queries": "num_queries", "dilation": "dilation"},
    fixed={**_SINE, "pre_norm": (False,)},
    unused=_TRAINING,
)
OFFICIAL = (DINO, DN_DEFORMABLE, DN_DENSE, DN_LEVELWISE, DETA, MS_DETR, H_DETR, DEFORMABLE, DETR)

HUGGINGFACE = CodeBase(
    name="transformers",
    marks=(),
    read={
        "decoder_attention_heads": "num_heads",
        "encoder_attention_heads": "encoder_heads",
        "num_queries": "num_queries",
        "two_stage_num_proposals": "two_stage_num_proposals",
        "two_stage": "two_stage",
        "with_box_refine": "refine_boxes",
        "dilation": "dilation",
        "assign_first_stage": "assign_first_stage",
        "assign_second_stage": "assign_second_stage",
    },
    fixed={"activation_function": ("relu",), "position_embedding_type": ("sine",), "return_intermediate": (True,)},
)


def code_base_of(options: Mapping[str, Any], state: Mapping[str, Any]) -> CodeBase:
    """Return the code base that stored options.

    Args:
        options: the command line of an official file.
        state: its weights under our names.
    """
    base = _detector_of(options, state)
    return replace(base, fixed={**base.fixed, "masks": (True,)}) if has_attention_maps(state) else base


def _detector_of(options: Mapping[str, Any], state: Mapping[str, Any]) -> CodeBase:
    if is_levelwise(state):
        return DN_LEVELWISE
    boxes = "selection.anchors.weight" in state
    if is_dense(state):
        return DN_DENSE if boxes else DETR
    if boxes:
        return DN_DEFORMABLE
    return next((each for each in OFFICIAL if each.marks and all(mark in options for mark in each.marks)), DEFORMABLE)
