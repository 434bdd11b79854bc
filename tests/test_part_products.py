"""Any parts that fit together make a detector, also where no paper combined them."""

from itertools import product

import pytest
import torch
from detectron2.config import instantiate
from omegaconf import DictConfig

from querydet.detector import padding_mask
from querydet.structures import Branch, Role, Stage
from tests.models import make_inputs, make_targets, tiny_config

BASES = ("deformable_detr_pp", "dino")  # fixed positions and objectness; positions from boxes and classes
SELECTIONS = {"top_k": None, "nms": "deta", "groups": "group_deformable_detr_pp", "hybrid": "h_detr"}
DENOISING = (None, "plain", "contrastive", "in_every_group")
COMBINATIONS = [
    case
    for case in product(BASES, SELECTIONS, DENOISING, (False, True))
    if case[2] != "in_every_group" or case[1] == "groups"
]


def compose(base: str, selection: str, denoising: str | None, one_to_many: bool) -> DictConfig:
    """A tiny composition of the given parts on a base."""
    model = tiny_config(base)
    model._target_ = "querydet.detector.QueryDetector"
    if selection != "top_k":
        _use_selection(model, tiny_config(SELECTIONS[selection]).selection)
    losses = model.criterion.rules[0].losses
    model.criterion.rules = [rule for rule in model.criterion.rules if rule.get("role") != "denoising"]
    model.denoising = None
    if denoising is not None:
        source = tiny_config("dn_detr" if denoising == "plain" else "dino").denoising
        if denoising == "plain":
            source.indicator = False
        elif denoising == "in_every_group":
            source = tiny_config("group_dino").denoising
        model.denoising = source
        rule = tiny_config("dino").criterion.rules[2]
        model.criterion.rules.append({**rule, "losses": losses})
    if one_to_many:
        other = tiny_config("ms_detr")
        model.decoder.layer.order = other.decoder.layer.order
        model.decoder.layer.read_out = other.decoder.layer.read_out
        model.criterion.rules.append(other.criterion.rules[1])
    return model


def _use_selection(model: DictConfig, source: DictConfig) -> None:
    """Another selection, with the base's content, positions and scores."""
    own = {name: value for name, value in source.items() if name not in model.selection}
    model.selection.update(own)
    model.selection._target_ = source._target_


@pytest.mark.parametrize(("base", "selection", "denoising", "one_to_many"), COMBINATIONS)
def test_trains_a_step_and_adds_nothing_to_inference(
    base: str, selection: str, denoising: str | None, one_to_many: bool
) -> None:
    torch.manual_seed(0)
    detector = instantiate(compose(base, selection, denoising, one_to_many)).train()
    inputs = make_inputs([(96, 128), (80, 64)], [2, 0])
    losses = detector(inputs)
    assert all(value.isfinite() for value in losses.values())
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
        if (each.stage, each.group.role, each.branch) == (Stage.DECODER, Role.MATCHING, Branch.ONE_TO_ONE)
        and each.is_last
        and each.group.name == "primary"
    )
    torch.testing.assert_close(alone.logits, primary.logits, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(alone.boxes, primary.boxes, atol=1e-5, rtol=1e-5)
