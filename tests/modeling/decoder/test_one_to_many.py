"""MS-DETR's one-to-many branch inside the decoder layers: the four placements of figure 4, and that it only adds."""

from typing import Any

import pytest
import torch
from omegaconf import DictConfig
from torch import Tensor

from querydet.modeling.decoder.one_to_many import OneToManyBranch
from querydet.modeling.detector import QueryDetector
from querydet.modeling.geometry import padding_mask
from querydet.modeling.layers import FeedForward
from querydet.structures import Branch, PredictionSet, QueryGroup, Role, Stage
from tests.models import make_inputs, make_targets, tiny_config, tiny_detector

SELF_FIRST = ["self_attention", "cross_attention", "ffn"]
CROSS_FIRST = ["cross_attention", "self_attention", "ffn"]
PLACEMENTS = {  # figure 4
    "a": {"decoder__layer__order": SELF_FIRST, "decoder__layer__one_to_many__after": "ffn"},
    "b": {"decoder__layer__order": CROSS_FIRST, "decoder__layer__one_to_many__after": "ffn"},
    "c": {"decoder__layer__order": CROSS_FIRST, "decoder__layer__one_to_many__after": "cross_attention"},
    "d": {"decoder__layer__order": SELF_FIRST, "decoder__layer__one_to_many__after": "self_attention"},
}
BRANCHES = (Branch.ONE_TO_ONE, Branch.ONE_TO_MANY)
NO_FFN: dict[str, Any] = {"decoder__layer__one_to_many__ffn": None}


def inputs_of(detector: QueryDetector) -> tuple[dict[str, Tensor], Tensor]:
    images = detector.preprocess(make_inputs([(96, 128), (80, 64)]))
    return detector.backbone(images.tensor), padding_mask(images)


def decoder_sets(detector: QueryDetector, branch: Branch) -> list[PredictionSet]:
    predictions = detector.train().predict(*inputs_of(detector), make_targets([3, 1]))
    return [each for each in predictions if each.stage is Stage.DECODER and each.branch is branch]


def one_to_one_rules(config: DictConfig) -> dict[str, DictConfig]:
    return {name: rule for name, rule in config.criterion.rules.items() if name != "one_to_many"}


@pytest.mark.parametrize("name", list(PLACEMENTS))
@pytest.mark.parametrize("separate", [[], ["class"], ["class", "box"]])
def test_every_placement_trains_with_and_without_objects(name: str, separate: list[str]) -> None:
    extra = NO_FFN if name in "ab" else {}
    detector = tiny_detector("ms_detr", **PLACEMENTS[name], **extra, heads__separate_one_to_many=separate).train()
    for counts in ([3, 1], [0, 2], [0, 0], [30, 1]):
        detector.zero_grad()
        losses = detector(make_inputs([(96, 128), (80, 64)], counts))
        sum(losses.values()).backward()
        assert all(value.isfinite() for value in losses.values())
        assert all(parameter.grad is not None for parameter in detector.parameters())


def test_the_placements_predict_differently() -> None:
    found = {
        name: decoder_sets(tiny_detector("ms_detr", **changes, **NO_FFN), Branch.ONE_TO_MANY)[0].logits
        for name, changes in PLACEMENTS.items()
    }
    for name, other in ("ac", "ad", "bc", "cd"):
        assert not torch.allclose(found[name], found[other], atol=1e-3), (name, other)


@pytest.mark.parametrize("name", ["a", "b"])
def test_after_the_last_step_shared_heads_predict_the_same_in_both_branches(name: str) -> None:
    detector = tiny_detector("ms_detr", **PLACEMENTS[name], **NO_FFN)
    main, extra = (decoder_sets(detector, branch) for branch in BRANCHES)
    assert len(main) == len(extra) == 2
    for one, many in zip(main, extra, strict=True):
        assert torch.equal(one.logits, many.logits)
        assert torch.equal(one.boxes, many.boxes)
        assert many.one_to_one is not None
        assert torch.equal(many.one_to_one.logits, one.logits)


@pytest.mark.parametrize("separate", [[], ["class"], ["box"], ["class", "box"]])
def test_separate_heads_start_equal_and_learn_apart(separate: list[str]) -> None:
    torch.manual_seed(0)
    detector = tiny_detector("ms_detr", **PLACEMENTS["a"], **NO_FFN, heads__separate_one_to_many=separate)
    assert sorted(detector.heads.one_to_many_heads) == sorted(separate)
    for kind, own in detector.heads.one_to_many_heads.items():
        for layer, head in enumerate(own):  # undo the noise that the test model's weights have
            getattr(detector.heads, f"{kind}_heads")[layer].load_state_dict(head.state_dict())
    main, extra = (decoder_sets(detector, branch) for branch in BRANCHES)
    torch.testing.assert_close(extra[0].logits, main[0].logits)
    torch.testing.assert_close(extra[0].boxes, main[0].boxes)
    extra[0].logits.sum().backward()
    touched = detector.heads.class_heads[0].weight.grad is not None
    assert touched == ("class" not in separate)


@torch.no_grad()
@pytest.mark.parametrize("name", list(PLACEMENTS))
def test_the_branch_does_not_change_inference(name: str) -> None:
    detector = tiny_detector("ms_detr", **PLACEMENTS[name]).eval()
    order = {"decoder__layer__order": PLACEMENTS[name]["decoder__layer__order"]}
    config = tiny_config("ms_detr")
    plain = tiny_detector(
        "deformable_detr_pp", **order, decoder__layer__one_to_many=None, criterion__rules=one_to_one_rules(config)
    ).eval()
    missing = plain.load_state_dict(detector.state_dict(), strict=False)
    assert not missing.missing_keys
    assert all(".read_out.ffn." in key for key in missing.unexpected_keys)
    (found,), (wanted,) = (each.predict(*inputs_of(each)) for each in (detector, plain))
    assert torch.equal(found.logits, wanted.logits)
    assert torch.equal(found.boxes, wanted.boxes)


def test_without_weight_it_is_the_baseline() -> None:
    config = tiny_config("ms_detr", **PLACEMENTS["a"])
    rules = config.criterion.rules
    for loss in rules.one_to_many.losses.values():
        loss.weight = 0.0
    detector = tiny_detector("ms_detr", **PLACEMENTS["a"], criterion__rules=rules)
    base = tiny_detector("deformable_detr_pp", criterion__rules=one_to_one_rules(config))
    base.load_state_dict(detector.state_dict(), strict=False)
    inputs = make_inputs([(96, 128), (80, 64)], [3, 1])
    losses, wanted = detector.train()(inputs), base.train()(inputs)
    assert set(losses) - set(wanted) == {name for name in losses if "_o2m" in name}
    for name, value in losses.items():
        assert torch.equal(value, wanted[name]) if name in wanted else value.item() == 0, name
    sum(losses.values()).backward()
    sum(wanted.values()).backward()
    gradients = {name: parameter.grad for name, parameter in detector.named_parameters()}
    for name, parameter in base.named_parameters():
        torch.testing.assert_close(gradients[name], parameter.grad, msg=name)
    assert not any(value.any() for name, value in gradients.items() if ".read_out." in name)


def test_the_auxiliary_ffn_feeds_the_one_to_many_predictions_alone() -> None:
    detector = tiny_detector("ms_detr")
    main, extra = (decoder_sets(detector, branch) for branch in BRANCHES)
    ffns = [layer.read_out.ffn for layer in detector.decoder.layers]
    sum(each.logits.sum() + each.boxes.sum() for each in main).backward(retain_graph=True)
    assert all(parameter.grad is None for ffn in ffns for parameter in ffn.parameters())
    extra[0].logits.sum().backward()
    assert all(parameter.grad is not None for parameter in ffns[0].parameters())
    assert all(parameter.grad is None for parameter in ffns[1].parameters())


def test_looking_forward_twice_lets_one_to_many_boxes_train_the_step_before() -> None:
    for twice in (False, True):
        detector = tiny_detector("ms_detr", decoder__look_forward_twice=twice, decoder__num_layers=3)
        boxes = decoder_sets(detector, Branch.ONE_TO_MANY)[2].boxes
        parameter = detector.heads.box_heads[1].layers[2].weight
        (gradient,) = torch.autograd.grad(boxes.sum(), [parameter], allow_unused=True)
        assert (gradient is not None) == twice


def test_only_the_primary_group_has_the_branch_by_default() -> None:
    denoising = QueryGroup("denoising", 0, 4, Role.DENOISING, visible_groups=("primary",))
    primary, extra = QueryGroup("primary", 4, 10), QueryGroup("extra", 10, 16)
    groups = (denoising, primary, extra)
    assert OneToManyBranch(after="ffn").groups_of(groups) == (primary,)
    assert OneToManyBranch(after="ffn", extra_groups=True).groups_of(groups) == (primary, extra)


def test_the_auxiliary_ffn_drops_out_like_the_others() -> None:
    detector = tiny_detector("ms_detr_plain", decoder__layer__dropout=0.3)
    for layer in detector.decoder.layers:
        assert isinstance(layer.read_out.ffn, FeedForward)
        assert layer.read_out.ffn.dropout.p == 0.3


def test_unknown_steps() -> None:
    with pytest.raises(ValueError, match="after must be one of"):
        OneToManyBranch(after="cross")
    with pytest.raises(ValueError, match="order must hold each of"):
        tiny_detector("ms_detr", decoder__layer__order=["ffn", "self_attention"])


@pytest.mark.parametrize("changes", [{}, {"positive_fraction": None}, {"merge_with": True}])
def test_the_same_inputs_give_the_same_losses_bit_for_bit(changes: dict[str, Any]) -> None:
    config = tiny_config("ms_detr")
    if "merge_with" in changes:
        changes = {"merge_with": config.criterion.rules.decoder.assigner}
    config.criterion.rules.one_to_many.assigner.update(changes)
    inputs = make_inputs([(96, 128), (80, 64)], [9, 1])
    first, second = (tiny_detector("ms_detr", criterion__rules=config.criterion.rules).train()(inputs) for _ in "ab")
    assert all(torch.equal(first[name], second[name]) for name in first)
