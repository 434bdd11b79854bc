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
from tests.parity.models import set_costs, set_focal_cost, set_layers, set_losses, set_official, set_temperatures
from tests.parity.options import TRAINING, WEIGHTS, check_all_read, check_fixed

if TYPE_CHECKING:
    from tests.parity.fixture import Fixture

UNREAD = """
    transformer_activation pe_temperatureH pe_temperatureW num_select num_results eos_coef random_refpoints_xy
"""  # by this model of the released code: constants stand in their place; random points are for the first weights
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


def _dn_detr(fixture: "Fixture") -> DictConfig:
    config = fixture.config
    check_fixed(config, FIXED)
    model = get_config("common/models/dn_detr.py").model
    set_official(model, fixture)
    _set_denoising(model, config)
    check_all_read(config, [*TRAINING.split(), *WEIGHTS.split(), *UNREAD.split()])
    return model


UNREAD_ENCODER = "num_results eos_coef random_refpoints_xy dec_n_points"  # the decoder has no points
FIXED_ENCODER = {key: value for key, value in FIXED.items() if key != "num_patterns"}


def _dn_deformable_encoder(fixture: "Fixture") -> DictConfig:
    config = fixture.config
    check_fixed(config, FIXED_ENCODER)
    model = get_config("common/models/dn_deformable_encoder.py").model
    model.num_classes = config["num_classes"]
    model.neck.embed_dim = config["hidden_dim"]
    model.neck.num_levels = config["num_feature_levels"]
    set_temperatures(model, config)
    model.selection.num_queries = config["num_queries"]
    model.selection.num_patterns = config["num_patterns"]
    layers = {"num_heads": config["nheads"], "ffn_dim": config["dim_feedforward"], "dropout": config["dropout"]}
    layers["activation"] = config["transformer_activation"]
    set_layers(
        model,
        {"num_layers": config["enc_layers"], "num_points": config["enc_n_points"], **layers},
        {"num_layers": config["dec_layers"], **layers},
    )
    set_losses(model, fixture.description["loss_weights"], config["focal_alpha"])
    set_focal_cost(model, config["focal_alpha"])
    set_costs(model, config)
    _set_denoising(model, config)
    model.postprocess.num_detections = config["num_select"]
    check_all_read(config, [*TRAINING.split(), *WEIGHTS.split(), *UNREAD_ENCODER.split()])
    return model


def _set_denoising(model: DictConfig, config: dict[str, Any]) -> None:
    model.denoising.groups = L(GroupsPerProcess)(num_groups=config["scalar"])
    model.denoising.label_noise = config["label_noise_scale"]
    model.denoising.box_noise = config["box_noise_scale"]


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


MODELS = {"dn_dab_deformable": _dn_detr, "dn_deformable_encoder_only": _dn_deformable_encoder}
