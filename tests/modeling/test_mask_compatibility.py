"""Masks that do not fit the other parts are refused when the detector is built, with the remedy."""

import pytest
from detectron2.config import LazyCall as L
from detectron2.config import instantiate
from omegaconf import DictConfig, OmegaConf

from querydet.modeling.masks import PointMaskCost
from tests.models import tiny_config


def refuse(config: DictConfig, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        instantiate(config)


def test_losses_and_costs_of_masks_without_masks() -> None:
    refuse(
        tiny_config("dino_masks", masks=None), r"rule 'decoder' reads masks, but model\.masks is None: set it .*leave"
    )
    config = tiny_config("dino")
    config.criterion.rules.decoder.assigner.mask_cost = L(PointMaskCost)(num_points=4)
    refuse(config, r"rule 'decoder' reads masks.*leave out what reads them, with no mask_cost of the assigner$")


def test_the_message_about_missing_masks_says_how_to_train_boxes_alone() -> None:
    config = tiny_config("dino_masks", masks=None)
    with pytest.raises(ValueError, match=r"model\.masks is None") as error:
        instantiate(config)
    changes = str(error.value).rsplit(" with ", 1)[1].split()
    detector = instantiate(OmegaConf.merge({"model": config}, OmegaConf.from_dotlist(changes)).model)
    assert detector.masks is None
    assert set(detector.criterion.rules["decoder"].losses) == {"class", "l1", "giou"}


def test_masks_without_losses() -> None:
    config = tiny_config("dino_masks")
    for name in ("mask", "dice"):
        config.criterion.rules.decoder.losses.pop(name)
    refuse(config, r"nothing trains the masks of model\.masks: add losses of masks .*PointMaskLoss.*model\.masks=null")


def test_a_masked_decoder_and_heads_without_boxes_need_masks() -> None:
    config = tiny_config("mask2former", masks=None)
    refuse(config, "model.heads predicts neither boxes nor masks")
    config.heads = tiny_config("detr").heads
    config.heads.num_layers = 3
    config.criterion.rules.decoder.losses = {"class": config.criterion.rules.decoder.losses["class"]}
    config.criterion.rules.decoder.assigner.mask_cost = None
    refuse(config, "the decoder attends within masks, but model.masks is None")


def test_boxes_that_nobody_predicts() -> None:
    config = tiny_config("mask2former")
    config.criterion.rules.decoder.losses.l1 = tiny_config("detr").criterion.rules.decoder.losses.l1
    refuse(config, "L1Loss of the rule 'decoder' read predicted boxes, but model.heads predicts none")
    config = tiny_config("mask2former")
    config.criterion.rules.decoder.assigner.giou_weight = 2.0
    refuse(
        config, "SoftmaxHungarianAssigner of the rule 'decoder' read predicted boxes.*weights of boxes in the matching"
    )


@pytest.mark.parametrize(
    ("rule", "words"), [("denoising", "decoder denoising queries"), ("encoder", "encoder matching queries")]
)
def test_losses_of_masks_for_predictions_without_masks(rule: str, words: str) -> None:
    config = tiny_config("dino_masks")
    config.criterion.rules[rule].losses.mask = config.criterion.rules.decoder.losses.mask
    refuse(config, rf"the rule '{rule}' reads masks of {words}, which have none: add their role to model\.masks\.roles")


def test_losses_of_masks_for_a_branch_without_masks() -> None:
    config = tiny_config("ms_mask_deformable_detr")
    config.criterion.rules.one_to_many.losses.mask = config.criterion.rules.decoder.losses.mask
    refuse(config, r"'one_to_many' reads masks of .*one-to-many.*their branch to model\.masks\.branches")


@pytest.mark.parametrize("options", [{"layers": "last", "groups": "all"}, {"layers": "all", "groups": "primary"}])
def test_matching_by_masks_needs_masks_of_all_layers_and_groups(options: dict[str, str]) -> None:
    config = tiny_config("group_mask2former", **{f"masks__{key}": value for key, value in options.items()})
    refuse(
        config, r"compares masks of all layers and groups: set model\.masks\.layers=all and model\.masks\.groups=all"
    )


def test_an_assigner_within_another_reads_masks_too() -> None:
    config = tiny_config("ms_mask_deformable_detr")
    assigner = config.criterion.rules.one_to_many.assigner
    assigner["merge_with"] = tiny_config("dino").criterion.rules.decoder.assigner
    assigner["merge_with"].mask_cost = L(PointMaskCost)(num_points=4)
    refuse(config, r"the rule 'one_to_many' reads masks|compares masks of all layers")


def test_maps_that_the_backbone_does_not_give() -> None:
    refuse(
        tiny_config("dino_masks", masks__head__in_channels={"res1": 8}),
        r"model\.masks\.head\.in_channels names 'res1', but the backbone gives .*model\.backbone\.out_features",
    )
    refuse(
        tiny_config("dino_masks", masks__head__in_channels={"res2": 9}),
        r"model\.masks\.head\.in_channels\.res2 is 9, but the backbone gives 8",
    )


@pytest.mark.parametrize("level", [4, -5])
@pytest.mark.parametrize("name", ["dino_masks", "mask_deformable_detr"])
def test_levels_that_the_neck_does_not_make(name: str, level: int) -> None:
    refuse(tiny_config(name, masks__head__level=level), f"level is {level}, but the neck makes 4 levels")


def test_widths() -> None:
    refuse(tiny_config("dino_masks", masks__head__embed_dim=64), r"masks\.head.* 64")


def test_masks_of_one_group_of_several_are_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    for groups, warned in (("primary", True), ("all", False)):
        caplog.clear()
        config = tiny_config("group_dino")
        config.masks = tiny_config("dino_masks").masks
        config.backbone.channels.res2 = config.masks.head.in_channels.res2
        config.masks.groups = groups
        config.criterion.rules.decoder.losses.update(tiny_config("dino_masks").criterion.rules.decoder.losses)
        instantiate(config)
        assert ("only the primary of 3 groups has masks" in caplog.text) is warned
