"""Heads without boxes: probabilities of K classes and none, and boxes that are the whole image."""

import pytest
import torch

from querydet.modeling.class_heads import ClassHeads
from querydet.modeling.no_object import class_log_probabilities
from querydet.structures import BranchInput, DecoderLayerOutput, QueryGroup
from querydet.traits import trait

GROUPS = (QueryGroup("primary", 0, 3), QueryGroup("group1", 3, 5))


def outputs(count: int = 2) -> tuple[DecoderLayerOutput, ...]:
    generator = torch.Generator().manual_seed(0)
    boxes = torch.rand(1, 5, 2, generator=generator)
    return tuple(DecoderLayerOutput(torch.randn(1, 5, 8, generator=generator), boxes, boxes) for _ in range(count))


def test_scores_are_the_softmax_of_all_outputs() -> None:
    heads = ClassHeads(num_classes=4, embed_dim=8)
    hidden = torch.randn(2, 3, 8)
    wanted = heads.class_head(hidden).log_softmax(-1)
    torch.testing.assert_close(class_log_probabilities(heads.classify(hidden)), wanted)
    assert heads.num_classes == 4
    assert not trait(heads, "predicts_boxes")


def test_boxes_are_the_whole_image() -> None:
    found = ClassHeads(num_classes=4, embed_dim=8).refine(0, torch.randn(2, 3, 8), torch.rand(2, 3, 2))
    assert torch.equal(found, torch.tensor([0.5, 0.5, 1, 1]).expand(2, 3, 4))


def test_every_group_and_layer_is_predicted_with_its_hidden_states() -> None:
    made = outputs(3)
    heads = ClassHeads(num_classes=4, embed_dim=8)
    found = heads(made, GROUPS, last_only=False)
    assert [(each.layer, each.group.name, each.is_last) for each in found] == [
        (layer, group.name, layer == 2) for layer in range(3) for group in GROUPS
    ]
    for each in found:
        assert torch.equal(each.hidden, made[each.layer].hidden[:, each.group.rows])
        assert torch.equal(each.logits, heads.classify(each.hidden))
    assert [each.layer for each in heads(made, GROUPS, last_only=True)] == [2, 2]


def test_logits_are_in_full_precision_under_autocast() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        assert ClassHeads(num_classes=4, embed_dim=8).classify(torch.randn(1, 2, 8)).dtype is torch.float32


def test_further_branches_are_refused() -> None:
    (one,) = outputs(1)
    branch = DecoderLayerOutput(
        one.hidden, one.reference_boxes, one.base_boxes, one_to_many=BranchInput(one.hidden, GROUPS)
    )
    with pytest.raises(ValueError, match="ClassHeads predict no boxes"):
        ClassHeads(num_classes=4, embed_dim=8)((branch,), GROUPS, last_only=False)
