"""Any dense base with any training-only part makes a detector, also where no paper combined them."""

from itertools import product

import pytest
from omegaconf import DictConfig

from tests.models import tiny_config
from tests.products import step_that_adds_nothing_to_inference

BASES = {"detr": "group_detr", "conditional_detr": "group_conditional_detr", "dab_detr": "group_dab_detr"}
DENOISING = (None, "plain", "in_every_group")
COMBINATIONS = [
    case
    for case in product(BASES, (False, True), DENOISING, (False, True))
    if (case[0] == "dab_detr" or case[2] is None) and (case[1] or case[2] != "in_every_group")
]


def compose(base: str, groups: bool, denoising: str | None, one_to_many: bool) -> DictConfig:
    """A tiny composition of the given parts on a base."""
    model = tiny_config(BASES[base] if groups else base, _target_="querydet.modeling.detector.QueryDetector")
    losses = model.criterion.rules.decoder.losses
    if denoising is not None:
        source = tiny_config("group_dn_dab_detr" if denoising == "in_every_group" else "dn_dab_detr")
        model.denoising = source.denoising
        model.denoising.get("denoising", model.denoising).indicator = True
        model.selection.get("selection", model.selection).indicator = True
        model.criterion.rules.denoising = {**source.criterion.rules.denoising, "losses": losses}
    if one_to_many:
        other = tiny_config("ms_detr")
        model.decoder.layer.order = other.decoder.layer.order
        model.decoder.layer.one_to_many = other.decoder.layer.one_to_many
        model.criterion.rules.one_to_many = {**other.criterion.rules.one_to_many, "losses": losses}
    return model


@pytest.mark.parametrize(("base", "groups", "denoising", "one_to_many"), COMBINATIONS)
def test_trains_a_step_and_adds_nothing_to_inference(
    base: str, groups: bool, denoising: str | None, one_to_many: bool
) -> None:
    losses = step_that_adds_nothing_to_inference(compose(base, groups, denoising, one_to_many))
    assert any("o2m" in name for name in losses) == one_to_many
    assert any("dn" in name for name in losses) == (denoising is not None)
