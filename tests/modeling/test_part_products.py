"""Any parts that fit together make a detector, also where no paper combined them."""

from itertools import product

import pytest
from omegaconf import DictConfig

from querydet.config import deeper
from tests.models import tiny_config
from tests.products import step_that_adds_nothing_to_inference

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
    model._target_ = "querydet.modeling.detector.QueryDetector"
    if selection != "top_k":
        _use_selection(model, tiny_config(SELECTIONS[selection]).selection)
    losses = model.criterion.rules.decoder.losses
    model.criterion.rules.denoising = None
    model.denoising = None
    if denoising is not None:
        source = tiny_config("dn_detr" if denoising == "plain" else "dino").denoising
        if denoising == "plain":
            source.indicator = False
        elif denoising == "in_every_group":
            source = tiny_config("group_dino").denoising
        model.denoising = source
        rule = tiny_config("dino").criterion.rules.denoising
        model.criterion.rules.denoising = {**rule, "losses": losses}
    if one_to_many:
        other = tiny_config("ms_detr")
        model.decoder.layer.order = other.decoder.layer.order
        model.decoder.layer.one_to_many = other.decoder.layer.one_to_many
        model.criterion.rules.one_to_many = other.criterion.rules.one_to_many
    return model


def _use_selection(model: DictConfig, source: DictConfig) -> None:
    """Another selection, with the base's content, positions and scores."""
    if "selection" in source:  # around another one
        source.selection = deeper(model.selection)
        model.selection = source
        return
    own = {name: value for name, value in source.items() if name not in model.selection}
    model.selection.update(own)
    model.selection._target_ = source._target_


@pytest.mark.parametrize(("base", "selection", "denoising", "one_to_many"), COMBINATIONS)
def test_trains_a_step_and_adds_nothing_to_inference(
    base: str, selection: str, denoising: str | None, one_to_many: bool
) -> None:
    step_that_adds_nothing_to_inference(compose(base, selection, denoising, one_to_many))
