"""Our detector for the recorded configurations of MS-DETR, and its random draws."""

import copy
import math
from typing import TYPE_CHECKING, Any

import torch
from omegaconf import DictConfig
from torch import Tensor

from querydet.config import get_config
from querydet.modeling.assigners import OneToManyAssigner
from querydet.modeling.detector import QueryDetector
from querydet.structures import Assignment, PredictionSet, Targets
from tests.parity.models import set_official

if TYPE_CHECKING:
    from tests.parity.fixture import Fixture

READ = """num_classes hidden_dim num_feature_levels num_queries enc_layers dec_layers nheads enc_n_points dec_n_points
    dim_feedforward dropout set_cost_class set_cost_bbox set_cost_giou look_forward_twice mixed_selection topk_eval
    use_aux_ffn use_indices_merge o2m_matcher_k o2m_matcher_threshold focal_alpha"""
# of losses: repeated in the recorded loss weights, which are what is read
WEIGHTS = """cls_loss_coef bbox_loss_coef giou_loss_coef o2m_cls_loss_coef o2m_bbox_loss_coef o2m_giou_loss_coef
    enc_cls_loss_coef enc_bbox_loss_coef enc_giou_loss_coef"""
# neither of the model nor of its losses
TRAINING = """backbone batch_size cache_mode clip_max_norm coco_panoptic_path coco_path dataset_file dice_loss_coef
    dilation epochs eval frozen_weights lr lr_backbone lr_backbone_names lr_drop lr_drop_epochs lr_linear_proj_mult
    lr_linear_proj_names mask_loss_coef num_workers remove_difficult resume seed sgd start_epoch weight_decay"""
KNOWN = {*READ.split(), *WEIGHTS.split(), *TRAINING.split()}
FIXED = {  # what the composition stands for
    "aux_loss": True,
    "masks": False,
    "nms_iou_threshold": None,
    "position_embedding": "sine",
    "position_embedding_scale": 2 * math.pi,
    "two_stage": True,
    "use_ms_detr": True,
    "with_box_refine": True,
}


def _check_keys(config: dict[str, Any]) -> None:
    for key, value in config.items():
        if key in FIXED:
            if value != FIXED[key]:
                raise KeyError(f"cannot express {key}={value!r}")
        elif key not in KNOWN:
            raise KeyError(f"no rule for the option {key}={value!r}")


def _ms_detr(fixture: "Fixture") -> DictConfig:
    config = fixture.config
    _check_keys(config)
    mixed = config.get("mixed_selection", False)
    model = get_config(f"common/models/ms_detr{'' if mixed else '_plain'}.py").model
    set_official(model, fixture)
    _set_rules(model, fixture)
    model.decoder.look_forward_twice = bool(config.get("look_forward_twice", False))
    if not config.get("use_aux_ffn", False):
        model.decoder.layer.one_to_many.ffn = None
    model.postprocess.num_detections = config["topk_eval"]
    return model


def _set_rules(model: DictConfig, fixture: "Fixture") -> None:
    config = fixture.config
    rules = model.criterion.rules
    main, many, encoder = rules.decoder, rules.one_to_many, rules.encoder
    many.assigner.max_queries = config["o2m_matcher_k"]
    many.assigner.threshold = config["o2m_matcher_threshold"]
    many.assigner.merge_with = main.assigner if config["use_indices_merge"] else None
    encoder.assigner.class_weight = 0.0  # always, whatever the options


def _ms_detr_impl_a(fixture: "Fixture") -> DictConfig:
    model = _ms_detr(fixture)
    model.decoder.layer.order = ["self_attention", "cross_attention", "ffn"]
    model.decoder.layer.one_to_many.after = "ffn"
    model.decoder.layer.one_to_many.ffn = None
    model.heads.separate_one_to_many = ["class"]
    return model


def replay_caps(fixture: "Fixture", detector: QueryDetector, which: str) -> None:
    """Let one-to-many assigners keep the recorded random part of their positives.

    Recorded are, for the last layer and then for the others from the first, and in them for each image, a permutation
    of the positives and one of the rest, which nothing uses.
    """
    recorded = fixture.group(f"train{which}/rng/")
    permutations = [recorded[name] for name in sorted(recorded)]
    images = len(fixture["in/images"])

    def cap(positive: Tensor, predictions: PredictionSet, targets: Targets, image: int) -> Tensor:
        turn = 0 if predictions.is_last else 1 + predictions.layer
        order = permutations[2 * (turn * images + image)]
        (index,) = positive.nonzero(as_tuple=True)
        assert len(index) == len(order), "another number of positives than recorded"
        kept = torch.zeros_like(positive)
        kept[index[order[: len(positive) // 4]]] = True
        return kept

    for rule in detector.criterion.rules.values():
        if isinstance(rule.assigner, OneToManyAssigner):
            rule.assigner.cap = cap


def before_union(assigner: Any, predictions: PredictionSet, targets: Targets) -> tuple[Assignment, ...]:
    """What a one-to-many assigner finds without its union, which is what may be recorded of one that has it."""
    if not isinstance(assigner, OneToManyAssigner) or assigner.merge_with is None:
        return ()
    alone = copy.copy(assigner)
    alone.merge_with = None
    return alone(predictions, targets)


MODELS = {"ms_detr": _ms_detr, "ms_detr_impl_a": _ms_detr_impl_a}
