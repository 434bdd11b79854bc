"""Any dense base with any training-only part makes a detector, also where no paper combined them."""

from itertools import product

import pytest
import torch
from detectron2.config import instantiate
from omegaconf import DictConfig

from querydet.detector import padding_mask
from querydet.structures import Branch, Role
from tests.models import make_inputs, make_targets, tiny_config

BASES = {"detr": "group_detr", "conditional_detr": "group_conditional_detr", "dab_detr": "group_dab_detr"}
DENOISING = (None, "plain", "in_every_group")
COMBINATIONS = [
    case
    for case in product(BASES, (False, True), DENOISING, (False, True))
    if (case[0] == "dab_detr" or case[2] is None) and (case[1] or case[2] != "in_every_group")
]


def compose(base: str, groups: bool, denoising: str | None, one_to_many: bool) -> DictConfig:
    """A tiny composition of the given parts on a base."""
    model = tiny_config(BASES[base] if groups else base, _target_="querydet.detector.QueryDetector")
    losses = model.criterion.rules[0].losses
    if denoising is not None:
        source = tiny_config("group_dn_dab_detr" if denoising == "in_every_group" else "dn_dab_detr")
        model.denoising, model.selection.indicator = source.denoising, True
        model.criterion.rules.append({**source.criterion.rules[1], "losses": losses})
    if one_to_many:
        other = tiny_config("ms_detr")
        model.decoder.layer.order = other.decoder.layer.order
        model.decoder.layer.read_out = other.decoder.layer.read_out
        model.criterion.rules.append({**other.criterion.rules[1], "losses": losses})
    return model


@pytest.mark.parametrize(("base", "groups", "denoising", "one_to_many"), COMBINATIONS)
def test_trains_a_step_and_adds_nothing_to_inference(
    base: str, groups: bool, denoising: str | None, one_to_many: bool
) -> None:
    torch.manual_seed(0)
    detector = instantiate(compose(base, groups, denoising, one_to_many)).train()
    inputs = make_inputs([(96, 128), (80, 64)], [2, 0])
    losses = detector(inputs)
    assert all(value.isfinite() for value in losses.values())
    assert any("o2m" in name for name in losses) == one_to_many
    assert any("dn" in name for name in losses) == (denoising is not None)
    sum(losses.values()).backward()
    missing = [name for name, parameter in detector.named_parameters() if parameter.grad is None]
    assert not missing, "every parameter gets a gradient, or training on several processes hangs"

    images = detector.preprocess(inputs)
    maps, padding = detector.backbone(images.tensor), padding_mask(images)
    with torch.no_grad():
        trained = detector.predict(maps, padding, make_targets([2, 0]))
        (alone,) = detector.predict(maps, padding)
    (primary,) = (
        each
        for each in trained
        if (each.group.role, each.branch) == (Role.MATCHING, Branch.ONE_TO_ONE)
        and each.is_last
        and each.group.name == "primary"
    )
    torch.testing.assert_close(alone.logits, primary.logits, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(alone.boxes, primary.boxes, atol=1e-5, rtol=1e-5)
