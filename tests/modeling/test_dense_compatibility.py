"""What does not fit a detector with dense attention is refused when it is built, with the remedy."""

import pytest
from detectron2.config import instantiate
from omegaconf import OmegaConf

from tests.models import tiny_config


def mixed(base: str, **parts: str):
    """A tiny composition with parts of others."""
    config = tiny_config(base, _target_="querydet.modeling.detector.QueryDetector")
    for part, source in parts.items():
        config[part] = tiny_config(source)[part]
    return config


SEVERAL_LEVELS = (
    r"model.encoder=ScaledDenseEncoder, model.decoder=DabDecoder.*neck=MultiScaleNeck makes 4 levels.*SingleMapNeck"
)
DEFORMABLE_ENCODER = (
    r"model.decoder=ConditionalDecoder attends to every token of one map, but model.encoder=DeformableEncoder works on "
    r"4 levels.*take querydet.modeling.neck.SingleMapNeck and DenseEncoder"
)


@pytest.mark.parametrize(
    ("config", "changes", "message"),
    [
        (mixed("dab_detr", neck="dino", backbone="dino"), {}, SEVERAL_LEVELS),
        (mixed("conditional_detr", neck="dino", backbone="dino", encoder="dino"), {}, DEFORMABLE_ENCODER),
        (
            mixed("detr", encoder="dino"),
            {"encoder.layer.num_levels": 4},
            r"the neck makes 1 levels, but the encoder attends to 4: set model.encoder.layer.num_levels=1",
        ),
        (mixed("detr"), {"neck.num_levels": 4}, r"makes one level, found num_levels=4.*MultiScaleNeck"),
        (
            mixed("detr", decoder="dab_detr"),
            {},
            r"query_position makes positions from boxes, but .* reference points.*select boxes",
        ),
        (mixed("dab_detr", decoder="detr"), {}, r"nothing gives the queries a position: set model.decoder"),
        (
            mixed("detr", denoising="dn_dab_detr"),
            {"denoising.indicator": False},
            r"denoising queries start from boxes.*select boxes",
        ),
        (
            mixed("dab_detr", denoising="dn_dab_detr", criterion="dn_dab_detr"),
            {"denoising.indicator": True},
            "model.denoising keeps the last channel of the content for an indicator",
        ),
    ],
)
def test_refused_with_the_remedy(config, changes, message):
    for key, value in changes.items():
        OmegaConf.update(config, key, value)
    with pytest.raises(ValueError, match=message):
        instantiate(config)


def test_one_level_is_a_level():
    """A deformable decoder may read the map of a dense encoder, and a dense decoder that of a deformable one."""
    config = mixed("dab_detr", decoder="dab_deformable_detr")
    assert len(instantiate(config).decoder.layers) == 2
    assert len(instantiate(mixed("detr", encoder="dino")).encoder.layers) == 2
