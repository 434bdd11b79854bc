"""Supervision rules that do not fit the other parts are refused when the detector is built, with the remedy."""

import logging

import pytest
from detectron2.config import LazyCall as L
from detectron2.config import instantiate

from querydet.modeling.assigners import Copies, HungarianAssigner, OneToManyAssigner, UnionAssigner
from querydet.modeling.postprocess import NMSPostprocess
from tests.modeling.test_compatibility import refuse
from tests.models import make_inputs, tiny_config


def test_every_kind_of_predictions_has_a_rule_and_every_rule_predictions() -> None:
    config = tiny_config("dino")
    del config.criterion.rules.denoising
    refuse(config, "no supervision rule is about the decoder denoising queries that this detector makes: add one")
    refuse(tiny_config("dino", criterion__rules__encoder=None), "no supervision rule is about the encoder matching")
    config = tiny_config("deformable_detr_pp")
    config.criterion.rules = tiny_config("dino").criterion.rules
    refuse(
        config,
        "about decoder denoising queries, which no part of this detector makes: remove it .*rules.denoising=null",
    )


def test_selection_by_columns_that_are_not_trained() -> None:
    refuse(
        tiny_config(selection__objectness=True),
        r"\(model\.criterion\.rules\.encoder\) has class_agnostic=False: queries would be selected by",
    )


@pytest.mark.parametrize(
    ("base", "source", "rule"),
    [("h_detr", "dino", "denoising"), ("conditional_detr", "ms_detr", "one_to_many")],
)
def test_repeated_objects_need_an_assigner_that_repeats_them(base: str, source: str, rule: str) -> None:
    config = tiny_config(base)
    config.selection.repeats = 2
    assigner = tiny_config(source).criterion.rules[rule].assigner
    config.criterion.rules.decoder.assigner = assigner
    config.postprocess = tiny_config("deta").postprocess
    refuse(config, rf"each object 2 times, and {assigner._target_.__name__} does not repeat objects: use Hungarian")


def test_the_one_to_many_branch_and_rules_belong_together() -> None:
    config = tiny_config("ms_detr")
    del config.criterion.rules.one_to_many
    refuse(config, r"about the one-to-many predictions of the .* or set model\.decoder\.layer\.one_to_many=None")
    config = tiny_config("ms_detr", decoder__layer__one_to_many=None)
    refuse(config, r"or add the branch to the decoder with model\.decoder\.layer\.one_to_many")
    config = tiny_config("ms_detr")
    config.criterion.rules.one_to_many.update(stage="encoder", class_agnostic=True)
    refuse(config, "about encoder matching queries, one-to-many, which no part of this detector makes")


def test_one_to_many_heads_without_a_branch() -> None:
    config = tiny_config("deformable_detr_pp", heads__separate_one_to_many=["class"])
    refuse(config, r"heads would never be used: set model\.decoder\.layer\.one_to_many, or")


def test_a_union_with_the_one_to_one_match_where_there_is_none_to_add() -> None:
    rules = (config := tiny_config("ms_detr")).criterion.rules
    rules.one_to_many.assigner.merge_with = rules.decoder.assigner
    rules.decoder.assigner = rules.one_to_many.assigner
    refuse(config, "which only other branches have: set merge_with=None")


def test_matching_by_start_boxes_without_boxes() -> None:
    config = tiny_config("deformable_detr_one_stage")
    config.criterion.rules.decoder.assigner.boxes = "start"
    refuse(config, r"these start from points: use an assigner that compares predictions .* with boxes='predicted'")


def test_reference_points_overlap_nothing() -> None:
    config, deta = tiny_config("deformable_detr_one_stage"), tiny_config("deta")
    config.criterion.rules.decoder.assigner = deta.criterion.rules.decoder.assigner
    config.postprocess = deta.postprocess
    refuse(config, r"\(IoUAssigner\) compares the boxes that queries start from, but these start from points")


def test_suppression_after_one_to_one_training_works_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    config = tiny_config("deta_baseline")
    with caplog.at_level(logging.WARNING):
        instantiate(config)
    assert "one to one" not in caplog.text
    config.postprocess = tiny_config("deta").postprocess
    with caplog.at_level(logging.WARNING):
        detector = instantiate(config).eval()
    assert "trained one to one (HungarianAssigner)" in caplog.text
    assert "model.postprocess=NMSPostprocess suppresses overlaps" in caplog.text
    (found,) = detector(make_inputs([(96, 128)]))
    assert len(found["instances"])


def test_one_to_many_assignment_needs_suppression() -> None:
    deta = tiny_config("deta")
    deta.postprocess = tiny_config("deta_baseline").postprocess
    refuse(deta, r"TopKPostprocess would report it several times: use NMSPostprocess")


@pytest.mark.parametrize(
    ("key", "other", "message"),
    [
        ("postprocess", "conditional_detr", r"model\.postprocess=TopKPostprocess reads class logits by sigmoid"),
        ("criterion", "conditional_detr", r"rules\.decoder\.assigner=HungarianAssigner reads class logits by sigmoid"),
        ("heads", "conditional_detr", r"postprocess=SoftmaxPostprocess reads class logits by softmax"),
        ("selection", "deta_detr", r"NoObjectHeads has an output for no object"),
    ],
)
def test_sigmoids_and_softmax_do_not_mix(key: str, other: str, message: str) -> None:
    config = tiny_config("detr")
    config[key] = tiny_config(other)[key]
    if key == "selection":
        config.neck.in_channels = {"res4": 8}
        config.backbone = tiny_config("deta_detr").backbone
        rules = config.criterion.rules
        rules.encoder = {**rules.decoder, "stage": "encoder", "class_agnostic": True}
    refuse(config, message)


def test_a_loss_term_that_reads_logits_otherwise_is_named() -> None:
    config = tiny_config("detr")
    config.criterion.rules.decoder.losses["class"] = tiny_config("dino").criterion.rules.decoder.losses["class"]
    refuse(config, r"model\.criterion\.rules\.decoder\.losses\.class=FocalLoss reads class logits by sigmoid")


def test_copies_for_another_number_of_layers() -> None:
    config = tiny_config("dino")
    config.criterion.rules.decoder.assigner.copies = L(Copies)(counts=[2, 2, 1])
    refuse(config, "rules.decoder.assigner has copies for 3 layers, but the decoder predicts after 2")


@pytest.mark.parametrize("assigner", [OneToManyAssigner, UnionAssigner])
def test_copies_of_a_match_that_is_merged_are_for_as_many_layers(assigner: type) -> None:
    config = tiny_config("ms_detr")
    match = L(HungarianAssigner)(copies=L(Copies)(counts=[2, 2, 1]))
    config.criterion.rules.one_to_many.assigner = L(assigner)(merge_with=match)
    refuse(config, "rules.one_to_many.assigner has copies for 3 layers, but the decoder predicts after 2")


def test_copies_in_the_last_layer_need_suppression() -> None:
    config = tiny_config("dino")
    config.criterion.rules.decoder.assigner.copies = 2
    refuse(config, "use NMSPostprocess")
    config.postprocess = L(NMSPostprocess)()
    instantiate(config)


@pytest.mark.parametrize("meant", [False, True])
def test_suppression_of_queries_trained_one_to_one_warns_unless_it_is_meant(meant: bool, caplog) -> None:
    config = tiny_config("dino")
    config.postprocess = L(NMSPostprocess)(on_one_to_one=meant)
    instantiate(config)
    assert ("may lose objects in crowds" in caplog.text) is not meant
