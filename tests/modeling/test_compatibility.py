"""Parts that do not fit together are refused when the detector is built, with the remedy."""

import copy

import pytest
from detectron2.config import instantiate
from omegaconf import DictConfig, OmegaConf

from tests.models import tiny_config


def refuse(config: DictConfig, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        instantiate(config)


def mixed(base: str, **parts: str) -> DictConfig:
    """A tiny composition with parts of others."""
    config = tiny_config(base, _target_="querydet.modeling.detector.QueryDetector")
    for part, source in parts.items():
        config[part] = tiny_config(source)[part]
    return config


def test_a_map_that_the_backbone_does_not_give() -> None:
    refuse(tiny_config(neck__in_channels={"res3": 8, "res6": 32}), "names 'res6', but the backbone gives")


def test_channels_that_the_backbone_does_not_give() -> None:
    refuse(tiny_config(neck__in_channels={"res3": 9}), r"in_channels.res3 is 9, but the backbone gives 8")


def test_levels() -> None:
    refuse(tiny_config(decoder__layer__num_levels=3), r"set model\.decoder\.layer\.num_levels=4")
    refuse(tiny_config(neck__num_levels=2), "num_levels is 2, fewer than the 3 maps")
    refuse(tiny_config("detr", neck__num_levels=4), r"makes one level, found num_levels=4.*MultiScaleNeck")
    config = mixed("detr", encoder="dino")
    config.encoder.layer.num_levels = 4
    refuse(config, r"makes 1 levels, but the encoder attends to 4: set model\.encoder\.layer\.num_levels=1")


def test_attention_to_all_tokens_of_several_levels() -> None:
    refuse(
        mixed("dab_detr", neck="dino", backbone="dino"),
        r"model\.encoder=ScaledDenseEncoder, model\.decoder=DabDecoder.*neck=MultiScaleNeck makes 4 levels.*"
        "SingleMapNeck",
    )
    refuse(
        mixed("conditional_detr", neck="dino", backbone="dino", encoder="dino"),
        r"model\.decoder=ConditionalDecoder attends to every token of one map, but model\.encoder=DeformableEncoder "
        r"works on 4 levels.*take querydet\.modeling\.neck\.SingleMapNeck and DenseEncoder.*"
        r"model\.decoder\.layer\._target_=querydet\.modeling\.decoder\.levelwise_decoder_layer, .*num_levels=4",
    )


def test_attention_to_each_of_several_levels() -> None:
    levelwise = tiny_config("dn_deformable_encoder")
    assert instantiate(levelwise).decoder.num_levels == 4
    wrong = copy.deepcopy(levelwise)
    wrong.decoder.layer.num_levels = 3
    refuse(wrong, r"makes 4 levels, but the decoder attends to 3: set model\.decoder\.layer\.num_levels=4")
    wrong.decoder.layer.num_levels = 1
    refuse(wrong, r"attends to every token of one map.*levelwise_decoder_layer, with its num_levels=4")
    refuse(mixed("dn_deformable_encoder", encoder="dab_detr"), r"encoder=ScaledDenseEncoder attends .* one map")
    of_one = mixed("dn_deformable_encoder", neck="dab_detr", backbone="dab_detr")
    assert instantiate(of_one).decoder.num_levels == 1
    one = mixed("dab_detr", decoder="dn_deformable_encoder")
    assert instantiate(one).decoder.num_levels == 1
    one.decoder.layer.num_levels = 4
    refuse(one, r"makes 1 levels, but the decoder attends to 4: set model\.decoder\.layer\.num_levels=1")
    fewer = tiny_config("dn_deformable_encoder", neck__num_levels=3)
    assert instantiate(fewer).decoder.num_levels == 3


def test_the_attention_of_a_layer_reads_what_its_decoder_makes() -> None:
    for base, source, match in (
        (
            "dab_detr",
            "detr",
            r"DabDecoder gives its cross-attention embedded references, but CrossAttention reads none",
        ),
        ("detr", "dn_deformable_encoder", "DetrDecoder gives its cross-attention none references"),
        ("dino", "dn_deformable_encoder", "set model.decoder.layer._target_ to deformable_decoder_layer"),
    ):
        config = tiny_config(base)
        config.decoder.layer = tiny_config(source).decoder.layer
        config.decoder.layer.pop("num_levels", None)
        refuse(config, match)


def test_one_level_is_a_level() -> None:
    """A deformable decoder may read the map of a dense encoder, and a dense decoder that of a deformable one."""
    assert len(instantiate(mixed("dab_detr", decoder="dab_deformable_detr")).decoder.layers) == 2
    assert len(instantiate(mixed("detr", encoder="dino")).encoder.layers) == 2


@pytest.mark.parametrize(
    "base", ["dino", "detr", "group_dn_dab_detr", "deformable_detr_one_stage", "dn_deformable_encoder"]
)
def test_widths(base: str) -> None:
    config = tiny_config(base)
    selection = "selection.selection" if "selection" in config.selection else "selection"
    parts = ["encoder.layer", "decoder.layer", "heads", "neck.position_embedding"]
    parts += [f"{selection}.proposals" if "proposals" in OmegaConf.select(config, selection) else selection]
    parts += ["decoder.query_position"] if config.decoder.get("query_position") else []
    if config.denoising is not None:
        parts += ["denoising.denoising" if "denoising" in config.denoising else "denoising"]
    for part in parts:
        changed = copy.deepcopy(config)
        OmegaConf.update(changed, f"{part}.embed_dim", 64)
        slot, *rest = part.split(".")
        named = slot if slot in ("selection", "denoising", "encoder") or rest == ["layer"] else part
        refuse(changed, rf"model\.{named}\.embed_dim is 64, but model\.neck\.embed_dim is 32")


@pytest.mark.parametrize("base", ["dino", "detr", "conditional_detr", "dn_deformable_encoder"])
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
    refuse(mixed("dab_detr", decoder="detr"), "nothing gives the queries a position: set model.decoder")


def test_denoising_beside_reference_points() -> None:
    config = tiny_config("deformable_detr_one_stage")
    config.denoising = tiny_config("dino").denoising
    refuse(config, "no map from a box to one: select boxes")
    config = mixed("detr", denoising="dn_dab_detr")
    config.denoising.indicator = False
    refuse(config, r"denoising queries start from boxes.*select boxes")


def test_positions_from_boxes_for_reference_points() -> None:
    config = tiny_config("deformable_detr_one_stage")
    config.decoder.query_position = tiny_config("dino").decoder.query_position
    refuse(config, "gives reference points without a size")
    refuse(mixed("detr", decoder="dab_detr"), r"makes positions from boxes, but .* reference points.*select boxes")


def test_two_positions() -> None:
    config = tiny_config("dino")
    config.selection.box_embedding = tiny_config("deformable_detr").selection.box_embedding
    refuse(config, "the queries would have two positions")


def test_an_indicator_for_all_queries_or_for_none() -> None:
    config = tiny_config("dino")
    config.denoising = tiny_config("dn_detr", denoising__indicator=True).denoising
    refuse(config, r"model\.denoising keeps the last channel .* but model\.selection does not")
    config = mixed("dab_detr", denoising="dn_dab_detr", criterion="dn_dab_detr")
    config.denoising.indicator = True
    refuse(config, r"model\.denoising keeps the last channel of the content for an indicator")
    config = tiny_config("dn_detr", denoising__indicator=False)
    refuse(config, r"model\.selection keeps the last channel .* or model\.selection\.indicator=False")


def test_looking_forward_twice_needs_steps() -> None:
    refuse(tiny_config(decoder__refine_boxes=False), "look_forward_twice needs refine_boxes")


@pytest.mark.parametrize("base", ["group_dino", "group_dn_dab_detr"])
def test_groups_of_denoising_and_selection(base: str) -> None:
    config = tiny_config(base, denoising__num_groups=2)
    refuse(config, r"for 2 groups, but model.selection makes 3: set model\.denoising\.num_groups=3")


def test_groups_of_denoising_without_groups_of_queries() -> None:
    config = tiny_config("group_dino", denoising__num_groups=2)
    config.selection = tiny_config("dino").selection
    refuse(config, "for 2 groups, but model.selection makes 1")
