from dataclasses import replace

import pytest
import torch
from detectron2.config import LazyCall as L
from detectron2.config import instantiate
from detectron2.modeling import META_ARCH_REGISTRY
from torch import Tensor

from querydet.modeling.detector import QueryDetector
from querydet.modeling.geometry import padding_mask
from querydet.modeling.meta_arch import DNDETR
from querydet.modeling.queries import GroupsPerImage, GroupsPerProcess
from querydet.structures import Role
from tests.models import make_inputs, make_targets, tiny_config, tiny_detector


def test_is_registered_with_detectron2() -> None:
    assert META_ARCH_REGISTRY.get("DNDETR") is DNDETR


def test_the_shipped_composition_is_a_dn_detr() -> None:
    assert type(instantiate(tiny_config("dn_detr"))) is DNDETR


def test_the_parts_of_the_method_have_to_be_there() -> None:
    config = tiny_config("dn_detr", denoising=None)
    del config.criterion.rules.denoising
    with pytest.raises(ValueError, match="DNDETR lacks denoising"):
        instantiate(config)
    with pytest.raises(ValueError, match="DNDETR lacks the indicator"):
        instantiate(tiny_config("dn_detr", selection__indicator=False))
    config = tiny_config("dino")
    config._target_ = DNDETR
    with pytest.raises(ValueError, match=r"lacks denoising .*, queries that start from learned boxes"):
        instantiate(config)


def inputs_of(detector: QueryDetector, images: int = 1) -> tuple[dict[str, Tensor], Tensor]:
    found = detector.preprocess(make_inputs([(96, 128)] * images))
    return detector.backbone(found.tensor), padding_mask(found)


def test_denoising_losses_do_not_change_with_an_image_without_objects() -> None:
    detector, inputs = tiny_detector("dn_detr").train(), make_inputs([(96, 128), (96, 128)], [3, 0])
    both, alone = detector(inputs), detector(inputs[:1])
    for layer in ("", "_0"):
        for term in ("class", "l1", "giou"):
            name = f"loss_{term}_dn{layer}"
            torch.testing.assert_close(both[name], alone[name], atol=1e-5, rtol=1e-4, msg=name)


def test_unfilled_slots_of_the_released_rule_have_no_loss() -> None:
    detector = tiny_detector("dn_detr", denoising__groups=L(GroupsPerProcess)(num_groups=5)).train()
    predictions = detector.predict(*inputs_of(detector, 2), make_targets([3, 1]))
    (last,) = (each for each in predictions if each.is_last and each.group.role is Role.DENOISING)
    (rule,) = (rule for rule in detector.criterion.rules.values() if rule.selects(last))
    wanted = rule([last], make_targets([3, 1]))
    logits, boxes = last.logits.clone(), last.boxes.clone()
    unfilled = torch.tensor([slot % 3 > 0 for slot in range(15)])
    logits[1, unfilled], boxes[1, unfilled] = 7.0, 0.9
    assert rule([replace(last, logits=logits, boxes=boxes)], make_targets([3, 1])) == wanted


def test_a_layer_predicts_the_boxes_that_the_next_one_starts_from() -> None:
    detector = tiny_detector("dn_detr").eval()
    memory = detector.encoder(detector.neck(*inputs_of(detector)))
    queries = detector.compose_queries(detector.selection(memory, training=False), None)
    outputs = detector.decoder(queries, memory, detector.heads)
    first, _ = detector.heads(outputs, queries.groups, last_only=False)
    assert torch.equal(outputs[1].reference_boxes, first.boxes)


def test_a_box_loss_reaches_the_layer_before_through_the_content_alone() -> None:
    detector = tiny_detector("dn_detr").train()
    predictions = detector.predict(*inputs_of(detector), make_targets([3]))
    sum(each.boxes.sum() for each in predictions if each.is_last).backward()
    assert all(parameter.grad is None for parameter in detector.heads.box_heads[0].parameters())
    for module in (detector.decoder.layers[0], detector.decoder.query_position.scale):
        assert all(parameter.grad is not None for parameter in module.parameters())
    assert detector.selection.anchors.weight.grad is not None, "the first layer starts from the learned boxes"


def test_the_first_layer_alone_starts_with_small_boxes() -> None:
    detector = instantiate(tiny_config("dn_detr"))
    biases = [head.layers[-1].bias.tolist() for head in detector.heads.box_heads]
    assert biases == [[0, 0, -2, -2], [0, 0, 0, 0]]


def test_the_dynamic_count_trains() -> None:
    detector = tiny_detector("dn_detr", denoising__groups=L(GroupsPerImage)(num_queries=10)).train()
    for counts in ([3, 1], [0, 0], [30, 2]):
        losses = detector(make_inputs([(96, 128), (80, 64)], counts))
        assert all(value.isfinite() for value in losses.values())
        assert (losses["loss_l1_dn"] > 0) == (sum(counts) > 0)


def test_one_class() -> None:
    detector = tiny_detector("dn_detr", num_classes=1).train()
    losses = detector(make_inputs([(96, 128)], [3], num_classes=1))
    assert all(value.isfinite() for value in losses.values())
