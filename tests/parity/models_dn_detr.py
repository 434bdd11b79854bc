"""Our detector for the recorded configurations of DN-DETR on DAB-Deformable-DETR, and its random draws."""

from typing import TYPE_CHECKING, Any

import torch
from detectron2.config import LazyCall as L
from omegaconf import DictConfig

from querydet.config import get_config
from querydet.modeling.queries import GroupsPerProcess
from querydet.modeling.queries.noised_objects import NoiseDraws
from querydet.structures import Targets
from tests.parity.draws import split_draws
from tests.parity.models import set_official

if TYPE_CHECKING:
    from tests.parity.fixture import Fixture

READ = """
    num_classes hidden_dim num_feature_levels num_queries enc_layers dec_layers nheads enc_n_points dec_n_points
    dim_feedforward dropout set_cost_class set_cost_bbox set_cost_giou focal_alpha scalar label_noise_scale
    box_noise_scale
"""
WEIGHTS = "cls_loss_coef bbox_loss_coef giou_loss_coef"  # in the recorded loss weights as well, which are read
UNREAD = """
    transformer_activation pe_temperatureH pe_temperatureW num_select num_results eos_coef return_interm_layers
    backbone_freeze_keywords batch_norm_type dice_loss_coef mask_loss_coef modelname
"""  # by this model of the released code: constants stand in their place
TRAINING = """
    amp backbone batch_size clip_max_norm coco_panoptic_path coco_path dataset_file debug device dilation dist_url
    drop_lr_now epochs eval find_unused_params finetune_ignore fix_size frozen_weights local_rank lr lr_backbone
    lr_drop note num_workers output_dir override_resumed_lr_drop pretrain_model_path random_refpoints_xy rank
    remove_difficult resume save_checkpoint_interval save_log save_results seed start_epoch weight_decay world_size
"""  # neither of the model nor of its losses, or how it starts
FIXED = {  # what the composition stands for
    "aux_loss": True,
    "contrastive": False,
    "masks": False,
    "num_patterns": 0,
    "position_embedding": "sine",
    "pre_norm": False,
    "two_stage": False,
    "use_dn": True,
    "use_lft": False,
    "use_mqs": False,
}


def _check_keys(config: dict[str, Any]) -> None:
    for key, value in config.items():
        if key in FIXED:
            if value != FIXED[key]:
                raise KeyError(f"cannot express {key}={value!r}")
        elif key not in " ".join((READ, WEIGHTS, UNREAD, TRAINING)).split():
            raise KeyError(f"no rule for the option {key}={value!r}")


def _dn_detr(fixture: "Fixture") -> DictConfig:
    config = fixture.config
    _check_keys(config)
    model = get_config("common/models/dn_detr.py").model
    set_official(model, fixture)
    model.criterion.rules.decoder.assigner.alpha = 0.25  # whatever that of the loss is
    model.denoising.groups = L(GroupsPerProcess)(num_groups=config["scalar"])
    model.denoising.label_noise = config["label_noise_scale"]
    model.denoising.box_noise = config["box_noise_scale"]
    return model


def recorded_draws(fixture: "Fixture", which: str, targets: Targets) -> list[NoiseDraws]:
    """The recorded noise of each image of a training pass; what has no noise was not drawn."""
    config = fixture.config
    shape = (config["scalar"], sum(targets.counts))
    recorded = [value for _, value in sorted(fixture.group(f"train{which}/rng/").items())]
    replace, labels = torch.ones(shape), torch.zeros(shape, dtype=torch.int64)
    if config["label_noise_scale"] > 0:
        replace = recorded.pop(0).view(shape)
        labels[replace < config["label_noise_scale"]] = recorded.pop(0)
    shift = torch.zeros(*shape, 4)
    if config["box_noise_scale"] > 0:
        shift = recorded.pop(0).view(*shape, 4) * 2 - 1
    assert not recorded, "more draws than expected"
    return split_draws(targets, replace, labels, shift.sign(), shift.abs())


MODELS = {"dn_dab_deformable": _dn_detr}
