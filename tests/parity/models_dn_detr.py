"""Our detector for the recorded configurations of DN-DETR on DAB-Deformable-DETR, and its random draws."""

from typing import TYPE_CHECKING

import torch
from detectron2.config import LazyCall as L
from omegaconf import DictConfig

from querydet.config import get_config
from querydet.modeling.queries import GroupsPerProcess
from querydet.modeling.queries.noised_objects import NoiseDraws
from querydet.structures import Targets
from tests.parity.draws import split_draws
from tests.parity.models import set_official
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
    model.denoising.groups = L(GroupsPerProcess)(num_groups=config["scalar"])
    model.denoising.label_noise = config["label_noise_scale"]
    model.denoising.box_noise = config["box_noise_scale"]
    check_all_read(config, [*TRAINING.split(), *WEIGHTS.split(), *UNREAD.split()])
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
