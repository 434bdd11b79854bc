"""Our detector for the recorded configurations of DAC-DETR, which is built on Deformable DETR++."""

import re
from typing import TYPE_CHECKING

from detectron2.config import LazyCall as L
from omegaconf import DictConfig

from querydet.config import get_config
from querydet.modeling.queries import GroupsPerProcess
from tests.parity.models import OFFICIAL_FIXED, set_official
from tests.parity.options import TRAINING, WEIGHTS, check_all_read, check_fixed

if TYPE_CHECKING:
    from tests.parity.fixture import Fixture

FIXED = {  # what the composition stands for
    **OFFICIAL_FIXED,
    "mixed_selection": True,
    "num_queries_one2many": 0,
    "two_stage": True,
    "with_box_refine": True,
}
# how it trained; the class of its matching cost says again what is set for all
UNUSED = "output_dir drop_path_rate eval_in_training_set pretrained_backbone_path use_fp16 use_wandb"
QUALITY = 0.25  # the literal of the class loss
QUERIES_OF_THE_LIMIT = 300  # the literal that the released criterion limits its positives by


def our_stream(name: str) -> str:
    """The name of a loss with our mark of the second stream, where the released code marks the ordinary one."""
    if "_enc" in name or name.endswith("_one2one"):
        return name.removesuffix("_one2one")
    return re.sub(r"(_\d+)?$", r"_stream2\1", name, count=1)


def _dac_detr(fixture: "Fixture") -> DictConfig:
    config = fixture.config
    check_fixed(config, FIXED)
    model = get_config("common/models/dac_detr.py").model
    weights = {our_stream(name): value for name, value in fixture.description["loss_weights"].items()}
    set_official(model, fixture, weights)
    rules = model.criterion.rules
    rules.decoder.losses["class"].alpha = QUALITY  # shared by all rules but the encoder's, which has the focal loss
    limit = config["o2m_cap_queries"] or QUERIES_OF_THE_LIMIT
    rules.second_stream.assigner.positive_limit = int(0.25 * limit)
    rules.second_stream.normalizer.times = float(config["balance_num"])
    model.decoder.look_forward_twice = config["look_forward_twice"]
    model.denoising.groups = L(GroupsPerProcess)(num_queries=config["dn_number"], min_dynamic=100)
    model.denoising.box_noise = config["dn_box_noise_scale"]
    model.denoising.label_noise = config["dn_label_noise_ratio"]
    model.postprocess.num_detections = config["topk"]
    check_all_read(config, [*TRAINING.split(), *WEIGHTS.split(), *UNUSED.split()])
    return model


MODELS = {"dac_detr": _dac_detr}
