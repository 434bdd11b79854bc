"""Parts that do not fit together are refused when the detector is built, with the remedy."""

import copy

import pytest
from detectron2.config import instantiate
from omegaconf import DictConfig, OmegaConf

from tests.models import tiny_config


def refuse(config: DictConfig, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        instantiate(config)


def test_a_map_that_the_backbone_does_not_give() -> None:
    refuse(tiny_config(neck__in_channels={"res3": 8, "res6": 32}), "wants 'res6', but the backbone gives")


def test_channels_that_the_backbone_does_not_give() -> None:
    refuse(tiny_config(neck__in_channels={"res3": 9}), r"in_channels.res3 is 9, but the backbone gives 8")


def test_levels() -> None:
    refuse(tiny_config(decoder__layer__num_levels=3), r"set model\.decoder\.layer\.num_levels=4")
    refuse(tiny_config(neck__num_levels=2), "num_levels is 2, fewer than the 3 maps")


@pytest.mark.parametrize("base", ["dino", "detr", "conditional_detr", "group_dn_dab_detr", "deformable_detr_one_stage"])
def test_widths(base: str) -> None:
    config = tiny_config(base)
    parts = ["encoder.layer", "decoder.layer", "heads", "neck.position_embedding"]
    parts += ["selection.proposals" if "proposals" in config.selection else "selection"]
    parts += ["decoder.query_position"] if config.decoder.get("query_position") else []
    if config.denoising is not None:
        parts += ["denoising.denoising" if "denoising" in config.denoising else "denoising"]
    for part in parts:
        changed = copy.deepcopy(config)
        OmegaConf.update(changed, f"{part}.embed_dim", 64)
        named = part.replace("denoising.denoising", "denoising").replace(".", r"\.")
        refuse(changed, rf"model\.{named}\.embed_dim is 64, but model\.neck\.embed_dim is 32")


@pytest.mark.parametrize("base", ["dino", "detr", "conditional_detr"])
def test_heads_divide_the_width(base: str) -> None:
    for part in ("encoder", "decoder"):
        for heads in (5, 0):
            match = f"embed_dim 32 must be a multiple of num_heads {heads}"
            refuse(tiny_config(base, **{f"{part}__layer__num_heads": heads}), match)


@pytest.mark.parametrize("base", ["detr", "dab_detr", "dab_deformable_detr", "deformable_detr_one_stage"])
def test_at_least_one_query(base: str) -> None:
    for number in (0, -3, 2.5):
        refuse(tiny_config(base, selection__num_queries=number), f"whole number and at least 1, found {number}")


def test_layers_of_heads_and_decoder() -> None:
    refuse(tiny_config(heads__num_layers=3), "model.heads.num_layers is 3, but the decoder has 2 layers")


def test_class_counts() -> None:
    refuse(tiny_config(heads__num_classes=4), "model.num_classes is 5, but model.heads is made for 4 classes")
    refuse(tiny_config(denoising__num_classes=4), "model.denoising is made for 4 classes")


def test_queries_without_position() -> None:
    config = tiny_config("deformable_detr_pp", selection__box_embedding=None)
    refuse(config, "nothing gives the queries a position")


def test_denoising_beside_reference_points() -> None:
    config = tiny_config("deformable_detr_one_stage")
    config.denoising = tiny_config("dino").denoising
    refuse(config, "no map from a box to one: select boxes")


def test_positions_from_boxes_for_reference_points() -> None:
    config = tiny_config("deformable_detr_one_stage")
    config.decoder.query_position = tiny_config("dino").decoder.query_position
    refuse(config, "gives reference points without a size")


def test_two_positions() -> None:
    config = tiny_config("dino")
    config.selection.box_embedding = tiny_config("deformable_detr").selection.box_embedding
    refuse(config, "the queries would have two positions")


def test_an_indicator_for_all_queries_or_for_none() -> None:
    config = tiny_config("dino")
    config.denoising = tiny_config("dn_detr", denoising__indicator=True).denoising
    refuse(config, r"model\.denoising keeps the last channel .* but model\.selection does not")
    config = tiny_config("dn_detr", denoising__indicator=False)
    refuse(config, r"model\.selection keeps the last channel .* or model\.selection\.indicator=False")


def test_parts_and_rules_belong_together() -> None:
    refuse(tiny_config(criterion__rules=tiny_config().criterion.rules[:2]), "no supervision rule is about the decoder")
    config = tiny_config("deformable_detr_pp")
    config.criterion.rules = tiny_config("dino").criterion.rules
    refuse(config, "about decoder denoising queries, which no part")


def test_selection_by_columns_that_are_not_trained() -> None:
    refuse(tiny_config(selection__objectness=True), "class_agnostic=False: queries would be selected by")


def test_looking_forward_twice_needs_steps() -> None:
    refuse(tiny_config(decoder__refine_boxes=False), "look_forward_twice needs refine_boxes")


def test_groups_of_denoising_and_selection() -> None:
    config = tiny_config("group_dino", denoising__num_groups=2)
    refuse(config, r"for 2 groups, but model.selection makes 3: set model\.denoising\.num_groups=3")
    config.selection = tiny_config("dino").selection
    refuse(config, "for 2 groups, but model.selection makes 1")


def test_repeated_objects_need_an_assigner_that_repeats_them() -> None:
    config = tiny_config("h_detr")
    config.criterion.rules[0].assigner = tiny_config("dino").criterion.rules[2].assigner
    refuse(config, "KnownAssigner does not repeat objects: use HungarianAssigner")


def test_one_to_many_read_outs_and_rules_belong_together() -> None:
    config = tiny_config("ms_detr")
    rules = config.criterion.rules
    refuse(tiny_config("ms_detr", criterion__rules=[rules[0], rules[2]]), "about the one-to-many read-out of the")
    refuse(
        tiny_config("ms_detr", decoder__layer__read_out=None), r"or read out .* with model\.decoder\.layer\.read_out"
    )
    rules[1].update(stage="encoder", class_agnostic=True)
    refuse(config, "about encoder matching queries, one-to-many, which no part of this detector makes")


def test_one_to_many_heads_without_a_read_out() -> None:
    config = tiny_config("deformable_detr_pp", heads__separate_one_to_many=["class"])
    refuse(config, r"heads would never be used: set model\.decoder\.layer\.read_out, or")


def test_a_union_with_the_one_to_one_match_where_there_is_none_to_add() -> None:
    config = tiny_config("ms_detr")
    config.criterion.rules[1].assigner.merge_with = config.criterion.rules[0].assigner
    config.criterion.rules[0].assigner = config.criterion.rules[1].assigner
    refuse(config, "which only a one-to-many read-out has: set merge_with=None")


def test_matching_by_start_boxes_without_boxes() -> None:
    config = tiny_config("deformable_detr_one_stage")
    config.criterion.rules[0].assigner.boxes = "start"
    refuse(config, "start from points: set its boxes='predicted'")


def test_suppression_belongs_to_one_to_many_assignment() -> None:
    deta = tiny_config("deta")
    config = tiny_config("deta_baseline")
    config.postprocess = deta.postprocess
    refuse(config, r"trained one to one .*NMSPostprocess suppresses overlaps: use TopKPostprocess")
    deta.postprocess = tiny_config("deta_baseline").postprocess
    refuse(deta, r"TopKPostprocess would report it several times: use NMSPostprocess")


def test_reference_points_overlap_nothing() -> None:
    config = tiny_config("deformable_detr_one_stage")
    deta = tiny_config("deta")
    config.criterion.rules[0].assigner = deta.criterion.rules[0].assigner
    config.postprocess = deta.postprocess
    refuse(config, "compares the boxes that queries start from, but these start from points: use another assigner")
