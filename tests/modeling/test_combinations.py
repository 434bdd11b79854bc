"""The methods' parts in one detector: each part does what it does alone, and the others do not feel it."""

import pytest
import torch
from detectron2.config import instantiate
from torch import Tensor

from querydet.modeling.detector import QueryDetector
from querydet.modeling.geometry import padding_mask
from querydet.structures import Branch, PredictionSet, Role
from tests.models import make_inputs, make_targets, tiny_config, tiny_detector

SIZES = [(96, 128), (80, 64)]
WITH_MS = ("ms_dino", "ms_dn_detr", "ms_dn_dab_detr", "ms_group_detr", "ms_h_detr")
COMBINATIONS = ("group_dino", "group_dn_detr", "group_dn_dab_detr", *WITH_MS)


def losses_of(detector: QueryDetector, inputs: list[dict]) -> dict[str, Tensor]:
    losses = detector.train()(inputs)
    assert isinstance(losses, dict)
    return losses


def predictions_of(detector: QueryDetector) -> tuple[PredictionSet, ...]:
    images = detector.preprocess(make_inputs(SIZES))
    return detector.predict(detector.backbone(images.tensor), padding_mask(images), make_targets([3, 2]))


@pytest.mark.parametrize("name", WITH_MS)
def test_the_primary_queries_alone_are_read_one_to_many_and_count_whole(name: str) -> None:
    predictions = predictions_of(tiny_detector(name).train())
    many = [each for each in predictions if each.branch is Branch.ONE_TO_MANY]
    assert [(each.group.name, each.group.loss_divisor, each.layer) for each in many] == [
        ("primary", 1, 0),
        ("primary", 1, 1),
    ]
    assert len({each.group.name for each in predictions}) > 1


@pytest.mark.parametrize("name", ["ms_dino", "ms_group_detr", "ms_h_detr"])
def test_what_is_added_leaves_the_losses_of_the_base_alone(name: str) -> None:
    """Denoising and extra groups add losses, or share in those of the same name; the one-to-many ones stay."""
    combined, base = tiny_detector(name), tiny_detector("ms_detr")
    shared = {key: value for key, value in combined.state_dict().items() if key in base.state_dict()}
    base.load_state_dict(shared)
    inputs = make_inputs(SIZES, [3, 1])
    found, wanted = losses_of(combined, inputs), losses_of(base, inputs)
    alone = {key for key in wanted if name != "ms_group_detr" or "o2m" in key}
    assert any("o2m" in key for key in alone)
    for key in alone:
        torch.testing.assert_close(found[key], wanted[key], rtol=1e-5, atol=1e-6, msg=key)
    assert set(found) - set(wanted) or name == "ms_group_detr"


@pytest.mark.parametrize("name", COMBINATIONS)
@torch.no_grad()
def test_inference_is_the_primary_group_of_training(name: str) -> None:
    detector = tiny_detector(name)
    trained = [
        each
        for each in predictions_of(detector.train())
        if each.group.name == "primary" and each.branch is Branch.ONE_TO_ONE and each.is_last
    ][-1]
    for key, value in detector.named_parameters():
        if "selection.extra_" in key or key.startswith("denoising") or "read_out" in key:
            value.fill_(torch.nan)
    images = detector.preprocess(make_inputs(SIZES))
    (alone,) = detector.predict(detector.backbone(images.tensor), padding_mask(images))
    torch.testing.assert_close(alone.logits, trained.logits, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(alone.boxes, trained.boxes, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", COMBINATIONS)
def test_training_queries_do_not_influence_the_primary_ones(name: str) -> None:
    detector = tiny_detector(name).train()
    primary = [each for each in predictions_of(detector) if each.group.name == "primary"]
    sum(each.logits.sum() + each.boxes.sum() for each in primary).backward()
    reached = [key for key, value in detector.named_parameters() if value.grad is not None and value.grad.any()]
    assert not [key for key in reached if key.startswith(("selection.extra_", "denoising."))]


def test_all_groups_may_have_the_one_to_many_branch_and_share_the_loss() -> None:
    detector = tiny_detector("ms_group_detr", decoder__layer__one_to_many__extra_groups=True).train()
    many = [each for each in predictions_of(detector) if each.branch is Branch.ONE_TO_MANY and each.is_last]
    assert [(each.group.name, each.group.loss_divisor) for each in many] == [
        ("primary", 3),
        ("group1", 3),
        ("group2", 3),
    ]


def test_fixed_positions_of_denoising_queries_come_from_their_boxes() -> None:
    detector = tiny_detector("ms_dino").train()
    images = detector.preprocess(make_inputs(SIZES))
    memory = detector.encoder(detector.neck(detector.backbone(images.tensor), padding_mask(images)))
    queries = detector.compose_queries(detector.selection(memory, training=True), make_targets([3, 2]))
    (noised,) = [group for group in queries.groups if group.role is Role.DENOISING]
    wanted, _ = detector.selection.box_embedding(queries.boxes[:, noised.rows])
    assert queries.position is not None
    torch.testing.assert_close(queries.position[:, noised.rows], wanted)


def test_a_combination_that_no_paper_has() -> None:
    """One-to-many branches of every group of DINO, each with its denoising, behind the feed-forward block."""
    config = tiny_config("group_dino", _target_="querydet.modeling.detector.QueryDetector")
    many = tiny_config("ms_detr")
    config.decoder.layer.one_to_many = many.decoder.layer.one_to_many
    config.decoder.layer.one_to_many.after = "ffn"
    config.decoder.layer.one_to_many.extra_groups = True
    config.heads.separate_one_to_many = ["class", "box"]
    config.criterion.rules.one_to_many = many.criterion.rules.one_to_many
    detector = instantiate(config)
    for counts in ([3, 1], [0, 0], [30, 0]):
        losses = losses_of(detector, make_inputs(SIZES, counts))
        assert all(value.isfinite() for value in losses.values())
        detector.zero_grad()
        sum(losses.values()).backward()
        assert all(parameter.grad is not None for parameter in detector.parameters())


def test_a_combination_of_dense_attention_that_no_paper_has() -> None:
    """Groups of boxes on DAB-DETR, all with a one-to-many branch, and the cross-attention first."""
    config, many = tiny_config("group_dab_detr"), tiny_config("ms_detr")
    config.decoder.layer.order = many.decoder.layer.order
    config.decoder.layer.one_to_many = many.decoder.layer.one_to_many
    config.decoder.layer.one_to_many.extra_groups = True
    config.criterion.rules.one_to_many = many.criterion.rules.one_to_many
    torch.manual_seed(0)
    detector = instantiate(config)
    for counts in ([3, 1], [0, 0], [20, 0]):
        losses = losses_of(detector, make_inputs(SIZES, counts))
        assert {"loss_class_o2m", "loss_giou_o2m_0"} <= set(losses)
        detector.zero_grad()
        sum(losses.values()).backward()
        assert all(value.grad is not None and value.grad.isfinite().all() for value in detector.parameters())
